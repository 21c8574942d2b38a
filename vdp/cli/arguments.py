"""The entry point: arguments in, exit code out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vdp.cli import exits
from vdp.cli.commands import COMMANDS, Command, SocketUnknown, ask, complain, socket_path
from vdp.cli.plugin import add_verbs

LOG_LEVELS = ("debug", "info", "warning", "error")
_OPTIONS_WITH_VALUE = ("-c", "--config", "--socket", "--log-level")

_EPILOG = """\
exit codes: {codes}

The daemon is found at --socket, else where the file of -c says, else at $VDP_SOCKET, else
/run/vdp/vdp.sock. Every command takes --json. Nouns may be plural, and a noun alone does
what its verb says: `vdp ports` is `vdp port show`."""


class _Version(argparse.Action):
    """Prints the version; imports it only then."""

    def __init__(self, option_strings: Sequence[str], dest: str, **kwargs: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, help=kwargs.get("help"))

    def __call__(self, parser: argparse.ArgumentParser, *args: Any) -> None:
        from vdp import __version__

        print(f"vdp {__version__}")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    codes = ", ".join(f"{code} {meaning}" for code, meaning in exits.MEANINGS.items())
    parser = argparse.ArgumentParser(
        prog="vdp",
        description="An Open vSwitch-style dataplane. `vdp -c FILE` runs it; the commands ask a running one.",
        epilog=_EPILOG.format(codes=codes),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="run the dataplane of this configuration"
    )
    parser.add_argument("--log-level", choices=LOG_LEVELS, help="instead of the configuration's")
    parser.add_argument("--strict", action="store_true", help="start only if every listed plugin loads")
    parser.add_argument("--version", action=_Version, help="print the version")
    nouns = parser.add_subparsers(dest="noun", metavar="COMMAND", title="commands")
    check = nouns.add_parser("check", help="say what is wrong with a configuration, touch nothing")
    _add_common(check, socket=False)
    check.set_defaults(command=None)
    verbs_of: dict[str, Any] = {}
    for command in COMMANDS:
        if not command.verb:
            only = nouns.add_parser(command.noun, help=command.help, description=command.help)
            _add_command(only, command)
            continue
        if command.noun not in verbs_of:
            noun = nouns.add_parser(command.noun, aliases=[command.noun + "s"], help=_verbs(command.noun))
            verbs_of[command.noun] = noun.add_subparsers(dest="verb", metavar="VERB", required=True)
        verbs = verbs_of[command.noun]
        _add_command(verbs.add_parser(command.verb, help=command.help, description=command.help), command)
    add_verbs(verbs_of["plugin"])
    return parser


def _verbs(noun: str) -> str:
    """A noun's line of help: its verbs, and what the first one shows."""
    commands = [command for command in COMMANDS if command.noun == noun]
    return f"{', '.join(command.verb for command in commands)}: {commands[0].help}"


def _add_common(parser: argparse.ArgumentParser, socket: bool) -> None:
    # SUPPRESS: a default here would undo what was given before the noun.
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="configuration"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    if socket:
        parser.add_argument("--socket", metavar="PATH", help="the daemon's control socket")


def _add_command(parser: argparse.ArgumentParser, command: Command) -> None:
    _add_common(parser, socket=True)
    if command.changes:
        parser.add_argument("name", metavar=command.operand, help="which one")
    elif command.operand:
        parser.add_argument("name", nargs="?", metavar=command.operand, help="only this one")
    if command.method == "flow.dump":
        parser.add_argument(
            "--explain", action="store_true", help="say which line of whose plugin made each guard and action"
        )
    if command.method == "link.show":
        parser.add_argument(
            "--toml", action="store_true", help="print the [[link]] tables that make these links again"
        )
    parser.set_defaults(command=command)


def with_verb(arguments: Sequence[str]) -> list[str]:
    """The arguments, with the verb put in where a noun stands alone: `vdp ports --json`."""
    result = list(arguments)
    verbs = {command.noun: command.verb for command in COMMANDS if command.verb and not command.changes}
    at = 0
    while at < len(result) and result[at].startswith("-"):
        at += 2 if result[at] in _OPTIONS_WITH_VALUE else 1
    if at < len(result):
        verb = verbs.get(result[at].removesuffix("s"))
        if verb and (at + 1 == len(result) or result[at + 1].startswith("-")):
            result.insert(at + 1, verb)
    return result


def _greet(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """`vdp` alone: the help, and whether a daemon runs."""
    from vdp.cli.text import talk
    from vdp.control.client import answers

    parser.print_help()
    path = socket_path(arguments)
    talk(f"\n{'a daemon answers' if answers(path) else 'no daemon answers'} at {path}")
    return exits.OK


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `vdp` with `arguments`; the exit code."""
    parser = build_parser()
    parsed = parser.parse_args(with_verb(sys.argv[1:] if arguments is None else arguments))
    try:
        if parsed.noun is None:
            if parsed.config is None:
                return _greet(parser, parsed)
            from vdp.cli.daemon import run

            return run(parsed.config, parsed.log_level, strict=parsed.strict)
        if hasattr(parsed, "run"):
            code: int = parsed.run(parsed)
            return code
        if parsed.command is None:
            if parsed.config is None:
                parser.error("check needs a configuration: vdp check -c FILE")
            from vdp.cli.daemon import check

            return check(parsed.config, parsed.json)
        return ask(parsed.command, parsed)
    except SocketUnknown as error:
        complain(str(error))
        return exits.CONFIG
    except KeyboardInterrupt:
        return exits.FAILED
