"""`vdp plugin call`: commands that plugins of a running daemon have of their own."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from vdp.cli import exits
from vdp.cli.options import add_common


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="PLUGIN")
    parser.add_argument("word", nargs="?", metavar="COMMAND")
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT")
    add_common(parser)
    parser.set_defaults(run=call_plugin)


def call_plugin(arguments: argparse.Namespace) -> int:
    """Ask the daemon, and print what the plugin answers; the exit code."""
    from vdp.cli.commands import refused, socket_path
    from vdp.cli.pages import print_json
    from vdp.cli.text import aligned, escaped
    from vdp.control.client import call
    from vdp.control.errors import ControlError, DaemonUnreachable

    params: dict[str, Any] = {"name": arguments.name}
    if arguments.word is not None:
        params |= {"command": arguments.word, "arguments": arguments.arguments}
    try:
        answer = call(socket_path(arguments), "plugin.call", params)
    except (ControlError, DaemonUnreachable) as error:
        return refused(error)
    if arguments.json or (arguments.word is not None and not isinstance(answer, str | None)):
        print_json(answer, sys.stdout)
    elif arguments.word is None:
        for line in aligned([[row["command"], row["text"]] for row in answer], [False, False]):
            print(escaped(line))
    elif answer:
        print("\n".join(map(escaped, str(answer).splitlines())))
    return exits.OK
