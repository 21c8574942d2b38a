"""What `vdp perf show` reads of a dataplane at one moment: counters only, which two looks are compared by."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from vdp.engine.interface import WorkerStats
from vdp.engine.native import NativeEngine
from vdp.engine.timing import WorkerTimes, time_worker
from vdp.histogram import Histogram

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.registry import Registered


class Spent(NamedTuple):
    """A histogram's counts, and their sum in seconds."""

    counts: Sequence[int]
    seconds: float

    @classmethod
    def of(cls, histogram: Histogram) -> Spent:
        return cls(tuple(histogram.counts), histogram.sum)


class HandlerLook(NamedTuple):
    """One handler.  packets: by outcome, those of its flows too.  upcalls: how often it ran, by outcome.

    durations: with what it asked other handlers; own_seconds: without.
    """

    list: str
    priority: int
    name: str
    plugin: str
    packets: Mapping[str, int]
    upcalls: Mapping[str, int]
    durations: Spent
    own_seconds: float


class CellLook(NamedTuple):
    """A link's cell.  offered: packets that came; frames, segments: what left, and packets in it."""

    offered: int
    frames: int
    segments: int
    merged: int


@dataclass(frozen=True, slots=True)
class Look:
    """at: seconds of the monotonic clock.  cells: by link.  times: by worker; none of an engine in Python."""

    at: float
    workers: Sequence[WorkerStats]
    times: Sequence[WorkerTimes]
    cells: Mapping[str, CellLook]
    upcalls: Mapping[str, int]
    durations: Spent
    handlers: Sequence[HandlerLook]

    @classmethod
    def take(cls, datapath: Datapath, *, timed: bool) -> Look:
        """On the control thread.  timed: the workers are timed from now on, if they were not."""
        engine, slowpath = datapath.engine, datapath.slowpath
        return cls(
            time.monotonic(),
            [engine.worker_stats(worker) for worker in range(engine.workers)],
            time_workers(datapath, goes_on=timed),
            {link.name: _cell(datapath, link.number) for link in datapath.links.values()},
            dict(slowpath.upcalls),
            Spent.of(slowpath.durations),
            [_handler(datapath, each) for each in datapath.registry],
        )


def time_workers(datapath: Datapath, *, goes_on: bool) -> Sequence[WorkerTimes]:
    """What was measured of each worker; timing goes on (or begins), or ends."""
    engine = datapath.engine
    if not isinstance(engine, NativeEngine):
        return ()
    return [time_worker(engine, worker, goes_on=goes_on) for worker in range(engine.workers)]


def _cell(datapath: Datapath, number: int) -> CellLook:
    stats = datapath.engine.port_stats(number)
    return CellLook(stats.offered, stats.rx_packets, stats.rx_segments, stats.merged)


def _handler(datapath: Datapath, registered: Registered) -> HandlerLook:
    read = datapath.engine.read_counter
    return HandlerLook(
        registered.list,
        registered.priority,
        registered.name,
        registered.owner,
        {outcome: read(counter).packets for outcome, counter in registered.counters.items()},
        dict(registered.verdicts),
        Spent.of(registered.durations),
        registered.own_seconds,
    )
