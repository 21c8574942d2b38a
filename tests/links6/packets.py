"""Packets of the tests here, made and read by scapy."""

from __future__ import annotations

import itertools
from typing import Any

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Packet as Scapy
from scapy.packet import Raw

from tests.plane import Plane

LOCAL, REMOTE = "2001:db8::1", "2001:db8:0:1::2"
INNER = bytes(IP(src="10.0.0.2", dst="10.0.0.1", ttl=33) / UDP(sport=1, dport=2) / Raw(b"hello"))
INNER6 = bytes(IPv6(src="fe80::2", dst="fe80::1", hlim=9, fl=0x12345) / UDP(sport=1, dport=2) / Raw(b"hello"))
FRAME = bytes(Ether(src="02:00:00:00:00:0a", dst="02:00:00:00:00:0b") / IP(INNER))
FLAGS = [
    dict(zip(("csum", "key", "seq"), bits, strict=True))
    for bits in itertools.product((False, True), repeat=3)
]


def flag_id(flags: dict[str, bool]) -> str:
    return "-".join(name for name, on in flags.items() if on) or "plain"


def parameters(flags: dict[str, bool]) -> dict[str, Any]:
    """The link's parameters that ask for these flags."""
    return {name: True for name in ("csum", "seq") if flags[name]} | ({"key": 42} if flags["key"] else {})


def gre(payload: bytes = INNER, protocol: int = 0x0800, number: int = 0, **flags: bool) -> Scapy:
    """A GRE packet with these flags; scapy makes the checksum."""
    header = GRE(
        proto=protocol,
        chksum_present=int(flags.get("csum", False)),
        key_present=int(flags.get("key", False)),
        seqnum_present=int(flags.get("seq", False)),
        key=42,
        sequence_number=number,
    )
    return header / Raw(payload)


def outer(*layers: Any, **fields: Any) -> bytes:
    """What the remote sends: IPv6, then the layers (extension headers, GRE)."""
    ends = {"src": REMOTE, "dst": LOCAL}
    packet = IPv6(**(ends | fields))
    for layer in layers:
        packet = packet / layer
    return bytes(packet)


def moved(plane: Plane, link: str = "link1") -> dict[str, int]:
    """The link's counters that are not zero."""
    return {name: count for name, count in plane.counters(link).items() if count}
