"""What a link costs beside many others: nothing is asked, or told, of all of them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.plane import L2, L3, MAC_A, MAC_B, A, MakePlane, Plane
from vdp.forwarding.routes import Route
from vdp.links.gre_tunnel import GreTunnel
from vdp.packet import Packet
from vdp.testing.builders import ETH_IPV4, IP_GRE, ethernet, gre, ipv4, udp
from vdp.testing.paths import NEXT_HOP_MAC, StaticPaths

COUNT = 200
REMOTE = IPv4Address("10.0.0.1")
FAR = IPv4Address("100.0.0.0")


@pytest.fixture
def paths() -> StaticPaths:
    return StaticPaths()


@pytest.fixture
def plane(make_plane: MakePlane, paths: StaticPaths) -> Plane:
    """Two hundred gre links, each with a network behind it, between an Ethernet underlay and `lan`."""
    plane = make_plane(("gre",), paths)
    plane.port("underlay", L2, mac=MAC_A)
    plane.port("lan", L3)
    for number in range(COUNT):
        plane.link(f"g{number}", "gre", local=A, remote=str(REMOTE + number))
    networks = (Route(IPv4Network((int(FAR) + (n << 8), 24)), f"g{n}") for n in range(COUNT))
    plane.route(Route(IPv4Network("172.16.0.0/16"), "lan"), *networks)
    return plane


def inner(number: int) -> bytes:
    return ipv4(str(FAR + (number << 8) + 1), "172.16.0.1", udp(1, 2, b"hello"))


def outgoing(number: int) -> bytes:
    return ipv4("172.16.0.1", str(FAR + (number << 8) + 1), udp(1, 2, b"hello"))


def test_only_the_links_that_follow_a_way_are_told_of_it(
    plane: Plane, paths: StaticPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(GreTunnel, "path_changed", lambda self, way, path: told.append(self.name))
    datapath = plane.datapath
    way = datapath.links["g7"].way
    assert way is not None
    datapath._path_changed(way, None, ("path", way))
    assert told == ["g7"]
    plane.remove_link("g7")
    datapath._path_changed(way, None, ("path", way))
    assert told == ["g7"]


def test_a_changed_link_follows_its_new_way_only(plane: Plane) -> None:
    link = plane.datapath.links["g7"]
    before = link.way
    plane.change_link("g7", local=A, remote="10.9.9.9")
    assert link.way is not None
    assert link.way != before
    assert plane.datapath._followers[link.way] == {link}
    assert before not in plane.datapath._followers


def test_another_mac_address_of_a_next_hop_has_nothing_traced_again(
    plane: Plane, paths: StaticPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outgoing_macs() -> set[bytes]:
        for number in range(COUNT):
            plane.send("lan", outgoing(number))
        return {frame[:6] for frame in plane.received("underlay")}

    assert outgoing_macs() == {NEXT_HOP_MAC}
    traced: list[int] = []
    trace = plane.datapath.trace
    monkeypatch.setattr(
        plane.datapath, "trace", lambda port, *rest: traced.append(port) or trace(port, *rest)
    )
    monkeypatch.setattr("vdp.testing.paths.NEXT_HOP_MAC", MAC_B)
    plane._runner.run(plane.datapath.paths.refresh())
    assert outgoing_macs() == {MAC_B}
    assert traced == []
    path = plane.datapath.links["g7"].path  # type: ignore[attr-defined]
    assert path.destination_mac == MAC_B
    paths.mtu = 1400
    plane._runner.run(plane.datapath.paths.refresh())
    assert outgoing_macs() == {MAC_B}
    assert set(traced) == {plane.datapath.number_of("lan")}


def test_what_comes_in_does_not_rest_on_the_way_back(plane: Plane, paths: StaticPaths) -> None:
    outer = ipv4(str(REMOTE), A, gre(inner(0), ETH_IPV4), protocol=IP_GRE)
    plane.send("underlay", ethernet(outer, to=MAC_A.hex(":")))
    (flow,) = plane.flows("underlay")
    paths.unreachable.add(REMOTE)
    plane._runner.run(plane.datapath.paths.refresh())
    (after,) = plane.flows("underlay")
    assert after is flow


def test_headers_of_next_hops_come_and_go_with_the_ways(plane: Plane, paths: StaticPaths) -> None:
    hops = plane.datapath.paths._next_hops
    assert len(hops) == COUNT
    for number in range(10):
        plane.remove_link(f"g{number}")
    plane.datapath.forget_unused_paths()
    assert len(hops) == COUNT - 10
    assert plane.engine.new_header(b"free") <= COUNT


def test_headers_stay_as_long_as_flows_may_go_by_them(plane: Plane, paths: StaticPaths) -> None:
    """While a plugin is exchanged, flows go on as they are, also by a way that is not known any more."""
    plane.send("lan", outgoing(0))
    hops = plane.datapath.paths._next_hops
    with plane.datapath.slowpath.halted():
        plane.remove_link("g1")
        plane.datapath.forget_unused_paths()
        assert len(hops) == COUNT
    assert len(hops) == COUNT - 1


def test_tunnels_share_their_masks(plane: Plane) -> None:
    for number in range(COUNT):
        outer = ipv4(str(REMOTE + number), A, gre(inner(number), ETH_IPV4), protocol=IP_GRE)
        plane.send("underlay", ethernet(outer, to=MAC_A.hex(":")))
        plane.send("lan", outgoing(number))
    assert len(plane.received("lan")) == COUNT
    assert len(plane.received("underlay")) == COUNT
    for port in ("underlay", "lan"):
        flows = plane.flows(port)
        assert len(flows) == COUNT
        assert len({flow.match.mask for flow in flows}) == 1


def test_a_route_is_found_among_many_by_few_looks(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    read_bits = Packet.read_bits

    def counted(self: Packet, place: int, at: int, bits: int, label: str = "") -> int:
        looks.append(label)
        return read_bits(self, place, at, bits, label)

    monkeypatch.setattr(Packet, "read_bits", counted)
    plane.send("lan", outgoing(COUNT - 1))
    assert len(plane.received("underlay")) == 1
    assert looks.count("destination") == 3  # bytes of a /24
