"""How much there is to do, and how much memory is left."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from vdp.engine.interface import Engine, WorkerStats
from vdp.overload.ladder import Reading

PAGE = os.sysconf("SC_PAGE_SIZE")


def memory_used() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def memory_limit() -> int:
    """Bytes that this process may have: what its control group allows, or all there is."""
    there = PAGE * os.sysconf("SC_PHYS_PAGES")
    try:
        group = next(
            line[3:].strip()
            for line in Path("/proc/self/cgroup").read_text().splitlines()
            if line.startswith("0::")
        )
        return min(there, int(Path(f"/sys/fs/cgroup{group}/memory.max").read_text()))
    except (OSError, ValueError, StopIteration):  # no control group of its own, or "max"
        return there


@dataclass(slots=True)
class Readings:
    """What happened between two looks."""

    engine: Engine
    memory_limit: int
    _before: list[WorkerStats] = field(default_factory=list)

    def take(self) -> Reading:
        now = [self.engine.worker_stats(worker) for worker in range(self.engine.workers)]
        before, self._before = self._before or now, now
        looked_up = sum(n.lookups - b.lookups for n, b in zip(now, before, strict=True))
        lost = sum(n.queue_lost - b.queue_lost for n, b in zip(now, before, strict=True))
        return Reading(
            busy=max(_busy(n, b) for n, b in zip(now, before, strict=True)),
            lost=lost / max(looked_up, lost, 1),
            memory=memory_used() / self.memory_limit,
        )


def _busy(now: WorkerStats, before: WorkerStats) -> float:
    busy, idle = now.busy_ns - before.busy_ns, now.idle_ns - before.idle_ns
    return busy / (busy + idle) if busy + idle > 0 else 0.0
