"""Where the workers' time goes, in Python's terms: struct vdp_worker_times and its enums."""

from __future__ import annotations

import enum
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from vdp.engine.native import NativeEngine

#: Packets that were received at once, at most, by entry of `batch_sizes`.
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Stage(enum.IntEnum):
    """What a worker does."""

    WAIT = 0
    RECEIVE = 1
    LOOKUP = 2
    EXECUTE = 3
    CELLS = 4
    COPY = 5
    TRANSMIT = 6
    CONTROL = 7


class Close(enum.IntEnum):
    """Why nothing more was joined to a packet in a cell."""

    FLUSH = 0
    LAST = 1
    FULL = 2
    DIFFERS = 3
    ROOM = 4
    FRAGMENT = 5


class StageTime(NamedTuple):
    ns: int
    batches: int
    packets: int


class WorkerTimes(NamedTuple):
    """struct vdp_worker_times: by Stage, by BATCH_SIZES, by Close."""

    ns: int
    stages: tuple[StageTime, ...]
    batch_sizes: tuple[int, ...]
    cells_closed: tuple[int, ...]


def time_worker(engine: NativeEngine, worker: int, *, goes_on: bool) -> WorkerTimes:
    """What was measured since timing began; it goes on (or begins), or ends with this look."""
    from vdp.engine._native import ffi, lib

    times = ffi.new("struct vdp_worker_times *")
    result = lib.vdp_worker_time(engine.handle, worker, goes_on, times)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return WorkerTimes(
        times.ns,
        tuple(StageTime(each.ns, each.batches, each.packets) for each in times.stages),
        tuple(times.batch_sizes),
        tuple(times.cells_closed),
    )
