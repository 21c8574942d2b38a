"""What is done again and again on the control thread: ageing, probes, timers of plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vdp.called import Called

NS = 1_000_000_000
#: Bounds of how often chores are looked at.
LEAST_S, MOST_S = 0.01, 1.0


@dataclass(slots=True, eq=False)
class Chore:
    """Something to do, next when the engine's clock has reached `due_ns`."""

    called: Called
    interval_ns: int
    due_ns: int


class Chores:
    """The chores of a dataplane.  call: does one, whatever comes of it (Discipline.call)."""

    def __init__(self, clock: Callable[[], int], call: Callable[[Called], None]) -> None:
        self._clock = clock
        self._call = call
        self._chores: list[Chore] = []

    def __len__(self) -> int:
        return len(self._chores)

    def __iter__(self) -> Iterator[Called]:
        return (chore.called for chore in self._chores)

    def add(self, seconds: float, act: Callable[[], None], owner: str) -> Chore:
        """From now on, about every so many seconds of the engine's clock."""
        interval_ns = int(seconds * NS)
        chore = Chore(Called("timer", act, owner), interval_ns, self._clock() + interval_ns)
        self._chores.append(chore)
        return chore

    def remove(self, chore: Chore) -> None:
        """Not again."""
        self._chores.remove(chore)

    def due_s(self) -> float:
        """How long to wait until something is due: 10 ms to a second."""
        due_ns = min((chore.due_ns for chore in self._chores), default=1 << 63)
        return min(max((due_ns - self._clock()) / NS, LEAST_S), MOST_S)

    def run(self) -> None:
        """Do what is due; what was slept through is not caught up with."""
        now = self._clock()
        for chore in tuple(self._chores):
            if chore.due_ns <= now:
                chore.due_ns = now + chore.interval_ns
                self._call(chore.called)
