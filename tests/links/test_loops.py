"""Tunnels in tunnels, and tunnels whose way leads back into them (tdev == dev in ip_tunnel_xmit)."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import GRE

from tests.links.test_receive import INNER, moved
from tests.links.ways import Ways
from tests.plane import L2, L3, A, B, MakePlane, Plane
from vdp.config.rules import Output
from vdp.engine.interface import PortConfig, PortType
from vdp.forwarding.routes import Route
from vdp.forwarding.rules import Rule
from vdp.testing.builders import ethernet, gre, ipv4

#: A frame whose destination is the next hop of every way (vdp.testing.paths).
NEXT_HOP = "02:00:00:00:00:02"
LOOP = {"collisions": 1, "tx_errors": 1}


@pytest.fixture
def looped(make_plane: MakePlane) -> Plane:
    """Link gre1, whose remote is reached by the device of port tun0, and a port lan."""
    plane = make_plane(paths=Ways(leave_by={ip_address(B): ("tun0", 7)}))
    for name in ("underlay", "lan"):
        plane.port(name, L3)
    plane.port("tun0", L3, device="tun0")
    plane.link("gre1", "gre", local=A, remote=B)
    return plane


def sent_into(plane: Plane, link: str, packet: bytes = INNER) -> list[bytes]:
    """What leaves for a packet that a rule sends to the link."""
    plane.datapath.forwarding.rules = (rule("lan", link),)
    plane.settle()
    plane.send("lan", packet)
    return plane.received("underlay")


def rule(in_port: str, to: str) -> Rule:
    return Rule(100, in_port, (), (Output(to),))


# -- found by the configuration ----------------------------------------------------------------


@pytest.mark.conformance("G14", "J")
def test_a_tunnel_connected_with_the_device_that_it_leaves_by_is_a_loop(looped: Plane) -> None:
    looped.connect("tun0", "gre1")
    assert sent_into(looped, "gre1") == []
    assert looped.drops("lan") == {"tunnel_loop": 1}
    assert moved(looped, "gre1") == LOOP


@pytest.mark.conformance("G14")
def test_a_device_that_leads_elsewhere_is_none(looped: Plane) -> None:
    looped.port("wan", L3)
    looped.connect("tun0", "wan")
    assert len(sent_into(looped, "gre1")) == 1


@pytest.mark.conformance("G14")
@pytest.mark.parametrize(("via", "loops"), [("gre1", True), ("wan", False)])
def test_routes_are_followed_for_the_remote(looped: Plane, via: str, loops: bool) -> None:
    looped.port("wan", L3)
    looped.route(
        Route(ip_network("0.0.0.0/0"), "wan" if via == "gre1" else "gre1"),
        Route(ip_network(f"{B}/32"), via),
    )
    assert len(sent_into(looped, "gre1")) == (0 if loops else 1)


@pytest.mark.conformance("G14")
def test_a_loop_ends_when_the_configuration_does(looped: Plane) -> None:
    looped.connect("tun0", "gre1")
    assert sent_into(looped, "gre1") == []
    looped.datapath.forwarding.disconnect("tun0")
    looped.settle()
    looped.send("lan", INNER)
    assert len(looped.received("underlay")) == 1


@pytest.mark.conformance("G14")
def test_a_loop_over_two_tunnels_is_one_for_both(make_plane: MakePlane) -> None:
    """One goes through the other, and that back through the first."""
    ways = Ways(leave_by={ip_address(B): ("tun0", 7), ip_address("192.0.2.3"): ("tun1", 8)})
    plane = make_plane(paths=ways)
    for name in ("underlay", "lan"):
        plane.port(name, L3)
    for name in ("tun0", "tun1"):
        plane.port(name, L3, device=name)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.link("gre2", "gre", local=A, remote="192.0.2.3")
    plane.connect("tun0", "gre2")
    plane.connect("tun1", "gre1")
    for link in ("gre1", "gre2"):
        assert sent_into(plane, link) == []
        assert moved(plane, link) == LOOP
    ways.leave_by.clear()
    plane._runner.run(plane.datapath.paths.refresh())
    assert len(sent_into(plane, "gre1")) == 1


@pytest.mark.conformance("G14")
def test_in_a_bridge_the_next_hop_s_address_decides(make_plane: MakePlane) -> None:
    """The host's own address may be on a TAP in a bridge with the card and the tunnel: that is no loop."""
    plane = make_plane(paths=Ways(leave_by={ip_address(B): ("tap0", 7)}))
    plane.port("underlay", L3)
    for name in ("lan", "wire"):
        plane.port(name, L2)
    plane.port("tap0", L2, device="tap0")
    plane.link("gt1", "gretap", local=A, remote=B)
    plane.bridge("br0", "tap0", "wire", "gt1")
    frame = ethernet(INNER)
    assert len(sent_into(plane, "gt1", frame)) == 1, "it is not known where the next hop is"
    plane.send("wire", ethernet(INNER, to="02:00:00:00:00:99", origin=NEXT_HOP))
    plane.received("underlay")
    assert len(sent_into(plane, "gt1", frame)) == 1
    behind = ethernet(INNER, to="02:00:00:00:00:99", origin=NEXT_HOP)
    plane.send("underlay", ipv4(B, A, gre(behind, 0x6558), protocol=47))
    plane.received("underlay")
    assert sent_into(plane, "gt1", frame) == []
    assert {name: n for name, n in moved(plane, "gt1").items() if name in LOOP} == LOOP


def test_what_rules_do_is_not_guessed(looped: Plane) -> None:
    looped.connect("tun0", "gre1")
    looped.datapath.forwarding.rules = (rule("lan", "gre1"), rule("tun0", "lan"))
    looped.send("lan", INNER)
    assert len(looped.received("underlay")) == 1


@pytest.mark.conformance("G14")
def test_a_way_through_a_device_of_ours_is_said(
    make_plane: MakePlane, caplog: pytest.LogCaptureFixture
) -> None:
    ways = Ways()
    plane = make_plane(paths=ways)
    plane.port("underlay", L3)
    plane.port("tun0", L3, device="tun0")
    plane.link("gre1", "gre", local=A, remote=B)
    assert caplog.text == ""
    ways.leave_by[ip_address(B)] = ("tun0", 7)
    plane._runner.run(plane.datapath.paths.refresh())
    plane._runner.run(plane.datapath.paths.refresh())
    (said,) = (record.message for record in caplog.records if record.levelname == "WARNING")
    assert said.startswith(f"link gre1: the way to {B} leads through port tun0 of this dataplane")


def test_a_device_of_that_name_in_another_namespace_is_another(make_plane: MakePlane) -> None:
    plane = make_plane(paths=Ways(leave_by={ip_address(B): ("tun0", 7)}))
    for name in ("underlay", "lan"):
        plane.port(name, L3)
    plane.port("tun0", L3, device="tun0", netns="blue")
    plane.link("gre1", "gre", local=A, remote=B)
    plane.connect("tun0", "gre1")
    assert len(sent_into(plane, "gre1")) == 1


# -- ended by the engine -----------------------------------------------------------------------


def cell(plane: Plane, name: str) -> None:
    """A port of type gro-cell: what is sent to it comes in by it."""
    plane.datapath.add_port(PortConfig(name, PortType.CELL, L3, mtu=65535))


def nested(make_plane: MakePlane, depth: int) -> Plane:
    """gre1 over cell1, which is connected with gre2 over cell2 …; the last one is over the underlay."""
    plane = make_plane()
    for name in ("underlay", "lan"):
        plane.port(name, L3)
    for number in range(1, depth):
        cell(plane, f"cell{number}")
    for number in range(1, depth + 1):
        under = "underlay" if number == depth else f"cell{number}"
        plane.link(
            f"gre{number}", "gre", underlay=under, local=f"192.0.{number}.1", remote=f"192.0.{number}.2"
        )
        if number > 1:
            plane.connect(f"cell{number - 1}", f"gre{number}")
    plane.connect("lan", "gre1")
    return plane


def wrapped(depth: int) -> bytes:
    """A packet in that many tunnels, as the other side sends it."""
    packet = INNER
    for number in range(1, depth + 1):
        packet = ipv4(f"192.0.{number}.2", f"192.0.{number}.1", gre(packet), protocol=47)
    return packet


@pytest.mark.conformance("L19", "G21")
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_gre_in_gre_goes_in_and_comes_out(make_plane: MakePlane, depth: int) -> None:
    plane = nested(make_plane, depth)
    plane.send("lan", INNER)
    (sent,) = plane.received("underlay")
    seen: Any = IP(sent)
    for number in range(depth, 0, -1):
        assert (seen.src, seen.dst) == (f"192.0.{number}.1", f"192.0.{number}.2")
        seen = seen[GRE].payload
    assert bytes(seen) == INNER
    plane.send("underlay", wrapped(depth))
    assert plane.received("lan") == [INNER]
    assert plane.all_drops() == {}
    for number in range(1, depth + 1):
        counted = moved(plane, f"gre{number}")
        assert (counted["tx_packets"], counted["rx_packets"]) == (1, 1)


@pytest.mark.conformance("L19", "G21")
def test_what_is_wrapped_deeper_than_the_limit_ends_under_its_reason(make_plane: MakePlane) -> None:
    """Eight passages through cells (XMIT_RECURSION_LIMIT); each tunnel but the outermost takes two."""
    plane = nested(make_plane, 5)
    plane.send("underlay", wrapped(5))
    assert plane.received("lan") == []
    assert plane.all_drops() == {"loop_guard": 1}


@pytest.mark.conformance("G14")
def test_a_tunnel_over_a_cell_that_leads_into_it_is_a_loop(make_plane: MakePlane) -> None:
    plane = make_plane()
    for name in ("underlay", "lan"):
        plane.port(name, L3)
    cell(plane, "cell0")
    plane.link("gre1", "gre", underlay="cell0", local=A, remote=B)
    plane.connect("cell0", "gre1")
    assert sent_into(plane, "gre1") == []
    assert plane.all_drops() == {"tunnel_loop": 1}


@pytest.mark.conformance("G21")
def test_a_loop_that_rules_make_ends_by_the_limit(make_plane: MakePlane) -> None:
    plane = make_plane()
    for name in ("underlay", "lan"):
        plane.port(name, L3)
    cell(plane, "cell0")
    plane.link("gre1", "gre", underlay="cell0", local=A, remote=B)
    plane.datapath.forwarding.rules = (rule("lan", "gre1"), rule("cell0", "gre1"))
    plane.send("lan", INNER)
    assert plane.all_drops() == {"loop_guard": 1}
    counted = moved(plane, "gre1")
    assert (counted["tx_packets"], counted["tx_dropped"]) == (8, 1)


@pytest.mark.conformance("G21")
def test_two_tunnels_that_send_into_each_other_end_by_the_limit(make_plane: MakePlane) -> None:
    """Each link's received packets go out by the other: a packet that goes in comes out of neither."""
    plane = make_plane()
    for name in ("cell1", "cell2"):
        cell(plane, name)
    for name in ("underlay", "lan"):
        plane.port(name, L3)
    plane.link("gre1", "gre", underlay="cell1", local=A, remote=B)
    plane.link("gre2", "gre", underlay="cell2", local="192.0.2.3", remote="192.0.2.4")
    plane.datapath.forwarding.rules = (
        rule("lan", "gre1"),
        rule("cell1", "gre2"),
        rule("cell2", "gre1"),
    )
    plane.send("lan", INNER)
    assert plane.all_drops() == {"loop_guard": 1}


# -- scrubbed ----------------------------------------------------------------------------------


@pytest.mark.conformance("C17", "E8")
def test_what_was_noted_in_one_tunnel_is_forgotten_in_the_next(make_plane: MakePlane) -> None:
    """WCCP notes the redirect header in a register; a tunnel inside starts without (skb_scrub_packet)."""
    plane = nested(make_plane, 2)
    redirect = bytes.fromhex("8000002a")
    packet = ipv4("192.0.1.2", "192.0.1.1", gre(INNER), protocol=47)
    plane.send("underlay", ipv4("192.0.2.2", "192.0.2.1", gre(redirect + packet, 0x883E), protocol=47))
    (inside,) = plane.collect("lan")
    assert (inside.data, inside.meta[8:28]) == (INNER, bytes(20))
    plane.datapath.forwarding.disconnect("cell1")
    plane.datapath.forwarding.disconnect("lan")
    plane.connect("gre2", "lan")
    plane.settle()
    plane.send("underlay", ipv4("192.0.2.2", "192.0.2.1", gre(redirect + packet, 0x883E), protocol=47))
    (noted,) = plane.collect("lan")
    assert redirect in noted.meta
