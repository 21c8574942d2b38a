"""Tagged frames on an underlay: VLAN 0 is a priority only, any other VLAN is another interface's."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet as Scapy

from tests.links.test_receive import INNER, LOCAL, REMOTE, moved
from tests.plane import L2, L3, MakePlane, Plane
from vdp.testing.builders import ethernet, gre, ipv4, ipv6, vlan
from vdp.testing.soundness import check_soundness

OURS, THEIRS = "02:00:00:00:00:0b", "02:00:00:00:00:0c"
PACKET = ipv4(REMOTE, LOCAL, gre(INNER), protocol=47)
TAGS = [0x8100, 0x88A8]


@pytest.fixture
def plane(make_plane: MakePlane) -> Plane:
    plane = make_plane(("gre", "gretap", "ip6gre"))
    plane.port("underlay", L2, mac=bytes.fromhex(OURS.replace(":", "")))
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=LOCAL, remote=REMOTE)
    plane.connect("lan", "gre1")
    return plane


def frame(packet: bytes = PACKET, to: str = OURS) -> bytes:
    return ethernet(packet, to=to, origin=THEIRS)


@pytest.mark.conformance("C23")
@pytest.mark.parametrize("priority", [0, 5, 7])
@pytest.mark.parametrize("tpid", TAGS)
def test_a_priority_tag_is_passed_over(plane: Plane, tpid: int, priority: int) -> None:
    plane.send("underlay", vlan(frame(), 0, priority=priority, tpid=tpid))
    assert plane.received("lan") == [INNER]
    assert moved(plane, "gre1") == {"rx_packets": 1, "rx_bytes": len(INNER)}


@pytest.mark.conformance("C23")
@pytest.mark.parametrize("size", [1, 6, 200])
def test_padding_behind_a_tagged_packet_is_cut_off(plane: Plane, size: int) -> None:
    plane.send("underlay", vlan(frame(), 0) + b"\xee" * size)
    assert plane.received("lan") == [INNER]


@pytest.mark.conformance("C23")
@pytest.mark.parametrize("vid", [1, 5, 4095])
@pytest.mark.parametrize("tpid", TAGS)
def test_a_frame_of_another_vlan_is_not_for_this_interface(plane: Plane, tpid: int, vid: int) -> None:
    plane.send("underlay", vlan(frame(), vid, tpid=tpid))
    assert plane.drops("underlay") == {"not_for_us": 1}


@pytest.mark.conformance("C23")
def test_a_frame_of_another_vlan_is_left_to_a_bridge_as_it_is(plane: Plane) -> None:
    plane.port("wire", L2)
    plane.bridge("br0", "underlay", "wire")
    tagged = vlan(frame(), 5)
    plane.send("underlay", tagged, vlan(frame(), 0))
    assert plane.received("wire") == [tagged]
    assert plane.received("lan") == [INNER]


@pytest.mark.conformance("C23")
@pytest.mark.parametrize("payload", [bytes(46), PACKET], ids=["another protocol", "to another host"])
def test_a_priority_tag_of_what_is_not_ours_stays_on(plane: Plane, payload: bytes) -> None:
    """REJECT leaves the frame as it was."""
    plane.port("wire", L2)
    plane.bridge("br0", "underlay", "wire")
    to, kind = (OURS, 0x88CC) if payload == bytes(46) else (THEIRS, 0x0800)
    tagged = vlan(ethernet(payload, to=to, origin="02:00:00:00:00:0d", ethertype=kind), 0)
    plane.send("underlay", tagged)
    assert plane.received("wire") == [tagged]


@pytest.mark.conformance("C23")
def test_a_priority_tag_in_a_priority_tag_is_nobody_s(plane: Plane) -> None:
    """Linux 4.1 takes one tag off."""
    plane.send("underlay", vlan(vlan(frame(), 0), 0))
    assert plane.drops("underlay") == {"not_for_us": 1}


@pytest.mark.parametrize("size", range(14, 18))
def test_a_tag_that_is_cut_short_is_nobody_s(plane: Plane, size: int) -> None:
    plane.send("underlay", vlan(frame(), 0)[:size])
    assert plane.drops("underlay") == {"not_for_us": 1}


@pytest.mark.conformance("C23")
def test_the_answer_to_a_tagged_question_has_no_tag(plane: Plane) -> None:
    question = Ether(src=THEIRS, dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=0, prio=3)
    plane.send("underlay", bytes(question / ARP(hwsrc=THEIRS, psrc=REMOTE, pdst=LOCAL)))
    (answer,) = (Ether(data) for data in plane.received("underlay"))
    assert (answer.dst, answer.src, answer.type) == (THEIRS, OURS, 0x0806)
    assert (answer[ARP].op, answer[ARP].hwsrc, answer[ARP].psrc) == (2, OURS, LOCAL)


@pytest.mark.conformance("C23", "A7")
def test_nor_has_an_error(plane: Plane) -> None:
    unclaimed = ipv4("192.0.2.77", LOCAL, gre(INNER), protocol=47)
    plane.send("underlay", vlan(frame(unclaimed), 0))
    (answer,) = (Ether(data) for data in plane.received("underlay"))
    assert (answer.dst, answer.src, answer.type) == (THEIRS, OURS, 0x0800)
    assert (answer[IP].dst, answer[ICMP].type, answer[ICMP].code) == ("192.0.2.77", 3, 3)
    assert bytes(answer[ICMP].payload) == unclaimed


@pytest.mark.conformance("C23")
def test_ipv6_is_the_same(plane: Plane) -> None:
    local, remote = "2001:db8::1", "2001:db8::2"
    plane.link("gre6", "ip6gre", local=local, remote=remote)
    plane.port("lan6", L3)
    plane.connect("lan6", "gre6")
    plane.send("underlay", vlan(frame(ipv6(remote, local, gre(INNER), next_header=47)), 0))
    assert plane.received("lan6") == [INNER]
    question: Scapy = Ether(src=THEIRS, dst="33:33:ff:00:00:01") / Dot1AD(vlan=0)
    question /= IPv6(src=remote, dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt=local)
    plane.send("underlay", bytes(question / ICMPv6NDOptSrcLLAddr(lladdr=THEIRS)))
    (answer,) = (Ether(data) for data in plane.received("underlay"))
    assert (answer.dst, answer.src, answer.type) == (THEIRS, OURS, 0x86DD)
    assert answer[ICMPv6ND_NA].tgt == local


@pytest.mark.conformance("C23")
def test_a_flow_needs_python_once(plane: Plane) -> None:
    plane.send("underlay", vlan(frame(), 0))
    upcalls = plane.upcalls
    plane.send("underlay", *[vlan(frame(), 0)] * 20)
    assert len(plane.received("lan")) == 21
    assert plane.upcalls == upcalls


def test_flows_are_sound(plane: Plane) -> None:
    question: Any = Ether(src=THEIRS, dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=0)
    question = bytes(question / ARP(hwsrc=THEIRS, psrc=REMOTE, pdst=LOCAL))
    tagged = [vlan(frame(), vid, tpid=tpid) for vid in (0, 5) for tpid in TAGS]
    check_soundness(plane.datapath, "underlay", frame(), question, *tagged, vlan(frame(to=THEIRS), 0))
