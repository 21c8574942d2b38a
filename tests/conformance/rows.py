"""The rows of the feature list: one file a section in rows/, one table a row.

A row says what the kernel does and what vdp does.  `need` is "must" (the kernel does it,
and so does vdp), "better" (more than the kernel does) or "optional".  A row that is not
built says so in `open`; a must row can not be open.  `c` names tests of the engine's C
code, as "test_file.c:test_name": they have no markers.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

FOLDER = Path(__file__).parent / "rows"
SECTIONS = "ABCDEFGHIJKL"
Need = Literal["must", "better", "optional"]


@dataclass(frozen=True, slots=True)
class Row:
    """One behaviour.  Texts are sentences of Markdown; "" where there is nothing to say."""

    id: str
    title: str
    need: Need
    kernel: str
    vdp: str
    difference: str = ""
    reason: str = ""
    open: str = ""
    c: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.need in get_args(Need), f"{self.id}: need = {self.need!r}"
        assert bool(self.difference) == bool(self.reason), f"{self.id}: a difference has a reason"
        assert not (self.open and self.need == "must"), f"{self.id}: a must row can not be open"
        for name in ("title", "kernel", "vdp"):
            assert getattr(self, name), f"{self.id} has no {name}"
        for test in self.c:
            assert re.fullmatch(r"test_\w+\.c:test_\w+", test), f"{self.id}: {test!r} names no C test"


@dataclass(frozen=True, slots=True)
class Section:
    """The rows of one letter, in order of their numbers."""

    letter: str
    title: str
    rows: tuple[Row, ...]


@cache
def sections() -> tuple[Section, ...]:
    """The whole list."""
    return tuple(_section(letter) for letter in SECTIONS)


@cache
def rows() -> dict[str, Row]:
    """Every row by its id, in the order of the list."""
    return {row.id: row for section in sections() for row in section.rows}


def _section(letter: str) -> Section:
    tables = tomllib.loads((FOLDER / f"{letter}.toml").read_text())
    title = tables.pop("title")
    found = [Row(id, **{**table, "c": tuple(table.get("c", ()))}) for id, table in tables.items()]
    numbers = [row.id for row in found]
    assert numbers == [letter] or numbers == [f"{letter}{n}" for n in range(1, len(found) + 1)], (
        f"{letter}.toml has {', '.join(numbers)}"
    )
    return Section(letter, title, tuple(found))
