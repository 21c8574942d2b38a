"""A packet in the reference engine, and how it gets lost.

Offsets in here count from the packet's present front, csum_start too: it goes negative
when the header it pointed at has been pulled off (the C engine counts it from the
buffer, which comes to the same).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib import resources

from vdp.engine.interface import META_SIZE


def _reasons() -> dict[str, int]:
    """Name to code of the engine's own drop reasons, from reasons.def, where the order is the code."""
    text = resources.files("vdp.engine").joinpath("reasons.def").read_text()
    return {name: code for code, name in enumerate(re.findall(r"^VDP_REASON\((\w+),", text, re.MULTILINE))}


REASONS = _reasons()


class Lost(Exception):
    """The packet in hand is dropped, under the reason of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.reason = REASONS[name]


@dataclass(slots=True)
class Packet:
    """struct vdp_packet."""

    data: bytearray
    meta: bytearray = field(default_factory=lambda: bytearray(META_SIZE))
    in_port: int = 0
    needs_csum: bool = False
    csum_valid: bool = False
    csum_start: int = 0
    csum_offset: int = 0
    gso_type: int = 0
    gso_size: int = 0
    segments: int = 1
    depth: int = 0
    waited: int = 0
    #: Of ACCOUNT: counters for a packet that is sent, and for one that is lost; the bytes that count.
    account: tuple[int, int, int, int] | None = None

    def copy(self) -> Packet:
        """A packet of its own with the same content and marks, but no account."""
        return Packet(
            bytearray(self.data),
            bytearray(self.meta),
            self.in_port,
            self.needs_csum,
            self.csum_valid,
            self.csum_start,
            self.csum_offset,
            self.gso_type,
            self.gso_size,
            self.segments,
            self.depth,
            self.waited,
        )

    def need(self, offset: int, size: int) -> None:
        """Raise Lost unless [offset, offset + size) is inside the packet."""
        if offset + size > len(self.data):
            raise Lost("parse_truncated")

    def load16(self, offset: int) -> int:
        self.need(offset, 2)
        return int.from_bytes(self.data[offset : offset + 2], "big")

    def load32(self, offset: int) -> int:
        self.need(offset, 4)
        return int.from_bytes(self.data[offset : offset + 4], "big")

    def store16(self, offset: int, value: int) -> None:
        self.need(offset, 2)
        self.data[offset : offset + 2] = (value & 0xFFFF).to_bytes(2, "big")

    def store32(self, offset: int, value: int) -> None:
        self.need(offset, 4)
        self.data[offset : offset + 4] = (value & 0xFFFFFFFF).to_bytes(4, "big")

    def word(self, index: int) -> int:
        """Metadata word `index`."""
        return int.from_bytes(self.meta[4 * index : 4 * index + 4], "big")

    def set_word(self, index: int, value: int) -> None:
        self.meta[4 * index : 4 * index + 4] = value.to_bytes(4, "big")
