"""The options of every command, in Markdown, as its parser knows them."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from unittest import mock

from vdp.cli.arguments import build_parser
from vdp.cli.commands import COMMANDS, OWN

#: So that a usage fits into a man page of 80 columns, indented.
_WIDTH = "70"


def parsers() -> Iterator[argparse.ArgumentParser]:
    """The parser of `vdp` itself, then that of each command, in the order of its help."""
    yield build_parser("")
    seen: list[str] = []
    for command in (*COMMANDS, *OWN):
        if command.noun not in seen:
            seen.append(command.noun)
            yield from _leaves(_choices(build_parser(command.noun))[command.noun])


def _choices(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    below = _choices(parser)
    if not below:
        yield parser
    for each in below.values():
        yield from _leaves(each)


def _words(action: argparse.Action) -> str:
    """`-c FILE`, `--config FILE`; an operand's name."""
    if not action.option_strings:
        return f"`{action.metavar or action.dest}`"
    value = "" if action.nargs == 0 else f" {_value(action)}"
    return ", ".join(f"`{option}{value}`" for option in action.option_strings)


def _value(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices is not None:
        return "|".join(map(str, action.choices))
    return action.dest.upper()


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Its help, with its default filled in, as one cell of a table."""
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    return " ".join(re.sub(r"([|\[\]<*_])", r"\\\1", text).split())


def _section(parser: argparse.ArgumentParser) -> str:
    with mock.patch.dict(os.environ, {"COLUMNS": _WIDTH, "NO_COLOR": "1"}):
        usage = parser.format_usage().removeprefix("usage: ").replace(" [-h]", "")
    lines = [f"### {parser.prog}", ""]
    if parser.description and parser.prog != "vdp":
        lines += [f"{parser.description[0].upper()}{parser.description[1:]}.", ""]
    lines += ["```text", *(line.removeprefix("       ") for line in usage.splitlines()), "```", ""]
    rows = [
        (_words(action).replace("|", r"\|"), _help(parser, action))
        for action in parser._actions
        if action.help != argparse.SUPPRESS
        and not isinstance(action, argparse._HelpAction | argparse._SubParsersAction)
    ]
    if rows:
        lines += ["| option | meaning |", "| --- | --- |"]
        lines += [f"| {words} | {meaning} |" for words, meaning in rows]
    if parser.epilog and parser.prog != "vdp":
        lines += ["", "```text", parser.epilog, "```"]
    return "\n".join(lines) + "\n"


def reference() -> str:
    """A section a command."""
    return "\n## Options of each command\n\n" + "\n".join(map(_section, parsers()))
