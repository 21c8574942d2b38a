"""What is wrong with a configuration: problems with their place, and the errors that carry them.

A problem says file, line, column, key, what was found, what was expected, and a
hint; `render` prints it as compilers do, with the line and a caret.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vdp.log import printable

if TYPE_CHECKING:
    from vdp.config.model import LinkKindInfo


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake.  line and column count from 1; 0: the file as a whole.

    kind: a word for mistakes of its sort, which `vdp explain` explains.
    """

    file: str
    line: int
    column: int
    key: str
    message: str
    found: str = ""
    expected: str = ""
    hint: str = ""
    source: str = ""
    width: int = 1
    kind: str = ""
    severity: str = "error"

    def render(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        subject = f"{self.key}: " if self.key else ""
        kind = f" [{self.kind}]" if self.kind else ""
        rows = [printable(f"{place}: {self.severity}: {subject}{self.message}{kind}")]
        if self.line and self.source.strip():
            number = f"{self.line:5}"
            rows.append(f"{number} | {_printable(self.source)}")
            # A tab in the indent stays one, so that the caret stands under its column.
            indent = "".join("\t" if c == "\t" else " " for c in self.source[: self.column - 1])
            rows.append(f"{'':5} | {indent}{'^' * max(1, self.width)}")
        if self.hint:
            rows.append(printable(f"{'':5} = hint: {self.hint}"))
        return "\n".join(rows)

    def as_json(self) -> dict[str, object]:
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "key": self.key,
            "message": self.message,
            "found": self.found,
            "expected": self.expected,
            "hint": self.hint,
            "kind": self.kind,
        }


class ConfigError(Exception):
    """A configuration is refused: every problem of it, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(problem.render() for problem in problems))
        self.problems = tuple(problems)


class PluginsFailed(Exception):
    """Some plugins of plugins.load can not be had: a sentence for each, and the kinds of the others.

    installed: the plugins that there are.
    """

    def __init__(
        self,
        failures: Mapping[str, str],
        kinds: Mapping[str, LinkKindInfo],
        installed: Iterable[str] = (),
    ) -> None:
        super().__init__("; ".join(failures.values()))
        self.failures = dict(failures)
        self.kinds = kinds
        self.installed = tuple(installed)


def key_text(path: Sequence[str | int]) -> str:
    """A key path as people write it: port[1].mtu."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = part.replace("-", "a").replace("_", "a").isalnum() and part.isascii()
            name = part if plain else json.dumps(part)
            text += f".{name}" if text else name
    return text


def value_text(value: object) -> str:
    """A value as TOML would show it, at most 60 characters of it."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value if len(value) <= 60 else value[:57] + "...", ensure_ascii=False)
    return str(value)


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else "?" for c in line)
