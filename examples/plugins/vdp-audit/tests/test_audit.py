"""What is counted, under which labels, and that nothing else happens.  Scapy makes the packets."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from vdp.api import Egress, FillCopy, Packet
from vdp.testing import Dataplane, assert_trace, check_soundness
from vdp.testing.strategies import broken, ipv4_packets, patient

from vdp_audit.dscp import NAMES
from vdp_audit.samples import AF41, DATAGRAM, EF, arrange, packet, packet6, samples

MakePlane = Callable[..., Dataplane]
PAYLOAD = UDP(sport=1, dport=2) / b"hello"


@pytest.fixture
def ready(plane: Dataplane) -> Dataplane:
    arrange(plane)
    return plane


def series(egress: str, dscp: str) -> str:
    return f'sent{{egress="{egress}",dscp="{dscp}"}}'


@pytest.mark.parametrize(
    ("frame", "dscp", "size"),
    [
        (Ether() / IP(tos=EF << 2) / PAYLOAD, "EF", 33),
        (Ether() / IP(tos=EF << 2 | 3) / PAYLOAD, "EF", 33),
        (Ether() / IP(tos=0) / PAYLOAD, "CS0", 33),
        (Ether() / IP(tos=5 << 2) / PAYLOAD, "5", 33),
        (Ether() / IPv6(tc=AF41 << 2) / PAYLOAD, "AF41", 53),
        (Ether() / Dot1Q(vlan=5) / IP(tos=8 << 2) / PAYLOAD, "CS1", 33),
        (Ether() / Dot1Q(vlan=5) / Dot1Q(vlan=6) / IPv6(tc=1 << 2) / PAYLOAD, "LE", 53),
        (Ether() / ARP(), "none", 28),
    ],
)
def test_a_frame_counts_by_the_dscp_of_what_is_in_it_and_without_its_link_header(
    ready: Dataplane, frame: Ether, dscp: str, size: int
) -> None:
    ready.send("left", bytes(frame))
    assert ready.counted("audit") == {series("right", dscp): (1, size)}


def test_every_name_is_scapys_and_no_two_are_one() -> None:
    assert len(NAMES) == len(set(NAMES.values())) == 8 + 12 + 3
    assert (NAMES[10], NAMES[14], NAMES[34], NAMES[38], NAMES[56]) == ("AF11", "AF13", "AF41", "AF43", "CS7")


def test_what_goes_through_a_link_counts_there_and_where_the_tunnel_leaves(ready: Dataplane) -> None:
    ready.send("lan", packet(EF), packet6(AF41))
    assert ready.counted("audit") == {
        series("gre1", "EF"): (1, 33),
        series("gre1", "AF41"): (1, 53),
        series("underlay", "EF"): (1, 33 + 24),
        series("underlay", "AF41"): (1, 53 + 24),
    }


def test_the_engine_counts_alone(ready: Dataplane) -> None:
    ready.send("lan", packet(EF))
    seen = ready.upcalls
    ready.send("lan", *[packet(EF)] * 99)
    assert ready.upcalls == seen
    assert ready.counted("audit")[series("gre1", "EF")] == (100, 3300)


def test_what_is_dropped_before_it_leaves_does_not_count(ready: Dataplane) -> None:
    too_big = IP(src="10.0.0.1", dst="10.0.0.2", flags="DF") / UDP() / bytes(3000)
    ready.send("lan", bytes(too_big))
    assert ready.counted("audit")[series("gre1", "CS0")] == (0, 0)
    assert ready.received("underlay") == []


def test_it_changes_nothing(make_plane: MakePlane) -> None:
    planes = [make_plane("gre", "audit"), make_plane("gre")]
    for plane in planes:
        for port, data in samples(plane):
            plane.send(port, data)
    with_it, without = ([plane.received(name) for name in ("underlay", "right")] for plane in planes)
    assert with_it == without
    assert sum(map(len, without)) == 7


@pytest.mark.vdp("gre", "audit", settings={"audit": {"egress": ["under*", "right"]}})
def test_only_what_is_named_counts(ready: Dataplane) -> None:
    ready.send("lan", packet(EF))
    ready.send("left", bytes(Ether() / IP(tos=EF << 2) / PAYLOAD))
    assert ready.counted("audit").keys() == {series("underlay", "EF"), series("right", "EF")}


@pytest.mark.vdp("gre", "audit", settings={"audit": {"egress": ["gre*"], "ingress": True}})
def test_where_it_came_in_can_be_told(ready: Dataplane) -> None:
    ready.send("lan", packet(EF))
    assert ready.counted("audit") == {'sent{egress="gre1",dscp="EF",ingress="lan"}': (1, 33)}


def test_only_the_dscp_is_looked_at(ready: Dataplane) -> None:
    assert_trace(
        ready, "left", bytes(Ether() / IP() / PAYLOAD),
        guards={"IPv4.dscp": 0},
        wildcards=["IPv4.ecn", "IPv4.source", "IPv4.total_length", "Ethernet.source"],
        actions=["count", "output right"],
    )  # fmt: skip


def test_a_dscp_that_the_engine_writes_is_called_copied(ready: Dataplane) -> None:
    def copy(packet: Packet, egress: Egress) -> None:
        if egress.name == "underlay":
            packet.fill(1, FillCopy(8))

    ready.datapath.pipeline.add(copy, priority=700, name="copy", owner="audit")
    ready.send("lan", packet(EF))
    assert ready.counted("audit").keys() == {series("gre1", "EF"), series("underlay", "copied")}


def test_it_is_sound(plane: Dataplane) -> None:
    for port, data in samples(plane):
        check_soundness(plane.datapath, port, data)


@patient
@given(broken(ipv4_packets(DATAGRAM.data, protocol=17)))
def test_no_broken_packet_hurts(ready: Dataplane, data: bytes) -> None:
    ready.send("lan", data)
    ready.send("left", data)
