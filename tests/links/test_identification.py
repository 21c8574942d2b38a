"""Outer identifications are told apart where fragments could be mixed up: between the same two ends."""

from __future__ import annotations

import pytest

from tests.conftest import EngineFactory
from tests.plane import L3, A, B, MakePlane, Plane
from vdp.links.identification import BUCKETS, Identifications
from vdp.testing.builders import ipv4, udp

OTHER = "192.0.2.9"


def packet(number: int) -> bytes:
    return ipv4("10.0.0.1", f"10.{number}.0.1", udp(1, 2, b"hello"), flags=0)


def identifications(plane: Plane) -> list[int]:
    return [int.from_bytes(packet[4:6], "big") for packet in plane.received("underlay")]


@pytest.mark.conformance("G17", "G19")
def test_links_with_the_same_ends_never_use_one_twice(make_plane: MakePlane) -> None:
    """As ip_idents: by addresses and protocol, whatever the key or kind; RFC 6864 4.1."""
    plane = make_plane()
    plane.port("underlay", L3)
    for number in range(3):
        plane.port(f"lan{number}", L3)
        plane.link(f"gre{number}", "gre", local=A, remote=B, key=number, pmtudisc=False)
        plane.connect(f"lan{number}", f"gre{number}")
    for _ in range(4):
        for number in range(3):
            plane.send(f"lan{number}", packet(number))
    found = identifications(plane)
    assert found == list(range(found[0], found[0] + 12))


@pytest.mark.conformance("G17")
def test_a_removed_and_a_new_link_go_on_counting(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.port("underlay", L3)
    plane.port("lan", L3)
    for _ in range(2):
        plane.link("gre1", "gre", local=A, remote=B)
        plane.connect("lan", "gre1")
        plane.send("lan", packet(1), packet(1))
        plane.remove_link("gre1")
    found = identifications(plane)
    assert found == [found[0] + n for n in range(4)]


def test_very_many_ends_share_some_states_evenly(make_engine: EngineFactory) -> None:
    states = Identifications(make_engine(), lambda undo: None)
    found = [states.of(0xC0000201, 0x0A000000 + number) for number in range(BUCKETS * 40)]
    assert found[0] == states.of(0xC0000201, 0x0A000000)
    counts = [found.count(state) for state in set(found)]
    assert len(counts) > BUCKETS * 9 // 10
    assert max(counts) < 40 * 4
