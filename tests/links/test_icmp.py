"""Which packets an ICMP error may be about (RFC 1122 3.2.2, RFC 4443 2.4 e), and what it says."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6

from tests.plane import A, B
from vdp.links.icmp import port_unreachable, too_big
from vdp.testing.builders import IP_ICMP, icmp, icmp6, ipv4, ipv6, tcp, udp

IPV4, IPV6 = 0x0800, 0x86DD
PACKET = ipv4(A, B, udp(1, 2, b"hello"))
PACKET6 = ipv6("2001:db8::1", "2001:db8::2", udp(1, 2, b"hello"))


@pytest.mark.conformance("A7")
@pytest.mark.parametrize(
    "offending",
    [
        ipv4(A, B, udp(1, 2), fragment=5),
        ipv4(A, B, icmp(3, 1, payload=PACKET), protocol=IP_ICMP),
        ipv4(A, B, icmp(11, payload=PACKET), protocol=IP_ICMP),
        ipv4(A, B, icmp(5, payload=PACKET), protocol=IP_ICMP),
        ipv4(A, B, b"", protocol=IP_ICMP),
        ipv4(A, "239.1.1.1", udp(1, 2)),
        ipv4(A, "255.255.255.255", udp(1, 2)),
        ipv4("0.0.0.0", B, udp(1, 2)),
        ipv4("239.1.1.1", B, udp(1, 2)),
        ipv4("255.255.255.255", B, udp(1, 2)),
        PACKET[:19],
        b"\x65" + PACKET[1:],
    ],
    ids=[
        "later-fragment", "unreachable", "time-exceeded", "redirect", "icmp-without-type", "multicast",
        "broadcast", "from-nobody", "from-multicast", "from-broadcast", "cut", "not-ipv4",
    ],
)  # fmt: skip
def test_about_some_packets_nothing_is_said(offending: bytes) -> None:
    assert port_unreachable(offending, IPV4) is None
    assert too_big(offending, IPV4, 576) is None


@pytest.mark.parametrize(
    "offending",
    [
        ipv6("2001:db8::1", "2001:db8::2", icmp6(1)),
        ipv6("2001:db8::1", "2001:db8::2", icmp6(2)),
        ipv6("::", "2001:db8::2", udp(1, 2)),
        ipv6("ff02::1", "2001:db8::2", udp(1, 2)),
        PACKET6[:39],
        b"\x45" + PACKET6[1:],
    ],
    ids=["unreachable", "too-big", "from-nobody", "from-group", "cut", "not-ipv6"],
)
def test_about_some_ipv6_packets_nothing_is_said(offending: bytes) -> None:
    assert too_big(offending, IPV6, 1280) is None


@pytest.mark.parametrize(
    "offending",
    [
        PACKET,
        ipv4(A, B, tcp(1, 2), flags=1),
        ipv4(A, B, icmp(8, payload=b"ping"), protocol=IP_ICMP),
        ipv4(A, B, icmp(0, payload=b"pong"), protocol=IP_ICMP),
    ],
    ids=["udp", "first-fragment", "echo", "echo-reply"],
)
def test_about_others_it_is(offending: bytes) -> None:
    error = port_unreachable(offending, IPV4)
    assert error is not None
    found = IP(error)
    assert (found.src, found.dst, found[ICMP].type, found[ICMP].code) == (B, A, 3, 3)
    assert error[28:] == offending


@pytest.mark.conformance("G15", "L14")
def test_fragmentation_needed_names_the_mtu_and_is_said_with_df_only() -> None:
    error = too_big(PACKET, IPV4, 1400)
    assert error is not None
    found = IP(error)[ICMP]
    assert (found.type, found.code, found.nexthopmtu) == (3, 4, 1400)
    assert too_big(ipv4(A, B, udp(1, 2), flags=0), IPV4, 1400) is None


@pytest.mark.conformance("G15")
def test_packet_too_big_names_the_mtu() -> None:
    error = too_big(PACKET6, IPV6, 1400)
    assert error is not None
    found = IPv6(error)
    assert (found.src, found.dst, found[ICMPv6PacketTooBig].mtu) == ("2001:db8::2", "2001:db8::1", 1400)
    del found[ICMPv6PacketTooBig].cksum
    assert bytes(found) == error


def test_at_most_1280_bytes_of_ipv6_go_back() -> None:
    error = too_big(ipv6("2001:db8::1", "2001:db8::2", udp(1, 2, bytes(3000))), IPV6, 1400)
    assert error is not None
    assert len(error) == 1280


def test_only_packets_of_the_protocol_are_answered() -> None:
    assert port_unreachable(PACKET, 0x1234) is None
    assert too_big(PACKET, 0x1234, 1400) is None
