"""Rounds: every contender measured in turn, again and again; medians, and ratios within a round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Rounds:
    """Figures of each contender, one a round."""

    figures: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        return statistics.median(self.figures[name])

    def ratio(self, name: str, to: str) -> float:
        """Median over the rounds of name / to; 0 where the other one got nothing through."""
        pairs = zip(self.figures[name], self.figures[to], strict=True)
        return statistics.median(ours / theirs if theirs else 0.0 for ours, theirs in pairs)

    def spread(self, name: str) -> float:
        """(most - least) / median: how far to trust the median."""
        values = self.figures[name]
        middle = statistics.median(values)
        return (max(values) - min(values)) / middle if middle else 0.0


def measure(
    contenders: Mapping[str, Callable[[], float]], rounds: int, tell: Callable[[str], None]
) -> Rounds:
    """Run all contenders `rounds` times; one round before that warms up and is not counted."""
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            figure = run()
            tell(f"{'warm-up' if number == 0 else f'round {number}'}: {name} {figure:.3f}")
            if number:
                figures[name].append(figure)
    return Rounds(figures)
