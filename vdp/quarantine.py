"""Handlers that fail again and again are passed over for a while, and asked again after it.

A failure is an exception or a timeout.  Five within ten seconds, and the handler is out: for
a second at first, then twice as long each time, five minutes at most.  Let out, it is on
probation for as long as it was in (ten seconds at least): one failure, and it is out again.
A command lets it out at once with a clean record, or keeps it out for good.

Being out is as if it had rejected: the next one is asked, and flows that it decided are
traced again.  vdp's own handlers stay: without them no other one is asked.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

NS = 1_000_000_000
MOST_FAILURES = 5
WINDOW_NS = 10 * NS
FIRST_TERM_NS = NS
MOST_TERM_NS = 300 * NS
#: A term that only a command ends.
FOR_GOOD = 1 << 62

State = Literal["asked", "quarantine", "disabled"]


@dataclass(slots=True)
class Conduct:
    """The record of one handler.  Times are the engine's, in ns."""

    #: Times of the last failures that count.
    failures: deque[int] = field(default_factory=lambda: deque(maxlen=MOST_FAILURES))
    #: When it is asked again; 0: it is asked.
    until_ns: int = 0
    #: How long it was out last, and until when one failure is one too many.
    term_ns: int = 0
    probation_ns: int = 0
    #: How often it was put out for failing.
    terms: int = 0

    @property
    def is_out(self) -> bool:
        return self.until_ns != 0

    @property
    def state(self) -> State:
        if not self.until_ns:
            return "asked"
        return "disabled" if self.until_ns == FOR_GOOD else "quarantine"

    def left_s(self, now_ns: int) -> float | None:
        """Seconds until it is asked again; None where it is, or no time is set."""
        return max(0, self.until_ns - now_ns) / NS if self.state == "quarantine" else None

    def fail(self, now_ns: int) -> bool:
        """It failed; whether that puts it out."""
        if self.is_out:
            return False
        if now_ns >= self.probation_ns:
            self.term_ns = 0
        self.failures.append(now_ns)
        is_repeated = len(self.failures) == MOST_FAILURES and now_ns - self.failures[0] <= WINDOW_NS
        if not is_repeated and not self.term_ns:
            return False
        self.term_ns = min(self.term_ns * 2, MOST_TERM_NS) if self.term_ns else FIRST_TERM_NS
        self.until_ns = now_ns + self.term_ns
        self.terms += 1
        return True

    def blame(self, now_ns: int, times: int) -> None:
        """The process before this one ended while it ran, the `times`th in a row: it is out."""
        self.term_ns = FIRST_TERM_NS if times < 2 else min(60 * NS << min(times - 2, 8), MOST_TERM_NS)
        self.until_ns = now_ns + self.term_ns
        self.terms += 1

    def release(self, now_ns: int) -> bool:
        """Its time may be over; whether that is so."""
        if not self.is_out or now_ns < self.until_ns:
            return False
        self.until_ns = 0
        self.failures.clear()
        self.probation_ns = now_ns + max(self.term_ns, WINDOW_NS)
        return True

    def enable(self) -> None:
        """By command: it is asked, and nothing is held against it."""
        self.failures.clear()
        self.until_ns = self.term_ns = self.probation_ns = 0

    def disable(self) -> None:
        """By command: it is not asked until it is enabled."""
        self.until_ns = FOR_GOOD
