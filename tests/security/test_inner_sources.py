"""Sources inside a tunnel: what nobody can have there, and what a link's configuration allows."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest

from tests.plane import L2, L3, A, B, Plane
from vdp.forwarding.routes import Route
from vdp.links.inner import InnerSources
from vdp.testing.builders import ETH_ARP, ETH_IPV6, arp, ethernet, gre, ipv4, ipv6, udp, vlan
from vdp.testing.soundness import check_soundness

#: The host's own, as netlink would say.
OWN, OWN6 = "203.0.113.7", "2001:db8:1::7"

MARTIANS = (
    *("0.0.0.0", "0.0.0.1", "0.255.255.255", "127.0.0.0", "127.0.0.1", "127.255.255.254", "224.0.0.1"),
    *("224.0.0.251", "232.1.2.3", "239.255.255.255", "255.255.255.255", A, OWN),
    *("::", "::1", "ff00::", "ff02::1", "ff05::1:3", "ffff:ffff::", OWN6),
)
LINK_LOCAL = ("fe80::1", "fe80::ffff:ffff:ffff:ffff", "febf::1")
GOOD = (
    *(
        "1.0.0.0",
        "10.0.0.2",
        "126.255.255.255",
        "128.0.0.0",
        "169.254.1.1",
        "192.0.2.3",
        B,
        "223.255.255.255",
    ),
    *("203.0.113.6", "203.0.113.8", "240.0.0.1", "255.255.255.254"),
    *("::2", "2001:db8::1", "2001:db8:1::6", "fe00::1", "fec0::1", "fd00::1", "64:ff9b::1"),
)


def inside(source: str, hops: int = 64) -> bytes:
    """A packet with that source."""
    if ":" in source:
        return ipv6(source, "2001:db8:2::1", udp(1, 2, b"hello"), hop_limit=hops)
    return ipv4(source, "198.51.100.1", udp(1, 2, b"hello"), ttl=hops)


def around(packet: bytes, frame: bytes = b"") -> bytes:
    """The same out there, in the tunnel; `frame`: what is carried in its place, with its Ethernet header."""
    protocol = 0x6558 if frame else ETH_IPV6 if packet[0] >> 4 == 6 else 0x0800
    return ipv4(B, A, gre(frame or packet, protocol), protocol=47)


@pytest.fixture
def tunnel(plane: Plane) -> Plane:
    """A gre link whose packets are routed."""
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.datapath.host_addresses = lambda port: frozenset(n.network_address for n in OWNED)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.route(Route(ip_network("0.0.0.0/0"), "lan"), Route(ip_network("::/0"), "lan"))
    return plane


OWNED: tuple[IPv4Network | IPv6Network, ...] = (ip_network(OWN), ip_network(OWN6))


def test_forty_addresses_and_no_leak(tunnel: Plane) -> None:
    assert len(MARTIANS + LINK_LOCAL + GOOD) >= 40
    for source in MARTIANS + LINK_LOCAL:
        tunnel.send("underlay", around(inside(source)))
        assert tunnel.received("lan") == [], source
    assert tunnel.all_drops() == {"inner_martian": len(MARTIANS + LINK_LOCAL)}
    for source in GOOD:
        tunnel.send("underlay", around(inside(source)))
        assert tunnel.received("lan") == [inside(source, 63)], source


def test_link_local_addresses_pass_a_connect_that_looks_at_sources(plane: Plane) -> None:
    """Its other end, a TUN, is the host that a link-local packet is for: nothing is routed."""
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.datapath.host_addresses = lambda port: frozenset(n.network_address for n in OWNED)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.connect("gre1", "lan")
    plane.datapath.links["gre1"].change_inner(InnerSources(martians="drop"))
    plane.send("underlay", *(around(inside(source)) for source in LINK_LOCAL))
    assert plane.received("lan") == [inside(source) for source in LINK_LOCAL]
    for source in MARTIANS:
        plane.send("underlay", around(inside(source)))
        assert plane.received("lan") == [], source


def test_a_connect_is_a_wire_as_long_as_nothing_else_is_said(plane: Plane) -> None:
    """The host behind a TUN does as it always does with what arrives (rp_filter and its like)."""
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.connect("gre1", "lan")
    for source in (*MARTIANS, *LINK_LOCAL, *GOOD):
        plane.send("underlay", around(inside(source)))
        assert plane.received("lan") == [inside(source)], source
    plane.datapath.forwarding.disconnect("lan")
    plane.route(Route(ip_network("0.0.0.0/0"), "lan"))
    plane.send("underlay", around(inside("127.0.0.1")))
    assert plane.received("lan") == []
    assert plane.all_drops() == {"inner_martian": 1}


def test_a_flow_looks_at_no_more_than_it_takes(tunnel: Plane) -> None:
    """Not at the whole source: one flow for 10.0.0.2 and all its neighbours, but for ours."""
    tunnel.send("underlay", *(around(inside(f"10.{n}.0.{n}")) for n in range(1, 200)))
    assert len(tunnel.flows("gre1")) == 1
    assert len(tunnel.received("lan")) == 199


def test_an_address_that_becomes_ours_is_nobodys_else_from_then_on(tunnel: Plane) -> None:
    packet = around(inside("10.0.0.2"))
    tunnel.send("underlay", packet)
    assert len(tunnel.received("lan")) == 1
    address = ip_network("10.0.0.2").network_address
    tunnel.datapath.host_addresses = lambda port: frozenset((address,))
    tunnel.datapath.invalidate(("addresses", "underlay"))
    tunnel.send("underlay", packet)
    assert tunnel.received("lan") == []
    assert tunnel.all_drops() == {"inner_martian": 1}


def test_what_is_decided_holds_for_all_that_the_flow_takes(tunnel: Plane) -> None:
    for inner in (InnerSources(), InnerSources((ip_network("10.0.0.0/14"), ip_network("2001:db8::/33")))):
        tunnel.datapath.links["gre1"].change_inner(inner)
        check_soundness(tunnel.datapath, "gre1", *map(inside, MARTIANS + GOOD))


@pytest.mark.parametrize(
    ("source", "passes"),
    [
        *(("10.20.0.0", True), ("10.20.255.255", True), ("10.21.0.0", False), ("10.19.255.255", False)),
        *(("192.0.2.128", True), ("192.0.2.127", False), ("8.8.8.8", False), ("10.20.0.1", True)),
        *(("2001:db8:5::1", True), ("2001:db8:4::1", False), ("fd00::1", False)),
    ],
)
def test_only_the_networks_that_are_allowed(tunnel: Plane, source: str, passes: bool) -> None:
    networks = ("10.20.0.0/16", "192.0.2.128/25", "2001:db8:5::/48")
    tunnel.datapath.links["gre1"].change_inner(InnerSources(tuple(map(ip_network, networks))))
    tunnel.send("underlay", around(inside(source)))
    assert tunnel.received("lan") == ([inside(source, 63)] if passes else [])
    assert tunnel.all_drops() == ({} if passes else {"inner_source": 1})


def test_other_networks_are_in_force_for_flows_that_there_are(tunnel: Plane) -> None:
    packet = around(inside("10.20.0.1"))
    tunnel.send("underlay", packet)
    assert len(tunnel.received("lan")) == 1
    tunnel.datapath.links["gre1"].change_inner(InnerSources((ip_network("10.21.0.0/16"),)))
    tunnel.send("underlay", packet)
    assert tunnel.received("lan") == []


def test_too_short_to_have_a_source_is_not_allowed(tunnel: Plane) -> None:
    tunnel.datapath.links["gre1"].change_inner(InnerSources((ip_network("0.0.0.0/0"),)))
    tunnel.send("underlay", around(inside("10.0.0.1")[:19]))
    assert tunnel.received("lan") == []


# -- frames -------------------------------------------------------------------------------

HERE, THERE = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


def frame(source: str) -> bytes:
    return ethernet(inside(source), to=HERE, origin=THERE)


@pytest.fixture
def bridged(plane: Plane) -> Plane:
    plane.port("underlay", L3)
    plane.port("lan", L2)
    plane.link("gt1", "gretap", local=A, remote=B)
    plane.bridge("br0", "gt1", "lan")
    return plane


def test_frames_pass_as_on_a_bridge(bridged: Plane) -> None:
    for source in (*MARTIANS, *LINK_LOCAL, *GOOD):
        bridged.send("underlay", around(b"", frame(source)))
        assert bridged.received("lan") == [frame(source)], source


def test_of_frames_too_what_nobody_can_have_is_dropped_where_that_is_asked_for(bridged: Plane) -> None:
    """But for who asks for an address (DHCP, duplicate address detection), and neighbours."""
    bridged.datapath.links["gt1"].change_inner(InnerSources(martians="drop"))
    for source in ("0.0.0.0", "::", *LINK_LOCAL, "10.0.0.1"):
        bridged.send("underlay", around(b"", frame(source)))
        assert bridged.received("lan") == [frame(source)], source
    for source in ("127.0.0.1", "224.0.0.1", "255.255.255.255", A, "::1", "ff02::1"):
        bridged.send("underlay", around(b"", frame(source)))
        assert bridged.received("lan") == [], source


@pytest.mark.parametrize("tags", [0, 1, 2])
def test_frames_of_allowed_networks_also_behind_tags(bridged: Plane, tags: int) -> None:
    bridged.datapath.links["gt1"].change_inner(InnerSources((ip_network("10.20.0.0/16"),)))
    for source, passes in (("10.20.0.1", True), ("10.21.0.1", False), ("2001:db8::1", False)):
        sent = frame(source)
        for _ in range(tags):
            sent = vlan(sent, 7)
        bridged.send("underlay", around(b"", sent))
        assert bridged.received("lan") == ([sent] if passes else []), source


def test_who_answers_for_an_address_must_have_it(bridged: Plane) -> None:
    bridged.datapath.links["gt1"].change_inner(InnerSources((ip_network("10.20.0.0/16"),)))
    for sender, passes in (("10.20.0.1", True), ("10.21.0.1", False)):
        sent = ethernet(arp(2, THERE, sender, HERE, "10.20.0.9"), to=HERE, ethertype=ETH_ARP)
        bridged.send("underlay", around(b"", sent))
        assert bridged.received("lan") == ([sent] if passes else []), sender
