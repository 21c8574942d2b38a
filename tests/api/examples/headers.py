"""Examples of docs/api/headers.md."""

import pytest

from vdp.api import (
    Bits,
    Datapath,
    Ecn,
    Egress,
    Ethernet,
    EtherType,
    FillChecksum,
    FillCopy,
    FillHash,
    FillId,
    FillLength,
    FillSequence,
    FillState,
    GreBase,
    GreFlag,
    GreSequence,
    Header,
    Icmp,
    IPProtocol,
    IPv4,
    IPv6,
    Octets,
    Packet,
    PacketType,
    TunnelInfo,
    Udp,
    Verdict,
    Vlan,
    internet_checksum,
)
from vdp.testing import Dataplane, assert_trace
from vdp.testing.builders import ethernet, gre, icmp, ipv4, ipv6, udp, vlan

INNER = ipv4("10.0.0.1", "10.0.0.2", udp(1000, 2000, b"hello"))


class Shim(Header):
    version = Bits(4)
    flags = Bits(12)
    size = Bits(16)


def sending(plane: Dataplane) -> Datapath:
    """From `lan` to `wan`, where a stage can put a header on."""
    plane.port("lan", PacketType.L3)
    plane.port("wan", PacketType.L3)
    plane.connect("lan", "wan")
    return plane.datapath


# shows: Header, Bits
def test_a_header_is_declared_once_then_read_packed_and_changed(plane: Dataplane) -> None:
    assert (Shim.SIZE, Shim.size.offset) == (4, 2)
    assert Shim.pack(version=1, size=0x0203) == bytes.fromhex("1000 0203")
    with pytest.raises(ValueError, match="version: 16 does not fit 4 bits"):
        Shim.pack(version=16)

    def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        shim = packet.header(Shim, info.header_size)
        if shim.version == 1:  # four bits are guarded
            shim.set(flags=0x800)  # in place, whatever they were
        return Verdict.REJECT

    plane.port("underlay", PacketType.L3)
    plane.link("gre1", "gre", local="192.0.2.1", remote="192.0.2.2")
    plane.datapath.registry.list("gre_cisco").add(receive, priority=1, name="shim", owner="shim")
    packet = ipv4("192.0.2.2", "192.0.2.1", gre(Shim.pack(version=1) + INNER), protocol=47)
    assert_trace(plane, "underlay", packet, guards={"Shim.version": 1}, wildcards=["Shim.size"])


# shows: Octets
def test_octets_are_bytes_as_they_stand() -> None:
    class Station(Header):
        address = Octets(6)

    assert Station.pack(address=b"\2\0\0\0\0\1") == b"\2\0\0\0\0\1"
    with pytest.raises(ValueError, match="address: 1 bytes, 6 needed"):
        Station.pack(address=b"\2")


# shows: FillLength
def test_a_length_is_each_packets_own(plane: Dataplane) -> None:
    def shim(packet: Packet, egress: Egress) -> None:
        Shim.push(packet, version=1, size=FillLength(addend=-4))  # of what follows the shim

    sending(plane).pipeline.add(shim, priority=300, name="shim", owner="shim")
    for count in (0, 7):
        plane.send("lan", ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, bytes(count))))
    assert [int.from_bytes(sent[2:4]) for sent in plane.received("wan")] == [28, 35]


# shows: FillId
def test_an_identification_counts_packets(plane: Dataplane) -> None:
    datapath = sending(plane)
    state = datapath.states.new(500)
    mark = lambda packet, egress: Shim.push(packet, size=FillId(state))  # noqa: E731
    datapath.pipeline.add(mark, priority=300, name="shim", owner="shim")
    plane.send("lan", INNER, INNER, INNER)
    assert [int.from_bytes(sent[2:4]) for sent in plane.received("wan")] == [500, 501, 502]


# shows: FillSequence, FillState
def test_a_sequence_counts_and_a_state_is_told(plane: Dataplane) -> None:
    class Numbers(Header):
        sequence = Bits(32)
        next = Bits(32)

    datapath = sending(plane)
    state = datapath.states.new(1)

    def number(packet: Packet, egress: Egress) -> None:
        Numbers.push(packet, sequence=FillSequence(state), next=FillState(state, addend=10))

    datapath.pipeline.add(number, priority=300, name="number", owner="number")
    plane.send("lan", INNER, INNER)
    found = [(int.from_bytes(sent[:4]), int.from_bytes(sent[4:8])) for sent in plane.received("wan")]
    assert found == [(1, 12), (2, 13)]


# shows: FillChecksum, internet_checksum
def test_a_checksum_is_written_last_and_over_everything(plane: Dataplane) -> None:
    class Guarded(Header):
        checksum = Bits(16)
        size = Bits(16)

    def guard(packet: Packet, egress: Egress) -> None:
        Guarded.push(packet, checksum=FillChecksum(), size=FillLength())

    sending(plane).pipeline.add(guard, priority=300, name="guard", owner="guard")
    plane.send("lan", INNER)
    (sent,) = plane.received("wan")
    assert sent[:2] == internet_checksum(bytes(2) + sent[2:])
    assert internet_checksum(sent) == bytes(2)  # of what has a good one in it


# shows: FillCopy
def test_a_copy_is_of_each_packets_own_byte(plane: Dataplane) -> None:
    class Outer(Header):
        ttl = Bits(8)
        rest = Bits(24)

    def copy(packet: Packet, egress: Egress) -> None:
        Outer.push(packet, ttl=FillCopy(Outer.SIZE + IPv4.ttl.offset))

    sending(plane).pipeline.add(copy, priority=300, name="copy", owner="copy")
    for ttl in (9, 64):
        plane.send("lan", ipv4("10.0.0.1", "10.0.0.2", udp(1, 2), ttl=ttl))
    assert [sent[0] for sent in plane.received("wan")] == [9, 64]


# shows: FillHash
def test_a_hash_of_the_flow_makes_a_source_port(plane: Dataplane) -> None:
    def entropy(packet: Packet, egress: Egress) -> None:
        addresses = FillHash(Udp.SIZE + IPv4.source.offset, 8, mask=0x3FFF)
        packet.push(Udp.pack(source=0xC000, destination=4754))
        packet.fill(0, addresses)

    sending(plane).pipeline.add(entropy, priority=300, name="entropy", owner="entropy")
    plane.send("lan", INNER, INNER, ipv4("10.0.0.9", "10.0.0.2", udp(1, 2)))
    one, same, other = [int.from_bytes(sent[:2]) for sent in plane.received("wan")]
    assert one == same != other
    assert one >= 0xC000


# shows: Ethernet, Vlan, EtherType
def test_frames(plane: Dataplane) -> None:
    def classify(packet: Packet, egress: Egress) -> None:
        if packet.header(Ethernet).type == EtherType.VLAN and packet.header(Vlan, Ethernet.SIZE).id == 7:
            packet.drop("policy_rule")

    plane.port("a")
    plane.port("b")
    plane.connect("a", "b")
    plane.datapath.pipeline.add(classify, priority=50, name="classify", owner="mine")
    frame = ethernet(INNER)
    plane.send("a", frame, vlan(frame, vid=7), vlan(frame, vid=8))
    assert plane.received("b") == [frame, vlan(frame, vid=8)]


# shows: IPv4, IPProtocol, Ecn
def test_an_ipv4_header(plane: Dataplane) -> None:
    def congested(packet: Packet, egress: Egress) -> None:
        ip = packet.header(IPv4)
        if ip.protocol == IPProtocol.UDP and ip.ecn in (Ecn.ECT_0, Ecn.ECT_1):
            ip.set(ecn=Ecn.CE)  # the checksum is adjusted (RFC 1624)

    sending(plane).pipeline.add(congested, priority=300, name="congested", owner="mine")
    plane.send("lan", ipv4("10.0.0.1", "10.0.0.2", udp(1, 2), tos=Ecn.ECT_0), INNER)
    assert plane.received("wan") == [ipv4("10.0.0.1", "10.0.0.2", udp(1, 2), tos=Ecn.CE), INNER]


# shows: IPv6
def test_an_ipv6_header(plane: Dataplane) -> None:
    def label(packet: Packet, egress: Egress) -> None:
        if packet.protocol == EtherType.IPV6:
            packet.header(IPv6).set(flow_label=0)

    sending(plane).pipeline.add(label, priority=300, name="label", owner="mine")
    plane.send("lan", ipv6("2001:db8::1", "2001:db8::2", udp(1, 2), flow_label=5))
    assert plane.received("wan") == [ipv6("2001:db8::1", "2001:db8::2", udp(1, 2))]


# shows: Icmp, Udp
def test_what_is_in_ip(plane: Dataplane) -> None:
    def refuse(packet: Packet, egress: Egress) -> None:
        ip = packet.header(IPv4)
        is_ping = ip.protocol == IPProtocol.ICMP and packet.header(Icmp, ip.payload).type == 8
        if is_ping or (ip.protocol == IPProtocol.UDP and packet.header(Udp, ip.payload).destination == 53):
            packet.drop("policy_rule")

    sending(plane).pipeline.add(refuse, priority=50, name="refuse", owner="mine")
    ping = ipv4("10.0.0.1", "10.0.0.2", icmp(8), protocol=1)
    plane.send("lan", ping, ipv4("10.0.0.1", "10.0.0.2", udp(1, 53)), INNER)
    assert plane.received("wan") == [INNER]


# shows: GreBase, GreFlag, GreSequence
def test_a_gre_header_with_a_number() -> None:
    assert GreBase.pack(seq=1, protocol=EtherType.IPV4) == bytes.fromhex("1000 0800")
    flags = int.from_bytes(gre(b"", sequence=7)[:2])
    assert GreFlag(flags) == GreFlag.SEQ
    assert GreSequence.pack(sequence=7) == gre(b"", sequence=7)[GreBase.SIZE :]
