"""WCCP links send: a router redirects, a cache returns what it declines, and nothing is redirected twice."""

from __future__ import annotations

import pytest

from tests.plane import L3, A, B, Plane
from vdp.config.model import RuleSection
from vdp.forwarding.rules import compile_rule
from vdp.testing.builders import gre, ipv4, tcp, udp

WCCP = 0x883E
C = "192.0.2.3"
INNER = ipv4("10.0.0.2", "203.0.113.1", tcp(1000, 80, b"GET /"))
OTHER = ipv4("10.0.0.3", "203.0.113.9", udp(1000, 53, b"?"))


def payload(packet: bytes) -> bytes:
    """What an outer packet carries behind its GRE header, which has protocol 0x883e and no flags."""
    assert packet[9] == 47
    assert packet[20:24] == bytes((0, 0, WCCP >> 8, WCCP & 255))
    return packet[24:]


@pytest.fixture
def plane(plane: Plane) -> Plane:
    plane.port("underlay", L3)
    plane.port("lan", L3)
    return plane


def bounce(plane: Plane, link: str) -> None:
    """What comes in by a link goes back out of it: a cache that declines everything."""
    rule = {"priority": 1, "match": {"in_port": link}, "actions": [f"output:{link}"]}
    plane.datapath.forwarding.rules = (compile_rule(RuleSection.model_validate(rule)),)


@pytest.mark.conformance("K5")
def test_a_cache_returns_a_packet_with_the_header_that_it_came_with(plane: Plane) -> None:
    plane.link("wccp0", "wccp", local=A, remote=B)
    bounce(plane, "wccp0")
    headers = [bytes((0x80, 51, 7, bucket)) for bucket in (1, 72, 255)] + [bytes(4)]
    for header in headers * 2:
        plane.send("underlay", ipv4(B, A, gre(header + INNER, WCCP), protocol=47))
    sent = plane.received("underlay")
    assert [payload(packet) for packet in sent] == [header + INNER for header in headers * 2]
    assert {(packet[12:16], packet[16:20]) for packet in sent} == {
        (bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2)))
    }


@pytest.mark.conformance("K5")
def test_what_a_cache_sends_of_its_own_has_a_header_of_zeros(plane: Plane) -> None:
    plane.link("wccp0", "wccp", local=A, remote=B)
    plane.connect("lan", "wccp0")
    plane.send("lan", INNER)
    (sent,) = plane.received("underlay")
    assert payload(sent) == bytes(4) + INNER


@pytest.mark.conformance("K1", "K5")
def test_version_1_returns_the_bare_packet(plane: Plane) -> None:
    plane.link("wccp0", "wccp", local=A, remote=B, version=1)
    bounce(plane, "wccp0")
    plane.send("underlay", ipv4(B, A, gre(INNER, WCCP), protocol=47))
    (sent,) = plane.received("underlay")
    assert payload(sent) == INNER


@pytest.mark.conformance("K13")
@pytest.mark.parametrize(("dynamic", "service"), [(False, 0), (True, 51), (True, 255)])
def test_a_router_names_its_service(plane: Plane, dynamic: bool, service: int) -> None:
    plane.link("wccp0", "wccp", local=A, remote=B, role="router", dynamic=dynamic, service=service)
    plane.connect("lan", "wccp0")
    plane.send("lan", INNER, OTHER)
    header = bytes((dynamic << 7, service, 0, 0))
    assert [payload(packet) for packet in plane.received("underlay")] == [header + INNER, header + OTHER]


@pytest.mark.conformance("K15")
def test_a_router_does_not_redirect_what_a_cache_returned(plane: Plane) -> None:
    """Neither to the cache that it came from, nor to another one."""
    for name, remote in (("wccp0", B), ("wccp1", C)):
        plane.link(name, "wccp", local=A, remote=remote, role="router")
    returned = ipv4(B, A, gre(bytes(4) + INNER, WCCP), protocol=47)
    bounce(plane, "wccp0")
    plane.send("underlay", returned)
    plane.datapath.forwarding.rules = ()
    plane.connect("wccp0", "wccp1")
    plane.datapath.revalidate()
    plane.send("underlay", returned, returned)
    assert plane.received("underlay") == []
    assert plane.drops("wccp0") == {"plugin_wccp_returned": 3}
    assert plane.counters("wccp0")["tx_dropped"] == 1
    assert plane.counters("wccp1")["tx_dropped"] == 2


@pytest.mark.conformance("K15")
def test_what_a_cache_returned_goes_on_where_it_was_going(plane: Plane) -> None:
    plane.link("wccp0", "wccp", local=A, remote=B, role="router")
    plane.connect("wccp0", "lan")
    plane.send("underlay", ipv4(B, A, gre(bytes(4) + INNER, WCCP), protocol=47))
    assert plane.received("lan") == [INNER]
