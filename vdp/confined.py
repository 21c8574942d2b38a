"""System calls that the workers were refused (engine/confine.c), said in the log as they come.

None is to be expected: a worker that asks for more than moving packets takes has a defect, or
runs somebody else's code.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vdp.engine.interface import Engine

log = logging.getLogger(__name__)


class Refused:
    """What was said already, by worker."""

    def __init__(self) -> None:
        self._said: dict[int, int] = {}

    def follow(self, engine: Engine) -> None:
        """An error of one line for each worker that was refused some since the last time."""
        for worker in range(engine.workers):
            stats = engine.worker_stats(worker)
            new = stats.calls_refused - self._said.get(worker, 0)
            if new > 0:
                log.error(
                    "worker %d was refused %d system calls that forwarding does not need, the last one "
                    "number %d (`ausyscall %d` names it): a defect of vdp, or an intruder; see "
                    "`vdp explain vdp_worker_refused_calls_total`",
                    worker, new, stats.last_refused, stats.last_refused,
                )  # fmt: skip
            self._said[worker] = stats.calls_refused
