"""When a dataplane that has too much to do does without what.

A rung is taken when its reading was above its bound for some time, and given up when it was
below for `recovery_s`; those taken last are given up first, one a look.  Nothing here knows
what a rung does (vdp.overload.overload), or what time it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Reading:
    """Parts, 0 to 1: of the busiest worker's time; of packets, lost to full queues; of memory."""

    busy: float = 0.0
    lost: float = 0.0
    memory: float = 0.0


@dataclass(frozen=True, slots=True)
class Rung:
    """cause: what is above the bound.  effect: what vdp does without.  Both as sentences have them."""

    name: str
    cause: str
    effect: str
    of: Callable[[Reading], float]
    bound: float
    for_s: float = 0.0

    def is_above(self, reading: Reading) -> bool:
        return self.of(reading) > self.bound


@dataclass(slots=True)
class Ladder:
    """Rungs from the bottom up.  Times are seconds of any clock that goes on."""

    rungs: tuple[Rung, ...]
    recovery_s: float
    taken: list[Rung] = field(default_factory=list)
    #: How often each was taken, and when it last was, by name.
    counts: Counter[str] = field(default_factory=Counter)
    since: dict[str, float] = field(default_factory=dict)
    _above: dict[str, float] = field(default_factory=dict)
    _below: dict[str, float] = field(default_factory=dict)

    def look(self, now: float, reading: Reading) -> tuple[list[Rung], list[Rung]]:
        """What is taken now, and what is given up."""
        for rung in self.rungs:
            here, there = self._above, self._below
            if not rung.is_above(reading):
                here, there = there, here
            here.setdefault(rung.name, now)
            there.pop(rung.name, None)
        taken = [rung for rung in self._due(now) if rung not in self.taken]
        for rung in taken:
            self.taken.append(rung)
            self.counts[rung.name] += 1
            self.since[rung.name] = now
        last = self.taken[-1] if self.taken else None
        if last is not None and now - self._below.get(last.name, now) >= self.recovery_s:
            self.taken.pop()
            return taken, [last]
        return taken, []

    def _due(self, now: float) -> Iterable[Rung]:
        return (r for r in self.rungs if r.name in self._above and now - self._above[r.name] >= r.for_s)

    def is_taken(self, name: str) -> bool:
        return any(rung.name == name for rung in self.taken)
