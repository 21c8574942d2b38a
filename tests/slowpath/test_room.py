"""When the flow table or an in-port's masks are full: what is in use stays, and the new finds room soon."""

from __future__ import annotations

from ipaddress import ip_network

from tests.plane import L3, A, B, MakePlane, Plane
from vdp.forwarding.routes import Route
from vdp.testing.builders import gre, ipv4, udp


def packet(destination: str) -> bytes:
    return ipv4("192.0.2.9", destination, udp(1, 2))


def sweep(plane: Plane, keep: int = 1000) -> None:
    plane.datapath.slowpath.sweep(1000, keep)


def is_known(plane: Plane, port: str, data: bytes) -> bool:
    """Whether the packet passes without a miss."""
    before = plane.stats(port).misses
    plane.send(port, data)
    return plane.stats(port).misses == before


def test_a_mask_that_finds_no_room_gets_that_of_the_one_of_no_use_for_longest(make_plane: MakePlane) -> None:
    """Three destinations, told from the routes by 24, 16 and 8 bits: three masks, and room for two."""
    plane = make_plane(port_masks=2)
    plane.port("a", L3)
    plane.port("b", L3)
    plane.route(Route(ip_network("10.0.0.0/24"), "b"), Route(ip_network("0.0.0.0/0"), "b"))
    used, idle, new = packet("10.0.0.1"), packet("10.1.0.1"), packet("11.0.0.1")
    plane.send("a", used, idle)
    plane.pass_time(1)
    assert is_known(plane, "a", used)
    assert not is_known(plane, "a", new)
    assert not is_known(plane, "a", new)
    sweep(plane)
    assert plane.datapath.slowpath.evictions["limit"] == 1
    assert not is_known(plane, "a", new)
    assert is_known(plane, "a", new)
    assert is_known(plane, "a", used)
    sweep(plane)
    assert plane.datapath.slowpath.evictions["limit"] == 1


def test_a_full_table_loses_its_longest_idle_flows(make_plane: MakePlane) -> None:
    plane = make_plane(flows=8)
    plane.port("underlay", L3)
    plane.link("gre1", "gre", local=A, remote=B)
    received = [ipv4(f"198.51.100.{n}", A, gre(packet("10.0.0.1")), protocol=47) for n in range(9)]
    plane.send("underlay", *received[:8])
    plane.pass_time(1)
    plane.send("underlay", received[0])
    sweep(plane, keep=8)
    assert plane.datapath.slowpath.evictions["limit"] == 0, "full, but nobody was refused"
    plane.send("underlay", received[8])
    sweep(plane, keep=8)
    assert plane.datapath.slowpath.evictions["limit"] == 1
    assert not is_known(plane, "underlay", received[8])
    assert is_known(plane, "underlay", received[8])
    assert is_known(plane, "underlay", received[0])
    index = plane.datapath.slowpath.index
    assert {key[1] for key in index.flows} == {stats.id for stats in plane.engine.dump(0)}
