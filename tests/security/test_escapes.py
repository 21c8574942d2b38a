"""Names, messages and packets hold what they like: what reaches a terminal or a log moves no cursor."""

from __future__ import annotations

import io
import json
import logging

import pytest

from vdp.cli.text import aligned, escaped, print_table
from vdp.config.problem import Problem
from vdp.log import JsonFormatter, TextFormatter

#: Every byte value as a character, the controls of Unicode that move or hide text, and half a pair.
HOSTILE = ["".join(map(chr, range(256))), "\u202e\u2066\u200f\u2028\u2029\u0085\u009b31m", "\x1b]0;owned\x07"]


def is_quiet(text: str) -> bool:
    return all(character.isprintable() for character in text)


@pytest.mark.parametrize("name", HOSTILE)
def test_tables(name: str) -> None:
    assert is_quiet(escaped(name))
    assert all(map(is_quiet, aligned([[name, 1], ["x", 2]], [False, True])))
    out = io.StringIO()
    print_table(["name"], [[name]], out)
    assert len(out.getvalue().splitlines()) == 2


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()], ids=["text", "json"])
@pytest.mark.parametrize("name", HOSTILE)
def test_the_log(name: str, formatter: logging.Formatter) -> None:
    """What an exception says, too: it may quote a packet."""
    try:
        raise ValueError(name)
    except ValueError as error:
        what = (type(error), error, error.__traceback__)
    record = logging.LogRecord("vdp", logging.ERROR, __file__, 1, "port %s", (name,), what)
    line = formatter.format(record)
    assert all(map(is_quiet, line.split("\n")))
    if isinstance(formatter, JsonFormatter):
        assert "\n" not in line
        assert json.loads(line)["message"] == f"port {name}"


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_wrong_with_a_configuration(name: str) -> None:
    problem = Problem("vdp.toml", 1, 1, "port[0].name", f"found {name}", hint=name, source=f"name = {name}")
    assert all(is_quiet(line.replace("\t", "")) for line in problem.render().split("\n"))
