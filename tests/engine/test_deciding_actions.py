"""Actions with a verdict: when a packet passes, when it goes the other way."""

from __future__ import annotations

import struct

import pytest
from scapy.layers.inet import IP

from tests.engine.conftest import POLICY, Bench
from vdp.engine.interface import Offload
from vdp.engine.program import (
    Action,
    Drop,
    Output,
    Pull,
    Push,
    RequireChecksum,
    RequireLength,
    RequireSequence,
    Trim,
    Ttl,
)
from vdp.testing.builders import ethernet, gre, ipv4, ipv6, tcp, udp

OTHERWISE = (Drop(POLICY),)
PACKET = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"payload"))
SUPER = ipv4("10.0.0.1", "10.0.0.2", tcp(1, 2, b"x" * 3000))
SUPER_MARKS = Offload(True, 20, 16, 1, 1000)


def passes(bench: Bench, action: Action, data: bytes, offload: Offload | None = None) -> bool:
    """Does the packet go on behind the action?  It must be output or dropped by policy, nothing else."""
    out = bench.run([action, Output(bench.y)], data, offload)
    taken = bench.drops(bench.x) == {"policy_rule": 1}
    assert taken != bool(out)
    return bool(out)


def test_trim_passes_a_packet_of_just_its_length(bench: Bench) -> None:
    assert passes(bench, Trim(2, 0, OTHERWISE), PACKET)


def test_trim_sends_a_packet_shorter_than_its_length_the_other_way(bench: Bench) -> None:
    assert not passes(bench, Trim(2, 1, OTHERWISE), PACKET)


def test_trim_sends_a_negative_length_the_other_way(bench: Bench) -> None:
    assert not passes(bench, Trim(0, -5, OTHERWISE), b"\0\x04" + bytes(10))


@pytest.mark.parametrize("addend", [-100, 100])
def test_trim_leaves_a_super_packet_alone(bench: Bench, addend: int) -> None:
    out = bench.run([Trim(2, addend, OTHERWISE), Output(bench.y)], SUPER, SUPER_MARKS)
    assert [len(data) for data in out] == [len(SUPER)]


def test_require_checksum_passes_a_good_one(bench: Bench) -> None:
    assert passes(bench, RequireChecksum(0, 20, OTHERWISE), PACKET)


@pytest.mark.conformance("C7")
@pytest.mark.parametrize("bit", [0, 7, 80, 95, 159])
def test_require_checksum_finds_one_wrong_bit(bench: Bench, bit: int) -> None:
    spoiled = bytearray(PACKET)
    spoiled[bit // 8] ^= 1 << bit % 8
    assert not passes(bench, RequireChecksum(0, 20, OTHERWISE), bytes(spoiled))


@pytest.mark.conformance("C7")
def test_require_checksum_to_the_end_takes_an_odd_size(bench: Bench) -> None:
    assert passes(bench, RequireChecksum(2, 0, OTHERWISE), b"??" + gre(b"odd", csum=True))


def test_require_checksum_of_zeros_is_not_good(bench: Bench) -> None:
    assert not passes(bench, RequireChecksum(0, 0, OTHERWISE), bytes(20))


def test_require_checksum_of_nothing_is_not_good(bench: Bench) -> None:
    assert not passes(bench, RequireChecksum(4, 0, OTHERWISE), bytes(4))


@pytest.mark.parametrize(("least", "most", "good"), [(10, 10, True), (11, 99, False), (0, 9, False)])
def test_require_length_has_both_bounds(bench: Bench, least: int, most: int, good: bool) -> None:
    assert passes(bench, RequireLength(least, most, OTHERWISE), bytes(10)) is good


def test_require_length_takes_a_super_packet_as_a_whole(bench: Bench) -> None:
    assert not passes(bench, RequireLength(0, 3039, OTHERWISE), SUPER, SUPER_MARKS)


@pytest.mark.parametrize(("most", "good"), [(1040, True), (1039, False)])
def test_require_length_per_segment_takes_the_longest_segment(bench: Bench, most: int, good: bool) -> None:
    assert passes(bench, RequireLength(0, most, OTHERWISE, per_segment=True), SUPER, SUPER_MARKS) is good


@pytest.mark.parametrize(("most", "good"), [(1064, True), (1063, False)])
def test_require_length_per_segment_counts_headers_in_front(bench: Bench, most: int, good: bool) -> None:
    outer = ipv4("192.0.2.1", "192.0.2.2", gre(SUPER), protocol=47)[:24]
    length = RequireLength(0, most, OTHERWISE, per_segment=True)
    bench.run([Push(outer), length, Pull(24), Output(bench.y)], SUPER, SUPER_MARKS)
    assert (bench.drops(bench.x) == {}) is good


def test_require_length_per_segment_takes_a_plain_packet_as_it_is(bench: Bench) -> None:
    assert not passes(bench, RequireLength(0, 34, OTHERWISE, per_segment=True), PACKET)


@pytest.mark.conformance("E3")
@pytest.mark.parametrize(
    ("expected", "number", "good"),
    [
        (0, 0, True),
        (0, 0xFFFFFFFF, True),  # zero: nothing has come in yet
        (5, 5, True),
        (5, 4, False),
        (5, 9, True),  # a gap is no error
        (5, 5 + (1 << 31) - 1, True),
        (5, 5 + (1 << 31), False),
        (0xFFFFFFFF, 0, True),  # wrapped around
        (1, 0xFFFFFFFF, False),
    ],
)
def test_require_sequence_compares_by_signed_difference(
    bench: Bench, expected: int, number: int, good: bool
) -> None:
    state = bench.engine.new_state(expected)
    action = RequireSequence(0, state, OTHERWISE)
    assert passes(bench, action, struct.pack("!I", number)) is good
    assert bench.engine.read_state(state) == ((number + 1) & 0xFFFFFFFF if good else expected)


def test_ttl_is_decremented_with_the_ipv4_checksum(bench: Bench) -> None:
    for ttl in (2, 64, 255):
        packet = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2), ttl=ttl)
        (out,) = bench.run([Ttl(4, 0, OTHERWISE), Output(bench.y)], packet)
        assert out[8] == ttl - 1
        again = IP(out)
        del again.chksum
        assert bytes(again)[:20] == out[:20]


def test_hop_limit_is_decremented(bench: Bench) -> None:
    packet = ipv6("2001:db8::1", "2001:db8::2", udp(1, 2), hop_limit=9)
    (out,) = bench.run([Ttl(6, 0, OTHERWISE), Output(bench.y)], packet)
    assert out == packet[:7] + b"\x08" + packet[8:]


@pytest.mark.parametrize("ttl", [0, 1])
def test_a_packet_whose_ttl_runs_out_goes_the_other_way_unchanged(bench: Bench, ttl: int) -> None:
    packet = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2), ttl=ttl)
    assert bench.run([Ttl(4, 0, (Output(bench.y),)), Drop(POLICY)], packet) == [packet]


def test_ttl_at_an_offset(bench: Bench) -> None:
    bench.flow(bench.a, Ttl(4, 14, OTHERWISE), Output(bench.b))
    bench.send(bench.a, ethernet(PACKET))
    (out,) = bench.sent(bench.b)
    assert out[22] == 63


def test_the_other_way_may_branch_again(bench: Bench) -> None:
    inner = RequireLength(0, 5, OTHERWISE)
    program = [RequireLength(0, 3, (inner, Push(b"!"), Output(bench.y))), Output(bench.y)]
    assert bench.run(program, b"abc") == [b"abc"]
    assert bench.run(program, b"abcde") == [b"!abcde"]
    assert bench.run(program, b"abcdef") == []
