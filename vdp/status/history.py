"""Samples of some minutes, for who looks now at what was a while ago."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vdp.status.findings import Finding, findings
from vdp.status.sample import Flow, Rates, Rows, Sample, rates

logger = logging.getLogger(__name__)

INTERVAL_S = 5.0
#: Ten minutes.
DEPTH = 120
#: Of more ports, or links, there is no line each: memory is bounded.
LINES_MOST = 128
#: At most this part of the time goes into taking samples.
COST = 0.01


@dataclass(frozen=True)
class Moment:
    """The rates that lines are drawn of."""

    through: Flow
    dropped: float
    upcalls: float
    busy: float


class History:
    """Takes a sample now and then; what is shown are the latest two, and lines of the rates before."""

    def __init__(self, view: Rows, clock: Callable[[], float] = time.monotonic) -> None:
        self._view = view
        self._clock = clock
        self.now = Sample.take(view, clock())
        #: What the next point of the lines counts from: they are INTERVAL_S apart, however often one looks.
        self._drawn = self.now
        self.rates = Rates()
        self.moments: deque[Moment] = deque(maxlen=DEPTH)
        self.ports: dict[str, deque[Flow]] = {}
        self.links: dict[str, deque[Flow]] = {}
        #: When a link was last seen to have received, or sent, by the monotonic clock.
        self.heard: dict[str, float] = {}
        self.spoke: dict[str, float] = {}

    def take(self) -> None:
        """Another sample."""
        before, self.now = self.now, Sample.take(self._view, self._clock())
        self.rates = found = rates(self.now, before)
        if not found.seconds:
            return
        if self.now.at - self._drawn.at >= INTERVAL_S:
            self._draw(rates(self.now, self._drawn))
            self._drawn = self.now
        for name, flow in found.links.items():
            if flow.received:
                self.heard[name] = self.now.at
            if flow.sent:
                self.spoke[name] = self.now.at
        for known in (self.heard, self.spoke):
            for name in known.keys() - self.now.links.keys():
                del known[name]

    def findings(self) -> list[Finding]:
        """What was wrong when the last sample was taken, the worst first."""
        return findings(self.now, self.rates, self.heard, self.spoke)

    def heard_ago(self, link: str) -> float | None:
        """Seconds since a link was last seen to have received; None: never."""
        heard = self.heard.get(link)
        return None if heard is None else self._clock() - heard

    def _draw(self, found: Rates) -> None:
        self.moments.append(Moment(found.through, found.dropped, found.upcalls, found.busy))
        _extend(self.ports, found.ports)
        _extend(self.links, found.links)

    def fresh(self, within_s: float = 1.0) -> None:
        """Another sample, unless the last one is that young: pages may be asked for as often as one likes."""
        if self._clock() - self.now.at >= within_s:
            self.take()

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            began = self._clock()
            try:
                self.fresh()
            except Exception:
                logger.exception("the dataplane's counters can not be read")
            await asyncio.sleep(max(INTERVAL_S, (self._clock() - began) / COST))


def _extend(lines: dict[str, deque[Flow]], found: Mapping[str, Flow]) -> None:
    for name in lines.keys() - found.keys():
        del lines[name]
    for name, flow in found.items():
        if name in lines or len(lines) < LINES_MOST:
            lines.setdefault(name, deque(maxlen=DEPTH)).append(flow)
