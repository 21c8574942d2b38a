"""Megaflow soundness: what a trace did not look at can not change what it decides."""

from __future__ import annotations

import random
from ipaddress import ip_network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from tests.plane import L2, L3, MAC_A, MAC_B, A, B
from tests.trace.worlds import World, arrivals, worlds
from vdp.config.model import RuleSection
from vdp.engine.interface import EngineConfig
from vdp.forwarding.routes import Route
from vdp.forwarding.rules import compile_rule
from vdp.protocols.ethernet import format_mac
from vdp.testing import builders as b
from vdp.testing.dataplane import Dataplane
from vdp.testing.reference import ReferenceEngine
from vdp.testing.soundness import Sample, check_soundness, sample_of

RELAXED = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)


def build(world: World) -> Dataplane:
    plane = Dataplane(ReferenceEngine(EngineConfig(upcall_rate=0, action_rate=0)))
    world.build(plane)
    return plane


def members(plane: Dataplane, world: World) -> tuple[str, ...]:
    known = {**plane.datapath.ports, **plane.datapath.links}
    return tuple(name for name in world.ports() if name in known)


@settings(RELAXED, max_examples=60)
@given(worlds(), st.data(), st.integers(0, 2**32))
def test_any_packet_of_a_megaflow_comes_to_that_megaflow(world: World, data: DataObject, seed: int) -> None:
    """Random configurations, random packets, random bits and lengths that the trace did not look at."""
    with build(world) as plane:
        one = arrivals(world, members(plane, world))
        found = data.draw(st.lists(one, min_size=1, max_size=8))
        samples = [sample_of(plane.datapath, port, packet) for port, packet in found]
        check_soundness(plane.datapath, "underlay", *samples, chance=random.Random(seed), variants=12)


@settings(RELAXED, max_examples=30)
@given(worlds(), st.data(), st.integers(0, 2**32))
def test_soundness_holds_for_a_dataplane_that_has_learned(world: World, data: DataObject, seed: int) -> None:
    """The same after traffic: stations learned, sequence states advanced, flows installed."""
    with build(world) as plane:
        ports = members(plane, world)
        outside = tuple(port for port in ports if port in plane.datapath.ports)
        for port, packet in data.draw(st.lists(arrivals(world, outside), min_size=1, max_size=8)):
            plane.send(port, packet)
        found = data.draw(st.lists(arrivals(world, ports), min_size=1, max_size=5))
        samples = [sample_of(plane.datapath, port, packet) for port, packet in found]
        samples += [
            Sample(flow.match.in_port, flow.data.ljust(flow.length, b"\0"), flow.meta)
            for flow in plane.datapath.slowpath.index.flows.values()
        ]
        check_soundness(plane.datapath, "underlay", *samples, chance=random.Random(seed), variants=8)


# -- packets cut anywhere --------------------------------------------------------------------

INNER = b.ipv4("10.1.2.3", "10.9.8.7", b.tcp(1000, 80, b"x" * 9), options=b"\1\1\1\1")
INNER6 = b.ipv6("2001:db8::1", "2001:db8::2", b.udp(53, 5353, b"x" * 9))
TAGGED = b.vlan(b.vlan(b.ethernet(INNER), 7), 8, tpid=0x88A8)
RULES = (
    {"match": {"eth_type": "ip", "ip_src": "10.1.0.0/16", "ip_proto": "tcp", "tp_dst": 80}},
    {"match": {"eth_type": "ipv6", "ip_dst": "2001:db8::/64", "ip_proto": "udp", "tp_src": 53}},
    {"match": {"eth_dst": "01:00:00:00:00:00/01:00:00:00:00:00"}, "actions": ["drop"]},
)


def outer(payload: bytes) -> bytes:
    return b.ethernet(b.ipv4(B, A, payload, protocol=b.IP_GRE, options=b"\1\1\1\0"), to="02:00:00:00:00:0b")


@pytest.mark.parametrize(
    ("port", "packet"),
    [
        ("underlay", outer(b.gre(INNER))),
        ("underlay", outer(b.gre(INNER6, b.ETH_IPV6, key=7, csum=True, sequence=1))),
        ("underlay", outer(b.gre(TAGGED, b.ETH_TEB, key=1))),
        ("underlay", outer(b.gre(b.ethernet(INNER), b.ETH_TEB, csum=True))),
        ("underlay", outer(b.gre(INNER, b.ETH_WCCP))),
        ("underlay", outer(b.gre(b"\x80\7\1\2" + INNER, b.ETH_WCCP))),
        ("underlay", b.ethernet(b.arp(1, format_mac(MAC_A), B, "00:00:00:00:00:00", A), ethertype=b.ETH_ARP)),
        ("lan", TAGGED),
        ("lan", b.ethernet(INNER6)),
        ("tun", INNER),
        ("tun", INNER6),
        ("gt1", b.ethernet(INNER)),
    ],
    ids=["gre", "gre-key-csum-seq", "gretap", "gretap-csum", "wccp-1", "wccp-2", "arp", "rules-vlan",
         "rules-ipv6", "routes", "routes-ipv6", "bridge"],
)  # fmt: skip
def test_a_packet_cut_anywhere_is_treated_as_its_megaflow_says(port: str, packet: bytes) -> None:
    """Lengths are looked at like bits: that a header is not all there is a guard too."""
    with Dataplane(ReferenceEngine(EngineConfig(upcall_rate=0, action_rate=0))) as plane:
        plane.port("underlay", L2, mac=MAC_B)
        plane.port("lan", L2)
        plane.port("tun", L3)
        plane.link("gre1", "gre", local=A, remote=B)
        plane.link("gre2", "gre", local=A, remote=B, key=7, csum=True, seq=True, tos="inherit")
        plane.link("gt1", "gretap", local=A, remote=B, key=1, pmtudisc=False)
        plane.bridge("br0", "lan", "gt1")
        plane.route(Route(ip_network("10.0.0.0/9"), "gre2"), Route(ip_network("2001:db8::/33"), "gre1"))
        made = [{"actions": ["normal"], **rule} for rule in RULES]
        plane.datapath.forwarding.rules = tuple(compile_rule(RuleSection.model_validate(r)) for r in made)
        cuts = [packet[:size] for size in range(1, len(packet) + 1)]
        check_soundness(plane.datapath, port, *cuts, variants=5, chance=random.Random(len(packet)))
