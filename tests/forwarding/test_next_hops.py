"""Routes by a multipoint (NBMA) link: the next hop is where it sends to (ip_tunnel_xmit, rt_nexthop)."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6

from tests.plane import L2, L3, MAC_A, MAC_B, A, MakePlane, Plane
from vdp.forwarding.routes import Route
from vdp.links.paths import Paths
from vdp.testing.builders import ethernet, ipv4, ipv6, udp
from vdp.testing.paths import StaticPaths

HUB, SPOKE = "192.0.2.20", "192.0.2.21"


def route(destination: str, via: str = "nbma", next_hop: str | None = None) -> Route:
    return Route(ip_network(destination), via, 0, ip_address(next_hop) if next_hop else None)


def to(destination: str) -> bytes:
    return ipv4("10.9.9.9", destination, udp(1, 2))


@pytest.fixture
def paths() -> StaticPaths:
    return StaticPaths()


@pytest.fixture
def nbma(make_plane: MakePlane, paths: StaticPaths) -> Plane:
    plane = make_plane(paths=paths)
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("nbma", "gre", local=A)
    return plane


def remotes(plane: Plane, *packets: bytes, port: str = "underlay") -> list[str]:
    plane.send("lan", *packets)
    return sorted(IP(packet).dst for packet in plane.received(port))


@pytest.mark.conformance("B16", "G9", "G1")
def test_the_outer_destination_is_the_routes_next_hop(nbma: Plane) -> None:
    nbma.route(route("10.1.0.0/16", next_hop=HUB), route("10.2.0.0/16", next_hop=SPOKE))
    assert remotes(nbma, to("10.1.2.3"), to("10.2.2.3"), to("10.1.9.9")) == [HUB, HUB, SPOKE]
    before = nbma.upcalls
    assert remotes(nbma, to("10.1.77.7")) == [HUB]
    assert nbma.upcalls == before, "a megaflow for the whole route"


@pytest.mark.conformance("B16", "G1", "G9")
def test_without_a_next_hop_it_is_the_packets_own_destination(nbma: Plane) -> None:
    """rt_nexthop: a route without a gateway says that the destination is on the link."""
    nbma.route(route("198.51.100.0/24"))
    assert remotes(nbma, to("198.51.100.7"), to("198.51.100.8")) == ["198.51.100.7", "198.51.100.8"]


@pytest.mark.conformance("G9", "J")
@pytest.mark.parametrize("way", ["connect", "rule"])
def test_what_was_not_routed_has_no_next_hop(nbma: Plane, way: str) -> None:
    if way == "connect":
        nbma.connect("lan", "nbma")
    else:
        from vdp.config.model import RuleSection
        from vdp.forwarding.rules import compile_rule

        rule = RuleSection.model_validate({"match": {"in_port": "lan"}, "actions": ["output:nbma"]})
        nbma.datapath.forwarding.rules = (compile_rule(rule),)
    assert remotes(nbma, to("10.1.2.3")) == []
    found = nbma.counters("nbma")
    assert (found["tx_fifo_errors"], found["tx_errors"], found["tx_carrier_errors"]) == (1, 1, 0)
    assert nbma.drops("lan") == {"no_route": 1}


@pytest.mark.conformance("G9")
def test_frames_of_a_bridge_have_no_next_hop(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.port("underlay", L3)
    plane.port("lan", L2)
    plane.link("nbma", "gretap", local=A)
    plane.bridge("br0", "lan", "nbma")
    plane.send("lan", ethernet(to("10.1.2.3")))
    assert plane.received("underlay") == []
    assert plane.counters("nbma")["tx_fifo_errors"] == 1


@pytest.mark.conformance("G9", "G13", "J")
def test_a_next_hop_without_a_route_is_a_carrier_error(nbma: Plane, paths: StaticPaths) -> None:
    paths.unreachable = {ip_address(SPOKE)}
    nbma.route(route("10.1.0.0/16", next_hop=HUB), route("10.2.0.0/16", next_hop=SPOKE))
    assert remotes(nbma, to("10.2.2.3"), to("10.1.2.3")) == [HUB]
    found = nbma.counters("nbma")
    assert (found["tx_carrier_errors"], found["tx_errors"], found["tx_fifo_errors"]) == (1, 1, 0)


@pytest.mark.conformance("B16", "G9")
@pytest.mark.parametrize(
    ("destination", "next_hop", "remote"),
    [
        ("2001:db8::5", "::192.0.2.20", HUB), ("::192.0.2.21", None, SPOKE), ("2001:db8::5", None, None),
        ("2001:db8::5", "2001:db8::1", None), ("2001:db8::5", "::ffff:192.0.2.20", None), ("::1", None, None),
    ],
    ids=str,
)  # fmt: skip
def test_of_ipv6_the_neighbour_must_have_an_address_that_stands_for_an_ipv4_one(
    nbma: Plane, destination: str, next_hop: str | None, remote: str | None
) -> None:
    """IPV6_ADDR_COMPATv4: ::a.b.c.d; anything else is an error, but none of the queue."""
    nbma.route(route("::/0", next_hop=next_hop))
    assert remotes(nbma, ipv6("2001:db8::9", destination, udp(1, 2))) == ([remote] if remote else [])
    found = nbma.counters("nbma")
    assert (found["tx_errors"], found["tx_fifo_errors"]) == (0 if remote else 1, 0)


@pytest.mark.conformance("G9", "L18")
def test_over_ipv6_it_is_the_neighbour_itself(make_plane: MakePlane) -> None:
    plane = make_plane(plugins=("ip6gre",))
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("nbma", "ip6gre", local="2001:db8::1")
    plane.route(route("2001:db8:1::/48", next_hop="2001:db8::20"), route("2001:db8:2::/48"),
                route("10.0.0.0/8", next_hop=HUB))  # fmt: skip
    plane.send("lan", *(ipv6("2001:db8::9", f"2001:db8:{n}::5", udp(1, 2)) for n in (1, 2)), to("10.1.1.1"))
    assert [IPv6(packet).dst for packet in plane.received("underlay")] == ["2001:db8::20", "2001:db8:2::5"]
    assert plane.counters("nbma")["tx_errors"] == 1


@pytest.mark.conformance("B16", "G15")
def test_each_next_hop_has_a_path_mtu_of_its_own(nbma: Plane, paths: StaticPaths) -> None:
    nbma.route(route("10.1.0.0/16", next_hop=HUB), route("10.2.0.0/16", next_hop=SPOKE))
    big = [ipv4("10.9.9.9", f"10.{n}.0.1", udp(1, 2, bytes(1300))) for n in (1, 2)]
    assert remotes(nbma, *big) == [HUB, SPOKE]
    assert nbma.datapath.links["nbma"].mtu == 1476

    find = paths.find

    async def narrow(port: Any, destination: Any, *rest: Any) -> Any:
        from dataclasses import replace

        path = await find(port, destination, *rest)
        return replace(path, mtu=1000) if destination == ip_address(SPOKE) else path

    paths.find = narrow  # type: ignore[method-assign]
    nbma._runner.run(nbma.datapath.paths.refresh())
    assert remotes(nbma, *big) == [HUB]
    assert nbma.datapath.links["nbma"].mtu == 1476


@pytest.mark.conformance("G9")
def test_a_next_hop_on_ethernet_is_resolved_like_any(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.port("underlay", L2, mac=MAC_A)
    plane.port("lan", L3)
    plane.link("nbma", "gre", local=A)
    plane.route(route("10.1.0.0/16", next_hop=HUB))
    plane.send("lan", to("10.1.2.3"))
    (frame,) = plane.received("underlay")
    assert IP(frame[14:]).dst == HUB
    assert frame[:6] != MAC_B


def test_ways_that_nobody_needs_any_more_are_forgotten(nbma: Plane) -> None:
    nbma.route(route("198.51.100.0/24"))
    nbma.link("other", "gre", local=A, remote=HUB)
    assert len(remotes(nbma, *(to(f"198.51.100.{n}") for n in range(1, 9)))) == 8
    known = nbma.datapath.paths._known
    assert len(known) == 9
    nbma.datapath.forget_unused_paths()
    assert len(known) == 9, "flows rest on them"
    nbma.datapath.slowpath.flush()
    nbma.datapath.forget_unused_paths()
    assert [str(way.destination) for way in known] == [HUB], "a link is bound to it"
    assert len(remotes(nbma, to("198.51.100.1"))) == 1


def test_there_is_a_bound_to_the_ways_that_packets_can_have_asked_for(
    nbma: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vdp.links.paths.MOST_WAYS", 4)
    nbma.route(route("198.51.100.0/24"))
    assert len(remotes(nbma, *(to(f"198.51.100.{n}") for n in range(1, 9)))) == 4
    assert len(nbma.datapath.paths._known) == 4
    assert nbma.stats("lan").held == 4
    assert isinstance(nbma.datapath.paths, Paths)
