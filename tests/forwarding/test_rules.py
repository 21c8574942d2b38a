"""Rules by priority: which field each looks at, what they do, and that they are asked before the rest."""

from __future__ import annotations

from typing import Any

import pytest

from tests.plane import L2, L3, A, B, Plane
from vdp.config.model import RuleSection
from vdp.forwarding.rules import compile_rule
from vdp.testing.builders import arp, ethernet, gre, icmp, ipv4, ipv6, tcp, udp, vlan

S, D = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
IP4 = ipv4("10.1.2.3", "10.9.8.7", tcp(1000, 80, b"x"))
IP6 = ipv6("2001:db8::1", "2001:db8:ffff::2", udp(53, 5353, b"x"))


def frame(packet: bytes, **fields: Any) -> bytes:
    return ethernet(packet, to=D, origin=S, **fields)


@pytest.fixture
def plane(plane: Plane) -> Plane:
    """L2 ports x and y connected, and z; L3 ports u and v connected."""
    for name in ("x", "y", "z"):
        plane.port(name, L2)
    for name in ("u", "v"):
        plane.port(name, L3)
    plane.connect("x", "y")
    plane.connect("u", "v")
    return plane


def rules(plane: Plane, *sections: dict[str, Any]) -> None:
    made = [
        compile_rule(RuleSection.model_validate({"actions": ["drop"], **section})) for section in sections
    ]
    plane.datapath.forwarding.rules = tuple(made)
    plane.datapath.revalidate()


def takes(plane: Plane, match: dict[str, Any], packet: bytes, port: str = "x") -> bool:
    """Whether a rule with that match takes a packet that comes in there."""
    rules(plane, {"match": match})
    before = plane.drops(port).get("policy_rule", 0)
    plane.send(port, packet)
    return plane.drops(port).get("policy_rule", 0) > before


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        ({"eth_src": S}, frame(IP4), ethernet(IP4, origin=D)),
        ({"eth_dst": D}, frame(IP4), ethernet(IP4, to=S)),
        ({"eth_dst": "01:00:00:00:00:00/01:00:00:00:00:00"}, ethernet(IP4, to="33:33:00:00:00:01"),
        frame(IP4)),
        ({"eth_type": "arp"}, frame(arp(1, S, A, D, B), ethertype=0x0806), frame(IP4)),
        ({"eth_type": 0x1234}, frame(b"x" * 30, ethertype=0x1234), frame(b"x" * 30, ethertype=0x1235)),
        ({"eth_type": "ip"}, vlan(frame(IP4), 7), vlan(frame(IP6), 7)),
        ({"eth_type": "ip"}, vlan(vlan(frame(IP4), 7), 8, tpid=0x88A8), frame(IP6)),
        ({"ip_src": "10.1.2.0/24"}, frame(IP4), frame(ipv4("10.1.3.3", "10.9.8.7", tcp(1, 2)))),
        ({"ip_dst": "10.9.8.7/32"}, frame(IP4), frame(ipv4("10.1.2.3", "10.9.8.6", tcp(1, 2)))),
        ({"ip_dst": "0.0.0.0/0"}, frame(IP4), frame(IP6)),
        ({"ip_src": "2001:db8::/33"}, frame(IP6), frame(ipv6("2001:db8:8000::1", "::1", udp(1, 2)))),
        ({"ip_dst": "2001:db8:ffff::2/128"}, frame(IP6), frame(ipv6("::1", "2001:db8:ffff::3", udp(1, 2)))),
        ({"eth_type": "ip", "ip_proto": "tcp"}, frame(IP4), frame(ipv4("10.0.0.1", "10.0.0.2", udp(1, 2)))),
        ({"eth_type": "ipv6", "ip_proto": 17}, frame(IP6), frame(ipv6("::1", "::2", tcp(1, 2)))),
        ({"eth_type": "ip", "ip_proto": "tcp", "tp_src": 1000}, frame(IP4), frame(ipv4("10.0.0.1",
        "10.0.0.2", tcp(80, 1000)))),
        ({"eth_type": "ip", "ip_proto": "tcp", "tp_dst": 80}, frame(IP4), frame(ipv4("10.0.0.1", "10.0.0.2",
        tcp(80, 1000)))),
        ({"eth_type": "ipv6", "ip_proto": "udp", "tp_dst": 5353}, vlan(frame(IP6), 1), frame(ipv6("::1",
        "::2", udp(5353, 53)))),
        ({"eth_type": "ip", "ip_proto": "tcp", "tp_dst": 80},
         frame(ipv4("10.0.0.1", "10.0.0.2", tcp(1, 80), options=b"\1" * 8)), frame(ipv4("10.0.0.1",
         "10.0.0.2", tcp(1, 81), options=b"\1" * 8))),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_field_is_matched_and_nothing_else_is(
    plane: Plane, match: dict[str, Any], yes: bytes, no: bytes
) -> None:
    assert takes(plane, match, yes)
    assert not takes(plane, match, no)
    assert plane.received("y") == [no]


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        ({"eth_type": "ip"}, IP4, IP6),
        ({"ip_src": "10.1.2.3/32"}, IP4, IP6),
        ({"eth_type": "ipv6", "ip_proto": "udp", "tp_src": 53}, IP6, IP4),
        ({"in_port": "u"}, IP4, b""),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_layer_3_packets_have_the_same_fields_without_ethernet(
    plane: Plane, match: dict[str, Any], yes: bytes, no: bytes
) -> None:
    assert takes(plane, match, yes, "u")
    if no:
        assert not takes(plane, match, no, "u")


def test_a_bare_packet_has_no_mac_address(plane: Plane) -> None:
    assert not takes(plane, {"eth_src": "00:00:00:00:00:00/00:00:00:00:00:00"}, IP4, "u")


@pytest.mark.parametrize(
    "packet",
    [frame(IP4)[:33], frame(IP4)[:37], frame(ipv4("10.1.2.3", "10.9.8.7", b"\0\0\0\x50", protocol=6,
    fragment=5)), b"ab"],
    ids=["no-whole-ip-header", "no-whole-ports", "later-fragment", "no-ethernet"],
)  # fmt: skip
def test_what_is_not_there_does_not_match_and_is_not_truncated(plane: Plane, packet: bytes) -> None:
    assert not takes(plane, {"eth_type": "ip", "ip_proto": "tcp", "tp_dst": 80}, packet)
    assert plane.received("y") == [packet]


def test_a_rule_without_a_match_takes_everything(plane: Plane) -> None:
    for packet, port in ((frame(IP4), "x"), (IP6, "u"), (b"z", "y")):
        assert takes(plane, {}, packet, port)


@pytest.mark.conformance("E10")
def test_the_in_port_is_matched(plane: Plane) -> None:
    assert takes(plane, {"in_port": "x"}, frame(IP4), "x")
    assert not takes(plane, {"in_port": "x"}, frame(IP4), "y")


@pytest.mark.conformance("K2", "C17")
def test_registers_are_matched_behind_the_tunnel_that_sets_them(plane: Plane) -> None:
    """WCCP version 2: service and buckets, in register 0 of what comes out of the link."""
    plane.port("underlay", L3)
    plane.link("gre1", "gre", local=A, remote=B)
    rules(
        plane,
        {"priority": 2, "match": {"in_port": "gre1", "reg0": "0x480000/0xff0000"}, "actions": ["output:u"]},
        {"priority": 1, "match": {"in_port": "gre1"}, "actions": ["output:v"]},
    )
    for service, port in ((0x48, "u"), (0x49, "v")):
        plane.send("underlay", ipv4(B, A, gre(bytes([0, service, 0, 9]) + IP4, 0x883E), protocol=47))
        assert plane.received(port) == [IP4]


def test_the_highest_priority_wins_whatever_the_order(plane: Plane) -> None:
    rules(
        plane,
        {"priority": 1, "actions": ["drop"]},
        {"priority": 9, "actions": ["output:z"]},
        {"priority": 5, "actions": ["drop"]},
    )
    plane.send("x", frame(IP4))
    assert plane.received("z") == [frame(IP4)]


def test_a_rule_comes_before_bridge_connect_and_routes(plane: Plane) -> None:
    rules(plane, {"match": {"in_port": "x"}, "actions": ["output:z"]})
    plane.send("x", frame(IP4))
    assert (plane.received("z"), plane.received("y")) == ([frame(IP4)], [])


def test_normal_is_what_would_have_been_without_the_rule(plane: Plane) -> None:
    rules(plane, {"priority": 9, "match": {"eth_type": "ip"}, "actions": ["normal"]}, {"priority": 1})
    plane.send("x", frame(IP4), frame(IP6))
    assert plane.received("y") == [frame(IP4)]
    assert plane.drops("x") == {"policy_rule": 1}


def test_several_actions_each_get_a_copy_in_order(plane: Plane) -> None:
    rules(plane, {"match": {"in_port": "x"}, "actions": ["output:z", "normal", "output:z"]})
    plane.send("x", frame(IP4))
    assert (plane.received("z"), plane.received("y")) == ([frame(IP4)] * 2, [frame(IP4)])
    assert plane.stats("x").cloned == 2


def test_flood_reaches_the_other_members_of_the_bridge_and_learns_nothing(plane: Plane) -> None:
    for name in ("b1", "b2", "b3"):
        plane.port(name, L2)
    plane.bridge("br0", "b1", "b2", "b3")
    rules(plane, {"match": {"in_port": "b1"}, "actions": ["flood"]})
    plane.send("b1", frame(IP4))
    assert [len(plane.received(name)) for name in ("b1", "b2", "b3")] == [0, 1, 1]
    assert plane.datapath.forwarding.bridges["br0"].stations == {}


def test_flood_without_a_bridge_is_no_forwarding(plane: Plane) -> None:
    rules(plane, {"match": {"in_port": "x"}, "actions": ["flood"]})
    plane.send("x", frame(IP4))
    assert plane.drops("x") == {"no_forwarding": 1}


def test_flood_goes_by_the_bridge_that_there_is_now(plane: Plane) -> None:
    rules(plane, {"match": {"in_port": "x"}, "actions": ["flood"]})
    plane.send("x", frame(IP4))
    plane.bridge("br1", "x", "y")
    plane.datapath.revalidate()
    plane.send("x", frame(IP4))
    assert len(plane.received("y")) == 1
    plane.datapath.forwarding.remove_bridge("br1")
    plane.datapath.revalidate()
    plane.send("x", frame(IP4))
    assert plane.received("y") == []
    assert plane.drops("x") == {"no_forwarding": 2}


def test_a_rule_may_send_a_packet_back_where_it_came_from(plane: Plane) -> None:
    rules(plane, {"match": {"in_port": "x"}, "actions": ["output:x"]})
    plane.send("x", frame(IP4))
    assert plane.received("x") == [frame(IP4)]


def test_rules_look_at_no_more_than_decides(plane: Plane) -> None:
    """The first field that differs ends a rule; what it would have looked at next stays open."""
    rules(plane, {"match": {"in_port": "x", "eth_type": "ip", "ip_proto": "tcp", "tp_dst": 80}})
    plane.send("x", *[frame(ipv6("::1", f"::{n:x}", tcp(n, 80))) for n in range(1, 30)])
    plane.send("x", *[frame(ipv4("10.0.0.1", f"10.0.0.{n}", udp(n, n))) for n in range(1, 30)])
    assert len(plane.flows("x")) == 2
    plane.send("y", frame(IP4))
    assert plane.flows("y")[0].match.mask == b"", "another port: no field at all"


def test_a_changed_rule_concerns_flows_that_run_already(plane: Plane) -> None:
    plane.send("x", frame(IP4))
    assert len(plane.received("y")) == 1
    rules(plane, {"match": {"eth_type": "ip"}})
    plane.send("x", frame(IP4))
    assert plane.drops("x") == {"policy_rule": 1}
    rules(plane)
    plane.send("x", frame(IP4))
    assert len(plane.received("y")) == 1


def test_an_icmp_has_no_ports(plane: Plane) -> None:
    packet = frame(ipv4("10.0.0.1", "10.0.0.2", icmp(0, 80), protocol=1))
    assert not takes(plane, {"eth_type": "ip", "ip_proto": "tcp", "tp_src": 80}, packet)
