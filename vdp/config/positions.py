"""Where each key of a TOML document stands: key path to line and column.

tomllib gives values and no positions, so this scanner walks the same text again
and notes, for every table, key and list entry, where its name and its value
begin.  It is run only on text that tomllib has accepted, hence checks nothing;
tests/config/test_positions.py holds the two to the same set of keys.
Called by vdp.config.load.  Lines and columns count from 1, columns in characters.
"""

from __future__ import annotations

import bisect
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass

KeyPath = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]*")


@dataclass(frozen=True, slots=True)
class Position:
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Span:
    """One key: offsets of its name, and of its value's text as [start, end).

    For a table made by a header both are the header's; for a list entry the name
    is the value.
    """

    key: int
    start: int
    end: int


class Positions:
    """The spans of a document, and its lines.

    parts: the files whose texts follow one another in `text`, and where they begin.
    """

    def __init__(
        self, text: str, spans: dict[KeyPath, Span], parts: Sequence[tuple[int, str]] = ((0, ""),)
    ) -> None:
        self.text = text
        self.spans = spans
        self.parts = tuple(parts)
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._first_rows = [self._row(start) for start, _ in self.parts]

    def _row(self, offset: int) -> int:
        return bisect.bisect_right(self._starts, offset) - 1

    def _part(self, offset: int) -> int:
        return bisect.bisect_right(self.parts, offset, key=lambda part: part[0]) - 1

    def at(self, offset: int) -> Position:
        """Its line in its own file, and column."""
        row = self._row(offset)
        line = row - self._first_rows[self._part(offset)] + 1
        return Position(line, offset - self._starts[row] + 1)

    def file_at(self, offset: int) -> str:
        """The file that it is in; empty where that was not said."""
        return self.parts[self._part(offset)][1]

    def line(self, number: int) -> str:
        """The text of line `number` of all, without its end; empty when there is none."""
        if not 1 <= number <= len(self._starts):
            return ""
        start = self._starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start : end if end >= 0 else len(self.text)]

    def line_at(self, offset: int) -> str:
        """The text of the line that it is in."""
        return self.line(self._row(offset) + 1)

    def place(self, path: KeyPath) -> str:
        """Where a key stands, in words: `line 7`, or of several files `conf.d/a.toml:7`; empty: nowhere."""
        span = self.find(path)
        if span is None:
            return ""
        line = self.at(span.key).line
        return f"line {line}" if len(self.parts) == 1 else f"{self.file_at(span.key)}:{line}"

    def find(self, path: KeyPath) -> Span | None:
        """The span of `path`, else of the closest table around it that the text shows."""
        for size in range(len(path), 0, -1):
            span = self.spans.get(path[:size])
            if span is not None:
                return span
        return None


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.spans: dict[KeyPath, Span] = {}
        self.lengths: dict[KeyPath, int] = {}  # arrays of tables: how many so far

    def skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        assert match is not None
        self.at = match.end()

    def document(self) -> None:
        table: KeyPath = ()
        while True:
            self.skip(_BLANK)
            if self.at >= len(self.text):
                return
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)

    def header(self) -> KeyPath:
        """`[a.b]` or `[[a.b]]`; the path of the table that it opens."""
        begin = self.at
        brackets = 2 if self.text.startswith("[[", begin) else 1
        self.at += brackets
        parts = self.key()
        self.at += brackets
        span = Span(begin, begin, self.at)
        path: KeyPath = ()
        for name, offset in parts[:-1]:
            path += (name,)
            self.spans.setdefault(path, Span(offset, begin, self.at))
            if path in self.lengths:
                path += (self.lengths[path] - 1,)
        path += (parts[-1][0],)
        if brackets == 1:
            self.spans[path] = span
            return path
        index = self.lengths.get(path, 0)
        self.lengths[path] = index + 1
        self.spans.setdefault(path, span)
        path += (index,)
        self.spans[path] = span
        return path

    def key(self) -> list[tuple[str, int]]:
        """A dotted key: each part's name and offset.  Ends at what follows the spaces behind."""
        parts = []
        while True:
            self.skip(_SPACE)
            begin = self.at
            if self.text[begin] in "\"'":
                self.string()
                name = tomllib.loads("x = " + self.text[begin : self.at])["x"]
            else:
                self.skip(_BARE_KEY)
                name = self.text[begin : self.at]
            parts.append((name, begin))
            self.skip(_SPACE)
            if self.text[self.at] != ".":
                return parts
            self.at += 1

    def pair(self, table: KeyPath) -> None:
        parts = self.key()
        self.at += 1  # =
        self.skip(_SPACE)
        path = table
        begin = self.at
        for name, offset in parts:
            path += (name,)
            self.spans.setdefault(path, Span(offset, begin, begin))
        self.value(path, parts[-1][1])

    def value(self, path: KeyPath, key: int) -> None:
        begin = self.at
        self.spans[path] = Span(key, begin, begin)  # holds the order: parents first
        first = self.text[begin]
        if first in "\"'":
            self.string()
        elif first == "[":
            self.array(path)
        elif first == "{":
            self.inline_table(path)
        else:
            self.skip(_SCALAR)
            self.at = begin + len(self.text[begin : self.at].rstrip(" \t"))
        self.spans[path] = Span(key, begin, self.at)

    def string(self) -> None:
        quote = self.text[self.at]
        fence = quote * 3
        if self.text.startswith(fence, self.at):
            self.close(fence)
            # Up to two quotes may stand directly before the closing fence.
            for _ in range(2):
                if self.text.startswith(quote, self.at):
                    self.at += 1
        else:
            self.close(quote)

    def close(self, fence: str) -> None:
        self.at += len(fence)
        while not self.text.startswith(fence, self.at):
            escaped = fence[0] == '"' and self.text[self.at] == "\\"
            self.at += 2 if escaped else 1
        self.at += len(fence)

    def array(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        while True:
            self.skip(_BLANK)
            if self.text[self.at] == "]":
                break
            if self.text[self.at] == ",":
                self.at += 1
                continue
            self.value((*path, index), self.at)
            index += 1
        self.at += 1

    def inline_table(self, path: KeyPath) -> None:
        self.at += 1
        while True:
            self.skip(_BLANK)
            if self.text[self.at] == "}":
                break
            if self.text[self.at] == ",":
                self.at += 1
                continue
            self.pair(path)
        self.at += 1


def scan(text: str) -> Positions:
    """The positions of `text`, valid TOML with newlines as LF only."""
    scanner = _Scanner(text)
    scanner.document()
    return Positions(text, scanner.spans)
