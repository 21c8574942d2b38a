"""What a dataplane does without while there is too much to do, and its sweeps over flows.

    watchers    captures and live traces get one packet in so many
    admission   new flows are taken by token, and idle ones go soon
    shedding    of a transmit queue that fills up, who sends most loses first; control traffic has room
    memory      cells wait for nothing, half of the flows, no captures

Batches are not among it: they are as large as the processor's cache takes at any time, and
fill themselves when there is much to do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vdp.engine.interface import Engine, Tuning
from vdp.overload.ladder import Ladder, Reading, Rung
from vdp.overload.readings import Readings, memory_limit

if TYPE_CHECKING:
    from vdp.config.model import OverloadSection
    from vdp.slowpath import SlowPath

log = logging.getLogger("vdp")

LOOK_S = 0.25
#: Between sweeps, and where there are more flows than should be.
SWEEP_S, SOON_S = 1.0, 0.1
#: What watchers get of all packets.
TAP_EVERY = 8
#: Part of the flow tables that is used while memory is short.
SHORT_SHARE = 0.5
MB = 1 << 20


class Overload:
    """Of one dataplane; on its control thread."""

    def __init__(
        self,
        engine: Engine,
        slowpath: SlowPath,
        section: OverloadSection,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._slowpath = slowpath
        self._clock = clock
        self.reading = Reading()
        self.section = section
        self.ladder = Ladder((), 0)
        self._readings = Readings(engine, 1)
        self.configure(section)

    def configure(self, section: OverloadSection) -> None:
        """Go by these bounds from now on; what was done without is done again, until it has to be."""
        self.section = section
        counts = self.ladder.counts
        self.ladder = Ladder(_rungs(section), section.recovery_s, counts=counts)
        self._readings.memory_limit = section.memory_mb * MB or memory_limit()
        self._apply()

    # -- the ladder -----------------------------------------------------------------------

    async def watch(self) -> None:
        """A look."""
        await asyncio.sleep(LOOK_S)
        if self.section.enabled:
            self.look()

    def look(self, reading: Reading | None = None) -> None:
        """Take readings (or these), and do what they ask for."""
        self.reading = reading or self._readings.take()
        taken, given_up = self.ladder.look(self._clock(), self.reading)
        for rung in taken:
            log.warning("overload: %s %s: %s", rung.cause, _shown(rung.of(self.reading)), rung.effect)
        for rung in given_up:
            log.info("overload: undone: %s", rung.effect)
        if taken or given_up:
            self._apply()

    def _apply(self) -> None:
        is_taken, section = self.ladder.is_taken, self.section
        self._engine.tune(
            Tuning(
                upcall_rate=section.upcall_rate if is_taken("admission") else 0,
                hold_off=is_taken("memory"),
                tap_every=TAP_EVERY if is_taken("watchers") else 0,
                taps_off=is_taken("memory"),
                fair_queues=is_taken("shedding"),
            )
        )
        sweeper = self._slowpath.sweeper
        sweeper.most_idle_s = section.flow_idle_s if is_taken("admission") else float("inf")
        sweeper.limit.resize(SHORT_SHARE if is_taken("memory") else 1.0)

    # -- sweeps ---------------------------------------------------------------------------

    async def sweep(self, idle_s: float, keep: int) -> None:
        """A sweep, a second after the last one: sooner where there are too many flows, or no room."""
        until = self._clock() + SWEEP_S
        while self._clock() < until and not self._is_urgent():
            await asyncio.sleep(SOON_S)
        started = self._clock()
        for _ in self._slowpath.sweeper.slices(idle_s, keep):
            await asyncio.sleep(0)
        self._slowpath.limit.swept(self._clock() - started, len(self._slowpath.index))

    def _is_urgent(self) -> bool:
        sweeper = self._slowpath.sweeper
        return sweeper.is_full or sweeper.limit.is_above(len(self._slowpath.index))


def _rungs(section: OverloadSection) -> tuple[Rung, ...]:
    def busy(reading: Reading) -> float:
        return reading.busy

    rate, idle = section.upcall_rate, section.flow_idle_s
    return (
        Rung(
            "watchers", "a worker is busy", f"captures get one packet of {TAP_EVERY}",
            busy, section.busy_percent / 100, 1.0,
        ),
        Rung(
            "admission", "a worker is busy",
            f"a port gets {rate} new flows a second, and flows that are idle for {idle} s go",
            busy, section.very_busy_percent / 100, 3.0,
        ),
        Rung(
            "shedding", "packets found queues full:",
            "of a full queue each port gets its part, who sends most loses first",
            lambda reading: reading.lost, section.loss_permille / 1000,
        ),
        Rung(
            "memory", "memory is used:", "half as many flows, no captures, segments are not waited for",
            lambda reading: reading.memory, section.memory_percent / 100,
        ),
    )  # fmt: skip


def _shown(part: float) -> str:
    return f"{100 * part:.3g} %"
