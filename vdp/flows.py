"""The megaflows that are installed, as the control side remembers them.

The engine has the match and the program; here is why: the guards and their lines, what
the decision rests on, and the packet's first bytes, from which it is traced again
(revalidated) when one of those things changes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from vdp.engine.interface import WINDOW, Match
from vdp.engine.program import Program
from vdp.trace import Guard, Trace

FlowKey = tuple[int, int]  # worker, flow id
T = TypeVar("T")
#: Programs, masks and the like that are remembered for the next flow.
MOST_SHARED = 4096


class Look(NamedTuple):
    """A guard but for the value, which the packet's first bytes tell: flows by the thousand share it."""

    space: str
    offset: int
    mask: bytes
    bound: bytes  # of "length": min or max
    source: str
    label: str

    @classmethod
    def of(cls, guard: Guard) -> Look:
        bound = guard.value if guard.space == "length" else b""
        return cls(guard.space, guard.offset, guard.mask, bound, guard.source, guard.label)

    def guard(self, data: bytes, meta: bytes) -> Guard:
        value = self.bound
        if self.space != "length":
            seen = (data if self.space == "packet" else meta)[self.offset :]
            value = bytes(bits & byte for bits, byte in zip(self.mask, seen, strict=False))
        return Guard(self.space, self.offset, self.mask, value, self.source, self.label)


@dataclass(slots=True)
class Flow:
    """One megaflow of one worker."""

    worker: int
    id: int
    match: Match
    program: Program
    looks: tuple[Look, ...]
    depends: frozenset[Hashable]
    touches: tuple[Callable[[int], None], ...]
    data: bytes  # the first packet's first bytes
    length: int
    meta: bytes
    asked: tuple[tuple[str, str, str], ...]  # handler list, handler, verdict
    created_ns: int
    seen_ns: int = 0  # time of the last hit that its touches were told of

    @property
    def used_ns(self) -> int:
        """When it was last of use, as far as is known (the last sweep)."""
        return max(self.seen_ns, self.created_ns)

    @property
    def guards(self) -> list[Guard]:
        """What was looked at, and what it was."""
        return [look.guard(self.data, self.meta) for look in self.looks]


@dataclass(slots=True)
class FlowIndex:
    """Flows by key, and by what they depend on."""

    flows: dict[FlowKey, Flow] = field(default_factory=dict)
    #: In-ports without flows are not in it.
    by_port: dict[int, set[FlowKey]] = field(default_factory=dict)
    _by_tag: dict[Hashable, set[FlowKey]] = field(default_factory=dict)
    _shared: dict[Any, Any] = field(default_factory=dict)
    _seen: dict[Any, tuple[Look, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.flows)

    def shared(self, value: T, *like: object) -> T:
        """An object equal to this, and in `like`, that other flows have, if one does."""
        if len(self._shared) >= MOST_SHARED:
            self._shared.clear()  # those that are still of use come again
        found: T = self._shared.setdefault((value, like), value)
        return found

    def make(self, worker: int, id: int, trace: Trace, match: Match, program: Program, now_ns: int) -> Flow:
        """The flow of a trace; `add` has it found."""
        shared = self.shared
        slim = Match(
            match.in_port, shared(match.mask), match.value, match.min_length, match.max_length,
            shared(match.meta_mask), shared(match.meta_value),
        )  # fmt: skip
        return Flow(
            worker, id, slim, shared(program, *(action.source for action in program)),
            self._looks(trace.guards, slim), shared(frozenset(trace.depends)), tuple(trace.touches),
            trace.data[:WINDOW], trace.length, shared(trace.meta), shared(tuple(trace.asked)), now_ns,
        )  # fmt: skip

    def _looks(self, guards: list[Guard], match: Match) -> tuple[Look, ...]:
        """The same lines that look at the same places, and see the same bits in all, look at the same."""
        if len(self._seen) >= MOST_SHARED:
            self._seen.clear()
        places = tuple([(guard.source, guard.offset) for guard in guards])
        key = match.mask, match.meta_mask, match.min_length, match.max_length, places
        found = self._seen.get(key)
        if found is None:
            found = self._seen[key] = tuple(map(Look.of, guards))
        return found

    def add(self, flow: Flow) -> None:
        key = (flow.worker, flow.id)
        self.flows[key] = flow
        self.by_port.setdefault(flow.match.in_port, set()).add(key)
        for tag in flow.depends:
            self._by_tag.setdefault(tag, set()).add(key)

    def discard(self, worker: int, id: int) -> None:
        flow = self.flows.pop((worker, id), None)
        if flow is None:
            return
        _take_out(self.by_port, flow.match.in_port, (worker, id))
        for tag in flow.depends:
            _take_out(self._by_tag, tag, (worker, id))

    def count(self, in_port: int) -> int:
        """How many flows an in-port has."""
        return len(self.by_port.get(in_port, ()))

    def rests_on(self, tag: Hashable) -> bool:
        """Whether any flow does."""
        return tag in self._by_tag

    def depending_on(self, tags: Iterable[Hashable]) -> list[Flow]:
        """The flows that rest on any of the tags, oldest first."""
        keys = {key for tag in tags for key in self._by_tag.get(tag, ())}
        return [self.flows[key] for key in sorted(keys)]


def _take_out(sets: dict[Any, set[FlowKey]], name: Hashable, key: FlowKey) -> None:
    """An empty set is none."""
    keys = sets.get(name)
    if keys is not None:
        keys.discard(key)
        if not keys:
            del sets[name]
