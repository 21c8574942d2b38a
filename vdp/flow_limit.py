"""How many flows there may be, and who still gets one when there are too many.

The limit follows what sweeping them takes, as Open vSwitch's does (udpif_revalidator): it
falls when sweeps are slow, and grows again while they are quick, so that a host that is too
slow, or has too much else to do, for many flows has fewer.  Above the limit flows that were idle
for a tenth of a second go, above twice the limit all do, and a new flow is kept by chance only:
of in-ports that have more than their part.  A packet whose flow is not kept passes all the same.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

#: What the limit never falls below, and how it grows (ofproto-dpif-upcall.c).
FLOOR, STEP = 1_000, 1_000
#: A flow was not kept; all had to go; a sweep took long, or very long; sweeps are quick again.
STEPS = ("hit", "kill", "scaled", "reduced", "grew")
#: Seconds of a sweep from which on the limit is divided by them, or multiplied by 3/4.
SLOW_S, LONG_S, QUICK_S = 2.0, 1.3, 1.0
#: Idle time above the limit (OVS: 100 ms), and how many times the limit is the end.
SHORT_IDLE_S, TWICE = 0.1, 2
#: Above the limit one new flow in so many is kept: who sends many packets will be among them soon.
CHANCE = 8
#: Of the table's places, one in so many is left for who may come in above the limit.
SPARE = 8


@dataclass(slots=True)
class FlowLimit:
    """Of all workers together.  most: places in their tables."""

    most: int
    value: int = 0
    #: Parts of `most` that may be used: less while memory is short.
    share: float = 1.0
    #: How often, by STEPS.
    steps: Counter[str] = field(default_factory=Counter)
    _random: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self.value = self.ceiling

    @property
    def ceiling(self) -> int:
        return max(1, int((self.most - self.most // SPARE) * self.share))

    def resize(self, share: float) -> None:
        """Use that part of the tables from now on, at most."""
        self.share = share
        self.value = min(self.value, self.ceiling)

    def is_above(self, flows: int) -> bool:
        return flows > self.value

    def is_far_above(self, flows: int) -> bool:
        return flows > TWICE * self.value

    def admits(self, own: int, ports: int, flows: int) -> bool:
        """Whether a new flow is kept, of an in-port that has `own` of so many flows of so many in-ports."""
        if flows < self.value or not exceeds_part(own, ports, flows):
            return True
        if not self._random.randrange(CHANCE):
            return True
        self.steps["hit"] += 1
        return False

    def swept(self, seconds: float, flows: int) -> None:
        """A sweep over so many flows took so long."""
        before = self.value
        if seconds > SLOW_S:
            self.value = int(self.value / seconds)
            self.steps["reduced"] += 1
        elif seconds > LONG_S:
            self.value = self.value * 3 // 4
            self.steps["scaled"] += 1
        elif seconds < QUICK_S and self.value < flows / max(seconds, 1e-3):
            self.value += STEP
        self.value = min(self.ceiling, max(FLOOR, self.value))
        if self.value > before:
            self.steps["grew"] += 1


def exceeds_part(own: int, ports: int, flows: int) -> bool:
    """Whether somebody with `own` flows has at least what each of so many would have of equal parts."""
    return ports > 0 and own * ports >= flows
