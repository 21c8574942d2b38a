"""Super-packets that go into GRE in UDP whole (RFC 8086): checksums for each segment, and who takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import EngineFactory
from tests.engine.conftest import ALL, POLICY, Bench
from tests.engine.streams import segment4, segment6, super_packet
from vdp.engine.interface import Feature, MemoryPacket, Offload, PacketType
from vdp.engine.program import (
    Action,
    Checksum,
    Drop,
    Length,
    Meta,
    Output,
    Pull,
    Push,
    RequireUdp,
    Segment,
    UdpChecksum,
)
from vdp.testing.builders import PSH, ethernet, gre, ipv4, ipv6, udp

PORT = 4754
IP_SIZE = {4: 20, 6: 40}
WITH_GRE = ALL | Feature.GRE_TSO
ELSE = (Drop(POLICY),)


def pushed(version: int, inner: int, *, csum: bool, key: int | None, frame: bool) -> list[Action]:
    """What a link with encap = "udp" puts in front: GRE, UDP with a checksum, IP."""
    protocol = 0x6558 if frame else {4: 0x0800, 6: 0x86DD}[inner]
    head = gre(b"", protocol, csum=csum, key=key)
    outer = (
        ipv4("192.0.2.1", "192.0.2.2", b"", protocol=17)
        if version == 4
        else ipv6("fd::1", "fd::2", b"", next_header=17)
    )
    at = IP_SIZE[version]
    return [
        *([Push(ethernet(b"", ethertype={4: 0x0800, 6: 0x86DD}[inner]))] if frame else []),
        Push(head),
        *([Checksum(4, 0)] if csum else []),
        Push(udp(50000, PORT, b"").data[:6] + b"\0\0"),
        Length(4, 0),
        Push(outer),
        Length(2, 0) if version == 4 else Length(4, 40),
        *([Checksum(10, 0, 20)] if version == 4 else []),
        UdpChecksum(version, 0, at),
        Meta(0, PacketType.L3),
        Meta(1, 0x0800 if version == 4 else 0x86DD),
    ]


def outputs(
    bench: Bench, features: Feature, program: Sequence[Action], packet: MemoryPacket
) -> list[MemoryPacket]:
    port = bench.memory(PacketType.L3, features)
    flow = bench.flow(bench.x, *program, Output(port))
    bench.send(bench.x, packet)
    bench.engine.remove(0, [flow])
    return bench.collect(port)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    version=st.sampled_from([4, 6]),
    inner=st.sampled_from([4, 6]),
    csum=st.booleans(),
    key=st.sampled_from([None, 7]),
    frame=st.booleans(),
    size=st.integers(48, 700),
    count=st.integers(2, 9),
    rest=st.integers(0, 47),
    seq=st.integers(0, 0xFFFFFFFF),
)
def test_what_the_whole_says_is_what_each_segment_would(
    make_engine: EngineFactory,
    version: int,
    inner: int,
    csum: bool,
    key: int | None,
    frame: bool,
    size: int,
    count: int,
    rest: int,
    seq: int,
) -> None:
    """Cut behind the headers as a kernel does, the packets are those that are cut before."""
    bench = Bench(make_engine())
    payload = bytes(n * 11 & 0xFF for n in range(size * count + rest))
    whole = super_packet((segment4 if inner == 4 else segment6)(payload, seq, flags=PSH), size)
    headers = pushed(version, inner, csum=csum, key=key, frame=frame)
    keep = Segment(Feature.GRE_TSO, longest=65000, longest_segment=1500, equal=True)
    out = outputs(bench, WITH_GRE, [keep, *headers], whole)
    alone = outputs(bench, Feature.NONE, [Segment(), *headers], whole)
    assert [packet.offload.gso_size for packet in out] == [size] + [0] * (rest > 0)
    at, shorter = IP_SIZE[version], out[1:]
    cut_udp = [packet.data[at : at + 8] for packet in alone[:count]]
    assert {data[6:8] for data in cut_udp} == {out[0].data[at + 6 : at + 8]}
    assert int.from_bytes(out[0].data[at + 4 : at + 6], "big") == len(out[0].data) - at
    front = out[0].offload.csum_start - IP_SIZE[inner]
    # All that is in front of the inner packet, but for lengths, ids and checksums of IPv4.
    assert {packet.data[at + 8 : front] for packet in alone[:count]} == {out[0].data[at + 8 : front]}
    # The shorter one goes alone, its UDP checksum left to the port.
    finished = [outputs(bench, Feature.NONE, [], replace(packet, meta=bytes(32))) for packet in shorter]
    assert [packet.data for (packet,) in finished] == [packet.data for packet in alone[count:]]


@pytest.fixture
def taken(bench: Bench) -> MemoryPacket:
    """One with a checksum in UDP, of two segments of a size."""
    whole = super_packet(segment4(bytes(2000)), 1000)
    headers = pushed(4, 4, csum=False, key=None, frame=False)
    keep = Segment(Feature.GRE_TSO, longest=65000, longest_segment=1500, equal=True)
    (out,) = outputs(bench, WITH_GRE, [keep, *headers], whole)
    return replace(out, meta=bytes(32))


@pytest.mark.conformance("L13", "H1")
def test_a_port_with_the_feature_takes_it(bench: Bench, taken: MemoryPacket) -> None:
    assert [out.data for out in outputs(bench, WITH_GRE, [], taken)] == [taken.data]
    without = replace(taken, data=taken.data[:26] + b"\0\0" + taken.data[28:])
    assert [out.data for out in outputs(bench, WITH_GRE, [], without)] == [without.data]
    assert outputs(bench, ALL, [], taken) == []


@pytest.mark.conformance("H2")
@pytest.mark.parametrize("at", [23, 24, 25, 26, 27, 28, 29, 30, 31])
def test_each_byte_of_udp_and_gre_counts(bench: Bench, taken: MemoryPacket, at: int) -> None:
    """Length and checksum of UDP (its ports are in that), flags and protocol of GRE."""
    spoiled = taken.data[:at] + bytes([taken.data[at] ^ 1]) + taken.data[at + 1 :]
    assert outputs(bench, WITH_GRE, [], replace(taken, data=spoiled)) == []


@pytest.mark.conformance("H2")
def test_segments_of_two_sizes_have_not_one_checksum(bench: Bench) -> None:
    whole = super_packet(segment4(bytes(2001)), 1000)
    keep = Segment(Feature.GRE_TSO, longest=65000, longest_segment=1500)
    headers = pushed(4, 4, csum=False, key=None, frame=False)
    assert outputs(bench, WITH_GRE, [keep, *headers], whole) == []


@pytest.mark.conformance("L13", "C6")
@pytest.mark.parametrize(("checksum", "passes"), [(b"\xbe\xef", True), (b"\0\0", False)])
def test_it_comes_out_of_udp_whole(bench: Bench, taken: MemoryPacket, checksum: bytes, passes: bool) -> None:
    """What crossed no wire has a checksum that is nobody's yet; a receiver may still ask for one."""
    spoiled = replace(taken, data=taken.data[:26] + checksum + taken.data[28:])
    program = [Segment(Feature.CSUM | Feature.TSO4 | Feature.TSO6), RequireUdp(4, 0, 20, ELSE), Pull(32)]
    out = outputs(bench, ALL, [*program, Meta(1, 0x0800)], spoiled)
    assert [packet.offload for packet in out] == [Offload(True, 20, 16, 1, 1000, 40)] * passes
