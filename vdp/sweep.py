"""The look at all flows once a second: what was hit is told, what is of no use any more goes.

With many flows that takes a while, and upcalls come meanwhile: a sweep is done in slices, after
each of which others have their turn.  No slice asks a worker, or Python, for more than some
hundred flows at once.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import NamedTuple

from vdp.engine.interface import Engine, FlowStats
from vdp.flow_limit import SHORT_IDLE_S, FlowLimit, exceeds_part
from vdp.flows import Flow, FlowIndex

NS = 1_000_000_000
#: Slots of a worker's table that are read at once, and flows that are removed at once.
SLICE = 512
#: What is full is emptied by one part in so many, of what was of no use for longest.
ROOM = 8
#: Flows that tell what is of no use for longest.
SAMPLE = 1024


class Aged(NamedTuple):
    used_ns: int
    id: int
    in_port: int


class Sweeper:
    """Removes flows by age, and where there are too many.

    evictions: idle, limit.  guarded: runs what a handler asked for.
    """

    def __init__(
        self,
        engine: Engine,
        index: FlowIndex,
        limit: FlowLimit,
        evictions: Counter[str],
        guarded: Callable[[Callable[[], None]], None],
    ) -> None:
        self.limit = limit
        #: Idle time that no flow is left beyond, whatever is asked for.
        self.most_idle_s = math.inf
        #: Since the last sweep flows found no room: in the table, or for their mask at an in-port.
        self.is_full = False
        self.crowded: set[int] = set()
        self._engine = engine
        self._index = index
        self._evictions = evictions
        self._guarded = guarded
        self._random = random.Random(0)

    def slices(self, idle_s: float, keep: int) -> Iterator[None]:
        """A sweep.  keep: flows of a worker that may stay, if there is room for new ones."""
        is_full, self.is_full = self.is_full, False
        crowded, self.crowded = self.crowded, set()
        by_mask: dict[Hashable, list[Flow]] = {}
        idle_ns = self._idle_ns(min(idle_s, self.most_idle_s))
        target = keep - keep // ROOM if is_full else keep
        for worker in range(self._engine.workers):
            aged: list[Aged] = []
            has_surplus = self._engine.worker_stats(worker).flows > target
            for stats in self._scan(worker):
                yield
                left = self._look(worker, stats, idle_ns)
                if has_surplus:
                    aged += left
                if crowded:
                    self._sort_by_mask(worker, left, crowded, by_mask)
            yield from self._remove_surplus(worker, aged, len(aged) - target)
        for in_port in crowded:
            yield from self._make_room(in_port, by_mask)

    def _scan(self, worker: int) -> Iterator[list[FlowStats]]:
        slot = 0
        while True:
            stats, slot = self._engine.scan(worker, slot, SLICE)
            yield stats
            if not slot:
                return

    def _idle_ns(self, idle_s: float) -> Callable[[int], int]:
        """How long flows of an in-port may be idle."""
        flows, usual = len(self._index), int(idle_s * NS)
        if not self.limit.is_above(flows):
            return lambda in_port: usual
        short = min(usual, int(SHORT_IDLE_S * NS))
        if self.limit.is_far_above(flows):
            self.limit.steps["kill"] += 1
            short = -1
        heavy = self._heavy(self._index.by_port)
        return lambda in_port: short if in_port in heavy else usual

    def _heavy(self, in_ports: Iterable[int]) -> set[int]:
        """Those of the in-ports that have more than their part of all flows; all, where none has."""
        ports = len(self._index.by_port)
        heavy = {n for n in in_ports if exceeds_part(self._index.count(n), ports, len(self._index))}
        return heavy or set(in_ports)

    def _look(self, worker: int, every: list[FlowStats], idle_ns: Callable[[int], int]) -> list[Aged]:
        """Tell of hits, remove what is idle; what is left."""
        now = self._engine.clock()
        left, gone = [], []
        for stats in every:
            flow = self._index.flows.get((worker, stats.id))
            if flow is None:
                continue
            if stats.used_ns > flow.seen_ns:
                flow.seen_ns = stats.used_ns
                for touch in flow.touches:
                    self._guarded(partial(touch, stats.used_ns))
            # A clock that was set back makes no flow old.
            if 0 <= now - stats.used_ns >= idle_ns(flow.match.in_port):
                gone.append(stats.id)
            else:
                left.append(Aged(stats.used_ns, stats.id, flow.match.in_port))
        self._remove(worker, gone, "idle")
        return left

    def _remove_surplus(self, worker: int, aged: list[Aged], surplus: int) -> Iterator[None]:
        """Of in-ports with more than their part, those flows that were of no use for longest."""
        if surplus <= 0:
            return
        heavy = self._heavy({flow.in_port for flow in aged})
        old = [flow for flow in aged if flow.in_port in heavy]
        sample = sorted(old if len(old) <= SAMPLE else self._random.sample(old, SAMPLE))
        bound = sample[min(len(sample) - 1, surplus * len(sample) // len(old))]
        oldest = sample if len(old) <= SAMPLE else (flow for flow in old if flow <= bound)
        chosen = (flow.id for flow in islice(oldest, surplus))
        while ids := list(islice(chosen, SLICE)):
            self._remove(worker, ids, "limit")
            yield

    def _remove(self, worker: int, ids: list[int], why: str) -> None:
        if ids:
            self._evictions[why] += self._engine.remove(worker, ids)
            for id in ids:
                self._index.discard(worker, id)

    def _sort_by_mask(
        self, worker: int, aged: list[Aged], crowded: set[int], by_mask: dict[Hashable, list[Flow]]
    ) -> None:
        for stats in aged:
            if stats.in_port in crowded:
                flow = self._index.flows[worker, stats.id]
                key = stats.in_port, worker, flow.match.mask, flow.match.meta_mask
                by_mask.setdefault(key, []).append(flow)

    def _make_room(self, in_port: int, by_mask: dict[Hashable, list[Flow]]) -> Iterator[None]:
        """Remove the masks that were of no use for longest: strange packets must not keep others' out."""
        own = [flows for flows in by_mask.values() if flows[0].match.in_port == in_port]
        own.sort(key=lambda flows: max(flow.used_ns for flow in flows))
        for flows in own[: 1 + len(own) // ROOM]:
            for at in range(0, len(flows), SLICE):
                self._remove(flows[0].worker, [flow.id for flow in flows[at : at + SLICE]], "limit")
                yield
