"""What a fault is, and what came of it: figures with their bounds, and what vdp noticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.faults.world import World


@dataclass(frozen=True)
class Figure:
    """bound: in words, "" where there is none."""

    name: str
    value: float
    bound: str
    is_met: bool

    def __str__(self) -> str:
        bound = f" ({self.bound})" if self.bound else ""
        return f"{self.name} {self.value:g}{bound}"


@dataclass
class Outcome:
    """Of one fault."""

    figures: list[Figure] = field(default_factory=list)
    #: What should have been, and was not.
    shorts: list[str] = field(default_factory=list)
    #: Whether vdp noticed, said of what, and said when it was over; None: not asked.
    noticed: bool | None = None
    #: How often the process ended because the fault made it, and how often without.
    provoked: int = 0
    crashes: int = 0
    #: So many times as long may everything take, where other work is done beside.
    patience: float = 1.0

    def figure(
        self, name: str, value: float, *, most: float | None = None, least: float | None = None
    ) -> None:
        """One figure; with a bound, it is met or short.  Times have "_ms" in their name."""
        if most is not None and "_ms" in name:
            most *= self.patience
        is_met = (most is None or value <= most) and (least is None or value >= least)
        bound = f"<= {most:g}" if most is not None else f">= {least:g}" if least is not None else ""
        self.figures.append(Figure(name, round(value, 3), bound, is_met))
        if not is_met:
            self.shorts.append(f"{name} is {value:g}, {bound} is owed")

    def must(self, is_so: bool, sentence: str) -> None:
        """What has to be so."""
        if not is_so:
            self.shorts.append(sentence)

    def notice(self, is_so: bool, sentence: str) -> None:
        """What vdp has to have noticed, or said."""
        self.noticed = is_so and self.noticed is not False
        if not is_so:
            self.shorts.append(f"not noticed: {sentence}")

    def ended(self, count: int) -> None:
        """So often the process ended though nobody had ended it."""
        self.crashes = max(0, count - self.provoked)
        self.must(not self.crashes, f"the process ended {self.crashes} times by itself")

    @property
    def is_met(self) -> bool:
        return not self.shorts

    def worst(self) -> dict[str, float]:
        """Figures by name; the worst of those that were taken more than once."""
        found: dict[str, Figure] = {}
        for each in self.figures:
            least = each.bound.startswith(">=")
            known = found.get(each.name)
            if known is None or (each.value < known.value if least else each.value > known.value):
                found[each.name] = each
        return {name: each.value for name, each in found.items()}

    def value(self, name: str) -> float | None:
        """A figure's value."""
        return next((figure.value for figure in self.figures if figure.name == name), None)


Run = Callable[["World", Outcome, int], None]


@dataclass(frozen=True)
class Fault:
    """id: as in docs/reliability.md.  times: how often by default.  quick: part of the short suite."""

    id: str
    title: str
    run: Run
    times: int
    quick: bool


FAULTS: dict[str, Fault] = {}


def fault(id: str, title: str, times: int = 1, *, quick: bool = False) -> Callable[[Run], Run]:
    """Put a function into the catalogue."""

    def add(run: Run) -> Run:
        FAULTS[id] = Fault(id, title, run, times, quick)
        return run

    return add
