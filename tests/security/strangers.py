"""R11: what tunnel packets get through of those to whom no link is, over all kinds of links.

Each packet is drawn anew: its source, the tunnel it pretends to be of, key, session, version and
flags.  Destinations and keys are those of the links, mostly; the source never is the real other end.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from vdp.config.model import IcmpSection
from vdp.engine.interface import EngineConfig, MemoryPacket, Offload, PacketType, meta_of
from vdp.engine.native import NativeEngine
from vdp.testing import builders as b
from vdp.testing.dataplane import Dataplane

A, B = "192.0.2.1", "192.0.2.2"
A6, B6 = "2001:db8::1", "2001:db8::2"
L2, L3 = PacketType.L2, PacketType.L3
PLUGINS = ("gre", "gretap", "ip6gre", "erspan", "nvgre")
KEY, SESSION, VSID, UDP_KEY = 42, 5, 0x1234, 9
UDP_PORT = 4754
GRE = 47
#: Kind of link, what comes out of it, its keys beside both ends.
LINKS: tuple[tuple[str, PacketType, dict[str, object]], ...] = (
    ("gre", L3, {"key": KEY}),
    ("gretap", L2, {}),
    ("gretap", L2, {"key": UDP_KEY, "encap": "udp"}),
    ("erspan", L2, {"key": SESSION, "seq": True}),
    ("nvgre", L2, {"vsid": VSID}),
    ("ip6gre", L3, {"key": KEY}),
    ("ip6gretap", L2, {}),
    ("ip6erspan", L2, {"key": SESSION, "seq": True}),
)
_INNER = b.ipv4("10.20.0.1", "10.10.0.2", b.udp(1, 2, b"hello"))
_FRAME = b.ethernet(_INNER)


def links(plane: Dataplane) -> list[str]:
    """One of each kind, each connected to a port of its own: their names."""
    plane.port("underlay", L3)
    names = []
    for number, (kind, inside, keys) in enumerate(LINKS):
        local, remote = (A6, B6) if kind.startswith("ip6") else (A, B)
        name = f"t{number}"
        plane.port(f"lan{number}", inside)
        plane.link(name, kind, local=local, remote=remote, **keys)
        plane.connect(name, f"lan{number}")
        names.append(name)
    return names


def _body(chance: random.Random) -> bytes:
    """What pretends to be of a tunnel: a GRE header of some kind, and what is in it."""
    key = chance.choice((None, KEY, KEY, UDP_KEY, VSID << 8 | chance.getrandbits(8), chance.getrandbits(32)))
    csum, sequence = chance.random() < 0.2, chance.choice((None, None, chance.getrandbits(32)))
    kind = chance.randrange(5)
    if kind < 2:
        inside, protocol = ((_INNER, 0x0800), (_FRAME, 0x6558))[kind]
        return b.gre(inside, protocol, key=key, csum=csum, sequence=sequence)
    if kind == 2:  # NVGRE, and ERSPAN type I
        inside, protocol = chance.choice(((_FRAME, 0x6558), (_FRAME, 0x88BE)))
        return b.gre(inside, protocol, key=VSID << 8 | chance.getrandbits(8) if protocol == 0x6558 else None)
    version = kind - 2  # ERSPAN types II and III
    session = chance.choice((SESSION, SESSION, chance.getrandbits(10)))
    rest = struct.pack("!I", 7) if version == 1 else struct.pack("!II", 0, 1 << 15)
    header = struct.pack("!HH", version << 12, session) + rest
    number = chance.getrandbits(32)
    return b.gre(header + _FRAME, 0x88BE if version == 1 else 0x22EB, sequence=number)


def _source(chance: random.Random, end: int, bits: int) -> int:
    """Anybody but the real other end, often next to it."""
    found = end
    while found == end:
        found = chance.choice((chance.getrandbits(bits), end ^ 1 << chance.randrange(bits)))
    return found


def packets(count: int, seed: int = 11, is_real: bool = False) -> Iterator[bytes]:
    """So many, each drawn anew, over IPv4 and IPv6, in UDP or not.  is_real: from the real other end."""
    chance = random.Random(seed)
    end, end6 = int(IPv4Address(B)), int(IPv6Address(B6))
    for _ in range(count):
        body, is_for_us = _body(chance), chance.random() < 0.9
        in_udp = chance.random() < 0.3
        payload = b.udp(chance.randrange(49152, 65536), UDP_PORT, body) if in_udp else body
        if chance.random() < 0.5:
            source = B if is_real else str(IPv4Address(_source(chance, end, 32)))
            yield b.ipv4(source, A if is_for_us else B, payload, protocol=None if in_udp else GRE)
        else:
            source = B6 if is_real else str(IPv6Address(_source(chance, end6, 128)))
            yield b.ipv6(source, A6 if is_for_us else B6, payload, next_header=None if in_udp else GRE)


def strangers(count: int, silent: bool, is_real: bool = False) -> dict[str, int]:
    """What becomes of so many: forwarded and replies above all.

    distinct: different packets among them; links: how many of all links took one.
    """
    with Dataplane(NativeEngine(EngineConfig(upcall_rate=0)), plugins=PLUGINS) as plane:
        plane.datapath.icmp.limits.rates = IcmpSection(port_unreachable=not silent)
        names = links(plane)
        number = plane.datapath.ports["underlay"].number
        metas = {4: meta_of(L3, 0x0800), 6: meta_of(L3, 0x86DD)}
        seen = set()
        for at, packet in enumerate(packets(count, is_real=is_real)):
            seen.add(packet)
            plane.engine.inject(number, MemoryPacket(packet, metas[packet[0] >> 4], Offload()))
            if at % 256 == 255:
                plane.settle()
        plane.settle()
        forwarded = sum(len(plane.received(f"lan{at}")) for at in range(len(names)))
        taken = [plane.counters(name)["rx_packets"] for name in names]
        return {
            "sent": count,
            "distinct": len(seen),
            "forwarded": forwarded + sum(taken),
            "links": sum(map(bool, taken)),
            "replies": len(plane.received("underlay")),
            "dropped": sum(plane.drops("underlay").values()),
        }
