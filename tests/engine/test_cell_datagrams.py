"""GRO cells and UDP: which datagrams are joined, and what a cell joins at all, on both engines."""

from __future__ import annotations

import pytest

from tests.engine.conftest import ALL, Bench
from tests.engine.streams import assert_sound, finished, layer, stream4, stream6, super_packet
from vdp.engine.interface import Feature, MemoryPacket, PacketType
from vdp.engine.program import Output, Segment
from vdp.testing.builders import ipv4, ipv6, udp

pytestmark = pytest.mark.conformance("F10")

ENDS4, ENDS6 = ("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")
TCP4, TCP6, UDP_L4 = 1, 4, 5


def datagrams4(sizes: list[int], *, id: int = 1, step: int = 1, port: int = 7, **fields: int) -> list[bytes]:
    return [
        ipv4(*ENDS4, udp(port, 9, bytes([65 + n]) * size), id=id + n * step, **fields)
        for n, size in enumerate(sizes)
    ]


def datagrams6(sizes: list[int], **fields: int) -> list[bytes]:
    return [ipv6(*ENDS6, udp(7, 9, bytes([65 + n]) * size), **fields) for n, size in enumerate(sizes)]


def through(bench: Bench, packets: list[bytes], features: Feature = ALL) -> list[MemoryPacket]:
    """What a cell makes of one batch."""
    origin, cell, out = (
        bench.memory(PacketType.L3),
        bench.cell(features=features),
        bench.memory(PacketType.L3),
    )
    bench.flow(origin, Output(cell))
    bench.flow(cell, Output(out))
    bench.inject(origin, *packets)
    bench.engine.poll()
    return bench.collect(out)


def sizes(packets: list[MemoryPacket]) -> list[int]:
    return [len(layer(packet.data)["UDP"].payload) for packet in packets]


@pytest.mark.parametrize("make", [datagrams4, datagrams6])
def test_datagrams_of_one_flow_and_size_are_joined(bench: Bench, make) -> None:  # type: ignore[no-untyped-def]
    packets = make([100, 100, 100])
    (whole,) = through(bench, packets)
    assert (whole.offload.gso_type, whole.offload.gso_size) == (UDP_L4, 100)
    assert layer(whole.data)["UDP"].len == 308
    assert_sound(finished(whole))
    parts = bench.run([Segment(), Output(bench.y)], whole.data, whole.offload)
    assert parts == packets


def test_a_shorter_one_is_the_last(bench: Bench) -> None:
    assert sizes(through(bench, datagrams4([100, 100, 60, 60]))) == [260, 60]


def test_a_longer_one_starts_anew(bench: Bench) -> None:
    assert sizes(through(bench, datagrams4([60, 100, 100]))) == [60, 200]


def test_at_most_sixty_four_are_joined(bench: Bench) -> None:
    out = through(bench, datagrams4([10] * 60)), through(bench, datagrams4([1000] * 64))
    assert sizes(out[0]) == [600]
    assert sizes(out[1]) == [64000]
    assert sizes(through(bench, datagrams4([1200] * 60))) == [54 * 1200, 6 * 1200]  # 65535 at most


def test_other_flows_are_joined_apart(bench: Bench) -> None:
    one, two = datagrams4([50, 50]), datagrams4([50, 50], port=8)
    mixed = [packet for both in zip(one, two, strict=True) for packet in both]
    assert sizes(through(bench, mixed)) == [100, 100]


@pytest.mark.parametrize("field", ["ttl", "tos"])
def test_another_ttl_or_tos_is_not_joined(bench: Bench, field: str) -> None:
    one, two = datagrams4([50], **{field: 9}), datagrams4([50], id=2, **{field: 8})
    assert sizes(through(bench, one + two)) == [50, 50]


def test_ids_count_up_or_stand_still_with_df(bench: Bench) -> None:
    assert sizes(through(bench, datagrams4([50, 50], step=2))) == [50, 50]
    assert sizes(through(bench, datagrams4([50, 50, 50], step=0))) == [150]
    assert sizes(through(bench, datagrams4([50, 50], step=0, flags=0))) == [50, 50]


def test_without_a_checksum_or_with_a_wrong_one_it_is_delivered_alone(bench: Bench) -> None:
    for checksum in (b"\0\0", b"\x12\x34"):
        packets = [data[:26] + checksum + data[28:] for data in datagrams4([50, 50])]
        assert [packet.data for packet in through(bench, packets)] == packets


def test_a_length_that_differs_from_ip_is_delivered_alone(bench: Bench) -> None:
    packets = [ipv4(*ENDS4, udp(7, 9, bytes(50), length=40), id=n) for n in (1, 2)]
    assert [packet.data for packet in through(bench, packets)] == packets


def test_a_datagram_without_payload_is_delivered_alone(bench: Bench) -> None:
    assert sizes(through(bench, datagrams4([0, 0, 0]))) == [0, 0, 0]


@pytest.mark.parametrize(
    ("features", "kinds"),
    [
        (Feature.NONE, {0}),
        (Feature.TSO4, {0, TCP4}),
        (Feature.TSO6, {0, TCP6}),
        (Feature.USO, {0, UDP_L4}),
        (ALL, {TCP4, TCP6, UDP_L4}),
    ],
)
@pytest.mark.conformance("F3")
def test_a_cell_joins_what_its_features_say(bench: Bench, features: Feature, kinds: set[int]) -> None:
    packets = [*stream4([50, 50]), *stream6([50, 50]), *datagrams4([50, 50]), *datagrams6([50, 50])]
    out = through(bench, packets, features)
    assert {packet.offload.gso_type for packet in out} == kinds
    if features is Feature.NONE:
        assert [packet.data for packet in out] == packets


@pytest.mark.conformance("F3")
def test_joining_ends_when_it_is_turned_off_and_begins_again(bench: Bench) -> None:
    cell = bench.cell()
    bench.flow(bench.x, Output(cell))
    bench.flow(cell, Output(bench.y))
    counts = []
    for features in (ALL, Feature.NONE, ALL):
        bench.engine.set_port_features(cell, features)
        bench.inject(bench.x, *stream4([50] * 5))
        bench.engine.poll()
        counts.append(len(bench.collect(bench.y)))
    assert counts == [1, 5, 1]


@pytest.mark.conformance("F3")
def test_super_packets_pass_a_cell_that_joins_nothing(bench: Bench) -> None:
    cell = bench.cell(PacketType.L3, features=Feature.NONE)
    bench.flow(bench.x, Output(cell))
    bench.flow(cell, Output(bench.y))
    bench.send(bench.x, super_packet(stream4([500])[0], 100))
    (whole,) = bench.collect(bench.y)
    assert whole.offload.gso_type == TCP4
