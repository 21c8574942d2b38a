"""An upcall's way to a megaflow, and a megaflow's way back when the world changes.

    take a batch ─► trace each ─► resolve: install (or run once, hold, drop) ─► revalidate what is stale

Everything here runs on the control thread; packets of known flows never come here.
"""

from __future__ import annotations

import errno
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from vdp.engine.interface import Engine, Match, Resolution, Resolve, Upcall, UpcallReason
from vdp.engine.program import Program
from vdp.flow_limit import FlowLimit
from vdp.flows import Flow, FlowIndex
from vdp.histogram import Histogram
from vdp.links.paths import PathPending, Way
from vdp.registry import fault
from vdp.sweep import Sweeper
from vdp.trace import Trace

if TYPE_CHECKING:
    from vdp.datapath import Datapath

log = logging.getLogger(__name__)

#: Upcalls that are decided before any of them goes on: who comes while a port floods waits for that
#: many, and then for those that are taken with it (some 3 ms each).
BATCH = 16
NS = 1_000_000_000
#: Packets that wait for one way, and for how long (the kernel's arp_queue: some, and 3 s).
MOST_HELD = 64
HOLD_S = 3.0
#: Rounds of re-tracing for one change; learning from a re-trace may ask for another.
MOST_ROUNDS = 4
#: Flows that a round traces again, those used last; the others go, and their packets ask anew.
MOST_RETRACED = 2048
NO_LIMIT = 0xFFFFFFFF
#: Why a flow was not kept: above the limit, no place in the table, too many masks, refused, other.
REFUSALS = ("limit", "table", "masks", "program", "other")


@dataclass(slots=True)
class Held:
    """A packet that waits for the way to its next hop."""

    worker: int
    token: int
    until: float


class SlowPath:
    """Takes upcalls, keeps the flow index, revalidates."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._engine: Engine = datapath.engine
        self.index = FlowIndex()
        self.upcalls: Counter[str] = Counter()  # miss, action
        self.inserts = 0
        self.evictions: Counter[str] = Counter()  # idle, limit, revalidated, flush
        self.durations = Histogram()
        self._stale: set[Hashable] = set()
        self._held: dict[Way, deque[Held]] = {}
        # Of what the engine lets wait (half a pool), so that others' upcalls are still taken.
        self._most_held = self._engine.worker_stats(0).packets_total // 8
        self.refusals: Counter[str] = Counter()  # flows that were not kept, by why: REFUSALS
        self.sweeper = Sweeper(self._engine, self.index, FlowLimit(NO_LIMIT), self.evictions, self._guarded)
        #: Flows are being decided that are not in the index yet: revalidation waits for them.
        self._is_deciding = False
        self._afterwards: list[Callable[[], None]] = []
        self._halts = 0
        #: Told when it goes on after a halt: upcalls may wait.
        self.resumed: Callable[[], None] = lambda: None

    # -- upcalls --------------------------------------------------------------------------

    def run(self) -> int:
        """Serve what waits, once through; how many upcalls that were."""
        if self._halts:
            return 0
        self.revalidate()
        served = 0
        for worker in range(self._engine.workers):
            upcalls = self._engine.take_upcalls(worker, BATCH)
            if upcalls:
                self._is_deciding = True
                try:
                    self._serve(worker, upcalls)
                finally:
                    self._is_deciding = False
                served += len(upcalls)
        self.revalidate()
        return served

    def _serve(self, worker: int, upcalls: list[Upcall]) -> None:
        resolutions: list[Resolution] = []
        traced: list[tuple[Trace, Match, Program] | None] = []
        fresh = Matches()
        for upcall in upcalls:
            started = time.perf_counter()
            resolution, result = self._decide(worker, upcall, fresh)
            if resolution is not None:
                resolutions.append(resolution)
                traced.append(result)
            self.upcalls[upcall.reason.name.lower()] += 1
            self.durations.observe(time.perf_counter() - started)
        results = self._engine.resolve(worker, resolutions)
        now = self._engine.clock()
        for result, outcome in zip(traced, results, strict=True):
            if result is None:
                continue
            trace, match, program = result
            self._commit(trace)
            if outcome > 0:
                self.index.add(self.index.make(worker, outcome, trace, match, program, now))
                self.inserts += 1
            elif outcome < 0:
                self._not_installed(-outcome, match.in_port)

    def _decide(
        self, worker: int, upcall: Upcall, fresh: Matches
    ) -> tuple[Resolution | None, tuple[Trace, Match, Program] | None]:
        """What becomes of one upcall; no resolution when it is held back."""
        token = upcall.token
        if upcall.reason is UpcallReason.ACTION:
            self._datapath.act(upcall)
            return Resolution(token, Resolve.CONSUME), None
        # A packet of a flow that this very batch installs is looked up again instead.
        if fresh.take(upcall):
            return Resolution(token, Resolve.RETRY), None
        try:
            trace, program = self._datapath.trace(upcall.in_port, upcall.data, upcall.length, upcall.meta)
        except PathPending as pending:
            return self._hold(pending.way, worker, token), None
        if not trace.cacheable:
            self._commit(trace)
            return Resolution(token, Resolve.EXECUTE, program=program), None
        if not self._admits(upcall.in_port):
            self._commit(trace)
            self._refuse("limit")
            return Resolution(token, Resolve.EXECUTE, program=program), None
        match = trace.match()
        fresh.add(match)
        return Resolution(token, Resolve.INSTALL, match, program), (trace, match, program)

    def _admits(self, in_port: int) -> bool:
        index = self.index
        return self.limit.admits(index.count(in_port), len(index.by_port), len(index))

    @property
    def limit(self) -> FlowLimit:
        return self.sweeper.limit

    def _commit(self, trace: Trace) -> None:
        """The trace is put to use: run its effects, in order."""
        for effect in trace.effects:
            self._guarded(effect)

    def _guarded(self, effect: Callable[[], None]) -> None:
        """An effect that a handler asked for; when it fails, nothing else does."""
        try:
            with self._datapath.limit.enter():
                effect()
        except BaseException as error:
            cause = ("effect", type(error))
            self._datapath.say(logging.ERROR, cause, "an effect failed: %s", fault(error), exc_info=error)

    def _not_installed(self, code: int, in_port: int) -> None:
        if code == errno.EINVAL:
            log.error("the engine refused a program; the packet was dropped as handler_error")
            self._refuse("program")
        elif code == errno.ENOSPC:
            self.sweeper.is_full = True
            self._refuse("table")
        elif code == errno.E2BIG:
            self.sweeper.crowded.add(in_port)
            self._refuse("masks")
        else:
            self._refuse("other")

    def _refuse(self, why: str) -> None:
        self.refusals[why] += 1
        self.evictions["refused"] += 1

    # -- waiting for a way ----------------------------------------------------------------

    def _hold(self, way: Way, worker: int, token: int) -> Resolution | None:
        waiting = self._held.get(way, ())
        if len(waiting) >= MOST_HELD or sum(map(len, self._held.values())) >= self._most_held:
            return self._give_up(token)
        self._held.setdefault(way, deque()).append(Held(worker, token, time.monotonic() + HOLD_S))
        return None

    def _give_up(self, token: int) -> Resolution:
        return Resolution(token, Resolve.DROP, reason=self._datapath.drops.code("neighbour_failed"))

    def holds(self, way: Way) -> bool:
        """Whether packets wait for the way."""
        return way in self._held

    def release(self, way: Way) -> None:
        """The way is known now: try its packets again."""
        for held in self._held.pop(way, ()):
            self._engine.resolve(held.worker, [Resolution(held.token, Resolve.RETRY)])

    def expire_held(self) -> None:
        """Drop what waited too long (neighbour_failed)."""
        now = time.monotonic()
        for way, waiting in list(self._held.items()):
            while waiting and waiting[0].until <= now:
                held = waiting.popleft()
                self._engine.resolve(held.worker, [self._give_up(held.token)])
            if not waiting:
                del self._held[way]

    # -- revalidation ---------------------------------------------------------------------

    def invalidate(self, *tags: Hashable) -> None:
        """What was traced from these is to be traced again, before the next batch."""
        self._stale.update(tags)

    def revalidate(self) -> None:
        """Trace the flows again that rest on what changed; replace what comes out different.

        Asked for by what a batch of upcalls sets off, it is done when all of the batch is indexed.
        """
        if self._is_deciding or self._halts:
            return
        self._is_deciding = True
        try:
            for _ in range(MOST_ROUNDS):
                if not self._stale:
                    break
                tags, self._stale = self._stale, set()
                self._retrace_all(self.index.depending_on(tags))
        finally:
            self._is_deciding = False
        if not self._stale:
            afterwards, self._afterwards = self._afterwards, []
            for act in afterwards:
                act()

    def when_revalidated(self, act: Callable[[], None]) -> None:
        """Do it as soon as no flow rests on what has changed: at once, or behind the batch under way."""
        if self._is_deciding or self._halts or self._stale:
            self._afterwards.append(act)
        else:
            act()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Changes that belong together: what rests on them is traced again once, at the end."""
        if self._is_deciding:
            yield
            return
        self._is_deciding = True
        try:
            yield
        finally:
            self._is_deciding = False
            self.revalidate()

    @contextmanager
    def halted(self) -> Iterator[None]:
        """The same for changes that have to wait for somebody in between.

        Until then flows go on as they are, and what no flow takes waits in the engine.
        """
        self._halts += 1
        try:
            yield
        finally:
            self._halts -= 1
            if not self._halts:
                self.revalidate()
                self.resumed()

    def _retrace_all(self, flows: list[Flow]) -> None:
        """No more of them than can be traced in a moment: who can make flows must not stop the loop."""
        if len(flows) > MOST_RETRACED:
            flows.sort(key=lambda flow: flow.used_ns, reverse=True)
            self._remove(flows[MOST_RETRACED:], "revalidated")
        for flow in flows[:MOST_RETRACED]:
            self._retrace(flow)

    def _retrace(self, flow: Flow) -> None:
        """As OVS's revalidators: what comes out the same stays.  What does not makes no packet miss.

        Where only the program differs, it is exchanged; for another match there is a new flow
        before the old one goes.
        """
        try:
            trace, program = self._datapath.trace(flow.match.in_port, flow.data, flow.length, flow.meta)
        except PathPending:
            self._remove([flow], "revalidated")
            return
        match = trace.match()
        if not trace.cacheable:
            self._remove([flow], "revalidated")
            return
        if match != flow.match:
            self._install_beside(flow, trace, match, program)
            self._remove([flow], "revalidated")
            return
        if program != flow.program:
            try:
                self._engine.replace(flow.worker, flow.id, program)
            except OSError:
                self._remove([flow], "revalidated")
                return
        renewed = self.index.make(flow.worker, flow.id, trace, match, program, flow.created_ns)
        renewed.seen_ns = flow.seen_ns
        self.index.discard(flow.worker, flow.id)
        self.index.add(renewed)

    def _install_beside(self, flow: Flow, trace: Trace, match: Match, program: Program) -> None:
        """The flow's successor, whose match is another.  Where there is no room, its packets ask anew."""
        try:
            id = self._engine.install(flow.worker, match, program)
        except OSError:  # EEXIST: another flow's successor is the same
            return
        successor = self.index.make(flow.worker, id, trace, match, program, self._engine.clock())
        successor.seen_ns = flow.seen_ns
        self.index.add(successor)
        self.inserts += 1

    def _remove(self, flows: list[Flow], why: str) -> None:
        for worker in range(self._engine.workers):
            ids = [flow.id for flow in flows if flow.worker == worker]
            self.evictions[why] += self._engine.remove(worker, ids)
            for id in ids:
                self.index.discard(worker, id)

    def flush(self) -> None:
        """Remove every flow."""
        self._remove(list(self.index.flows.values()), "flush")

    def forget_port(self, number: int) -> None:
        """The engine removed a port and its flows."""
        for worker, id in tuple(self.index.by_port.get(number, ())):
            self.index.discard(worker, id)

    # -- age ------------------------------------------------------------------------------

    def sweep(self, idle_s: float, keep: int) -> None:
        """Remove idle flows, and tell touches (learned addresses) of those that were hit."""
        for _ in self.sweeper.slices(idle_s, keep):
            pass


class Matches:
    """Matches of a batch: whether one of them takes a packet, whatever their number."""

    def __init__(self) -> None:
        self._values: dict[Shape, set[tuple[int, int]]] = {}

    def add(self, match: Match) -> None:
        shape = Shape(
            match.in_port,
            match.min_length,
            match.max_length,
            len(match.mask),
            int.from_bytes(match.mask, "big"),
            int.from_bytes(match.meta_mask, "big"),
        )
        value = int.from_bytes(match.value, "big"), int.from_bytes(match.meta_value, "big")
        self._values.setdefault(shape, set()).add(value)

    def take(self, upcall: Upcall) -> bool:
        """Whether a flow of theirs would take the packet of an upcall."""
        return any(shape.value(upcall) in values for shape, values in self._values.items())


class Shape(NamedTuple):
    """What matches can have in common: all but the value."""

    in_port: int
    min_length: int
    max_length: int
    window: int
    mask: int
    meta_mask: int

    def value(self, upcall: Upcall) -> tuple[int, int] | None:
        """What a match of this shape that takes the packet has as its value; None where none does."""
        if self.in_port != upcall.in_port or not self.min_length <= upcall.length <= self.max_length:
            return None
        window = int.from_bytes(upcall.data[: self.window].ljust(self.window, b"\0"), "big")
        return window & self.mask, int.from_bytes(upcall.meta, "big") & self.meta_mask
