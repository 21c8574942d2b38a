"""What a packet under trace was like at some time: vdp.packet goes back there when a handler rejects it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Counts of what was noted so far, and copies of what is changed in place (Packet, by the same names)."""

    actions: int
    base: int
    pushed: bytes
    known: bytes
    cuts: tuple[int, ...]
    overlay: dict[int, tuple[int, int, int]]
    meta: dict[int, int | None]
    trimmed: bool
    ensured: int
    done: bool
    plain: bool
    next_hop: IPv4Address | IPv6Address | None
    encap_port: int
    effects: int
    touches: int
