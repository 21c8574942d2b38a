"""`python -m tools.score [--run] [--docs]`: the figures that a release is judged by, a line each.

Suites leave them in build/score, each in a file of its own.  --run: those first whose file is missing,
or older than the engine.  --docs: write the table into docs/reliability.md, between its two marks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "score"
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- score: begin -->", "<!-- score: end -->"


@dataclass(frozen=True)
class Row:
    """is_met: judges a figure that comes without a judgement."""

    id: str
    what: str
    target: str
    suite: str
    is_met: Callable[[Any], bool] = lambda figure: figure == 0


ROWS = (
    Row("R1", "crashes and sanitizer reports, in all suites", "0", "fuzz"),
    Row("R2", "kill -9: outage, median and 99 %", "<= 500 ms, <= 1 s", "faults"),
    Row("R3", "kill -9: loss beyond what came in the outage less 1,000, a port", "<= 64", "faults"),
    Row("R4", "lost while control is blocked (F2), reloads (F18), a disk is full (F22)", "0", "faults"),
    Row("R5", "faults noticed, named and taken back", "all", "faults"),
    Row("R6", "fuzzing", ">= 30 M runs, >= 12 harnesses, 10 of 10 planted bugs", "fuzz"),
    Row("R7", "engine and its twin: differences", "0 in >= 20 M packets", "fuzz"),
    Row("R8", "a victim's rate under attack on the tables", ">= 0.8", "overload", lambda n: n >= 0.8),
    Row("R9", "books after the soak: packets unaccounted for", "0", "soak"),
    Row("R10", "memory slope and descriptors in 60 min of faults", "<= 1 MB/h, 0", "soak"),
    Row("R11", "strangers' tunnel packets forwarded", "0", "security"),
    Row("R12", "packets out for the worst input, a port", "1 (64 cut ones)", "security", lambda n: n <= 64),
    Row("R13", "exposure, capabilities and system calls of a worker", "<= 2.5, 0, <= 40", "security",
        lambda figure: figure is not None and figure <= 2.5),
    Row("R14", "goodput at three times the sustained rate", ">= 0.9", "overload", lambda n: n >= 0.9),
)  # fmt: skip
#: What makes each file.
SUITES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "fuzz": (("make", "fuzz"),),
    "faults": ((sys.executable, "-m", "tools.faults", "--json", "build/score/faults.json"),),
    "overload": (
        (sys.executable, "-m", "bench", "overload"),
        (sys.executable, "-m", "bench", "explosion"),
    ),
    "soak": ((sys.executable, "-m", "tools.faults.soak", "--for", "60m", "--json", "build/score/soak.json"),),
    "security": ((sys.executable, "-m", "tests.security.figures", "build/score/security.json"),),
}


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


def line(row: Row, folder: Path = FOLDER) -> Line:
    """What is known of a row."""
    path = folder / f"{row.suite}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    found = known.get(row.id)
    if found is None or found.get("figure") is None:
        return Line(row, None, False, f"{row.suite}.json has it not")
    judged = found.get("met", found.get("ok"))
    figure, detail = found["figure"], found.get("detail", "")
    if isinstance(detail, dict):
        detail = ", ".join(f"{key} {value}" for key, value in detail.items() if not isinstance(value, dict))
    return Line(row, figure, row.is_met(figure) if judged is None else bool(judged), str(detail))


def is_behind(suite: str) -> bool:
    """Whether the engine is newer than what the suite said of it."""
    path = FOLDER / f"{suite}.json"
    if not path.exists():
        return True
    sources = [*(ROOT / "vdp" / "engine").glob("*.[ch]"), *(ROOT / "vdp" / "engine").glob("*.def")]
    return path.stat().st_mtime < max(source.stat().st_mtime for source in sources)


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
    for suite, commands in SUITES.items():
        for command in commands if arguments.run and is_behind(suite) else ():
            print(f"{suite}: {' '.join(command)}", file=sys.stderr, flush=True)
            subprocess.run(command, cwd=ROOT, check=False)  # what is short is said below
    lines = [line(row) for row in ROWS]
    print(*lines, sep="\n")
    if arguments.docs:
        write(lines)
    return 0 if all(each.is_met for each in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
