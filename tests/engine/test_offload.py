"""Offload marks: what is believed on receive, and what an output is told."""

from __future__ import annotations

import pytest

from tests.engine.conftest import ALL, Bench
from tests.engine.streams import assert_sound, segment4, segment6, super_packet
from vdp.engine.interface import Feature, MemoryPacket, Offload, PacketType
from vdp.engine.program import Checksum, Output, Pull, Push, RequireChecksum, Segment, Set, Trim
from vdp.testing.builders import ethernet, gre, ipv4, pseudo_sum, udp, unfinished, vlan
from vdp.testing.reference.checksum import internet_checksum

WHOLE = segment4(b"payload")
PARTIAL = unfinished(WHOLE, 20, 16, WHOLE[12:20], 6)
CSUM = Offload(True, 20, 16)
BIG4, BIG6 = segment4(bytes(1000)), segment6(bytes(1000))
HEADERS = segment6(bytes(1000), next_header=60, extensions=b"\x3c\0\1\4\0\0\0\0" * 57 + b"\6\0\1\4\0\0\0\0")
DATAGRAM = ipv4("192.0.2.1", "192.0.2.2", udp(1, 2, bytes(500)))
BIG = Offload(True, 20, 16, 1, 100)


def _tcp_checksum(packet: bytes, pseudo: int) -> bytes:
    """The checksum field that the packet should have, its own left out."""
    cleared = packet[20:36] + b"\0\0" + packet[38:]
    return internet_checksum(cleared, pseudo).to_bytes(2, "big")


HOSTILE: dict[str, tuple[bytes, Offload, str]] = {
    "checksum_field_outside": (WHOLE, Offload(True, 40, 16), "vnet_hdr_invalid"),
    "checksum_field_half_outside": (WHOLE, Offload(True, 30, len(WHOLE) - 31), "vnet_hdr_invalid"),
    "checksum_start_far_outside": (WHOLE, Offload(True, 65535, 16), "vnet_hdr_invalid"),
    "checksum_offset_far_outside": (WHOLE, Offload(True, 20, 65535), "vnet_hdr_invalid"),
    "checksum_of_nothing": (b"", Offload(True, 0, 0), "vnet_hdr_invalid"),
    "unknown_type": (BIG4, Offload(True, 20, 16, 2, 100), "gso_invalid"),
    "unknown_type_with_ecn": (BIG4, Offload(True, 20, 16, 0x82, 100), "gso_invalid"),
    "ecn_alone": (BIG4, Offload(True, 20, 16, 0x80, 100), "gso_invalid"),
    "udp_with_ecn": (
        DATAGRAM,
        Offload(True, 20, 6, 0x85, 100),
        "gso_invalid",
    ),
    "checksum_field_of_a_super_packet_outside": (BIG4, Offload(True, 20, 1020, 1, 100), "gso_invalid"),
    "checksum_start_of_a_super_packet_outside": (BIG4, Offload(True, 1040, 16, 1, 100), "gso_invalid"),
    "checksum_field_elsewhere": (BIG4, Offload(True, 20, 6, 1, 100), "gso_invalid"),
    "checksum_field_of_udp_elsewhere": (DATAGRAM, Offload(True, 20, 16, 5, 100), "gso_invalid"),
    "headers_longer_than_the_packet": (BIG4, Offload(True, 20, 16, 1, 100, 1041), "gso_invalid"),
    "headers_for_each_segment": (HEADERS, Offload(True, 40 + 8 * 58, 16, 4, 100), "gso_invalid"),
    "behind_tcp": (BIG4, Offload(True, 40, 16, 1, 100), "gso_invalid"),
    "inside_udp_s_own_header": (DATAGRAM, Offload(True, 24, 16, 1, 100), "gso_invalid"),
    "udp_fragments": (
        DATAGRAM,
        Offload(True, 20, 6, 3, 100),
        "gso_unsupported",
    ),
    "size_zero": (BIG4, Offload(True, 20, 16, 1, 0), "gso_invalid"),
    "ipv6_said_to_be_ipv4": (BIG6, Offload(True, 40, 16, 1, 100), "gso_invalid"),
    "ipv4_said_to_be_ipv6": (BIG4, Offload(True, 20, 16, 4, 100), "gso_invalid"),
    "tcp_said_to_be_udp": (BIG4, Offload(True, 20, 6, 5, 100), "gso_invalid"),
    "checksum_start_elsewhere": (BIG4, Offload(True, 24, 16, 1, 100), "gso_invalid"),
    "length_too_short": (
        segment4(bytes(1000), total_length=1039),
        Offload(True, 20, 16, 1, 100),
        "gso_invalid",
    ),
    "length_too_long": (
        segment4(bytes(1000), total_length=1041),
        Offload(True, 20, 16, 1, 100),
        "gso_invalid",
    ),
    "fragment": (segment4(bytes(1000), ip_flags=1), BIG, "gso_invalid"),
    "header_cut_short": (BIG4[:39], BIG, "gso_invalid"),
    "not_ip": (b"\xf0" + bytes(500), Offload(False, 0, 0, 1, 100), "gso_invalid"),
    "too_many_tiny_segments": (BIG4, Offload(True, 20, 16, 1, 15), "gso_invalid"),
    "too_many_segments": (segment4(bytes(65495)), Offload(True, 20, 16, 1, 47), "gso_invalid"),
    "tcp_header_said_too_short": (
        BIG4[:32] + b"\x40" + BIG4[33:],
        Offload(True, 20, 16, 1, 100),
        "gso_invalid",
    ),
}


@pytest.mark.conformance("H2")
@pytest.mark.parametrize("name", HOSTILE)
def test_marks_that_contradict_the_packet_are_dropped_on_receive(bench: Bench, name: str) -> None:
    data, offload, reason = HOSTILE[name]
    bench.flow(bench.x, Output(bench.y))
    bench.send(bench.x, MemoryPacket(data, offload=offload))
    assert bench.drops(bench.x) == {reason: 1}
    stats = bench.engine.port_stats(bench.x)
    assert (stats.rx_packets, stats.rx_bytes, stats.rx_segments) == (1, len(data), 1)
    assert bench.sent(bench.y) == []


FRAME = ethernet(WHOLE)
EXTENDED = segment6(b"x", next_header=60, extensions=b"\6\0\1\4\0\0\0\0")
ROUTED = segment6(b"x", next_header=43, extensions=b"\6\0\0\1\0\0\0\0")  # a segment is left
TUNNEL4 = ipv4("192.0.2.1", "192.0.2.2", gre(WHOLE), protocol=47)
TUNNEL_UDP = ipv4("192.0.2.1", "192.0.2.2", udp(5, 4754, WHOLE))

#: A packet, where its checksum is said to be, and whether that can be believed.
PLACES: dict[str, tuple[bytes, int, int, bool]] = {
    "tcp": (WHOLE, 20, 16, True),
    "udp": (DATAGRAM, 20, 6, True),
    "tcp_in_a_frame": (FRAME, 34, 16, True),
    "tcp_behind_an_extension_header": (EXTENDED, 48, 16, True),
    "tcp_in_gre": (TUNNEL4, 44, 16, True),
    "tcp_in_udp": (TUNNEL_UDP, 48, 16, True),
    "icmp": (ipv4("10.0.0.1", "10.0.0.2", bytes(8), protocol=1), 20, 2, True),
    "behind_an_unknown_frame_header": (b"\2" * 12 + b"\x88\x47" + WHOLE, 38, 16, True),
    "ip_destination": (WHOLE, 0, 16, False),
    "ip_destination_in_a_frame": (FRAME, 14, 16, False),
    "mac_destination": (FRAME, 0, 0, False),
    "mac_destination_of_an_unknown_frame": (b"\2" * 12 + b"\x88\x47" + WHOLE, 0, 2, False),
    "ethertype": (FRAME, 12, 0, False),
    "tcp_port": (WHOLE, 20, 2, False),
    "tcp_behind_its_start": (WHOLE, 22, 14, False),
    "tcp_payload": (WHOLE, 40, 2, False),
    "udp_port": (DATAGRAM, 20, 2, False),
    "udp_header_from_inside": (DATAGRAM, 22, 4, False),
    "ip_extension_header": (EXTENDED, 40, 2, False),
    "ip_destination_of_what_has_another": (ROUTED, 24, 0, False),
    "ip_destination_of_a_malformed_packet": (segment4(b"x", total_length=2000), 8, 8, False),
    "ip_options": (segment4(b"x", ip_options=b"\1" * 8), 20, 2, False),
}


@pytest.mark.conformance("H2")
@pytest.mark.parametrize("name", PLACES)
def test_an_unfinished_checksum_is_where_nobody_decides_by_it(bench: Bench, name: str) -> None:
    """Rules and tunnels look at the packet as it came in; finished, the checksum changes two bytes of it."""
    data, start, offset, is_believed = PLACES[name]
    origin, out = (bench.a, bench.b) if data[0] >> 4 not in (4, 6) else (bench.x, bench.y)
    bench.flow(origin, Output(out))
    bench.send(origin, MemoryPacket(data, offload=Offload(True, start, offset)))
    assert bench.drops(origin) == ({} if is_believed else {"vnet_hdr_invalid": 1})
    assert [packet.offload.csum_start for packet in bench.collect(out)] == [start] * is_believed


def tagged(packet: bytes, tags: int) -> bytes:
    frame = ethernet(packet)
    for number in range(tags):
        frame = vlan(frame, number)
    return frame


SUPER_FRAMES: dict[str, tuple[bytes, int, int, bool]] = {
    "no_tag": (BIG4, 0, 20, True),
    "eight_tags": (BIG4, 8, 20, True),
    "nine_tags": (BIG4, 9, 20, False),
    "ipv4_options": (segment4(bytes(1000), ip_options=b"\1" * 12), 1, 32, True),
    "an_offset_inside_ipv4_options": (segment4(bytes(1000), ip_options=b"\1" * 12), 1, 20, False),
    "an_extension_header": (
        segment6(bytes(1000), next_header=0, extensions=b"\6\0\1\4" + bytes(4)),
        2,
        48,
        True,
    ),
    "an_offset_inside_it": (
        segment6(bytes(1000), next_header=0, extensions=b"\6\0\1\4" + bytes(4)),
        2,
        40,
        False,
    ),
    "a_fragment_header": (
        segment6(bytes(1000), next_header=44, extensions=b"\6\0\0\1" + bytes(4)),
        0,
        48,
        False,
    ),
    "a_last_fragment": (segment4(bytes(1000), fragment=7), 0, 20, False),
}


@pytest.mark.conformance("H2")
@pytest.mark.parametrize("name", SUPER_FRAMES)
def test_super_packets_in_frames(bench: Bench, name: str) -> None:
    """What is in front of TCP is repeated in each segment; what does not lead there is refused."""
    data, tags, start, is_good = SUPER_FRAMES[name]
    front = 14 + 4 * tags
    kind = 1 if data[0] >> 4 == 4 else 4
    plain = bench.memory(PacketType.L2, Feature.NONE)
    bench.flow(bench.a, Segment(), Output(plain))
    frame = tagged(data, tags)
    bench.send(bench.a, MemoryPacket(frame, offload=Offload(True, front + start, 16, kind, 400)))
    assert bench.drops(bench.a) == ({} if is_good else {"gso_invalid": 1})
    out = bench.sent(plain)
    assert len(out) == 3 * is_good
    for each in out:
        assert each[:front] == frame[:front]
        assert_sound(each[front:])


@pytest.mark.parametrize(
    ("packet", "segments"),
    [
        (super_packet(BIG4, 100), 10),
        (super_packet(BIG6, 100), 10),
        (super_packet(BIG4, 999), 2),
        (super_packet(BIG4, 1000), 1),  # then it is none
        (super_packet(BIG4, 65535), 1),
        (super_packet(segment4(bytes(64 * 47)), 47), 64),
        (super_packet(segment4(bytes(65495)), 48), 1365),
    ],
)
def test_good_marks_are_believed_and_wire_packets_counted(
    bench: Bench, packet: MemoryPacket, segments: int
) -> None:
    bench.flow(bench.x, Output(bench.y))
    bench.send(bench.x, packet)
    (out,) = bench.collect(bench.y)
    assert bench.engine.port_stats(bench.x).rx_segments == segments
    assert (out.offload.gso_type != 0) is (segments > 1)


def test_the_pseudo_header_s_sum_is_made_good_on_receive(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y))
    packet = super_packet(BIG4, 100)
    bench.send(bench.x, MemoryPacket(BIG4[:36] + b"\xde\xad" + BIG4[38:], offload=packet.offload))
    (out,) = bench.collect(bench.y)
    assert out.data[36:38] == pseudo_sum(BIG4[12:20], 6, 1020).to_bytes(2, "big")


def test_a_super_packet_needs_no_checksum_mark(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y))
    bench.send(bench.x, MemoryPacket(BIG4, offload=Offload(False, 0, 0, 1, 100)))
    assert bench.collect(bench.y)[0].offload == Offload(True, 20, 16, 1, 100, 40)


@pytest.mark.conformance("H8")
@pytest.mark.parametrize(
    ("packet", "feature"),
    [
        (super_packet(BIG4, 100), Feature.TSO4),
        (super_packet(BIG6, 100), Feature.TSO6),
        (super_packet(DATAGRAM, 100), Feature.USO),
    ],
)
@pytest.mark.parametrize("missing", ["the kind", "checksums"])
def test_an_output_without_the_feature_refuses_a_super_packet(
    bench: Bench, packet: MemoryPacket, feature: Feature, missing: str
) -> None:
    bench.flow(bench.x, Output(bench.y))
    bench.engine.set_port_features(bench.y, ALL & ~(feature if missing == "the kind" else Feature.CSUM))
    bench.send(bench.x, packet)
    assert bench.drops(bench.y) == {"gso_unsupported": 1}
    bench.engine.set_port_features(bench.y, feature | Feature.CSUM)
    bench.send(bench.x, packet)
    assert len(bench.collect(bench.y)) == 1


def test_an_output_without_checksums_gets_them_finished(bench: Bench) -> None:
    bench.engine.set_port_features(bench.y, Feature.NONE)
    bench.flow(bench.x, Output(bench.y))
    bench.send(bench.x, MemoryPacket(PARTIAL, offload=CSUM))
    assert bench.collect(bench.y)[0] == MemoryPacket(WHOLE, bytes(3) + b"\1\0\0\x08\0" + bytes(24))


def test_an_output_with_checksums_gets_them_unfinished(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y))
    bench.send(bench.x, MemoryPacket(PARTIAL, offload=CSUM))
    (out,) = bench.collect(bench.y)
    assert (out.data, out.offload) == (PARTIAL, CSUM)


def test_checksum_marks_move_with_the_front(bench: Bench) -> None:
    bench.flow(bench.x, Push(bytes(4)), Pull(1), Push(bytes(30)), Output(bench.y))
    bench.send(bench.x, MemoryPacket(PARTIAL, offload=CSUM))
    (out,) = bench.collect(bench.y)
    assert out.offload == Offload(True, 53, 16)
    assert out.data[-len(PARTIAL) :] == PARTIAL


def test_checksum_marks_move_when_room_is_made_in_front(bench: Bench) -> None:
    bench.flow(bench.x, *[Push(bytes(200))] * 9, Output(bench.y))
    bench.send(bench.x, MemoryPacket(PARTIAL, offload=CSUM))
    (out,) = bench.collect(bench.y)
    assert out.offload == Offload(True, 1820, 16)


@pytest.mark.conformance("H5")
def test_a_checksum_that_is_finished_behind_pushed_headers(bench: Bench) -> None:
    bench.engine.set_port_features(bench.y, Feature.NONE)
    bench.flow(bench.x, Push(b"\1" * 24), Output(bench.y))
    bench.send(bench.x, MemoryPacket(PARTIAL, offload=CSUM))
    assert bench.sent(bench.y) == [b"\1" * 24 + WHOLE]


def test_a_checksum_whose_header_is_pulled_off_is_forgotten(bench: Bench) -> None:
    bench.flow(bench.x, Pull(21), Output(bench.y))
    bench.send(bench.x, MemoryPacket(PARTIAL, offload=CSUM))
    assert bench.collect(bench.y)[0].offload == Offload()


@pytest.mark.parametrize("features", [Feature.NONE, Feature.CSUM])
def test_a_checksum_whose_field_is_trimmed_off_is_dropped_at_the_output(
    bench: Bench, features: Feature
) -> None:
    bench.engine.set_port_features(bench.y, features)
    bench.flow(bench.x, Set(2, b"\xff\xff", b"\0\x25"), Trim(2, 0, (Output(bench.y),)), Output(bench.y))
    bench.send(bench.x, MemoryPacket(PARTIAL, offload=CSUM))
    assert bench.drops(bench.y) == {"vnet_hdr_invalid": 1}


@pytest.mark.conformance("H5")
def test_a_checksum_over_an_unfinished_one_finishes_that_first(bench: Bench) -> None:
    header = gre(b"", csum=True)
    program = [Push(header), Checksum(4, 0), Output(bench.y)]
    (out,) = bench.run(program, PARTIAL, CSUM)
    assert out == gre(WHOLE, csum=True)


@pytest.mark.conformance("C8")
def test_a_checksum_beside_an_unfinished_one_leaves_it(bench: Bench) -> None:
    bench.flow(bench.x, Checksum(10, 0, 20), Output(bench.y))
    bench.send(bench.x, MemoryPacket(PARTIAL, offload=CSUM))
    assert bench.collect(bench.y)[0].offload == CSUM


@pytest.mark.conformance("C8")
def test_verifying_over_an_unfinished_checksum_finishes_it_first(bench: Bench) -> None:
    packet = gre(WHOLE, csum=True)
    partial = packet[: len(packet) - len(WHOLE)] + PARTIAL
    program = [RequireChecksum(0, 0, (Output(bench.x),)), Output(bench.y)]
    assert bench.run(program, partial, Offload(True, 28, 16)) == [packet]


def test_set_of_an_address_adjusts_the_unfinished_checksum(bench: Bench) -> None:
    bench.engine.set_port_features(bench.y, Feature.NONE)
    new = bytes([192, 0, 2, 9])
    bench.flow(bench.x, Set(16, b"\xff" * 4, new, 36), Output(bench.y))
    bench.send(bench.x, MemoryPacket(PARTIAL, offload=CSUM))
    (out,) = bench.sent(bench.y)
    assert out[16:20] == new
    assert out[36:38] == _tcp_checksum(out, pseudo_sum(out[12:20], 6, len(out) - 20))


def test_set_of_what_an_unfinished_checksum_covers_does_not_touch_it(bench: Bench) -> None:
    bench.engine.set_port_features(bench.y, Feature.NONE)
    bench.flow(bench.x, Set(22, b"\xff\xff", b"\1\2", 36), Output(bench.y))
    bench.send(bench.x, MemoryPacket(PARTIAL, offload=CSUM))
    (out,) = bench.sent(bench.y)
    assert out[36:38] == _tcp_checksum(out, pseudo_sum(out[12:20], 6, len(out) - 20))


def test_a_super_packet_whose_headers_moved_is_not_told_to_an_output(bench: Bench) -> None:
    bench.flow(bench.x, Push(b"\xff" * 4), Output(bench.y))
    bench.send(bench.x, super_packet(BIG4, 100))
    assert bench.drops(bench.y) == {"gso_unsupported": 1}


def test_frames_carry_marks_too(bench: Bench) -> None:
    bench.flow(bench.a, Output(bench.b))
    frame = MemoryPacket(ethernet(BIG4), offload=Offload(True, 34, 16, 1, 100))
    bench.send(bench.a, frame)
    assert bench.collect(bench.b)[0].offload == Offload(True, 34, 16, 1, 100, 54)


def test_the_output_of_a_cell_may_lack_features(bench: Bench) -> None:
    cell = bench.cell(PacketType.L3)
    bench.flow(bench.x, Output(cell))
    bench.flow(cell, Output(bench.y))
    bench.engine.set_port_features(bench.y, Feature.NONE)
    bench.send(bench.x, segment4(bytes(100), id=1), segment4(bytes(100), 100, id=2))
    assert bench.drops(bench.y) == {"gso_unsupported": 1}
