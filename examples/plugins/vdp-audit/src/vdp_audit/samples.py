"""A topology to try the accounting in, and packets that it tells apart."""

from __future__ import annotations

from collections.abc import Iterator

from vdp.api import PacketType
from vdp.testing import Dataplane
from vdp.testing.builders import ethernet, ipv4, ipv6, udp, vlan

EF, AF41 = 46, 34
#: 33 bytes of IPv4.
DATAGRAM = udp(1000, 2000, b"hello")


def packet(dscp: int = 0, ecn: int = 0) -> bytes:
    return ipv4("10.0.0.1", "10.0.0.2", DATAGRAM, tos=dscp << 2 | ecn)


def packet6(dscp: int = 0) -> bytes:
    return ipv6("2001:db8::1", "2001:db8::2", DATAGRAM, traffic_class=dscp << 2)


def arrange(plane: Dataplane) -> None:
    """`lan` goes through a gre link over `underlay`, `left` to `right` as frames."""
    plane.port("underlay", PacketType.L3)
    plane.port("lan", PacketType.L3)
    plane.port("left")
    plane.port("right")
    plane.link("gre1", "gre", local="192.0.2.1", remote="192.0.2.2", tos="inherit")
    plane.connect("lan", "gre1")
    plane.connect("left", "right")


def samples(plane: Dataplane) -> Iterator[tuple[str, bytes]]:
    """Packets and frames, with and without IP."""
    arrange(plane)
    yield "lan", packet()
    yield "lan", packet(EF, ecn=1)
    yield "lan", packet6(AF41)
    yield "left", ethernet(packet(EF))
    yield "left", vlan(vlan(ethernet(packet6(3)), 5), 7)
    yield "left", ethernet(b"\0\1", ethertype=0x0806)
    yield "left", b"\0" * 5
