"""Topologies to try VXLAN in, and packets that it knows: for its tests and `vdp plugin test`."""

from __future__ import annotations

from collections.abc import Iterator

from vdp.api import PacketType
from vdp.testing import Dataplane
from vdp.testing.builders import ETH_ARP, Transport, ethernet, ipv4, ipv6, udp

from vdp_vxlan.header import VXLAN_PORT, VxlanHeader

LOCAL, REMOTE, OTHER = "192.0.2.1", "192.0.2.2", "192.0.2.3"
LOCAL6, REMOTE6 = "2001:db8::1", "2001:db8::2"
#: Of a link with one other end, of one with many, and of one over IPv6.
PAIR, MANY, SIX = 42, 43, 44
#: A station of the LAN, and one behind a VTEP.
NEAR, FAR = "02:00:00:00:00:01", "02:00:00:00:00:02"
#: A frame to the station that is far, and its answer.
QUESTION = ethernet(ipv4("10.0.0.1", "10.0.0.2", udp(1000, 53, b"question")), to=FAR, origin=NEAR)
ANSWER = ethernet(ipv4("10.0.0.2", "10.0.0.1", udp(53, 1000, b"an answer")), to=NEAR, origin=FAR)


def packet(
    frame: bytes = ANSWER,
    /,
    *,
    vni: int = PAIR,
    valid: int = 1,
    vtep: str = REMOTE,
    tos: int = 0,
    **fields: int,
) -> bytes:
    """A VXLAN packet from a VTEP over IPv4, with these fields in its header."""
    return ipv4(vtep, LOCAL, datagram(frame, vni=vni, valid=valid, **fields), tos=tos)


def packet6(frame: bytes = ANSWER, /, *, vni: int = SIX, **fields: int) -> bytes:
    """The same over IPv6."""
    return ipv6(REMOTE6, LOCAL6, datagram(frame, vni=vni, valid=1, **fields))


def datagram(frame: bytes, **fields: int) -> Transport:
    return udp(50000, VXLAN_PORT, VxlanHeader.pack(**fields) + frame)


def samples(plane: Dataplane) -> Iterator[tuple[str, bytes]]:
    """A link of each sort between `underlay` and a LAN of its own, and what comes in by the underlay."""
    plane.port("underlay", PacketType.L3)
    for number, lan in enumerate(("lan", "lan-many", "lan6")):
        plane.port(lan, PacketType.L2)
        plane.bridge(f"br{number}", lan, ("pair", "many", "six")[number])
    plane.link("pair", "vxlan", local=LOCAL, remote=REMOTE, vni=PAIR)
    plane.link("many", "vxlan", local=LOCAL, remote=REMOTE, vni=MANY, flood=[OTHER])
    plane.link("six", "vxlan6", local=LOCAL6, remote=REMOTE6, vni=SIX)
    arp = ethernet(bytes(28), to="ff:ff:ff:ff:ff:ff", origin=FAR, ethertype=ETH_ARP)
    yield "underlay", packet()
    yield "underlay", packet(arp)
    yield "underlay", packet(vni=MANY)
    yield "underlay", packet(vni=MANY, vtep=OTHER)
    yield "underlay", packet(valid=0)
    yield "underlay", packet(vni=1)
    yield "underlay", packet6()
    yield "underlay", packet6(vni=1)
    yield "lan", QUESTION
    yield "lan-many", QUESTION
    yield "lan6", QUESTION
