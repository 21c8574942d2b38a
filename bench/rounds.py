"""Rounds: every contender measured in turn, again and again; medians, and ratios within a round."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Rounds:
    """Figures of each contender, one a round."""

    figures: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        return statistics.median(self.figures[name])

    def most(self, name: str) -> float:
        """Of the worst round, for what may happen in none."""
        return max(self.figures[name])

    def ratio(self, name: str, to: str) -> float:
        """Median over the rounds of name / to; 0 where the other one got nothing through."""
        pairs = zip(self.figures[name], self.figures[to], strict=True)
        return statistics.median(ours / theirs if theirs else 0.0 for ours, theirs in pairs)

    def spread(self, name: str) -> float:
        """(most - least) / median: how far to trust the median."""
        values = self.figures[name]
        middle = statistics.median(values)
        return (max(values) - min(values)) / middle if middle else 0.0

    def medians(self, digits: int = 3) -> dict[str, float]:
        """All of them, rounded."""
        return {name: round(self.median(name), digits) for name in self.figures}


@dataclass(frozen=True)
class Target:
    """What a figure ought to be: at most `limit`, or with `at_least` that much."""

    value: float
    limit: float
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def json(self) -> dict[str, Any]:
        bound = "at_least" if self.at_least else "at_most"
        return {"value": round(self.value, 3), bound: self.limit, "met": self.is_met}

    def text(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{self.value:.2f} ({sign} {self.limit:g}: {'met' if self.is_met else 'missed'})"


def tell(line: str) -> None:
    """Progress, beside what is printed in the end."""
    print(line, file=sys.stderr, flush=True)


def collect(
    contenders: Mapping[str, Callable[[], Figures]], rounds: int, tell: Callable[[str], None] = tell
) -> Rounds:
    """Run all contenders, each of which gives some figures, `rounds` times.

    One round before that warms up and is not counted.
    """
    figures: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            got = run()
            shown = ", ".join(f"{key} {value:.3f}" for key, value in got.items())
            tell(f"{'warm-up' if number == 0 else f'round {number}'}: {name}: {shown}")
            if number:
                for key, value in got.items():
                    figures.setdefault(key, []).append(value)
    return Rounds(figures)


def measure(
    contenders: Mapping[str, Callable[[], float]], rounds: int, tell: Callable[[str], None] = tell
) -> Rounds:
    """The same for contenders with one figure each, by their own names."""

    def named(name: str, run: Callable[[], float]) -> Callable[[], Figures]:
        return lambda: {name: run()}

    return collect({name: named(name, run) for name, run in contenders.items()}, rounds, tell)


def add_options(parser: argparse.ArgumentParser, seconds: float = 1.0) -> None:
    """The options that all benchmarks have."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=5, help="paired rounds (default 5)")
    parser.add_argument(
        "--seconds", type=float, default=seconds, help=f"length of one measurement (default {seconds:g})"
    )


def show(
    arguments: argparse.Namespace,
    figures: Mapping[str, Any],
    targets: Mapping[str, Target],
    table: Sequence[str],
) -> int:
    """Print a result as it was asked for: an object, or a table with the targets under it."""
    if arguments.json:
        result = {
            **figures,
            "targets": {name: target.json() for name, target in targets.items()},
            "rounds": arguments.rounds,
            "seconds": arguments.seconds,
            "kernel": os.uname().release,
            "cpus": os.cpu_count(),
        }
        print(json.dumps(result, indent=2))
        return 0
    print(*table, sep="\n")
    width = max((len(name) for name in targets), default=0)
    for name, target in targets.items():
        print(f"{name.replace('_', ' '):{width}}  {target.text()}")
    print(
        f"medians of {arguments.rounds} rounds of {arguments.seconds:g} s; "
        f"kernel {os.uname().release}, {os.cpu_count()} CPUs"
    )
    return 0
