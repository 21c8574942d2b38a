"""A topology to try GUE in, and packets that it knows: for its tests and `vdp plugin test`."""

from __future__ import annotations

from collections.abc import Iterator

from vdp.api import IPProtocol, PacketType
from vdp.testing import Dataplane
from vdp.testing.builders import ETH_TEB, Transport, ethernet, gre, ipv4, ipv6, udp

from vdp_gue.header import GUE_PORT, GueHeader

LOCAL, REMOTE = "192.0.2.1", "192.0.2.2"
LOCAL6, REMOTE6 = "2001:db8::1", "2001:db8::2"
#: GRE key of the guetap link.
KEY = 7
QUESTION = ipv4("10.0.0.1", "10.0.0.2", udp(1000, 53, b"question"))
QUESTION6 = ipv6("fd00::1", "fd00::2", udp(1000, 53, b"question"))
ANSWER = ipv4("10.0.0.2", "10.0.0.1", udp(53, 1000, b"an answer"))
ANSWER6 = ipv6("fd00::2", "fd00::1", udp(53, 1000, b"an answer"))
IN_GRE = gre(ethernet(ANSWER), ETH_TEB, key=KEY)


def datagram(carried: bytes = ANSWER, /, *, extension: bytes = b"", **fields: int) -> Transport:
    """What is carried behind UDP and a header of variant 0 with these fields and this extension."""
    known: dict[str, int] = {"proto": IPProtocol.IPIP, "hlen": len(extension) // 4}
    return udp(50000, GUE_PORT, GueHeader.pack(**(known | fields)) + extension + carried)


def packet(carried: bytes = ANSWER, /, *, tos: int = 0, extension: bytes = b"", **fields: int) -> bytes:
    """The same as it comes in over IPv4."""
    return ipv4(REMOTE, LOCAL, datagram(carried, extension=extension, **fields), tos=tos)


def packet6(carried: bytes = ANSWER, /, **fields: int) -> bytes:
    """Over IPv6."""
    return ipv6(REMOTE6, LOCAL6, datagram(carried, extension=b"", **fields))


def direct(carried: bytes = ANSWER) -> bytes:
    """Of variant 1."""
    return ipv4(REMOTE, LOCAL, udp(50000, GUE_PORT, carried))


def samples(plane: Dataplane) -> Iterator[tuple[str, bytes]]:
    """A link of each kind between `underlay` and a LAN of its own, and what comes in by the underlay."""
    plane.port("underlay", PacketType.L3)
    plane.link("gue", "gue", local=LOCAL, remote=REMOTE)
    plane.link("gue6", "gue6", local=LOCAL6, remote=REMOTE6)
    plane.link("guetap", "guetap", local=LOCAL, remote=REMOTE, key=KEY)
    for lan, link in (("lan", "gue"), ("lan6", "gue6"), ("lan2", "guetap")):
        plane.port(lan, PacketType.L2 if link == "guetap" else PacketType.L3)
        plane.connect(lan, link)
    yield "underlay", packet()
    yield "underlay", packet(ANSWER6, proto=IPProtocol.IPV6)
    yield "underlay", packet(extension=bytes(4), flags=1)
    yield "underlay", packet(flags=1)
    yield "underlay", packet(control=1)
    yield "underlay", packet(version=2)
    yield "underlay", packet(proto=50)
    yield "underlay", packet(IN_GRE, proto=IPProtocol.GRE)
    yield "underlay", direct()
    yield "underlay", direct(ANSWER6)
    yield "underlay", packet6()
    yield "lan", QUESTION
    yield "lan6", QUESTION6
    yield "lan2", ethernet(QUESTION)
