"""HASH, UDP_CHECKSUM and REQUIRE_UDP: UDP around a tunnel's packets."""

from __future__ import annotations

import struct

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6

from tests.engine.conftest import POLICY, Bench
from tests.engine.streams import assert_sound
from vdp.engine.interface import Feature, MemoryPacket, Offload
from vdp.engine.program import Drop, Hash, Output, Pull, Push, RequireUdp, Segment, UdpChecksum
from vdp.testing.builders import ipv4, ipv6, udp, unfinished

UDP_L4 = 5
ELSE = (Drop(POLICY),)
#: By version: a datagram, and where its UDP header is.
PACKETS = {
    4: (ipv4("10.0.0.1", "10.0.0.2", udp(1, 4754, b"some payload!")), 20),
    6: (ipv6("fd::1", "fd::2", udp(1, 4754, b"some payload!")), 40),
}
VERSIONS = pytest.mark.parametrize("version", [4, 6])


def with_field(data: bytes, at: int, number: int) -> bytes:
    return data[: at + 6] + struct.pack("!H", number) + data[at + 8 :]


def checked(
    bench: Bench, version: int, data: bytes, zero: bool = False, offload: Offload | None = None
) -> bool:
    """Whether REQUIRE_UDP lets it pass."""
    at = PACKETS[version][1]
    out = bench.run([RequireUdp(version, 0, at, ELSE, zero), Output(bench.y)], data, offload)
    return len(out) == 1


@VERSIONS
def test_the_checksum_is_left_to_an_output_that_finishes_it(bench: Bench, version: int) -> None:
    data, at = PACKETS[version]
    bench.flow(bench.x, UdpChecksum(version, 0, at), Output(bench.y))
    bench.send(bench.x, with_field(data, at, 0xDEAD))
    (packet,) = bench.collect(bench.y)
    assert packet.offload == Offload(True, at, 6)
    assert packet.data[at:] != data[at:]


@VERSIONS
def test_or_finished_where_it_does_not(bench: Bench, version: int) -> None:
    data, at = PACKETS[version]
    program = [UdpChecksum(version, 0, at), Segment(), Output(bench.y)]
    assert bench.run(program, with_field(data, at, 0xDEAD)) == [data]


@pytest.mark.conformance("L13")
def test_a_sum_of_zero_is_written_as_ones(bench: Bench) -> None:
    """RFC 768: zero stands for none."""
    data = ipv4("10.0.0.1", "10.0.0.2", udp(0, 0, bytes(2)))
    rest = IP(data)[UDP].chksum
    data = ipv4("10.0.0.1", "10.0.0.2", udp(0, 0, struct.pack("!H", rest)))
    (out,) = bench.run([UdpChecksum(4, 0, 20), Segment(), Output(bench.y)], data)
    assert IP(out)[UDP].chksum == 0xFFFF


def test_what_is_unfinished_inside_is_finished_first(bench: Bench) -> None:
    inner = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"inside"))
    whole = ipv4("10.0.0.3", "10.0.0.4", udp(3, 4, inner))
    partial = unfinished(inner, 20, 6, inner[12:20], 17)
    program = [Push(whole[:28]), UdpChecksum(4, 0, 20), Segment(), Output(bench.y)]
    assert bench.run(program, partial, Offload(True, 20, 6)) == [whole]


def test_a_super_packet_has_no_one_checksum(bench: Bench) -> None:
    data = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, bytes(300)))
    program = [UdpChecksum(4, 0, 20), Output(bench.y)]
    assert bench.run(program, data, Offload(True, 20, 6, UDP_L4, 100)) == []
    assert bench.drops(bench.x) == {"gso_unsupported": 1}


@VERSIONS
def test_a_good_checksum_passes_and_a_wrong_one_does_not(bench: Bench, version: int) -> None:
    data, at = PACKETS[version]
    assert checked(bench, version, data)
    assert not checked(bench, version, with_field(data, at, 1))
    assert not checked(bench, version, data[:-1] + b"?")
    assert bench.drops(bench.x) == {"policy_rule": 2}


@pytest.mark.conformance("L13")
@VERSIONS
def test_none_passes_where_it_may(bench: Bench, version: int) -> None:
    data, at = PACKETS[version]
    assert checked(bench, version, with_field(data, at, 0), zero=True)
    assert not checked(bench, version, with_field(data, at, 0))
    assert not checked(bench, version, with_field(data, at, 1), zero=True)


@VERSIONS
def test_an_unfinished_one_passes(bench: Bench, version: int) -> None:
    data, at = PACKETS[version]
    for field in (0x1234, 0):
        assert checked(bench, version, with_field(data, at, field), offload=Offload(True, at, 6))


@VERSIONS
def test_what_is_too_short_is_dropped(bench: Bench, version: int) -> None:
    data, at = PACKETS[version]
    for program in ([UdpChecksum(version, 0, at)], [RequireUdp(version, 0, at, ELSE)]):
        assert bench.run([*program, Output(bench.y)], data[: at + 7]) == []
    assert bench.drops(bench.x) == {"parse_truncated": 2}


@pytest.mark.conformance("F10")
@VERSIONS
def test_datagrams_are_cut_without_finishing_them(bench: Bench, version: int) -> None:
    """Segment for who takes checksums unfinished: each has its pseudo header's sum, and passes."""
    build, (_, at) = (ipv4, ipv6)[version == 6], PACKETS[version]
    ends = ("10.0.0.1", "10.0.0.2") if version == 4 else ("fd::1", "fd::2")
    data = build(*ends, udp(1, 2, bytes(range(250))))
    take = [Segment(Feature.CSUM), RequireUdp(version, 0, at, ELSE)]
    bench.flow(bench.x, *take, Output(bench.y))
    bench.send(bench.x, MemoryPacket(data, offload=Offload(True, at, 6, UDP_L4, 100)))
    packets = bench.collect(bench.y)
    assert [packet.offload for packet in packets] == [Offload(True, at, 6)] * 3
    assert b"".join(packet.data[at + 8 :] for packet in packets) == bytes(range(250))
    for packet in packets:
        whole = (IP if version == 4 else IPv6)(packet.data)
        del whole[UDP].chksum
        assert_sound(bytes(whole))


def test_what_was_said_of_a_header_goes_with_it(bench: Bench) -> None:
    """A segment is known to be good; what is inside it is not."""
    inner = with_field(ipv4("10.0.0.3", "10.0.0.4", udp(3, 4, b"x" * 64)), 20, 1)
    data = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, inner * 2))
    program = [Segment(), Pull(28), RequireUdp(4, 0, 20, ELSE), Output(bench.y)]
    assert bench.run(program, data, Offload(True, 20, 6, UDP_L4, len(inner))) == []
    assert bench.drops(bench.x) == {"policy_rule": 2}


@pytest.mark.conformance("G20")
def test_a_hash_is_of_those_bytes_alone(bench: Bench) -> None:
    def hashed(data: bytes, mask: int = 0xFFFF, size: int = 8) -> int:
        (out,) = bench.run([Hash(0, 2, size, mask), Output(bench.y)], data)
        assert out[2:] == data[2:]
        return int.from_bytes(out[:2], "big")

    assert hashed(b"??abcdefgh!") == hashed(b"--abcdefgh.")
    assert hashed(b"??abcdefgh!", 0) == int.from_bytes(b"??", "big")
    assert hashed(b"\xc0\0abcdefgh", 0x3FFF) == hashed(b"\0\0abcdefgh") & 0x3FFF | 0xC000
    ports = {hashed(b"\0\0" + struct.pack("!II", 0x0A000001, n << 16 | 80)) for n in range(1000)}
    assert len(ports) > 950


def test_a_hash_of_what_is_not_there_drops_it(bench: Bench) -> None:
    assert bench.run([Hash(0, 4, 8), Output(bench.y)], bytes(11)) == []
    assert bench.drops(bench.x) == {"parse_truncated": 1}
