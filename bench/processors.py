"""Who runs where, and for how long: processors of this machine, and time on them.

Where sender and forwarder have to share two processors with whatever else there is, the
scheduler's choices are the greater part of what packets a second say.  Kept apart, each
contender has one processor to itself, and the sender's is never the contender's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def two() -> tuple[int | None, int | None]:
    """The first and the last that we may use; None where there is but one."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[-1]) if len(usable) > 1 else (None, None)


def kept_to(processor: int | None) -> list[str]:
    """What to put in front of a command to have it run there."""
    return [] if processor is None else ["taskset", "-c", str(processor)]


def keep(pids: Iterable[int], processor: int | None) -> None:
    """Have all threads of these processes run there from now on."""
    if processor is None:
        return
    for task in _tasks(pids):
        os.sched_setaffinity(int(task.name), {processor})


def used_ns(pids: Iterable[int]) -> int:
    """Processor time of all their threads, user's and system's."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in _tasks(pids))


def _tasks(pids: Iterable[int]) -> list[Path]:
    return [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
