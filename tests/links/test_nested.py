"""Tunnels in tunnels: a link takes its own header off, and what is inside is its payload, whatever it is."""

from __future__ import annotations

import pytest

from tests.plane import L3, A, B, Plane
from vdp.testing.builders import gre, ipv4, tcp

C, D = "198.51.100.1", "198.51.100.2"


def within(packet: bytes, source: str, destination: str) -> bytes:
    return ipv4(source, destination, gre(packet), protocol=47)


def segments(count: int) -> list[bytes]:
    """TCP segments that a cell would join."""
    return [ipv4("10.0.0.2", "10.0.0.1", tcp(1000, 80, bytes(100), seq=100 * n), id=n) for n in range(count)]


@pytest.fixture
def plane(plane: Plane) -> Plane:
    for name in ("underlay", "lan"):
        plane.port(name, L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.connect("gre1", "lan")
    return plane


@pytest.mark.conformance("L19")
@pytest.mark.parametrize("depth", [1, 2, 8])
def test_one_header_is_taken_off_however_many_there_are(plane: Plane, depth: int) -> None:
    (inside,) = segments(1)
    for _ in range(depth):
        inside = within(inside, D, C)
    plane.send("underlay", within(inside, B, A))
    assert plane.received("lan") == [inside]
    plane.send("lan", inside)
    (outside,) = plane.received("underlay")
    assert outside[24:] == inside


@pytest.mark.conformance("F11", "L19")
def test_what_is_still_encapsulated_is_not_joined(plane: Plane) -> None:
    """As skb->encap_mark: the segments are joined where their last header goes, not before."""
    bare, nested = segments(4), [within(packet, D, C) for packet in segments(4)]
    plane.arrive("underlay", *(within(packet, B, A) for packet in nested))
    plane.settle()
    assert plane.received("lan") == nested
    plane.arrive("underlay", *(within(packet, B, A) for packet in bare))
    plane.settle()
    assert plane.stats("gre1").merged == 3
