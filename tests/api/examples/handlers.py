"""Examples of docs/api/handlers.md."""

import pytest

from vdp.api import (
    Bits,
    Datapath,
    Egress,
    Feature,
    FlagPolicy,
    Gre6Demux,
    GreFlag,
    Header,
    IcmpError,
    IPProtocol,
    IPv4,
    Packet,
    PacketType,
    Pipeline,
    RegistryError,
    TunnelInfo,
    Udp,
    UdpReceiver,
    Verdict,
)
from vdp.testing import Dataplane, assert_trace
from vdp.testing.builders import gre, icmp, ipv4, udp

LOCAL, REMOTE = "192.0.2.1", "192.0.2.2"
INNER = ipv4("10.0.0.1", "10.0.0.2", udp(1000, 2000, b"hello"))


class Kind(Header):
    kind = Bits(8)
    rest = Bits(24)


def ready(plane: Dataplane) -> Datapath:
    """An underlay with a gre link."""
    plane.port("underlay", PacketType.L3)
    plane.link("gre1", "gre", local=LOCAL, remote=REMOTE)
    return plane.datapath


# shows: Registry
def test_lists_and_tables_are_found_by_name(plane: Dataplane) -> None:
    registry = plane.datapath.registry
    assert registry.list("mine") is registry.list("mine")
    assert registry.table("numbers", 1 << 24) is registry.table("numbers")
    assert {each.name for each in registry if each.owner == "gre"} == {"ipgre_rcv"}


# shows: HandlerList
def test_a_list_is_asked_in_order_of_priority(plane: Dataplane) -> None:
    kinds = plane.datapath.registry.list("kinds")
    kinds.add(lambda packet, at: packet.drop("policy_rule"), priority=20, name="last", owner="mine")
    kinds.add(lambda packet, at: Verdict.REJECT, priority=10, name="first", owner="mine")
    assert [each.name for each in kinds] == ["first", "last"]

    def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        return kinds.deliver(packet, info.header_size) if info.protocol == 0x88BC else Verdict.REJECT

    ready(plane).registry.list("gre_cisco").add(receive, priority=250, name="kinds_rcv", owner="mine")
    packet = ipv4(REMOTE, LOCAL, gre(bytes(20), 0x88BC), protocol=47)
    assert_trace(plane, "underlay", packet, drop="policy_rule", verdicts={"first": "reject", "last": "drop"})


# shows: SlotTable
def test_a_table_is_asked_by_a_field(plane: Dataplane) -> None:
    kinds = plane.datapath.registry.table("kind")
    kinds.add(lambda packet: packet.drop("policy_rule"), slot=7, name="seven", owner="mine")
    assert 7 in kinds
    assert len(kinds) == 1

    def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        if info.protocol != 0x88BC:
            return Verdict.REJECT
        return kinds.deliver(packet.header(Kind, info.header_size).kind, packet)

    ready(plane).registry.list("gre_cisco").add(receive, priority=250, name="kind_rcv", owner="mine")
    packet = ipv4(REMOTE, LOCAL, gre(Kind.pack(kind=7) + bytes(20), 0x88BC), protocol=47)
    assert_trace(plane, "underlay", packet, drop="policy_rule", guards={"Kind.kind": 7})


# shows: RegistryError
def test_what_is_taken_is_refused_and_both_are_named(plane: Dataplane) -> None:
    handlers = plane.datapath.registry.list("gre_cisco")
    with pytest.raises(RegistryError, match="priority 300, wanted by mine of me, is taken"):
        handlers.add(lambda *_: Verdict.REJECT, priority=300, name="mine", owner="me")
    (gre_rcv,) = [each for each in handlers if each.name == "ipgre_rcv"]
    with pytest.raises(RegistryError, match="ipgre_rcv of gre is not me's to remove"):
        handlers.remove(gre_rcv, "me")


# shows: TunnelInfo
def test_the_gre_header_comes_parsed(plane: Dataplane) -> None:
    seen: list[tuple[object, ...]] = []

    def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        seen.append((info.flags, hex(info.protocol), info.key, info.header_size, info.sequence_offset))
        return Verdict.REJECT

    ready(plane).registry.list("gre_cisco").add(receive, priority=1, name="mine", owner="mine")
    plane.send("underlay", ipv4(REMOTE, LOCAL, gre(INNER, 0x0800, key=42, sequence=7), protocol=47))
    assert seen == [(GreFlag.KEY | GreFlag.SEQ, "0x800", 42, 12, 8)]


# shows: FlagPolicy
def test_other_flag_bits_are_a_matter_of_policy(plane: Dataplane) -> None:
    datapath = ready(plane)
    strict_route = ipv4(REMOTE, LOCAL, b"\x08\0\x08\0" + INNER, protocol=47)
    assert_trace(plane, "underlay", strict_route, output="gre1")
    datapath.gre.policy = FlagPolicy.STRICT
    assert_trace(plane, "underlay", strict_route, drop="tunnel_reserved")


# shows: Gre6Demux
def test_gre_over_ipv6_is_there_when_a_plugin_makes_it(plane: Dataplane) -> None:
    datapath = plane.datapath
    assert IPProtocol.GRE not in datapath.registry.table("ip6_protocol")
    Gre6Demux(datapath.registry, datapath.icmp)
    assert IPProtocol.GRE in datapath.registry.table("ip6_protocol")


# shows: IcmpError
def test_an_error_handler_hears_what_routers_say(plane: Dataplane) -> None:
    heard: list[tuple[int, int, int | None]] = []

    def error(packet: Packet, ip: IPv4, info: TunnelInfo, icmp: IcmpError) -> Verdict:
        heard.append((icmp.type, icmp.code, icmp.mtu))
        return Verdict.REJECT  # the tunnel wants to know, too

    handlers = ready(plane).registry.list("gre_cisco")
    handlers.add(lambda *_: Verdict.REJECT, priority=1, name="mine", owner="mine", error=error)
    sent = ipv4(LOCAL, REMOTE, gre(INNER), protocol=47)
    plane.send("underlay", ipv4("203.0.113.1", LOCAL, icmp(3, 4, 1400, sent[:28]), protocol=1))
    assert heard == [(3, 4, 1400)]


# shows: UdpReceiver
def test_a_udp_port_is_listened_to(plane: Dataplane) -> None:
    def receive(packet: Packet, ip: IPv4, udp: Udp) -> Verdict:
        return packet.drop("policy_rule")

    datapath = ready(plane)
    datapath.udp[4].listen(4790, UdpReceiver("vxlan_gpe_rcv", "mine", receive))
    packet = ipv4(REMOTE, LOCAL, udp(50000, 4790, b"hello"))
    assert_trace(plane, "underlay", packet, drop="policy_rule", guards={"Udp.destination": 4790})


# shows: Pipeline
def test_stages_are_passed_by_priority(plane: Dataplane) -> None:
    pipeline: Pipeline = plane.datapath.pipeline
    pipeline.add(lambda packet, egress: None, priority=150, name="mine", owner="mine")
    assert [stage.name for stage in pipeline.stages] == ["mtu", "mine", "offload"]
    with pytest.raises(ValueError, match="150, wanted by other of me, is taken by mine of mine"):
        pipeline.add(lambda packet, egress: None, priority=150, name="other", owner="me")


# shows: Egress
def test_a_stage_sees_each_egress_a_packet_passes(plane: Dataplane) -> None:
    passed: list[tuple[str, str, int]] = []

    def look(packet: Packet, egress: Egress) -> None:
        passed.append((egress.name, egress.packet_type.name, egress.mtu))

    ready(plane).pipeline.add(look, priority=300, name="look", owner="mine")
    plane.port("lan", PacketType.L3)
    plane.connect("lan", "gre1")
    plane.send("lan", INNER)
    assert passed[-2:] == [("gre1", "L3", 1476), ("underlay", "L3", 1500)]


# shows: Feature
def test_what_an_egress_takes_needs_not_be_settled(plane: Dataplane) -> None:
    settled: list[bool] = []

    def look(packet: Packet, egress: Egress) -> None:
        settled.append(Feature.TSO4 not in egress.features)

    plane.port("lan", PacketType.L3)
    plane.port("wan", PacketType.L3)
    plane.connect("lan", "wan")
    plane.datapath.pipeline.add(look, priority=300, name="look", owner="mine")
    plane.send("lan", INNER)
    assert settled == [True]  # a memory port takes packets as they are on the wire
