"""Outer sources that nobody out there can have: ip_route_input_slow's martians, and our own addresses."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from tests.links.test_receive import INNER, LOCAL, REMOTE, moved, outer
from tests.plane import L2, L3, A, B, MakePlane, Plane
from vdp.engine.interface import PortType
from vdp.ports.port import Port
from vdp.testing.builders import ethernet, gre, ipv4
from vdp.testing.soundness import check_soundness

MARTIANS = ["0.0.0.0", "127.0.0.1", "127.255.255.255", "224.0.0.1", "239.255.255.255", "255.255.255.255"]
NEIGHBOURS = ["0.0.0.1", "126.255.255.255", "128.0.0.0", "223.255.255.255", "240.0.0.1", "255.255.255.254"]


def of(source: str, destination: str = LOCAL) -> bytes:
    return ethernet(ipv4(source, destination, gre(INNER), protocol=47))


@pytest.fixture
def open_plane(plane: Plane) -> Plane:
    """An Ethernet underlay, and link gre1 that takes any remote."""
    plane.port("underlay", L2)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=LOCAL)
    plane.connect("lan", "gre1")
    return plane


@pytest.mark.conformance("C21", "D9")
@pytest.mark.parametrize("source", MARTIANS)
def test_a_martian_reaches_no_tunnel(open_plane: Plane, source: str) -> None:
    open_plane.send("underlay", of(source))
    assert open_plane.drops("underlay") == {"ip_source": 1}
    assert moved(open_plane, "gre1") == {}


@pytest.mark.conformance("D9")
@pytest.mark.parametrize("source", NEIGHBOURS)
def test_what_is_beside_a_martian_is_none(open_plane: Plane, source: str) -> None:
    open_plane.send("underlay", of(source))
    assert open_plane.received("lan") == [INNER]


@pytest.mark.conformance("D9")
def test_nobody_else_sends_from_a_link_s_address(open_plane: Plane) -> None:
    """fib_validate_source: what comes in from one of our own addresses is refused."""
    open_plane.link("other", "gre", local="192.0.2.50", remote="192.0.2.51")
    open_plane.send("underlay", of(LOCAL), of("192.0.2.50"), of("192.0.2.52"))
    assert open_plane.drops("underlay") == {"ip_source": 2}
    assert open_plane.received("lan") == [INNER]


@pytest.mark.conformance("D9")
def test_nor_from_one_of_the_host(open_plane: Plane) -> None:
    plane = open_plane
    plane.datapath.host_addresses = lambda port: frozenset({ip_address("192.0.2.60")})
    plane.send("underlay", of("192.0.2.60"), of("192.0.2.61"))
    assert plane.drops("underlay") == {"ip_source": 1}
    assert plane.received("lan") == [INNER]
    plane.datapath.host_addresses = lambda port: frozenset({ip_address("192.0.2.61")})
    plane.datapath.invalidate(("addresses", "underlay"))
    plane.settle()
    plane.send("underlay", of("192.0.2.60"), of("192.0.2.60"), of("192.0.2.61"))
    assert plane.drops("underlay") == {"ip_source": 2}
    assert plane.received("lan") == [INNER] * 2


@pytest.mark.conformance("D9")
def test_a_link_that_comes_takes_its_address_from_the_others(open_plane: Plane) -> None:
    plane = open_plane
    plane.send("underlay", of("192.0.2.50"))
    plane.link("late", "gre", local="192.0.2.50", remote="192.0.2.51")
    plane.settle()
    plane.send("underlay", of("192.0.2.50"))
    plane.remove_link("late")
    plane.send("underlay", of("192.0.2.50"))
    assert plane.received("lan") == [INNER] * 2
    assert plane.drops("underlay") == {"ip_source": 1}


def test_both_ends_of_a_tunnel_may_be_here(make_plane: MakePlane) -> None:
    """What a link names as its remote is taken, though it be another link's local address."""
    plane = make_plane()
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("left", "gre", local=A, remote=B)
    plane.link("right", "gre", local=B, remote=A)
    plane.connect("lan", "left")
    plane.send("underlay", outer(gre(INNER), src=B, dst=A))
    assert plane.received("lan") == [INNER]


@pytest.mark.parametrize("type", [PortType.IP, PortType.MEMORY], ids=["socket", "frames"])
def test_a_raw_ip_socket_is_believed(plane: Plane, type: PortType) -> None:
    """The kernel judged before; what two ends on one machine send each other comes by loopback."""
    underlay: Port = plane.port("underlay", L3)
    underlay.type = type
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=LOCAL)
    plane.connect("lan", "gre1")
    packets = [outer(gre(INNER), src=source) for source in ("127.0.47.2", LOCAL)]
    plane.send("underlay", *packets)
    assert len(plane.received("lan")) == (2 if type is PortType.IP else 0)


@pytest.mark.conformance("D9", "C20")
def test_a_fragment_of_a_martian_is_a_martian(open_plane: Plane) -> None:
    """The route is looked up before anything is put together."""
    packet = ipv4("127.0.0.1", LOCAL, gre(INNER), protocol=47, flags=1)
    open_plane.send("underlay", ethernet(packet))
    assert open_plane.drops("underlay") == {"ip_source": 1}


@pytest.mark.conformance("C21")
def test_a_bad_header_checksum_comes_before_a_bad_source(open_plane: Plane) -> None:
    open_plane.send("underlay", ethernet(ipv4("127.0.0.1", LOCAL, gre(INNER), protocol=47, checksum=1)))
    assert open_plane.drops("underlay") == {"ip_checksum": 1}


def test_flows_are_sound(open_plane: Plane) -> None:
    open_plane.link("gre2", "gre", local="192.0.2.50", remote=REMOTE)
    sources = [REMOTE, LOCAL, "192.0.2.50", "192.0.2.77", *MARTIANS]
    check_soundness(open_plane.datapath, "underlay", *(of(source) for source in sources))
