"""The method `perf.show` of the control socket: what packets cost, and where.

Without parameters it answers at once, with all since the start.  `{"for_s": 5}` measures for so long, and
has the workers time their stages meanwhile; several may ask at once.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from vdp.control.errors import BAD_REQUEST, ControlError
from vdp.control.server import Method
from vdp.perf.look import Look, time_workers
from vdp.perf.report import PerfReport, report

if TYPE_CHECKING:
    from vdp.datapath import Datapath

LEAST_S, MOST_S = 0.1, 600.0


class _Measuring:
    """Has the workers timed as long as somebody measures."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._started = time.monotonic()
        self._measuring = 0

    def since_start(self) -> PerfReport:
        now = Look.take(self._datapath, timed=bool(self._measuring))
        return report(None, now, now.at - self._started)

    async def for_seconds(self, seconds: float) -> PerfReport:
        self._measuring += 1
        try:
            before = Look.take(self._datapath, timed=True)
            await asyncio.sleep(seconds)
            now = Look.take(self._datapath, timed=True)
        finally:
            self._measuring -= 1
            if not self._measuring:
                time_workers(self._datapath, goes_on=False)
        return report(before, now, now.at - before.at)


def perf_table(datapath: Datapath) -> dict[str, Method]:
    """The method by name, as ControlServer takes it."""
    measuring = _Measuring(datapath)

    async def show(params: dict[str, Any]) -> PerfReport:
        for_s = params.get("for_s")
        is_number = isinstance(for_s, int | float) and not isinstance(for_s, bool)
        if params.keys() - {"for_s"} or not (for_s is None or is_number):
            raise ControlError(BAD_REQUEST, 'the only parameter is "for_s", a number of seconds')
        if for_s is None:
            return measuring.since_start()
        if not LEAST_S <= for_s <= MOST_S:
            raise ControlError(BAD_REQUEST, f'"for_s" is {LEAST_S:g} to {MOST_S:g} seconds')
        return await measuring.for_seconds(float(for_s))

    return {"perf.show": show}
