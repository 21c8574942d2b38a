"""Text for terminals and pipes: aligned columns, escaped strings, colours on a terminal only."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TextIO

Cell = str | int | float | None

_STYLES = {
    "up": "green",
    "loaded": "green",
    "ready": "green",
    "down": "red",
    "failed": "red",
    "disabled": "yellow",
    "not ready": "yellow",
}


def escaped(text: str) -> str:
    """`text` with what would move a cursor or hide written as escapes: names come from outside."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cell_text(cell: Cell) -> str:
    """A cell as it is shown; empty text and None are a dash, so that columns can be counted."""
    if cell is None or cell == "":
        return "-"
    return f"{cell:.3f}" if isinstance(cell, float) else escaped(str(cell))


def finding_line(subject: str, sentence: str, command: str) -> str:
    """What is wrong, and the command that shows more."""
    return f"{subject}: {sentence}  ({command})"


def talk(message: str) -> None:
    """Say something to the person, on stderr."""
    print(message, file=sys.stderr)


def fancy(stream: TextIO) -> bool:
    """Whether rich tables suit the stream: a terminal that can do more than print."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def print_table(headers: Sequence[str], rows: Sequence[Sequence[Cell]], stream: TextIO) -> None:
    """Print rows under headers; numbers to the right."""
    if fancy(stream) and _print_rich(headers, rows, stream):
        return
    for line in aligned([[header.upper() for header in headers], *rows], _numeric(rows, len(headers))):
        print(line, file=stream)


def aligned(rows: Sequence[Sequence[Cell]], numeric: Sequence[bool]) -> list[str]:
    """Rows as lines of columns, two spaces apart, none at the end."""
    texts = [[cell_text(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(numeric))]
    lines = []
    for row in texts:
        cells = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _numeric(rows: Sequence[Sequence[Cell]], columns: int) -> list[bool]:
    cells = [[row[column] for row in rows if row[column] is not None] for column in range(columns)]
    return [bool(column) and all(isinstance(cell, int | float) for cell in column) for column in cells]


def _print_rich(headers: Sequence[str], rows: Sequence[Sequence[Cell]], stream: TextIO) -> bool:
    """False when rich is not installed, or the terminal too narrow: folded cells can not be read."""
    try:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for header, right in zip(headers, _numeric(rows, len(headers)), strict=True):
        table.add_column(header, justify="right" if right else "left", no_wrap=True)
    for row in rows:
        # Text, not str: brackets in names are no markup.
        cells = [cell_text(cell) for cell in row]
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in cells))
    console = Console(file=stream)  # rich itself heeds NO_COLOR
    boundless = console.options.update(max_width=sys.maxsize)
    if console.measure(table, options=boundless).maximum > console.width:
        return False
    console.print(table)
    return True
