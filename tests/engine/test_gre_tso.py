"""Super-packets that go into GRE whole: which stay so, and which of them a port takes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.engine.conftest import ALL, POLICY, Bench
from tests.engine.streams import segment4, segment6, super_packet
from vdp.engine.interface import Feature, MemoryPacket, Offload, PacketType
from vdp.engine.program import Drop, Id, Length, Meta, Output, Pull, Push, RequireChecksum, Segment
from vdp.testing.builders import ACK, ETH_IPV4, ETH_IPV6, ethernet, gre, ipv4, ipv6, unfinished, vlan
from vdp.testing.builders import udp as datagram

GRE, KEY = 47, 7
WITH_GRE = ALL | Feature.GRE_TSO
DATA = bytes(n * 7 & 0xFF for n in range(2500))
INNER4 = super_packet(segment4(DATA), 1000)
INNER6 = super_packet(segment6(DATA), 1000)
#: As much as fits, and no byte less.
FITS = Segment(Feature.GRE_TSO, longest=len(INNER4.data), longest_segment=1040)


def moved(offload: Offload, by: int) -> Offload:
    return Offload(True, offload.csum_start + by, 16, offload.gso_type, offload.gso_size)


def nested(packet: MemoryPacket, pushed: bytes) -> MemoryPacket:
    """The packet with those headers in front."""
    return MemoryPacket(pushed + packet.data, offload=moved(packet.offload, len(pushed)))


def outer4(carried: bytes, size: int, protocol: int = ETH_IPV4, **known: int) -> bytes:
    """IPv4 and GRE in front of `size` bytes, of which `carried` are pushed, too."""
    whole = gre(carried + bytes(size), protocol, **known)
    return ipv4("192.0.2.1", "192.0.2.2", whole, protocol=GRE)[: len(whole) + 20 - size]


def outer6(size: int, protocol: int = ETH_IPV4, limit: bytes = b"") -> bytes:
    whole = limit + gre(bytes(size), protocol)
    return ipv6("2001:db8::1", "2001:db8::2", whole, next_header=60 if limit else GRE)[
        : len(whole) + 40 - size
    ]


WHOLE = segment4(DATA[:2000], flags=ACK)
EVEN = replace(super_packet(WHOLE, 1000), data=unfinished(WHOLE, 20, 16, WHOLE[12:20], 6))


def with_checksum(wrong: int = 0) -> bytes:
    """Headers for EVEN; the checksum is what one of its segments would have."""
    right = gre(segment4(DATA[:1000], id=5, flags=ACK), csum=True)[4:6]
    checksum = int.from_bytes(right, "big") ^ wrong
    return outer4(b"", len(EVEN.data), checksum=checksum)


LIMIT = bytes((GRE, 0, 4, 1, 4, 1, 1, 0))
FRAME = ethernet(b"", ethertype=ETH_IPV4)
SIZE = len(INNER4.data)
TAKEN: dict[str, MemoryPacket] = {
    "ipv4": nested(INNER4, outer4(b"", SIZE)),
    "ipv6": nested(INNER6, outer4(b"", len(INNER6.data), ETH_IPV6)),
    "key": nested(INNER4, outer4(b"", SIZE, key=KEY)),
    "frame": nested(INNER4, outer4(FRAME, SIZE, 0x6558)),
    "checksum": nested(EVEN, with_checksum()),
    "over ipv6": nested(INNER4, outer6(SIZE)),
    "over ipv6 with a limit": nested(INNER4, outer6(SIZE, limit=LIMIT)),
}
REFUSED: dict[str, tuple[MemoryPacket, str]] = {
    "checksum": (nested(INNER4, outer4(b"", SIZE, csum=True)), "gso_unsupported"),
    "wrong checksum": (nested(EVEN, with_checksum(1)), "gso_unsupported"),
    "sequence": (nested(INNER4, outer4(b"", SIZE, sequence=1)), "gso_unsupported"),
    "version 1": (nested(INNER4, outer4(b"", SIZE, flags=1)), "gso_unsupported"),
    "tagged frame": (nested(INNER4, outer4(vlan(FRAME, 5), SIZE, 0x6558)), "gso_unsupported"),
    "other payload": (nested(INNER4, outer4(b"", SIZE, 0x8847)), "gso_unsupported"),
    "the other version": (nested(INNER4, outer4(b"", SIZE, ETH_IPV6)), "gso_unsupported"),
    "twice": (nested(INNER4, outer4(outer4(b"", SIZE), SIZE)), "gso_unsupported"),
    "outer options": (
        nested(
            INNER4, ipv4("192.0.2.1", "192.0.2.2", gre(bytes(SIZE)), protocol=GRE, options=b"\1" * 4)[:28]
        ),
        "gso_unsupported",
    ),
    "not GRE": (
        nested(INNER4, ipv4("192.0.2.1", "192.0.2.2", gre(bytes(SIZE)), protocol=4)[:24]),
        "gso_unsupported",
    ),
    "too long for its header": (nested(INNER4, outer4(b"", SIZE - 1)), "gso_invalid"),  # already on receive
}


@pytest.fixture
def takes(bench: Bench) -> int:
    """A layer-3 port with the feature."""
    return bench.memory(PacketType.L3, WITH_GRE)


@pytest.mark.conformance("H1", "H8")
@pytest.mark.parametrize("name", TAKEN)
def test_a_port_takes_it_in_gre_as_it_is(bench: Bench, takes: int, name: str) -> None:
    bench.flow(bench.x, Output(takes))
    bench.send(bench.x, TAKEN[name])
    (out,) = bench.collect(takes)
    assert out.data == TAKEN[name].data
    assert out.offload.gso_size == 1000
    assert out.offload.csum_start == TAKEN[name].offload.csum_start
    assert out.offload.header_size == out.offload.csum_start + 20
    assert bench.engine.port_stats(takes).tx_segments == (2 if name == "checksum" else 3)


@pytest.mark.conformance("H2")
@pytest.mark.parametrize("name", TAKEN)
def test_a_port_without_the_feature_does_not(bench: Bench, name: str) -> None:
    bench.flow(bench.x, Output(bench.y))
    bench.send(bench.x, TAKEN[name])
    assert bench.sent(bench.y) == []
    assert bench.drops(bench.y) == {"gso_unsupported": 1}


@pytest.mark.conformance("H2")
@pytest.mark.parametrize("name", REFUSED)
def test_other_headers_are_refused(bench: Bench, takes: int, name: str) -> None:
    packet, reason = REFUSED[name]
    bench.flow(bench.x, Output(takes))
    bench.send(bench.x, packet)
    assert bench.sent(takes) == []
    assert {**bench.drops(bench.x), **bench.drops(takes)} == {reason: 1}


def test_a_tag_around_it_is_refused(bench: Bench) -> None:
    takes = bench.memory(PacketType.L2, WITH_GRE)
    bench.flow(bench.a, Output(takes))
    frame = ethernet(TAKEN["ipv4"].data)
    bench.send(bench.a, MemoryPacket(frame, offload=moved(TAKEN["ipv4"].offload, 14)))
    assert len(bench.collect(takes)) == 1
    bench.send(bench.a, MemoryPacket(vlan(frame, 5), offload=moved(TAKEN["ipv4"].offload, 18)))
    assert bench.drops(takes) == {"gso_unsupported": 1}


def test_a_checksum_mark_that_points_elsewhere_is_refused(bench: Bench, takes: int) -> None:
    """It is believed on receive that it is in a tunnel which the engine does not know."""
    good = TAKEN["ipv4"]
    bench.flow(bench.x, Output(takes))
    data = bytearray(good.data)
    at = good.offload.csum_start + 20
    data[at + 12] = 0x50  # a TCP header, for all that can be told
    bench.send(bench.x, MemoryPacket(bytes(data), offload=moved(good.offload, 20)))
    assert bench.drops(takes) == {"gso_invalid": 1}


@pytest.mark.parametrize("packet", [INNER4, INNER6], ids=["ipv4", "ipv6"])
def test_a_segment_action_leaves_it_whole(bench: Bench, takes: int, packet: MemoryPacket) -> None:
    whole = Segment(Feature.GRE_TSO, longest=len(packet.data), longest_segment=1060)
    bench.flow(bench.x, whole, Output(takes))
    bench.send(bench.x, packet)
    (out,) = bench.collect(takes)
    assert (len(out.data), out.offload.gso_size) == (len(packet.data), 1000)


CUT: dict[str, Segment] = {
    "it is a byte too long": Segment(Feature.GRE_TSO, longest=SIZE - 1, longest_segment=1040),
    "its segments are": Segment(Feature.GRE_TSO, longest=SIZE, longest_segment=1039),
    "nothing fits": Segment(Feature.GRE_TSO),
}


@pytest.mark.parametrize("name", CUT)
def test_it_is_cut_where(bench: Bench, takes: int, name: str) -> None:
    bench.flow(bench.x, CUT[name], Output(takes))
    bench.send(bench.x, INNER4)
    assert [(len(out.data), out.offload.needs_csum) for out in bench.collect(takes)] == [
        (1040, False), (1040, False), (540, False),
    ]  # fmt: skip


def test_other_super_packets_are_cut_and_checksums_finished(bench: Bench, takes: int) -> None:
    action = Segment(Feature.GRE_TSO, longest=65535, longest_segment=65535)
    bench.flow(bench.x, action, Output(takes))
    bench.send(bench.x, super_packet(ipv4("10.0.0.1", "10.0.0.2", datagram(1, 2, DATA)), 1000))
    assert len(bench.collect(takes)) == 3
    plain = segment4(b"payload")
    unfinished = bytearray(plain)
    struct.pack_into("!H", unfinished, 36, 0x1234)
    bench.send(bench.x, MemoryPacket(bytes(unfinished), offload=Offload(True, 20, 16)))
    (out,) = bench.collect(takes)
    assert not out.offload.needs_csum
    assert out.data != bytes(unfinished)


def test_a_tagged_frame_is_cut(bench: Bench) -> None:
    takes = bench.memory(PacketType.L2, WITH_GRE)
    bench.flow(bench.a, Segment(Feature.GRE_TSO, longest=65535, longest_segment=65535), Output(takes))
    frame = ethernet(INNER4.data)
    bench.send(bench.a, MemoryPacket(frame, offload=moved(INNER4.offload, 14)))
    assert len(bench.collect(takes)) == 1
    bench.send(bench.a, MemoryPacket(vlan(frame, 5), offload=moved(INNER4.offload, 18)))
    assert len(bench.collect(takes)) == 3


@pytest.mark.conformance("G17")
def test_as_many_ids_are_taken_as_it_has_segments(bench: Bench, takes: int) -> None:
    state = bench.engine.new_state(0xFFFE)
    head = outer4(b"", 0)
    bench.flow(bench.x, FITS, Push(head), Length(2, 0), Id(4, state), Output(takes))
    bench.send(bench.x, INNER4, INNER4.data[:40], INNER4)
    ids = [int.from_bytes(out.data[4:6], "big") for out in bench.collect(takes)]
    assert ids == [0xFFFE, 1, 2]
    assert bench.engine.read_state(state) & 0xFFFF == 5


@pytest.mark.conformance("C6")
@pytest.mark.parametrize("checksum", [0, 0xBEEF])
def test_a_checksum_around_an_unfinished_one_passes(bench: Bench, checksum: int) -> None:
    """What a local kernel's tunnel sends whole: the field of its GRE header is nobody's yet."""
    packet = nested(INNER4, outer4(b"", SIZE, checksum=checksum))
    require = RequireChecksum(20, 0, (Drop(POLICY),))
    bench.flow(bench.x, require, Pull(28), Meta(1, ETH_IPV4), Output(bench.y))
    bench.send(bench.x, packet)
    (out,) = bench.collect(bench.y)
    assert out.data[40:] == DATA
    assert out.offload.gso_size == 1000


@pytest.mark.parametrize("spoil", [lambda data: data, lambda data: data[:-1] + b"x"], ids=["good", "bad"])
def test_a_checksum_around_a_finished_one_is_verified(bench: Bench, spoil: Callable[[bytes], bytes]) -> None:
    data = spoil(ipv4("192.0.2.1", "192.0.2.2", gre(segment4(b"payload"), csum=True), protocol=GRE))
    bench.flow(bench.x, RequireChecksum(20, 0, (Drop(POLICY),)), Output(bench.y))
    bench.send(bench.x, data)
    assert len(bench.collect(bench.y)) == (0 if data.endswith(b"x") else 1)
