"""Actions that change bytes or metadata: one rule a test."""

from __future__ import annotations

import struct

import pytest
from scapy.layers.inet import IP, TCP, UDP

from tests.engine.conftest import Bench
from vdp.engine.interface import META_REG, MemoryPacket, PacketType
from vdp.engine.program import (
    Checksum,
    Copy,
    Id,
    Length,
    Meta,
    MetaLoad,
    Output,
    Pull,
    Push,
    Sequence32,
    Set,
    Trim,
)
from vdp.testing.builders import ipv4, tcp, udp

DATA = bytes(range(32))
PACKET = ipv4("10.0.0.1", "10.0.0.2", tcp(1000, 80, b"some payload", seq=7), id=0x1234)


def rebuilt(data: bytes) -> bytes:
    """The packet with all checksums computed anew by scapy."""
    packet = IP(data)
    del packet[IP].chksum
    for layer in (TCP, UDP):
        if layer in packet:
            del packet[layer].chksum
    return bytes(packet)


def test_pull_takes_bytes_off_the_front(bench: Bench) -> None:
    assert bench.run([Pull(5), Output(bench.y)], DATA) == [DATA[5:]]


def test_pull_of_everything_leaves_an_empty_packet(bench: Bench) -> None:
    assert bench.run([Pull(32), Output(bench.y)], DATA) == [b""]


def test_push_puts_bytes_onto_the_front(bench: Bench) -> None:
    assert bench.run([Push(b"head"), Output(bench.y)], DATA) == [b"head" + DATA]


def test_pushes_pile_up(bench: Bench) -> None:
    program = [Push(b"c"), Push(b"b"), Push(b"a"), Output(bench.y)]
    assert bench.run(program, DATA) == [b"abc" + DATA]


@pytest.mark.conformance("B13")
def test_many_large_pushes_fit_a_short_packet(bench: Bench) -> None:
    program = [Push(bytes([n]) * 256) for n in range(20)]
    out = b"".join(bytes([n]) * 256 for n in reversed(range(20))) + DATA
    assert bench.run([*program, Output(bench.y)], DATA) == [out]


@pytest.mark.conformance("B13")
def test_push_up_to_the_largest_packet(bench: Bench) -> None:
    assert bench.run([Push(bytes(256)), Output(bench.y)], b"x" * 65536) == [bytes(256) + b"x" * 65536]


@pytest.mark.conformance("G2")
def test_push_beyond_the_largest_packet_drops_it(bench: Bench) -> None:
    assert bench.run([Push(bytes(256)), Push(b"1"), Output(bench.y)], b"x" * 65536) == []
    assert bench.drops(bench.x) == {"mtu_exceeded": 1}


def test_set_writes_masked_bits_only(bench: Bench) -> None:
    program = [Set(1, b"\xf0\x0f", b"\xab\xcd"), Output(bench.y)]
    assert bench.run(program, b"\x11\x22\x33\x44") == [b"\x11\xa2\x3d\x44"]


def test_set_takes_sixteen_bytes(bench: Bench) -> None:
    program = [Set(16, b"\xff" * 16, b"0123456789abcdef"), Output(bench.y)]
    assert bench.run(program, DATA) == [DATA[:16] + b"0123456789abcdef"]


@pytest.mark.parametrize(
    ("offset", "value"), [(12, "c0000201"), (8, "01"), (1, "fc"), (4, "ffff"), (13, "ffffff")]
)
def test_set_adjusts_a_checksum(bench: Bench, offset: int, value: str) -> None:
    new = bytes.fromhex(value)
    (out,) = bench.run([Set(offset, b"\xff" * len(new), new, 10), Output(bench.y)], PACKET)
    assert out[offset : offset + len(new)] == new
    assert out[:20] == rebuilt(out)[:20]


def test_set_adjusts_the_checksum_of_another_layer(bench: Bench) -> None:
    # The transport checksum covers the address by its pseudo header.
    (out,) = bench.run([Set(16, b"\xff" * 4, bytes([192, 0, 2, 9]), 36), Output(bench.y)], PACKET)
    assert out[36:38] == rebuilt(out)[36:38]


def test_copy_moves_the_masked_bits_of_a_byte(bench: Bench) -> None:
    assert bench.run([Copy(to=0, origin=2, mask=0x0F), Output(bench.y)], b"\xab\x00\xcd") == [b"\xad\x00\xcd"]


def test_length_writes_the_bytes_to_the_end_and_an_addend(bench: Bench) -> None:
    program = [Length(2, start=4, addend=-3), Output(bench.y)]
    assert bench.run(program, bytes(20)) == [b"\0\0" + struct.pack("!H", 13) + bytes(16)]


@pytest.mark.parametrize(("size", "addend"), [(20, -21), (20, 65516), (65792, 0)])
def test_length_that_does_not_fit_its_field_drops_the_packet(bench: Bench, size: int, addend: int) -> None:
    assert bench.run([Length(0, 0, addend), Output(bench.y)], bytes(size)) == []
    assert bench.drops(bench.x) == {"mtu_exceeded": 1}


@pytest.mark.conformance("G17")
def test_id_writes_the_state_and_counts_it_up(bench: Bench) -> None:
    state = bench.engine.new_state(0xFFFF)
    bench.flow(bench.x, Id(4, state), Output(bench.y))
    bench.send(bench.x, bytes(8), bytes(8))
    assert [data[4:6].hex() for data in bench.sent(bench.y)] == ["ffff", "0000"]
    assert bench.engine.read_state(state) == 0x10001


def test_sequence_writes_the_state_and_counts_it_up(bench: Bench) -> None:
    state = bench.engine.new_state(0xFFFFFFFF)
    bench.flow(bench.x, Sequence32(0, state), Output(bench.y))
    bench.send(bench.x, bytes(4), bytes(4), bytes(4))
    assert [data.hex() for data in bench.sent(bench.y)] == ["ffffffff", "00000000", "00000001"]


@pytest.mark.conformance("B19")
def test_two_flows_share_one_sequence(bench: Bench) -> None:
    state = bench.engine.new_state(1)
    bench.flow(bench.x, Sequence32(0, state), Output(bench.y))
    bench.flow(bench.a, Sequence32(0, state), Output(bench.b))
    bench.send(bench.x, bytes(4))
    bench.send(bench.a, bytes(4))
    bench.send(bench.x, bytes(4))
    assert (bench.sent(bench.y), bench.sent(bench.b)) == (
        [struct.pack("!I", 1), struct.pack("!I", 3)],
        [struct.pack("!I", 2)],
    )


def test_checksum_covers_a_range_and_counts_its_field_as_zero(bench: Bench) -> None:
    spoiled = PACKET[:10] + b"\xde\xad" + PACKET[12:]
    assert bench.run([Checksum(10, 0, 20), Output(bench.y)], spoiled) == [PACKET]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 31, 32, 33, 63, 64, 65, 1500])
def test_checksum_to_the_end_takes_any_size(bench: Bench, size: int) -> None:
    packet = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"\xfe" * size))
    # GRE's checksum has no pseudo header: over the whole datagram as if it were one.
    (out,) = bench.run([Checksum(26, 20), Output(bench.y)], packet)
    expected = UDP(packet[20:26] + b"\0\0" + packet[28:])
    from scapy.utils import checksum

    assert int.from_bytes(out[26:28], "big") == checksum(bytes(expected))


def test_trim_cuts_to_a_length_field(bench: Bench) -> None:
    assert bench.run([Trim(2, 0, (Output(bench.b),)), Output(bench.y)], PACKET + b"padding") == [PACKET]


def test_trim_adds_its_addend(bench: Bench) -> None:
    assert bench.run([Trim(0, -4, (Output(bench.b),)), Output(bench.y)], b"\0\x0a" + bytes(10)) == [
        b"\0\x0a" + bytes(4)
    ]


def test_meta_sets_a_word_that_travels_along(bench: Bench) -> None:
    bench.flow(bench.x, Meta(META_REG, 0xDEADBEEF), Output(bench.y))
    bench.send(bench.x, b"data")
    assert bench.collect(bench.y)[0].meta[8:12].hex() == "deadbeef"


def test_meta_load_takes_masked_bytes_of_the_packet(bench: Bench) -> None:
    bench.flow(bench.x, MetaLoad(META_REG + 1, 2, 0x00FFFF00), Output(bench.y))
    bench.send(bench.x, b"\0\0\x12\x34\x56\x78")
    assert bench.collect(bench.y)[0].meta[12:16].hex() == "00345600"


def test_registers_are_kept_on_injection_and_the_packet_type_is_the_port_s(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y))
    meta = struct.pack("!8I", 0, 0, 1, 2, 3, 4, 5, 6)
    bench.send(bench.x, MemoryPacket(PACKET, meta))
    assert bench.collect(bench.y)[0].meta == struct.pack("!8I", PacketType.L3, 0x0800, 1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize(("first", "ethertype"), [(0x45, 0x0800), (0x60, 0x86DD), (0x10, 0)])
def test_the_ethertype_of_a_layer_3_packet_follows_its_version(
    bench: Bench, first: int, ethertype: int
) -> None:
    bench.flow(bench.x, Output(bench.y))
    bench.send(bench.x, bytes([first]) + bytes(40))
    assert bench.collect(bench.y)[0].meta[:8] == struct.pack("!2I", PacketType.L3, ethertype)


def test_a_frame_has_no_ethertype_in_its_metadata(bench: Bench) -> None:
    bench.flow(bench.a, Output(bench.b))
    bench.send(bench.a, b"\x45" + bytes(40))
    assert bench.collect(bench.b)[0].meta[:8] == bytes(8)
