"""WCCP-redirected packets: both versions, which link they belong to, and what is not WCCP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.plane import L3, A, B, Plane
from vdp.testing.builders import gre, ipv4, tcp, udp
from vdp.testing.soundness import check_soundness

WCCP = 0x883E
INNER = ipv4("10.0.0.2", "203.0.113.1", tcp(1000, 80, b"GET /"))
REDIRECT = bytes((0x80, 51, 7, 72))


def redirected(payload: bytes, **fields: Any) -> bytes:
    return ipv4(B, A, gre(payload, WCCP, **fields), protocol=47)


@pytest.fixture
def plane(plane: Plane) -> Plane:
    """Link wccp0, as `ip tunnel add wccp0 mode gre remote ROUTER local CACHE`, connected to cache."""
    plane.port("underlay", L3)
    plane.port("cache", L3)
    plane.link("wccp0", "gre", local=A, remote=B)
    plane.connect("wccp0", "cache")
    return plane


@pytest.mark.conformance("K1", "C13")
def test_version_1_has_nothing_between_gre_and_the_packet(plane: Plane) -> None:
    plane.send("underlay", redirected(INNER))
    (out,) = plane.collect("cache")
    assert out.data == INNER
    assert out.meta[4:12] == b"\0\0\x08\0" + bytes(4)
    assert plane.verdicts()["wccp_rcv"] == {"received": 1}
    assert plane.counters("wccp0")["rx_bytes"] == len(INNER)


@pytest.mark.conformance("K2", "C13")
@pytest.mark.parametrize("first", [0x00, 0x80, 0xC0, 0x3F, 0x50, 0xFF])
def test_version_2_has_a_redirect_header_which_goes_along_in_register_0(plane: Plane, first: int) -> None:
    header = bytes((first, 51, 7, 72))
    plane.send("underlay", redirected(header + INNER))
    (out,) = plane.collect("cache")
    assert (out.data, out.meta[8:12]) == (INNER, header)
    assert plane.counters("wccp0")["rx_bytes"] == len(INNER)


@pytest.mark.conformance("K2")
def test_each_packet_of_a_flow_has_its_own_redirect_header(plane: Plane) -> None:
    headers = [bytes((0, 0, alternate, bucket)) for alternate, bucket in ((0, 1), (0, 72), (9, 255))]
    plane.send("underlay", *[redirected(header + INNER) for header in headers])
    assert [out.meta[8:12] for out in plane.collect("cache")] == headers
    assert len(plane.flows("underlay")) == 1


@pytest.mark.conformance("C13", "K17")
@pytest.mark.parametrize("payload", [INNER[:19], INNER[:8]], ids=["19", "8"])
def test_a_redirected_packet_that_is_cut_short_is_not_delivered(plane: Plane, payload: bytes) -> None:
    plane.send("underlay", redirected(REDIRECT + payload))
    assert plane.received("cache") == []
    assert sum(plane.drops("underlay").values()) == 1


@pytest.mark.conformance("C13")
@pytest.mark.parametrize(
    "packet",
    [
        redirected(INNER, flags=0x0800),
        redirected(INNER, flags=0x0100),
        redirected(INNER, flags=0x0080),
        ipv4(B, A, gre(INNER, WCCP, key=1), protocol=47),
        ipv4(B, A, gre(INNER, WCCP, csum=True), protocol=47),
        ipv4(B, A, gre(INNER, WCCP, sequence=1), protocol=47),
        ipv4(B, A, gre(INNER), protocol=47),
    ],
    ids=["strict", "recursion", "ack", "key", "checksum", "sequence", "plain-gre"],
)  # fmt: skip
def test_the_rule_asks_for_wccp_and_no_flag_at_all(plane: Plane, packet: bytes) -> None:
    """parse_gre_header: greh->flags == 0; anything else goes on to the gre handler as it is."""
    plane.send("underlay", packet)
    assert plane.verdicts()["wccp_rcv"] == {"reject": 1}


def test_a_packet_for_no_link_is_left_to_the_others(plane: Plane) -> None:
    plane.send("underlay", ipv4("192.0.2.99", A, gre(INNER, WCCP), protocol=47))
    assert plane.drops("underlay") == {"tunnel_no_link": 1}
    assert plane.verdicts()["wccp_rcv"] == {"reject": 1}


def test_congestion_marks_and_link_state_are_minded_as_for_any_tunnel(plane: Plane) -> None:
    plane.send("underlay", ipv4(B, A, gre(REDIRECT + INNER, WCCP), protocol=47, tos=3))
    assert plane.drops("underlay") == {"tunnel_ecn": 1}
    plane.datapath.set_link_up("wccp0", False)
    plane.send("underlay", redirected(INNER))
    assert plane.drops("underlay")["tunnel_no_link"] == 1


@pytest.mark.conformance("K17")
def test_both_versions_are_sound(plane: Plane) -> None:
    other = ipv4("10.0.0.2", "203.0.113.1", udp(7, 9, b"x" * 30), tos=1)
    packets = [
        redirected(INNER),
        redirected(REDIRECT + INNER),
        redirected(other),
        redirected(b"\x40\1\2\3" + INNER),
    ]
    packets += [redirected(REDIRECT + INNER[:n]) for n in (4, 19)]
    check_soundness(plane.datapath, "underlay", *packets, variants=80)
