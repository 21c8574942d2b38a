"""Identifications of outer IPv4 headers: Linux ip_idents_reserve.

What one host sends to another in one protocol must not have the same identification
twice while fragments of it may be on their way (RFC 6864 4.1).  So links with the same
ends count together: a state of the engine for some pairs of addresses, picked by a hash.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vdp.engine.interface import Engine

#: ip_idents has 2,048; pairs that share one only count faster.
BUCKETS = 256
#: 2^32 over the golden ratio: spreads addresses that differ in their last bits.
SPREAD = 0x9E3779B1


class Identifications:
    """The states of one dataplane; they are its own, and go with the engine."""

    def __init__(self, engine: Engine, undoable: Callable[[Callable[[], None]], None]) -> None:
        self._engine = engine
        self._undoable = undoable
        self._states: dict[int, int] = {}

    def of(self, source: int, destination: int) -> int:
        """The engine state that counts what goes from one address to the other."""
        bucket = ((source * SPREAD ^ destination) * SPREAD >> 16) % BUCKETS
        state = self._states.get(bucket)
        if state is None:
            state = self._states[bucket] = self._engine.new_state(1)
            self._undoable(partial(self._forget, bucket))
        return state

    def _forget(self, bucket: int) -> None:
        self._engine.free_state(self._states.pop(bucket))
