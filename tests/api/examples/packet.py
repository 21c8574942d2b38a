"""Examples of docs/api/packet.md."""

import pytest

from vdp.api import (
    Bits,
    Datapath,
    Header,
    HeaderBudget,
    IPv4,
    Packet,
    PacketType,
    TraceError,
    Truncated,
    TunnelInfo,
    Verdict,
)
from vdp.testing import Dataplane, assert_trace, explain
from vdp.testing.builders import gre, ipv4, udp


class Tag(Header):
    kind = Bits(8)
    size = Bits(8)
    number = Bits(16)


def in_gre(payload: bytes) -> bytes:
    return ipv4("192.0.2.2", "192.0.2.1", gre(payload, 0x88BB), protocol=47)


def ready(plane: Dataplane) -> Datapath:
    """An underlay with a gre link, where handlers of `gre_cisco` are asked."""
    plane.port("underlay", PacketType.L3)
    plane.link("gre1", "gre", local="192.0.2.1", remote="192.0.2.2")
    return plane.datapath


# shows: Packet
def test_what_is_read_is_a_guard_and_what_is_done_an_action(plane: Dataplane) -> None:
    def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        tag = packet.header(Tag, info.header_size)
        if tag.kind != 1:
            return Verdict.REJECT
        packet.pull(info.header_size + Tag.SIZE)
        packet.set_type(PacketType.L3, 0x0800)
        return packet.output(plane.datapath.number_of("gre1"))

    ready(plane).registry.list("gre_cisco").add(receive, priority=250, name="tag_rcv", owner="tag")
    assert_trace(
        plane,
        "underlay",
        in_gre(Tag.pack(kind=1, number=7) + ipv4("10.0.0.1", "10.0.0.2", udp(1, 2))),
        output="gre1",
        guards={"Tag.kind": 1},
        wildcards=["Tag.size", "Tag.number"],
        actions=["pull 20", "pull 8", "output gre1"],
    )


# shows: Verdict
def test_the_first_answer_other_than_reject_ends_the_walk(plane: Dataplane) -> None:
    handlers = ready(plane).registry.list("gre_cisco")
    handlers.add(lambda *_: Verdict.REJECT, priority=1, name="shy", owner="mine")
    handlers.add(lambda packet, *_: packet.drop("policy_rule"), priority=2, name="strict", owner="mine")
    handlers.add(lambda packet, *_: packet.output(0), priority=3, name="late", owner="mine")
    traced = assert_trace(plane, "underlay", in_gre(bytes(20)), drop="policy_rule")
    assert (traced.verdicts["shy"], traced.verdicts["strict"]) == ("reject", "drop")
    assert "late" not in traced.verdicts


# shows: PacketType
def test_a_port_takes_frames_or_packets(plane: Dataplane) -> None:
    plane.port("eth", PacketType.L2)
    plane.port("tun", PacketType.L3)
    plane.connect("eth", "tun")
    plane.send("eth", bytes(60))
    assert plane.drops("eth") == {"packet_type": 1}


# shows: TraceError
def test_what_only_the_engine_will_know_can_not_be_read(plane: Dataplane) -> None:
    def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        packet.load_register(0, info.header_size)
        with pytest.raises(TraceError, match="loaded from each packet"):
            packet.register(0)
        return Verdict.REJECT

    ready(plane).registry.list("gre_cisco").add(receive, priority=1, name="mine", owner="mine")
    assert explain(plane, "underlay", in_gre(bytes(20))).verdicts["mine"] == "reject"


# shows: Truncated
def test_a_packet_that_ends_before_its_header_is_dropped_without_your_help(plane: Dataplane) -> None:
    def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        return packet.drop("policy_rule", packet.header(Tag, 40).kind)  # raises Truncated: let it pass

    ready(plane).registry.list("gre_cisco").add(receive, priority=1, name="mine", owner="mine")
    assert_trace(plane, "underlay", in_gre(bytes(20)), drop="parse_truncated")
    assert issubclass(Truncated, TraceError)


# shows: HeaderBudget
def test_guards_lie_in_the_first_256_bytes(plane: Dataplane) -> None:
    def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        return packet.drop("policy_rule" if packet.read(236, 1) else "no_port")  # raises HeaderBudget

    ready(plane).registry.list("gre_cisco").add(receive, priority=1, name="mine", owner="mine")
    assert_trace(plane, "underlay", in_gre(bytes(400)), drop="header_budget")
    assert issubclass(HeaderBudget, TraceError)
