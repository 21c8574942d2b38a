"""The megaflows that are installed, as the control side remembers them.

The engine has the match and the program; here is why: the guards and their lines, what
the decision rests on, and the packet's first bytes, from which it is traced again
(revalidated) when one of those things changes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

from vdp.engine.interface import WINDOW, Match
from vdp.engine.program import Program
from vdp.trace import Guard, Trace

FlowKey = tuple[int, int]  # worker, flow id


@dataclass(slots=True)
class Flow:
    """One megaflow of one worker."""

    worker: int
    id: int
    match: Match
    program: Program
    guards: list[Guard]
    depends: set[Hashable]
    touches: list[Callable[[int], None]]
    data: bytes  # the first packet's first bytes
    length: int
    meta: bytes
    asked: list[tuple[str, str, str]]  # handler list, handler, verdict
    created_ns: int
    seen_ns: int = 0  # time of the last hit that its touches were told of

    @property
    def used_ns(self) -> int:
        """When it was last of use, as far as is known (the last sweep)."""
        return max(self.seen_ns, self.created_ns)

    @classmethod
    def of(cls, worker: int, id: int, trace: Trace, match: Match, program: Program, now_ns: int) -> Flow:
        return cls(
            worker, id, match, program, trace.guards, trace.depends, trace.touches,
            trace.data[:WINDOW], trace.length, trace.meta, trace.asked, now_ns,
        )  # fmt: skip


@dataclass(slots=True)
class FlowIndex:
    """Flows by key, and by what they depend on."""

    flows: dict[FlowKey, Flow] = field(default_factory=dict)
    _by_tag: dict[Hashable, set[FlowKey]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.flows)

    def add(self, flow: Flow) -> None:
        key = (flow.worker, flow.id)
        self.flows[key] = flow
        for tag in flow.depends:
            self._by_tag.setdefault(tag, set()).add(key)

    def discard(self, worker: int, id: int) -> None:
        flow = self.flows.pop((worker, id), None)
        if flow is None:
            return
        for tag in flow.depends:
            keys = self._by_tag.get(tag)
            if keys is not None:
                keys.discard((worker, id))
                if not keys:
                    del self._by_tag[tag]

    def rests_on(self, tag: Hashable) -> bool:
        """Whether any flow does."""
        return tag in self._by_tag

    def depending_on(self, tags: Iterable[Hashable]) -> list[Flow]:
        """The flows that rest on any of the tags, oldest first."""
        keys = {key for tag in tags for key in self._by_tag.get(tag, ())}
        return [self.flows[key] for key in sorted(keys)]
