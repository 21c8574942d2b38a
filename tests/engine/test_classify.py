"""Which flow takes a packet."""

from __future__ import annotations

import pytest

from tests.engine.conftest import POLICY, Bench
from vdp.engine.interface import MAX_LENGTH, META_SIZE, Match, MemoryPacket
from vdp.engine.program import Action, Drop, Meta, Output, Push


def tag(bench: Bench, name: bytes) -> list[Action]:
    """A program that says which flow it was."""
    return [Push(name), Output(bench.y)]


def test_a_flow_takes_what_has_its_value_under_its_mask(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y), mask="00f00f", value="00a00b")
    bench.send(bench.x, b"\x12\xaf\x3b rest", b"\x12\xbf\x3b rest", b"\x12\xaf\x3c rest")
    assert bench.sent(bench.y) == [b"\x12\xaf\x3b rest"]
    assert bench.engine.port_stats(bench.x).misses == 2
    bench.consume()


@pytest.mark.parametrize("bit", [0, 1, 63, 64, 65, 511, 1027, 2040, 2047])
def test_each_bit_of_the_window_can_be_matched(bench: Bench, bit: int) -> None:
    mask = bytearray(256)
    mask[bit // 8] = 0x80 >> bit % 8
    bench.flow(bench.x, Drop(POLICY), mask=mask.hex(), value=bytes(256).hex())
    bench.flow(bench.x, Output(bench.y), mask=mask.hex(), value=mask.hex())
    bench.send(bench.x, bytes(300), bytes(mask) + bytes(44), bytes(mask))
    assert bench.sent(bench.y) == [bytes(mask) + bytes(44), bytes(mask)]
    assert bench.drops(bench.x) == {"policy_rule": 1}


def test_a_packet_that_ends_before_the_mask_is_not_taken(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y), mask="0000ff", value="000000")
    bench.send(bench.x, b"\0\0", b"", b"\0\0\0")
    assert bench.sent(bench.y) == [b"\0\0\0"]
    bench.consume()


def test_a_mask_of_zeros_takes_packets_shorter_than_its_window(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y), mask="ff0000", value="010000", min_length=1)
    bench.flow(bench.x, Output(bench.y), mask="0000", value="0000", min_length=0, max_length=0)
    bench.send(bench.x, b"\1", b"")
    assert bench.sent(bench.y) == [b"\1", b""]


def test_length_bounds_are_inclusive(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y), min_length=3, max_length=5)
    bench.send(bench.x, *(bytes(n) for n in range(8)))
    assert bench.sent(bench.y) == [bytes(3), bytes(4), bytes(5)]
    bench.consume()


def test_flows_of_one_value_may_differ_by_length(bench: Bench) -> None:
    for name, least, most in ((b"S", 1, 9), (b"M", 10, 99), (b"L", 100, MAX_LENGTH)):
        bench.flow(bench.x, *tag(bench, name), mask="f0", value="40", min_length=least, max_length=most)
    bench.send(bench.x, b"\x45" * 100, b"\x45" * 9, b"\x45" * 10, b"\x45" * 99)
    assert [data[:1] for data in bench.sent(bench.y)] == [b"L", b"S", b"M", b"M"]


def test_a_flow_without_mask_takes_everything_of_its_port(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y))
    bench.send(bench.x, b"", b"\1", bytes(65792))
    assert bench.sent(bench.y) == [b"", b"\1", bytes(65792)]


@pytest.mark.parametrize("byte", range(4, META_SIZE))
def test_each_byte_of_the_metadata_can_be_matched(bench: Bench, byte: int) -> None:
    meta = bytes(byte) + b"\x10" + bytes(META_SIZE - byte - 1)
    for value, name in ((meta, b"!"), (bytes(META_SIZE), b".")):
        match = Match(bench.x, b"", b"", meta_mask=meta, meta_value=value)
        bench.engine.install(0, match, tag(bench, name))
    bench.send(bench.x, MemoryPacket(b"\1", meta), MemoryPacket(b"\1"))
    assert bench.sent(bench.y) == [b"!\1", b".\1"]


def test_metadata_and_bytes_are_matched_together(bench: Bench) -> None:
    register = bytes(8) + b"\0\0\0\7" + bytes(20)
    mask = bytes(8) + b"\xff" * 4 + bytes(20)
    match = Match(bench.x, b"\xff", b"\x01", 1, meta_mask=mask, meta_value=register)
    bench.engine.install(0, match, [Output(bench.y)])
    bench.send(
        bench.x,
        MemoryPacket(b"\1", register),
        MemoryPacket(b"\2", register),
        MemoryPacket(b"\1"),
    )
    assert bench.sent(bench.y) == [b"\1"]
    bench.consume()


def test_flows_of_another_in_port_take_nothing(bench: Bench) -> None:
    bench.flow(bench.a, Drop(POLICY), mask="ff", value="01")
    bench.flow(bench.x, Output(bench.y), mask="ff", value="02")
    bench.send(bench.x, b"\1", b"\2")
    bench.send(bench.a, b"\1", b"\2")
    assert bench.sent(bench.y) == [b"\2"]
    assert bench.drops(bench.a) == {"policy_rule": 1}
    assert [bench.engine.port_stats(port).misses for port in (bench.x, bench.a)] == [1, 1]
    bench.consume()


def test_many_masks_are_asked_until_one_takes(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(port_masks=40)
    for n in range(40):
        mask = bytes(n) + b"\xff"
        bench.flow(bench.x, *tag(bench, b"%02d" % n), mask=mask.hex(), value=(bytes(n) + b"\x99").hex())
    packets = [bytes(n) + b"\x99" + bytes(50 - n) for n in reversed(range(40))]
    bench.send(bench.x, *packets)
    assert bench.sent(bench.y) == [
        b"%02d" % n + data for n, data in zip(range(39, -1, -1), packets, strict=True)
    ]


def test_many_flows_of_one_mask(bench: Bench) -> None:
    for n in range(300):
        bench.flow(bench.x, Push(b"%04d" % n), Output(bench.y), mask="ffff", value=f"{n * 37 % 300:04x}")
    packets = [n.to_bytes(2, "big") for n in range(300)]
    for at in range(0, 300, 64):
        bench.send(bench.x, *packets[at : at + 64])
    assert sorted(bench.sent(bench.y)) == [
        b"%04d" % n + (n * 37 % 300).to_bytes(2, "big") for n in range(300)
    ]


def test_the_flow_before_is_not_taken_for_a_packet_that_it_does_not_match(bench: Bench) -> None:
    bench.flow(bench.x, *tag(bench, b"one "), mask="ff00ff", value="010001")
    bench.flow(bench.x, *tag(bench, b"two "), mask="ff00ff", value="010002")
    bench.flow(bench.x, *tag(bench, b"long "), mask="ff", value="02", min_length=4)
    packets = [b"\1\0\1", b"\1\0\2", b"\1\7\2", b"\1\0\1", b"\2\0\0", b"\2\0\0\0", b"\2", b"\1\0\1\0"]
    bench.send(bench.x, *packets)
    names = [data.split(b" ")[0] for data in bench.sent(bench.y)]
    assert names == [b"one", b"two", b"two", b"one", b"long", b"one"]
    assert bench.engine.port_stats(bench.x).misses == 2
    bench.consume()


def test_the_flow_before_is_not_taken_when_it_has_been_removed(bench: Bench) -> None:
    flow = bench.flow(bench.x, Output(bench.y))
    bench.send(bench.x, b"\1")
    bench.engine.remove(0, [flow])
    bench.send(bench.x, b"\2")
    assert bench.sent(bench.y) == [b"\1"]
    bench.consume()


def test_a_packet_is_tried_against_the_flow_before_first(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y))
    bench.send(bench.x, *[b"\1"] * 10)
    stats = bench.engine.worker_stats(0)
    assert (stats.lookups, stats.table_hits, stats.previous_hits, stats.misses) == (10, 1, 9, 0)


def test_hits_and_misses_are_counted_at_the_in_port(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y), mask="ff", value="01")
    bench.send(bench.x, b"\1", b"\2", b"\1", b"\3")
    stats = bench.engine.port_stats(bench.x)
    assert (stats.hits, stats.misses) == (2, 2)
    bench.consume()


def test_metadata_that_a_program_sets_is_matched_behind_a_cell(bench: Bench) -> None:
    cell = bench.cell()
    bench.flow(bench.x, Meta(2, 0xABCD0000), Output(cell))
    mask = bytes(8) + b"\xff\xff\0\0" + bytes(20)
    value = bytes(8) + b"\xab\xcd\0\0" + bytes(20)
    bench.engine.install(0, Match(cell, b"", b"", meta_mask=mask, meta_value=value), [Output(bench.y)])
    bench.send(bench.x, b"\1")
    assert bench.sent(bench.y) == [b"\1"]
