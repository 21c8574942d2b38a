"""Examples of docs/api/testing.md."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given

from vdp.api import Bits, Header, IPv4, Packet, PacketType, TunnelInfo, Verdict
from vdp.testing import (
    Conformance,
    Dataplane,
    Fuzzer,
    NativeEngine,
    ReferenceEngine,
    Result,
    Sample,
    StaticGroups,
    StaticPaths,
    Traced,
    assert_trace,
    builders,
    check_books,
    check_faults,
    check_golden,
    check_soundness,
    explain,
    read_pcap,
    replay,
    sample_of,
    strategies,
    write_pcap,
)
from vdp.testing.builders import gre, ipv4, udp

LOCAL, REMOTE = "192.0.2.1", "192.0.2.2"
INNER = ipv4("10.0.0.1", "10.0.0.2", udp(1000, 2000, b"hello"))
IN_GRE = ipv4(REMOTE, LOCAL, gre(INNER), protocol=47)


class Shim(Header):
    version = Bits(4)
    tag = Bits(28)


def arrange(plane: Dataplane) -> None:
    """A gre link between `underlay` and `lan`."""
    plane.port("underlay", PacketType.L3)
    plane.port("lan", PacketType.L3)
    plane.link("gre1", "gre", local=LOCAL, remote=REMOTE)
    plane.connect("lan", "gre1")


# shows: Dataplane
def test_a_dataplane_in_memory() -> None:
    with Dataplane(plugins=["gre"]) as plane:
        arrange(plane)
        plane.send("underlay", IN_GRE)
        assert plane.received("lan") == [INNER]
        assert plane.counters("gre1")["rx_packets"] == 1


# shows: NativeEngine, ReferenceEngine
def test_both_engines_do_the_same() -> None:
    for engine in (NativeEngine(), ReferenceEngine()):
        with Dataplane(engine, ["gre"]) as plane:
            arrange(plane)
            plane.send("underlay", IN_GRE)
            assert plane.received("lan") == [INNER]


# shows: StaticPaths
def test_ways_are_a_table() -> None:
    paths = StaticPaths(unreachable={IPv4Address(REMOTE)})
    with Dataplane(plugins=["gre"], paths=paths) as plane:
        arrange(plane)
        plane.send("lan", INNER)
        assert plane.drops("lan") == {"no_route": 1}


# shows: StaticGroups
def test_groups_are_remembered() -> None:
    groups = StaticGroups()
    with Dataplane(plugins=["gre"], groups=groups) as plane:
        plane.port("underlay", PacketType.L3, device="eth0")
        plane.link("many", "gre", local=LOCAL, remote="239.0.0.1")
        assert [str(member.group) for member in groups.members] == ["239.0.0.1"]


# shows: builders
def test_packets_are_made_from_the_outside_in() -> None:
    frame = builders.vlan(builders.ethernet(IN_GRE), vid=5)
    assert len(frame) == 14 + 4 + len(IN_GRE)
    wrong = builders.ipv4(REMOTE, LOCAL, b"", protocol=47, checksum=0xDEAD)
    assert wrong[10:12] == b"\xde\xad"


# shows: assert_trace, Traced
def test_what_is_decided_about_a_packet(plane: Dataplane) -> None:
    arrange(plane)
    traced: Traced = assert_trace(
        plane,
        "underlay",
        IN_GRE,
        output="gre1",
        verdicts={"ipgre_rcv": "received"},
        guards={"GreBase.protocol": 0x0800},
        wildcards=["IPv4.ttl"],
        actions=["pull 20", "pull 4", "output gre1"],
    )
    assert traced.is_cacheable
    with pytest.raises(AssertionError, match="its fate is not drop ip_header\noutput gre1\n"):
        assert_trace(plane, "underlay", IN_GRE, drop="ip_header")


# shows: explain
def test_a_trace_in_words(plane: Dataplane) -> None:
    arrange(plane)
    assert "guard   GreBase.protocol = 0x800   (" in str(explain(plane, "underlay", IN_GRE))


# shows: check_soundness
def test_who_decides_behind_the_traces_back_is_found(plane: Dataplane) -> None:
    def peek(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        return packet.drop("policy_rule") if packet.trace.data[30] else Verdict.REJECT

    arrange(plane)
    check_soundness(plane.datapath, "underlay", IN_GRE)
    plane.datapath.registry.list("gre_cisco").add(peek, priority=1, name="peek", owner="mine")
    with pytest.raises(AssertionError, match="bytes are read behind the trace's back at"):
        check_soundness(plane.datapath, "underlay", IN_GRE)


# shows: Sample, sample_of
def test_a_sample_is_what_the_classifier_sees(plane: Dataplane) -> None:
    arrange(plane)
    sample = sample_of(plane.datapath, "underlay", IN_GRE)
    assert sample == Sample(plane.datapath.ports["underlay"].number, IN_GRE, sample.meta)
    check_soundness(plane.datapath, "underlay", sample)


# shows: check_books, check_faults
def test_no_packet_vanishes_and_no_handler_raises(plane: Dataplane) -> None:
    arrange(plane)
    plane.send("underlay", IN_GRE, b"", bytes(100))
    check_books(plane.engine)
    check_faults(plane.datapath)


# shows: read_pcap, write_pcap, check_golden, replay
def test_captures(plane: Dataplane, tmp_path: Path) -> None:
    arrange(plane)
    capture = tmp_path / "hello.pcap"
    write_pcap(capture, [IN_GRE, b"\x45"], PacketType.L3)
    packets = read_pcap(capture, PacketType.L3)
    assert replay(plane, "underlay", packets).fates == [
        f"1 {len(IN_GRE)}: output lan {len(INNER)}",
        "2 1: drop parse_truncated at underlay",
    ]
    check_golden(plane, "underlay", capture, update=True)  # writes hello.fates and hello.lan.pcap
    check_golden(plane, "underlay", capture)


# shows: strategies
def test_no_broken_packet_hurts(plane: Dataplane) -> None:
    arrange(plane)

    @strategies.patient
    @given(strategies.broken(strategies.gre_packets(strategies.headers(Shim, version=1), protocol=0x88BE)))
    def send(data: bytes) -> None:
        plane.send("underlay", data)

    send()


# shows: Conformance, Result
def test_what_every_plugin_must_hold_to() -> None:
    results = {result.check: result for result in Conformance("wccp", packets=500).run()}
    assert results["loads"].state == "ok"
    assert isinstance(results["soundness"], Result)
    assert "failed" not in {result.state for result in results.values()}


# shows: Fuzzer
def test_packets_are_made_of_samples() -> None:
    one, same = (Fuzzer([("underlay", IN_GRE)], constants=[0x88BE], seed=7) for _ in range(2))
    packets = [one.packet() for _ in range(50)]
    assert packets == [same.packet() for _ in range(50)]
    assert {member for member, _ in packets} == {"underlay"}
