"""A state: the number that an engine keeps between packets, and what came in of a window.

Numbers are told apart over wraps by counting them on: `value` is the number expected next
with, above 32 bits, how often they went round (0: none came in yet).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

ROUND = 1 << 32

#: How far other workers may be ahead of one, in numbers.
WORKERS_APART = 1 << 16


class Arrival(NamedTuple):
    """How a packet came to be judged by its number: by which worker, when, whether it waited for the
    slow path since; shared: others receive, too."""

    worker: int
    when: int
    waited: bool
    shared: bool


@dataclass(slots=True)
class State:
    value: int
    window: int = 0
    came: dict[int, tuple[int, int]] = field(default_factory=dict)  # the window's numbers: worker, when
    newest: dict[int, int] = field(default_factory=dict)  # by worker: the newest that it let pass

    @property
    def number(self) -> int:
        return self.value % ROUND

    def take(self, count: int = 1) -> int:
        """The number, and the state goes on to the one after it, or further."""
        number = self.number
        self.value += count
        return number

    def spend(self) -> bool:
        """One less; False when it was zero (what UPCALL does)."""
        if not self.number:
            return False
        self.value -= 1
        return True

    def write(self, number: int) -> None:
        self.value = number
        self.came.clear()
        self.newest.clear()

    def passes(self, sequence: int, explicit: bool, late: bool, arrival: Arrival) -> bool:
        """ip_tunnel_rcv, where zero stands for "none yet"; or explicitly, which is known beside it."""
        ahead = (sequence - self.number + ROUND // 2) % ROUND - ROUND // 2
        is_first = self.value < ROUND if explicit else self.number == 0
        if is_first:
            number = max(self.value, ROUND) // ROUND * ROUND + sequence
        else:
            number = self.value + ahead
            if ahead < 0 and not self._passes_late(number, late, arrival):
                return False
        self.value = max(self.value, number + 1)
        if not arrival.waited or ahead >= 0:
            self.newest[arrival.worker] = max(self.newest.get(arrival.worker, 0), number)
        self.came[number] = arrival.worker, arrival.when
        self.came = {other: at for other, at in self.came.items() if other >= self.value - 1 - self.window}
        return True

    def _passes_late(self, number: int, late: bool, arrival: Arrival) -> bool:
        """A number behind: it is in the window, did not come in yet, and may be late or is not."""
        if not self.window or number in self.came:
            return False
        newer = number > self.newest.get(arrival.worker, 0)
        if arrival.shared and not arrival.waited and newer and number >= self.value - 1 - WORKERS_APART:
            return True  # only other workers are ahead of it, in an order that nobody knows
        if number < self.value - 1 - self.window:
            return False
        ahead = (at for other, at in self.came.items() if other > number)
        own = (when for worker, when in ahead if worker == arrival.worker)
        return late or (arrival.waited and all(when > arrival.when for when in own))
