"""What VXLAN links take, what they drop, and what they do not look at."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from hypothesis import given
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from vdp.api import LinkError, PacketType
from vdp.testing import Dataplane, assert_trace, check_soundness
from vdp.testing.builders import Transport, ethernet, icmp, ipv4, ipv6, udp, vlan
from vdp.testing.strategies import broken, headers, joined, patient

from vdp_vxlan import VxlanHeader
from vdp_vxlan.samples import (
    ANSWER,
    FAR,
    LOCAL,
    MANY,
    OTHER,
    PAIR,
    REMOTE,
    datagram,
    packet,
    packet6,
    samples,
)


@pytest.fixture
def ready(plane: Dataplane) -> Dataplane:
    """The topology of the samples."""
    list(samples(plane))
    return plane


def test_a_frame_that_scapy_made_comes_out(ready: Dataplane) -> None:
    made = (
        IP(src=REMOTE, dst=LOCAL)
        / UDP(sport=60000, dport=4789)
        / VXLAN(vni=PAIR, flags="Instance")
        / Ether(ANSWER)
    )
    ready.send("underlay", bytes(made))
    assert ready.received("lan") == [ANSWER]


def test_over_ipv6_too(ready: Dataplane) -> None:
    made = IPv6(packet6())
    assert made[VXLAN].vni == 44
    ready.send("underlay", packet6())
    assert ready.received("lan6") == [ANSWER]


def test_the_engine_does_the_rest_alone(ready: Dataplane) -> None:
    ready.send("underlay", packet())
    seen = ready.upcalls
    ready.send("underlay", *[packet(reserved2=number, reserved3=number) for number in range(100)])
    assert ready.upcalls == seen
    assert len(ready.received("lan")) == 101
    counters = ready.counters("pair")
    assert (counters["rx_packets"], counters["rx_bytes"]) == (101, 101 * (len(ANSWER) - 14)), (
        "as Linux counts"
    )


def test_reserved_bits_and_source_ports_are_not_looked_at(ready: Dataplane) -> None:
    """RFC 7348 section 5: "ignored on receipt"; section 4.1: the source port is anything."""
    assert_trace(
        ready,
        "underlay",
        packet(),
        output="pair",
        guards={"VxlanHeader.valid": 1, "VxlanHeader.vni": PAIR},
        wildcards=["VxlanHeader.reserved1", "VxlanHeader.reserved2", "VxlanHeader.reserved3", "Udp.source"],
    )


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"valid": 0}, "plugin_vxlan_flags"),
        ({"vni": PAIR + 100}, "plugin_vxlan_vni"),
        ({"vtep": OTHER}, "plugin_vxlan_vni"),
        ({"vni": MANY, "frame": ethernet(b"", origin="03:00:00:00:00:02")}, "plugin_vxlan_source"),
        ({"vni": MANY, "frame": ethernet(b"", origin="00:00:00:00:00:00")}, "plugin_vxlan_source"),
        ({"frame": b"short"}, "tunnel_inner_short"),
        ({"tos": 3}, "tunnel_ecn"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_what_is_wrong_is_dropped_under_its_own_reason(
    ready: Dataplane, wrong: dict[str, Any], reason: str
) -> None:
    frame = wrong.pop("frame", ANSWER)
    ready.send("underlay", packet(frame, **wrong))
    assert ready.drops("underlay") == {reason: 1}


@pytest.mark.parametrize(("outer", "inner", "after"), [(0, 2, 2), (1, 2, 1), (2, 2, 2), (3, 2, 3), (3, 1, 3)])
def test_congestion_outside_is_told_inside(ready: Dataplane, outer: int, inner: int, after: int) -> None:
    """RFC 6040 section 4.2."""
    sent = [ethernet(ipv4("10.0.0.2", "10.0.0.1", udp(1, 2), tos=ecn), origin=FAR) for ecn in (inner, after)]
    ready.send("underlay", packet(sent[0], tos=outer))
    assert ready.received("lan") == [sent[1]]


def test_a_checksum_is_taken_when_good_and_when_there_is_none(ready: Dataplane) -> None:
    none = Transport(datagram(ANSWER, valid=1, vni=PAIR).data, 17, 6)
    bad = bytearray(packet())
    bad[26] ^= 1
    ready.send("underlay", packet(), ipv4(REMOTE, LOCAL, none.data, protocol=17), bytes(bad))
    assert ready.received("lan") == [ANSWER] * 2
    assert ready.drops("underlay") == {"l4_checksum": 1}


def test_over_ipv6_none_is_taken_if_the_link_sends_none(plane: Dataplane) -> None:
    """RFC 6935; udp6zerocsumrx of ip-link(8)."""
    plane.port("underlay", PacketType.L3)
    for number, udpcsum in enumerate((True, False)):
        plane.port(f"lan{number}", PacketType.L2)
        far = f"2001:db8::{number + 2}"
        plane.link(f"vx{number}", "vxlan6", local="2001:db8::1", remote=far, vni=1, udpcsum=udpcsum)
        plane.connect(f"lan{number}", f"vx{number}")
        without = datagram(ANSWER, valid=1, vni=1).data
        plane.send("underlay", ipv6(far, "2001:db8::1", without, next_header=17))
    assert plane.received("lan0") == []
    assert plane.received("lan1") == [ANSWER]


def test_a_frame_keeps_its_tag(ready: Dataplane) -> None:
    tagged = vlan(ANSWER, 5)
    ready.send("underlay", packet(tagged))
    assert ready.received("lan") == [tagged]


def test_another_port_is_the_hosts(ready: Dataplane) -> None:
    elsewhere = ipv4(REMOTE, LOCAL, udp(1, 8472, packet()[28:]))
    assert_trace(ready, "underlay", elsewhere, drop="not_for_us")


def test_links_share_a_port_until_the_last_one_goes(plane: Dataplane) -> None:
    plane.port("underlay", PacketType.L3)
    plane.link("one", "vxlan", local=LOCAL, remote=REMOTE, vni=1)
    plane.link("two", "vxlan", local=LOCAL, remote=REMOTE, vni=2, dstport=4789)
    plane.remove_link("one")
    assert_trace(plane, "underlay", packet(vni=2), output="two")
    assert_trace(plane, "underlay", packet(vni=1), drop="plugin_vxlan_vni")
    plane.remove_link("two")
    assert [handler.name for handler in plane.datapath.udp[4].ports] == []


def test_a_vni_belongs_to_one_link(plane: Dataplane) -> None:
    plane.port("underlay", PacketType.L3)
    plane.link("one", "vxlan", local=LOCAL, vni=1)
    plane.link("pair", "vxlan", local=LOCAL, remote=REMOTE, vni=1)  # the nearer one: asked first
    with pytest.raises(LinkError, match="one takes VNI 1 at that address and port, from any VTEP") as refused:
        plane.link("group", "vxlan", local=LOCAL, remote="239.1.1.1", vni=1)
    assert refused.value.errno == errno.EEXIST
    assert_trace(plane, "underlay", packet(vni=1), output="pair")
    assert_trace(plane, "underlay", packet(vni=1, vtep=OTHER), output="one")


def test_a_path_mtu_is_learned_from_an_error_that_shows_the_vni(ready: Dataplane) -> None:
    sent = ipv4(LOCAL, REMOTE, datagram(ANSWER, valid=1, vni=PAIR))
    ready.send("underlay", ipv4("203.0.113.1", LOCAL, icmp(3, 4, rest=1400, payload=sent), protocol=1))
    ready.send("underlay", ipv4("203.0.113.1", LOCAL, icmp(3, 1, payload=sent[:36]), protocol=1))
    ready.send("underlay", ipv4("203.0.113.1", LOCAL, icmp(3, 1, payload=sent[:28]), protocol=1))
    (handler,) = ready.datapath.udp[4].ports
    assert handler.errors == {"received": 2, "reject": 1}
    assert ready.datapath.links["pair"].mtu == 1400 - 50


def test_it_is_sound(ready: Dataplane) -> None:
    again = [
        packet(),
        packet(valid=0),
        packet(vni=1),
        packet(vni=MANY),
        packet(vni=MANY, vtep=OTHER),
        packet6(),
    ]
    check_soundness(ready.datapath, "underlay", *again, packet(tos=3), packet(b"short"))


@patient
@given(broken(joined(headers(VxlanHeader, vni=MANY), ANSWER)))
def test_no_broken_packet_hurts(ready: Dataplane, data: bytes) -> None:
    ready.send("underlay", ipv4(REMOTE, LOCAL, udp(1, 4789, data)))
