"""Numbers that the engine keeps for plugins: what differs from packet to packet, and no Python can see.

    number = datapath.states.new(1)
    Outer.push(packet, sequence=FillSequence(number))

They go with the plugin that made them, as soon as no flow names them any more.  A link's own are
made by `Link.new_state`, and go with the link.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vdp.engine.interface import Engine
    from vdp.slowpath import SlowPath


class Host(Protocol):
    """What states ask of their dataplane."""

    engine: Engine
    slowpath: SlowPath

    def undoable(self, undo: Callable[[], None]) -> None:
        """Something was registered: `undo` takes it back, with its plugin."""


class States:
    """The states of a dataplane's plugins."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def new(self, initial: int = 0) -> int:
        """A state to count with: FillId, FillSequence, FillState, `packet.require_sequence`."""
        return self._owned(self._host.engine.new_state(initial))

    def window(self, size: int) -> int:
        """A state for `packet.require_sequence` that knows which of the last `size` numbers came in.

        Only with it is the first packet of a flow judged rightly: while the slow path decides about
        it, packets of known flows pass it, and their numbers are higher.
        """
        return self._owned(self._host.engine.new_window(size))

    def read(self, state: int) -> int:
        """Its number now: for timers and commands.  A handler that asks is not sound."""
        return self._host.engine.read_state(state)

    def write(self, state: int, value: int) -> None:
        """Another number, from now on."""
        self._host.engine.write_state(state, value)

    def _owned(self, state: int) -> int:
        free = partial(self._host.engine.free_state, state)
        self._host.undoable(lambda: self._host.slowpath.when_revalidated(free))
        return state
