"""What is done again and again on the control thread: ageing, probes, timers of plugins."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from vdp.time_limit import HandlerTimeout, TimeLimit

NS = 1_000_000_000
#: Bounds of how often chores are looked at.
LEAST_S, MOST_S = 0.01, 1.0


class Say(Protocol):
    """Datapath.say: a log line, once a second and cause."""

    def __call__(self, level: int, cause: object, text: str, *args: object, **options: object) -> None: ...


@dataclass(slots=True, eq=False)
class Chore:
    """Something to do, next when the engine's clock has reached `due_ns`."""

    act: Callable[[], None]
    interval_ns: int
    due_ns: int


class Chores:
    """The chores of a dataplane."""

    def __init__(self, clock: Callable[[], int], limit: TimeLimit, say: Say) -> None:
        self._clock = clock
        self._limit = limit
        self._say = say
        self._chores: list[Chore] = []

    def __len__(self) -> int:
        return len(self._chores)

    def add(self, seconds: float, act: Callable[[], None]) -> Chore:
        """From now on, about every so many seconds of the engine's clock."""
        interval_ns = int(seconds * NS)
        chore = Chore(act, interval_ns, self._clock() + interval_ns)
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
        """Do what is due; a failure costs that one time only."""
        now = self._clock()
        for chore in tuple(self._chores):
            if chore.due_ns > now:
                continue
            chore.due_ns = now + chore.interval_ns
            try:
                with self._limit.enter():
                    chore.act()
            except (Exception, HandlerTimeout) as error:
                self._say(logging.ERROR, ("chore", chore.act), "a chore failed: %r", error, exc_info=error)
