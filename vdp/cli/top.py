"""`vdp top`: what goes through, what is dropped, and what is wrong, as it happens."""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from vdp.cli import exits
from vdp.cli.commands import complain, refused, socket_path
from vdp.cli.options import add_config, add_socket, duration
from vdp.cli.text import escaped, print_table
from vdp.control.errors import ControlError, DaemonUnreachable

if TYPE_CHECKING:
    from vdp.cli.top_tables import Flows
    from vdp.status.history import History

INTERVAL_S = 2.0
ROWS_MOST = 10


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="print it as text, and end")
    parser.add_argument(
        "--interval", type=partial(duration, least=0.2), default=INTERVAL_S, metavar="TIME",
        help="between two looks (2s)",
    )  # fmt: skip
    add_config(parser)
    add_socket(parser)
    parser.set_defaults(run=top)


def top(arguments: argparse.Namespace) -> int:
    """Show it until somebody quits; the exit code."""
    from vdp.cli.top_tables import FLOWS_MOST, Flows
    from vdp.control.remote import RemoteView
    from vdp.status.history import History

    try:
        view = RemoteView(socket_path(arguments))
        history, flows = History(view), Flows(partial(view.busiest_flows, FLOWS_MOST))
        if arguments.once:
            time.sleep(arguments.interval)
            history.take()
            flows.take()
            _print(history, flows)
            return exits.OK
        if not sys.stdout.isatty():
            complain("this is no terminal", "vdp top --once prints it as text")
            return exits.USAGE
        try:
            from vdp.cli.top_screen import Screen
        except ImportError:
            complain(
                "the live screen needs the library textual, which is not installed",
                'pip install "vdp[top]" installs it; vdp top --once does without',
            )
            return exits.FAILED
        Screen(history, flows, arguments.interval).run()
    except (ControlError, DaemonUnreachable) as error:
        return refused(error)
    return exits.OK


def _print(history: History, flows: Flows) -> None:
    from vdp.cli import top_tables

    print(top_tables.headline(history))
    for severity, line in top_tables.wrong(history):
        print(f"{severity}: {escaped(line)}")
    tables = [
        top_tables.ports(history),
        top_tables.links(history),
        flows.table(),
        top_tables.drops(history),
        top_tables.handlers(history),
    ]
    for table in tables:
        print()
        if not table.rows:
            print(table.empty)
            continue
        print_table(table.heads, table.rows[:ROWS_MOST], sys.stdout)
        if len(table.rows) > ROWS_MOST:
            print(f"and {len(table.rows) - ROWS_MOST} more {table.name}")
