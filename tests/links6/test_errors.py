"""ICMPv6 errors about a tunnel's own packets (ip6gre_err)."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, IPv6

from tests.links.errors import error6, frag_needed, unreachable
from tests.plane import L2, L3, MAC_A, MakePlane, Plane
from vdp.links.gre_tunnel import GreTunnel
from vdp.links.tunnel_errors import Effect
from vdp.testing.builders import ethernet, ipv4, ipv6, udp

A, B = "2001:db8::1", "2001:db8::2"
INNER = ipv6("2001:db8:1::1", "2001:db8:1::2", udp(1, 2, b"hello"))
INNER4 = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"hello"))
#: Where the limit stands in a packet with the encapsulation limit option.
LIMIT_AT = 44


@pytest.fixture
def plane(make_plane: MakePlane) -> Plane:
    plane = make_plane(("ip6gre",))
    plane.port("underlay", L3)
    return plane


def tunnel(plane: Plane, kind: str = "ip6gre", **parameters: Any) -> GreTunnel:
    plane.port("lan", L3 if kind == "ip6gre" else L2)
    link = plane.link("t0", kind, **{"local": A, "remote": B, **parameters})
    plane.connect("lan", "t0")
    assert isinstance(link, GreTunnel)
    return link


def sent(plane: Plane, inner: bytes = INNER) -> bytes:
    plane.send("lan", inner)
    (packet,) = plane.received("underlay")
    return packet


@pytest.mark.conformance("A8", "I")
@pytest.mark.parametrize("kind", ["ip6gre", "ip6gretap"])
@pytest.mark.parametrize("encaplimit", [4, "none"])
@pytest.mark.parametrize("key", [None, 0, 42])
def test_an_error_reaches_the_link_that_sent_the_packet(
    plane: Plane, kind: str, encaplimit: int | str, key: int | None
) -> None:
    options = {} if key is None else {"key": key}
    link = tunnel(plane, kind, encaplimit=encaplimit, **options)
    plane.send("underlay", unreachable(sent(plane, INNER if kind == "ip6gre" else ethernet(INNER))))
    assert link.errors.effects == {Effect.FAILURE: 1}
    assert plane.drops("underlay") == {"icmp_error": 1}


@pytest.mark.conformance("I")
@pytest.mark.parametrize(("size", "matches"), [(40 + 8 + 8, True), (40 + 8 + 7, False), (40 + 7, False)])
def test_the_quotation_must_reach_down_to_the_key(plane: Plane, size: int, matches: bool) -> None:
    link = tunnel(plane, key=42)
    plane.send("underlay", error6(sent(plane), 1, 0, size=size))
    assert link.errors.effects == ({Effect.FAILURE: 1} if matches else {})


@pytest.mark.conformance("I")
@pytest.mark.parametrize(
    ("kind", "code", "rest", "effect"),
    [
        (1, 0, 0, Effect.FAILURE),
        (1, 1, 0, Effect.FAILURE),
        (1, 3, 0, Effect.FAILURE),
        (1, 4, 0, Effect.IGNORED),
        (3, 0, 0, Effect.FAILURE),
        (3, 1, 0, Effect.IGNORED),
        (4, 0, LIMIT_AT, Effect.IGNORED),  # it is not used up
        (4, 0, 6, Effect.IGNORED),
        (4, 1, 40, Effect.IGNORED),
        (100, 0, 0, Effect.IGNORED),
    ],
)
def test_what_each_type_and_code_does(plane: Plane, kind: int, code: int, rest: int, effect: Effect) -> None:
    link = tunnel(plane)
    plane.send("underlay", error6(sent(plane), kind, code, rest))
    assert link.errors.effects == {effect: 1}


@pytest.mark.conformance("I")
def test_an_encapsulation_limit_that_is_used_up_is_a_failure(plane: Plane) -> None:
    """RFC 2473 8.1: the sender of the packet is told, by address unreachable."""
    link = tunnel(plane, encaplimit=0)
    packet = sent(plane)
    plane.send("underlay", error6(packet, 4, 0, LIMIT_AT))
    assert link.errors.effects == {Effect.FAILURE: 1}
    plane.send("lan", INNER)
    (answer,) = map(IPv6, plane.received("lan"))
    assert answer[ICMPv6DestUnreach].code == 3


@pytest.mark.conformance("I", "G15")
def test_packet_too_big_lowers_the_path_mtu_until_it_ages(plane: Plane) -> None:
    link = tunnel(plane, encaplimit="none")
    large = ipv6("2001:db8:1::1", "2001:db8:1::2", udp(1, 2, bytes(1350)))
    packet = sent(plane, large)
    plane.send("underlay", frag_needed(packet, 1400))
    assert link.mtu == 1356
    plane.send("lan", large)
    (answer,) = map(IPv6, plane.received("lan"))
    assert answer[ICMPv6PacketTooBig].mtu == 1356
    plane.pass_time(601)
    assert link.mtu == 1456


def test_a_path_mtu_below_ipv6s_least_counts_as_that(plane: Plane) -> None:
    """RFC 8201 4."""
    plane.paths.mtu = 1500
    link = tunnel(plane, encaplimit="none")
    plane.send("underlay", frag_needed(sent(plane), 600))
    path = plane.datapath.paths._known[next(iter(plane.datapath.paths._known))]
    assert path is not None
    assert path.mtu == 1280
    assert link.mtu == 1280


@pytest.mark.conformance("G16")
def test_an_ipv4_sender_gets_host_unreachable(plane: Plane) -> None:
    tunnel(plane)
    plane.send("underlay", unreachable(sent(plane)))
    plane.send("lan", INNER4)
    (answer,) = map(IP, plane.received("lan"))
    assert (answer[ICMP].type, answer[ICMP].code) == (3, 1)


def test_a_bad_icmpv6_checksum_is_not_believed(plane: Plane) -> None:
    link = tunnel(plane)
    error = bytearray(unreachable(sent(plane)))
    error[42] ^= 1
    plane.send("underlay", bytes(error))
    assert not link.errors.effects
    assert plane.datapath.icmp_input.outcomes == {"malformed": 1}


def test_on_an_ethernet_underlay_they_are_frames(make_plane: MakePlane) -> None:
    plane = make_plane(("ip6gre",))
    plane.port("underlay", L2, mac=MAC_A)
    link = tunnel(plane)
    packet = sent(plane)[14:]
    plane.send("underlay", ethernet(unreachable(packet), to=MAC_A.hex(":")))
    assert link.errors.effects == {Effect.FAILURE: 1}
    echo = ipv6(B, A, b"\x80\0\0\0\0\0\0\0", next_header=58)
    plane.send("underlay", ethernet(echo, to=MAC_A.hex(":")))
    assert plane.drops("underlay") == {"icmp_error": 1, "not_for_us": 1}
