"""vdp_nvgre: Ethernet of virtual subnets in GRE (RFC 7637)."""

from __future__ import annotations

import errno
import random
from typing import Any

import pytest
from pydantic import ValidationError
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Dot1Q, Ether

from tests.plane import L2, L3, A, B, MakePlane, Plane
from vdp.links.link import LinkError
from vdp.testing.soundness import check_soundness

PLUGINS = ("gre", "gretap", "nvgre")
VSID = 0x123456
TAGGED = "plugin_nvgre_tagged"


@pytest.fixture
def bare(make_plane: MakePlane) -> Plane:
    """An underlay and a tenant's port, no link yet."""
    plane = make_plane(PLUGINS)
    plane.port("underlay", L3)
    plane.port("tenant", L2)
    return plane


def add(plane: Plane, kind: str = "nvgre", **parameters: Any) -> None:
    plane.link("nv0", kind, local=A, remote=B, **parameters)
    plane.connect("nv0", "tenant")


def frame(*layers: Any) -> bytes:
    packet = Ether(dst="02:00:00:00:00:0c", src="02:00:00:00:00:0b")
    for layer in layers or (IP() / UDP(sport=1, dport=2) / b"tenant",):
        packet /= layer
    return bytes(packet)


def incoming(key: int | None, inner: bytes, **fields: Any) -> bytes:
    keyed: dict[str, Any] = {} if key is None else {"key_present": 1, "key": key}
    return bytes(IP(src=B, dst=A) / GRE(proto=0x6558, **keyed, **fields) / inner)


# -- received -----------------------------------------------------------------------------


@pytest.mark.conformance("L5")
def test_the_flow_id_plays_no_part_in_the_lookup_and_is_noted(bare: Plane) -> None:
    add(bare, vsid=VSID)
    for flow in (0, 7, 255):
        bare.send("underlay", incoming(VSID << 8 | flow, frame()))
    got = bare.collect("tenant")
    assert [packet.data for packet in got] == [frame()] * 3
    assert [packet.meta[8:12] for packet in got] == [bytes((0, 0, 0, flow)) for flow in (0, 7, 255)]
    assert len(bare.flows("underlay")) == 1


@pytest.mark.conformance("L5")
@pytest.mark.parametrize(
    "packet",
    [
        incoming((VSID ^ 1) << 8, frame()),
        incoming(None, frame()),
        incoming(VSID << 8, frame(), seqnum_present=1, sequence_number=1),
        incoming(VSID << 8, frame(), chksum_present=1),
    ],
    ids=["another subnet", "no key", "sequence number", "checksum"],
)
def test_what_is_not_of_this_subnet_is_refused(bare: Plane, packet: bytes) -> None:
    add(bare, vsid=VSID)
    bare.send("underlay", packet)
    assert bare.all_drops() == {"tunnel_no_link": 1}


def test_what_is_no_subnet_of_ours_is_left_to_gretap(bare: Plane) -> None:
    bare.link("nv0", "nvgre", local=A, remote=B, vsid=VSID)
    bare.port("lan", L2)
    bare.link("gt0", "gretap", local=A, remote=B, key=0x1001)
    bare.connect("lan", "gt0")
    bare.send("underlay", incoming(0x1001, frame()))
    assert bare.received("lan") == [frame()]


@pytest.mark.parametrize("kind", [0x8100, 0x88A8])
def test_a_tagged_frame_is_dropped(bare: Plane, kind: int) -> None:
    add(bare, vsid=VSID)
    bare.send(
        "underlay",
        incoming(VSID << 8, frame(Dot1Q(vlan=5) / IP())[:12] + kind.to_bytes(2, "big") + bytes(30)),
    )
    assert bare.all_drops() == {TAGGED: 1}
    assert bare.counters("nv0")["rx_errors"] == 1


@pytest.mark.parametrize("size", [4, 13])
def test_less_than_an_ethernet_header_is_dropped(bare: Plane, size: int) -> None:
    add(bare, vsid=VSID)
    bare.send("underlay", incoming(VSID << 8, bytes(size)))
    assert bare.all_drops() == {"tunnel_inner_short": 1}


def test_the_length_binds_each_packet_of_a_flow(bare: Plane) -> None:
    """Bytes behind the IP packet satisfy the classifier: the engine must count what IP says."""
    add(bare, vsid=VSID)
    whole = incoming(VSID << 8, frame())
    cut = IP(whole)
    cut.len = 20 + 8 + 13
    del cut.chksum
    bare.send("underlay", whole, bytes(cut))
    assert bare.received("tenant") == [frame()]
    assert bare.all_drops() == {"tunnel_inner_short": 1}
    assert len(bare.flows("underlay")) == 1


def test_what_is_received_is_sound(bare: Plane) -> None:
    add(bare, vsid=VSID)
    packets = [
        incoming(VSID << 8 | 9, frame()),
        incoming(VSID + 1 << 8, frame()),
        incoming(VSID << 8, frame(Dot1Q(vlan=5) / IP())),
        incoming(VSID << 8, frame()[:10]),
    ]
    check_soundness(bare.datapath, "underlay", *packets, chance=random.Random(3))


# -- sent ---------------------------------------------------------------------------------


def sent(plane: Plane, *frames: bytes) -> list[Any]:
    """What leaves for these frames, as scapy reads it."""
    plane.send("tenant", *frames)
    return [IP(data) for data in plane.received("underlay")]


@pytest.mark.conformance("L5")
def test_the_header_has_subnet_and_flow_id(bare: Plane) -> None:
    add(bare, vsid=VSID, flow_id=42)
    [packet] = sent(bare, frame())
    assert bytes(packet[GRE]) == bytes(GRE(proto=0x6558, key_present=1, key=VSID << 8 | 42)) + frame()


def test_the_flow_id_is_zero_where_nothing_is_said(bare: Plane) -> None:
    add(bare, vsid=VSID)
    assert [p[GRE].key for p in sent(bare, frame(), frame(IP() / TCP(sport=99, dport=98)))] == [VSID << 8] * 2


@pytest.mark.conformance("L5")
def test_entropy_differs_by_flow_and_costs_one_megaflow(bare: Plane) -> None:
    add(bare, vsid=VSID, entropy=True)
    flows = [frame(IP() / UDP(sport=port, dport=53)) for port in range(0xC000, 0xC100, 16)]
    keys = [p[GRE].key for p in sent(bare, *flows, *flows)]
    assert len(set(keys)) == 16
    assert keys[:16] == keys[16:]
    assert {key >> 8 for key in keys} == {VSID}
    assert len(bare.flows("tenant")) == 1


@pytest.mark.parametrize("inner", [IP() / TCP(sport=0x12, dport=0x34), IPv6() / UDP(sport=0x12, dport=0x34)])
def test_entropy_is_taken_from_both_ports(bare: Plane, inner: Any) -> None:
    add(bare, vsid=VSID, entropy=True)
    [packet] = sent(bare, frame(inner))
    assert packet[GRE].key & 0xFF == 0x14
    assert bytes(packet[GRE].payload) == frame(inner)


@pytest.mark.parametrize(
    "inner",
    [
        IP(flags="MF") / UDP(sport=0x12, dport=0x34),
        IP(frag=1) / bytes(32),
        IP(proto=1) / bytes(8),
        IP(proto=17) / b"ab",
    ],
    ids=["first fragment", "later fragment", "icmp", "no ports"],
)
def test_what_has_no_ports_has_the_fixed_flow_id(bare: Plane, inner: Any) -> None:
    add(bare, vsid=VSID, entropy=True, flow_id=3)
    [packet] = sent(bare, frame(inner))
    assert packet[GRE].key == VSID << 8 | 3


@pytest.mark.parametrize("ether_type", [0x0800, 0x86DD])
def test_a_header_that_is_not_there_gives_no_entropy(bare: Plane, ether_type: int) -> None:
    add(bare, vsid=VSID, entropy=True, flow_id=3)
    [packet] = sent(bare, frame()[:12] + ether_type.to_bytes(2, "big"))
    assert packet[GRE].key == VSID << 8 | 3


def test_a_tag_is_removed(bare: Plane) -> None:
    add(bare, vsid=VSID, entropy=True)
    inner = IP() / UDP(sport=0x12, dport=0x34) / b"tenant"
    packets = sent(bare, *(frame(Dot1Q(vlan=vlan) / inner) for vlan in (5, 6)))
    assert [bytes(packet[GRE].payload) for packet in packets] == [frame(inner)] * 2
    assert packets[0][GRE].key & 0xFF == 0x14
    assert len(bare.flows("tenant")) == 1


def test_two_tags_are_refused(bare: Plane) -> None:
    add(bare, vsid=VSID)
    assert sent(bare, frame(Dot1Q(vlan=5) / Dot1Q(vlan=6) / IP())) == []
    assert bare.all_drops() == {TAGGED: 1}
    assert bare.counters("nv0")["tx_errors"] == 1


def test_what_is_sent_is_sound(bare: Plane) -> None:
    add(bare, vsid=VSID, entropy=True)
    frames = [
        frame(),
        frame(IPv6() / TCP()),
        frame(Dot1Q(vlan=5) / IP() / UDP()),
        frame(IP(flags="MF") / UDP()),
    ]
    sent(bare, frames[0])  # the way is known from here on
    check_soundness(bare.datapath, "tenant", *frames, chance=random.Random(3))


def test_what_one_end_sends_the_other_receives(make_plane: MakePlane) -> None:
    ends = []
    for local, remote in ((A, B), (B, A)):
        plane = make_plane(PLUGINS)
        plane.port("underlay", L3)
        plane.port("tenant", L2)
        plane.link("nv0", "nvgre", local=local, remote=remote, vsid=VSID, entropy=True)
        plane.connect("nv0", "tenant")
        ends.append(plane)
    ends[0].send("tenant", *[frame()] * 3)
    ends[1].send("underlay", *ends[0].received("underlay"))
    assert ends[1].received("tenant") == [frame()] * 3


# -- configured ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"vsid": 0xFFF},
        {"vsid": 0xFFFFFF},
        {"vsid": VSID, "flow_id": 256},
        {"vsid": VSID, "key": 1},
        {"vsid": VSID, "seq": True},
    ],
)
def test_what_the_rfc_reserves_is_refused(bare: Plane, parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        add(bare, **parameters)


def test_the_flow_id_does_not_tell_two_links_apart(bare: Plane) -> None:
    add(bare, vsid=VSID)
    with pytest.raises(LinkError) as caught:
        bare.link("nv1", "nvgre", local=A, remote=B, vsid=VSID, flow_id=1)
    assert caught.value.errno == errno.EEXIST


def test_the_mtu_leaves_room_for_the_headers(bare: Plane) -> None:
    link = bare.link("nv0", "nvgre", local=A, remote=B, vsid=VSID)
    assert link.mtu == 1500 - 20 - 8 - 14
