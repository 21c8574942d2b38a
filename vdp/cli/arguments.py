"""The entry point: arguments in, exit code out."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vdp.cli import exits
from vdp.cli.commands import COMMANDS, OWN, Command, SocketUnknown, ask, complain, socket_path
from vdp.cli.options import add_common, add_drop_rates, add_flow_query

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


class _Parser(argparse.ArgumentParser):
    """One that says which noun, verb or choice is nearest to what is none."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            from vdp.config.nearest import nearest_hint

            if hint := nearest_hint(str(value), map(str, action.choices or ())):
                error.message += f"\nhint: {hint}"
            raise


def build_parser(noun: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands, or of one noun's only, or with "" of none."""
    codes = ", ".join(f"{code} {meaning}" for code, meaning in exits.MEANINGS.items())
    parser = _Parser(
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
    verbs_of: dict[str, Any] = {}
    for command in [each for each in (*COMMANDS, *OWN) if noun in (None, each.noun)]:
        verbs = nouns
        if command.verb:
            if command.noun not in verbs_of:
                one = nouns.add_parser(command.noun, aliases=[command.noun + "s"], help=_verbs(command.noun))
                verbs_of[command.noun] = one.add_subparsers(dest="verb", metavar="VERB", required=True)
            verbs = verbs_of[command.noun]
        word = command.verb or command.noun
        made = verbs.add_parser(word, help=command.help, description=command.help)
        if isinstance(command, Command):
            _add_command(made, command)
        elif noun is not None:
            module, _, function = command.options.partition(":")
            getattr(importlib.import_module(module), function)(made)
    return parser


def _verbs(noun: str) -> str:
    """A noun's line of help: its verbs, and what the first one does."""
    commands = [command for command in (*COMMANDS, *OWN) if command.noun == noun]
    return f"{', '.join(command.verb for command in commands)}: {commands[0].help}"


def _add_command(parser: argparse.ArgumentParser, command: Command) -> None:
    add_common(parser)
    if command.changes:
        parser.add_argument("name", metavar=command.operand, help="which one")
    elif command.operand:
        parser.add_argument("name", nargs="?", metavar=command.operand, help="only this one")
    if command.method == "flow.dump":
        add_flow_query(parser)
    if command.method == "drop.show":
        add_drop_rates(parser)
    if command.method == "link.show":
        parser.add_argument(
            "--toml", action="store_true", help="print the [[link]] tables that make these links again"
        )
    parser.set_defaults(run=partial(ask, command))


def with_verb(arguments: Sequence[str]) -> list[str]:
    """The arguments, with the verb put in where a noun stands alone: `vdp ports --json`.

    A noun of two words, such as `trace live` beside `trace`, is one argument then.
    """
    result = list(arguments)
    # Of several verbs the first one is meant.
    own = {each.noun: each.verb for each in reversed(OWN) if each.verb}
    verbs = own | {each.noun: each.verb for each in reversed(COMMANDS) if each.verb and not each.changes}
    at = _place_of_noun(result)
    if " ".join(result[at : at + 2]) in {each.noun for each in OWN}:
        result[at : at + 2] = [" ".join(result[at : at + 2])]
    if at < len(result):
        noun = result[at].removesuffix("s")
        verb = verbs.get(noun)
        has_several = sum(each.noun == noun for each in (*OWN, *COMMANDS)) > 1
        if has_several and result[at + 1 : at + 2] in (["-h"], ["--help"]):
            return result  # help says what verbs there are
        if verb and (at + 1 == len(result) or result[at + 1].startswith("-")):
            result.insert(at + 1, verb)
    return result


def _place_of_noun(arguments: Sequence[str]) -> int:
    at = 0
    while at < len(arguments) and arguments[at].startswith("-"):
        at += 2 if arguments[at] in _OPTIONS_WITH_VALUE else 1
    return at


def noun_of(arguments: Sequence[str]) -> str | None:
    """What `build_parser` has to know for these arguments: most of its time goes into other nouns.

    None, all of it: for help, and to say what there is to who asks for what there is not.
    """
    at = _place_of_noun(arguments)
    options = arguments[:at]
    if "-h" in options or "--help" in options:
        return None
    if at >= len(arguments):
        return "" if "-c" in options or "--config" in options else None
    nouns: dict[str, str] = {}
    for command in (*COMMANDS, *OWN):
        nouns[command.noun] = command.noun
        if command.verb:
            nouns[command.noun + "s"] = command.noun
    return nouns.get(arguments[at])


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
    arguments = with_verb(sys.argv[1:] if arguments is None else arguments)
    parser = build_parser(noun_of(arguments))
    parsed = parser.parse_args(arguments)
    try:
        if parsed.noun is None:
            if parsed.config is None:
                return _greet(parser, parsed)
            from vdp.cli.daemon import run

            return run(parsed.config, parsed.log_level, strict=parsed.strict)
        code: int = parsed.run(parsed)
        sys.stdout.flush()
        return code
    except SocketUnknown as error:
        complain(str(error))
        return exits.CONFIG
    except BrokenPipeError:
        # The reader (head, less) has seen enough; python must not complain about it at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.FAILED
    except KeyboardInterrupt:
        return exits.FAILED
