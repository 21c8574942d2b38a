"""What one run of the handlers looked at: the guards that make a megaflow's match.

A trace is made for one packet by the slow path, filled in by the Packet view while
handlers run, and read when they are done.  Guards say which bits of the packet as it
came in were looked at, and what they were; any packet that agrees on them would have
been treated the same.  That is the invariant of the whole dataplane (soundness).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePath

from vdp.engine.interface import MAX_LENGTH, META_SIZE, WINDOW, Match
from vdp.engine.program import Action
from vdp.rehearsal import Rehearsal

#: Files whose frames are the mechanism, not the author of a guard or an action.
_MECHANISM = frozenset(__file__.replace("trace.py", name) for name in ("trace.py", "packet.py", "header.py"))


class TraceError(Exception):
    """A handler asked for what a trace can not give; the text says what instead."""


class HeaderBudget(TraceError):
    """A guard would lie beyond the classifier's window (256 bytes)."""


class Undecided(Exception):
    """No fault: something has to be asked for first.  The packet waits, and is traced again then."""


class Truncated(TraceError):
    """The packet ends before the header that was asked for; it is dropped as parse_truncated."""


@lru_cache(maxsize=4096)
def place(filename: str, line: int) -> str:
    """A line of source as it is shown."""
    return f"{'/'.join(PurePath(filename).parts[-2:])}:{line}"


def calling_line() -> str:
    """The "file:line" of the nearest caller outside the trace's own mechanism."""
    frame = sys._getframe(2)
    while frame.f_code.co_filename in _MECHANISM and frame.f_back is not None:
        frame = frame.f_back
    return place(frame.f_code.co_filename, frame.f_lineno)


@dataclass(frozen=True, slots=True)
class Guard:
    """One thing that was looked at: masked bytes of the packet, of its metadata, or its length.

    `space` is "packet", "meta" or "length"; for "length" `offset` is the bound and
    `value` is b"min" or b"max".  `label` names the field, where a header has it.
    """

    space: str
    offset: int
    mask: bytes
    value: bytes
    source: str
    label: str = ""


@dataclass(slots=True)
class Trace:
    """Guards, dependencies and effects of one run; `actions` is the program it yields."""

    in_port: int
    data: bytes
    length: int
    meta: bytes
    #: Code of a drop reason by name (vdp.drops); KeyError where there is none.
    reason_code: Callable[[str], int]
    actions: list[Action] = field(default_factory=list)
    guards: list[Guard] = field(default_factory=list)
    cacheable: bool = True
    depends: set[Hashable] = field(default_factory=set)
    #: Run once, when the trace is put to use (never for an imaginary packet): learning, logging.
    effects: list[Callable[[], None]] = field(default_factory=list)
    #: Run whenever the flow has been hit since the last look, with the time of the last hit.
    touches: list[Callable[[int], None]] = field(default_factory=list)
    #: Handlers asked, in order, with their verdicts: (list, handler, verdict).
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    #: Seconds that the handler under way has spent in those that it asked.
    nested_s: float = 0.0
    min_length: int = 0
    max_length: int = MAX_LENGTH
    mask: bytearray = field(default_factory=lambda: bytearray(WINDOW))
    meta_mask: bytearray = field(default_factory=lambda: bytearray(META_SIZE))
    #: It is an imaginary packet's: nothing comes of it.
    rehearsal: Rehearsal | None = None

    def guard_bits(self, offset: int, mask: bytes, label: str = "") -> bytes:
        """Look at masked bytes of the packet as it came in; returns them, masked."""
        size = len(mask)
        end = offset + size
        self.guard_length(end)
        if end > WINDOW:
            raise HeaderBudget(f"bytes {offset} to {end} lie beyond the window of {WINDOW}")
        # As numbers: a trace does this some thirty times.
        bits = int.from_bytes(mask, "big")
        seen = int.from_bytes(self.mask[offset:end], "big")
        value = (bits & int.from_bytes(self.data[offset:end], "big")).to_bytes(size, "big")
        if bits & ~seen:
            self.mask[offset:end] = (bits | seen).to_bytes(size, "big")
            self.guards.append(Guard("packet", offset, mask, value, calling_line(), label))
        return value

    def guard_length(self, size: int) -> None:
        """Take note that the packet has at least `size` bytes; Truncated where it has not."""
        if not self.has(size):
            raise Truncated(f"the packet has {self.length} bytes, {size} are needed")

    def has(self, size: int) -> bool:
        """Whether the packet as it came in has at least `size` bytes: a guard either way."""
        if self.length >= size:
            if size > self.min_length:
                self.min_length = size
                self.guards.append(Guard("length", size, b"", b"min", calling_line()))
            return True
        if size - 1 < self.max_length:
            self.max_length = size - 1
            self.guards.append(Guard("length", size - 1, b"", b"max", calling_line()))
        return False

    def guard_meta(self, word: int, mask: int = 0xFFFFFFFF, label: str = "") -> int:
        """Look at bits of a 32-bit metadata word; returns them, masked."""
        at = word * 4
        value = int.from_bytes(self.meta[at : at + 4], "big") & mask
        mask_bytes = mask.to_bytes(4, "big")
        if any(m & ~seen for m, seen in zip(mask_bytes, self.meta_mask[at : at + 4], strict=True)):
            for index, m in enumerate(mask_bytes, at):
                self.meta_mask[index] |= m
            self.guards.append(Guard("meta", at, mask_bytes, value.to_bytes(4, "big"), calling_line(), label))
        return value

    def match(self) -> Match:
        """The megaflow's match: everything that was looked at, and nothing else."""
        window = WINDOW
        while window and not self.mask[window - 1]:
            window -= 1
        mask = bytes(self.mask[:window])
        value = bytes(m & d for m, d in zip(mask, self.data[:window], strict=True))
        meta_mask = bytes(self.meta_mask)
        meta_value = bytes(m & d for m, d in zip(meta_mask, self.meta, strict=True))
        return Match(self.in_port, mask, value, self.min_length, self.max_length, meta_mask, meta_value)
