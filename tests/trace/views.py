"""Packets under trace without a dataplane, and what their traces looked at."""

from __future__ import annotations

from vdp.drops import Drops
from vdp.engine.interface import NO_META
from vdp.packet import Packet
from vdp.trace import Trace

CODE = Drops().code


def view(data: bytes, meta: bytes = NO_META, in_port: int = 1) -> Packet:
    """A packet as it came in by a port."""
    return Packet(Trace(in_port, data, len(data), meta, CODE))


def meta_words(**words: int) -> bytes:
    """Metadata with some words set: w0=1, w2=7."""
    data = bytearray(32)
    for name, value in words.items():
        at = int(name[1:]) * 4
        data[at : at + 4] = value.to_bytes(4, "big")
    return bytes(data)


def looked_at(packet: Packet) -> dict[int, int]:
    """Guarded bits by byte of the packet as it came in."""
    return {at: mask for at, mask in enumerate(packet.trace.mask) if mask}


def bits(start: int, width: int) -> dict[int, int]:
    """The same for a run of bits from bit `start`."""
    found: dict[int, int] = {}
    for bit in range(start, start + width):
        found[bit // 8] = found.get(bit // 8, 0) | 0x80 >> bit % 8
    return found
