"""`vdp log set MODULE=LEVEL --for 60s`: how much a module of the running daemon logs, for a time."""

from __future__ import annotations

import argparse
import sys

from vdp.cli import exits
from vdp.cli.commands import refused, socket_path
from vdp.cli.options import add_common, duration
from vdp.cli.text import print_table
from vdp.control.client import call
from vdp.control.errors import ControlError, DaemonUnreachable


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "setting", nargs="?", metavar="MODULE=LEVEL",
        help="such as vdp.links=debug; without =LEVEL taken back; left out: list what is set",
    )  # fmt: skip
    parser.add_argument(
        "--for", dest="for_s", type=duration, metavar="TIME", help="then as before: 60s, 5m, 1h"
    )
    add_common(parser)
    parser.set_defaults(run=log_set)


def log_set(arguments: argparse.Namespace) -> int:
    """Ask the daemon, and list what is set; the exit code."""
    params: dict[str, object] = {}
    if arguments.setting is not None:
        module, _, level = arguments.setting.partition("=")
        params = {"module": module, "level": level.lower() or None, "for_s": arguments.for_s}
    try:
        rows = call(socket_path(arguments), "log.set", params)
    except (ControlError, DaemonUnreachable) as error:
        return refused(error)
    if arguments.json:
        from vdp.cli.pages import print_json

        print_json(rows, sys.stdout)
    elif rows:
        print_table(
            ["module", "level", "left s"],
            [[row["module"], row["level"], row["left_s"]] for row in rows],
            sys.stdout,
        )
    else:
        print("every module logs as the configuration says")
    return exits.OK
