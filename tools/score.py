"""`python -m tools.score [--run] [--docs]`: the figures that a release is judged by, a line each.

Suites leave them in build/score, each in a file of its own.  --run: those first that lack a figure,
or have one that is older than what it says something of.  --docs: write the table into
docs/reliability.md, between its two marks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.faults import verdict

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "score"
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- score: begin -->", "<!-- score: end -->"


@dataclass(frozen=True)
class Row:
    """suites: who knows of it; the figures of several are added."""

    id: str
    what: str
    target: str
    suites: tuple[str, ...]


ROWS = (
    Row("R1", "crashes and sanitizer reports: fuzzing, faults, soak", "0", ("fuzz", "faults", "soak")),
    Row("R2", "kill -9: outage, median and 99 %", "<= 500 ms, <= 1 s", ("faults",)),
    Row("R3", "kill -9: loss beyond what came in the outage less 1,000, a port", "<= 64", ("faults",)),
    Row("R4", "lost while control is blocked (F2), reloads (F18), a disk is full (F22)", "0", ("faults",)),
    Row("R5", "faults noticed, named and taken back", "all", ("faults",)),
    Row("R6", "fuzzing", ">= 30 M runs, >= 12 harnesses, 10 of 10 planted bugs", ("fuzz",)),
    Row("R7", "engine and its twin: differences (cells, groups, windows: against the one in Python only)",
        "0 in >= 20 M packets", ("fuzz",)),
    Row("R8", "a victim's rate under attack on the tables", ">= 0.8", ("overload",)),
    Row("R9", "books after the soak: packets unaccounted for", "0", ("soak",)),
    Row("R10", "memory slope and descriptors in 60 min of faults", "<= 1 MB/h, 0", ("soak",)),
    Row("R11", "strangers' tunnel packets forwarded", "0", ("security",)),
    Row("R12", "packets out for the worst input, a port (not tried: GSO packets, cut as Linux cuts them)",
        "1 (64 cut ones)", ("security",)),
    Row("R13", "exposure, capabilities and system calls of a worker", "<= 2.5, 0, <= 40", ("security",)),
    Row("R14", "goodput at three times the sustained rate", ">= 0.9", ("overload",)),
)  # fmt: skip


@dataclass(frozen=True)
class Suite:
    """What makes a file: commands, each with the rows that it gives.  sources: what they are figures of."""

    commands: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    sources: tuple[str, ...]


def _python(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *words)


PRODUCT = ("vdp", "plugins", "etc/systemd")
SUITES: Mapping[str, Suite] = {
    "fuzz": Suite(((("make", "fuzz"), ("R1", "R6", "R7")),), ("vdp", "tests/fuzz")),
    "faults": Suite(
        ((_python("tools.faults", "--json", "build/score/faults.json"), ("R1", "R2", "R3", "R4", "R5")),),
        (*PRODUCT, "tools/faults"),
    ),
    "overload": Suite(
        ((_python("bench", "overload"), ("R14",)), (_python("bench", "explosion"), ("R8",))),
        ("vdp", "plugins", "bench"),
    ),
    "soak": Suite(
        ((_python("tools.faults.soak", "--json", "build/score/soak.json"), ("R1", "R9", "R10")),),
        (*PRODUCT, "tools/faults"),
    ),
    "security": Suite(
        ((_python("tests.security.figures"), ("R11", "R12", "R13")),), (*PRODUCT, "tests/security")
    ),
}
#: Files that say what is built, of those in the folders.
KINDS = frozenset((".py", ".c", ".h", ".def", ".toml", ".service"))


@dataclass(frozen=True)
class Line:
    """A row with its figure; None: nobody has measured it."""

    row: Row
    figure: Any
    is_met: bool
    detail: str

    @property
    def verdict(self) -> str:
        return "met" if self.is_met else "short"

    def __str__(self) -> str:
        figure = "not measured" if self.figure is None else self.figure
        return f"{self.row.id} {figure} {self.row.target} {self.verdict}"


def known(suite: str, folder: Path = FOLDER) -> dict[str, Any]:
    """What a suite left; where it needs judging, judged."""
    path = folder / f"{suite}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return verdict.counted(found) if suite == "soak" else found


def line(row: Row, folder: Path = FOLDER) -> Line:
    """What is known of a row.  It is met if all of its suites say so."""
    found = [known(suite, folder).get(row.id) or {} for suite in row.suites]
    figures = [each["figure"] for each in found if each.get("figure") is not None]
    details = [_said(suite, each) for suite, each in zip(row.suites, found, strict=True)]
    if not figures:
        return Line(row, None, False, "; ".join(details))
    is_met = all(each.get("met", each.get("ok")) and each["figure"] is not None for each in found)
    figure = figures[0] if len(row.suites) == 1 else sum(figures)
    return Line(row, figure, is_met, "; ".join(filter(None, details)))


def _said(suite: str, found: Mapping[str, Any]) -> str:
    """The detail of a figure, and what it is short of."""
    detail = found.get("detail", "")
    if isinstance(detail, dict):
        detail = ", ".join(f"{key} {value}" for key, value in detail.items() if not isinstance(value, dict))
    if found.get("figure") is None:
        return detail or f"{suite}.json has it not"
    if "met" not in found and "ok" not in found:
        return f"{suite}.json does not say whether all of it is met: measure it anew"
    return "; ".join(filter(None, [str(detail), *found.get("short", []), found.get("lost", "")]))


def behind(name: str, folder: Path = FOLDER, root: Path = ROOT) -> list[tuple[str, ...]]:
    """The commands of a suite that have a row missing, or older than what it says something of."""
    path, suite, found = folder / f"{name}.json", SUITES[name], known(name, folder)
    written = path.stat().st_mtime if path.exists() else 0.0
    newest = max(
        source.stat().st_mtime
        for each in suite.sources
        for source in (root / each).rglob("*")
        if source.suffix in KINDS
    )

    def is_behind(row: str) -> bool:
        each = found.get(row) or {}
        return each.get("figure") is None or each.get("at", written) < newest

    return [command for command, rows in suite.commands if any(map(is_behind, rows))]


def table(lines: list[Line]) -> str:
    """For the page."""
    rows = ["| | what | target | figure | |", "| --- | --- | --- | --- | --- |"]
    for each in lines:
        figure = "not measured" if each.figure is None else each.figure
        detail = f" ({each.detail})" if each.detail and each.figure is not None else ""
        rows.append(
            f"| {each.row.id} | {each.row.what} | {each.row.target} | {figure}{detail} | {each.verdict} |"
        )
    return "\n".join(rows)


def write(lines: list[Line], page: Path = PAGE) -> None:
    """Exchange what stands between the marks of the page."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page.name} has no {BEGIN} … {END}")
    page.write_text(f"{before}{BEGIN}\n{table(lines)}\n{END}{after}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.score", description=__doc__)
    parser.add_argument("--run", action="store_true", help="run the suites that are behind first, as root")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/reliability.md")
    arguments = parser.parse_args()
    for suite in SUITES:
        for command in behind(suite) if arguments.run else ():
            print(f"{suite}: {' '.join(command)}", file=sys.stderr, flush=True)
            subprocess.run(command, cwd=ROOT, check=False)  # what is short is said below
    lines = [line(row) for row in ROWS]
    print(*lines, sep="\n")
    if arguments.docs:
        write(lines)
    return 0 if all(each.is_met for each in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
