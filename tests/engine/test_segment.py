"""Super-packets: what is cut, how, and what an output is told."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP, UDP

from tests.engine.conftest import ALL, Bench
from tests.engine.streams import assert_sound, finished, layer, payload, segment4, segment6, super_packet
from vdp.engine.interface import Feature, MemoryPacket, Offload, PacketType
from vdp.engine.program import Clone, Id, Output, Pull, Push, Segment, Set
from vdp.testing.builders import ACK, CWR, ECE, FIN, PSH, ethernet, gre, ipv4, ipv6, tcp_timestamp, udp, vlan

DATA = bytes(n * 7 & 0xFF for n in range(2500))


def cut(bench: Bench, packet: MemoryPacket, action: Segment | None = None) -> list[bytes]:
    """What a super-packet from x becomes."""
    return bench.run([action or Segment(), Output(bench.y)], packet.data, packet.offload)


@pytest.mark.conformance("H1", "H4")
@pytest.mark.parametrize("build", [segment4, segment6])
@pytest.mark.parametrize("size", [1000, 1250, 1249, 2499, 48])
def test_tcp_is_cut_into_segments_of_gso_size(bench: Bench, build, size: int) -> None:  # type: ignore[no-untyped-def]
    out = cut(bench, super_packet(build(DATA, 1000), size))
    assert b"".join(map(payload, out)) == DATA
    assert [len(payload(data)) for data in out[:-1]] == [size] * (len(out) - 1)
    assert [layer(data)[TCP].seq for data in out] == list(range(1000, 1000 + 2500, size))
    for data in out:
        assert_sound(data)


@pytest.mark.conformance("H4")
def test_sequence_numbers_wrap(bench: Bench) -> None:
    out = cut(bench, super_packet(segment4(DATA, 0xFFFFFFFF - 999), 1000))
    assert [layer(data)[TCP].seq for data in out] == [0xFFFFFC18, 0, 1000]


@pytest.mark.conformance("H4")
def test_ipv4_ids_count_up(bench: Bench) -> None:
    out = cut(bench, super_packet(segment4(DATA, id=0xFFFF), 1000))
    assert [IP(data).id for data in out] == [0xFFFF, 0, 1]


@pytest.mark.conformance("H4")
def test_push_and_fin_stay_with_the_last_segment(bench: Bench) -> None:
    out = cut(bench, super_packet(segment4(DATA, flags=ACK | PSH | FIN | ECE), 1000))
    assert [str(layer(data)[TCP].flags) for data in out] == ["AE", "AE", "FPAE"]


@pytest.mark.conformance("H4")
def test_cwr_stays_with_the_first_segment(bench: Bench) -> None:
    out = cut(bench, super_packet(segment4(DATA, flags=ACK | CWR), 1000, ecn=True))
    assert [str(layer(data)[TCP].flags) for data in out] == ["AC", "A", "A"]


def test_options_are_kept_in_every_segment(bench: Bench) -> None:
    stamp = tcp_timestamp(5, 6)
    out = cut(bench, super_packet(segment4(DATA, options=stamp, ip_options=b"\1" * 4), 1000))
    assert [data[:1] + data[20:24] + data[44:56] for data in out] == [b"\x46" + b"\1" * 4 + stamp] * 3
    for data in out:
        assert_sound(data)


def test_ipv6_extension_headers_are_kept_in_every_segment(bench: Bench) -> None:
    extension = b"\x06\0\1\4" + bytes(4)
    whole = segment6(DATA, next_header=60, extensions=extension)
    out = cut(bench, MemoryPacket(whole, offload=Offload(True, 48, 16, 4, 1000)))
    assert [data[40:48] for data in out] == [extension] * 3
    assert [len(data) for data in out] == [1068, 1068, 568]
    for data in out:
        assert_sound(data)


@pytest.mark.parametrize("build", [ipv4, ipv6])
def test_udp_is_cut_into_datagrams(bench: Bench, build) -> None:  # type: ignore[no-untyped-def]
    ends = ("10.0.0.1", "10.0.0.2") if build is ipv4 else ("2001:db8::1", "2001:db8::2")
    out = cut(bench, super_packet(build(*ends, udp(5, 6, DATA)), 1000))
    assert [layer(data)[UDP].len for data in out] == [1008, 1008, 508]
    assert b"".join(bytes(layer(data)[UDP].payload) for data in out) == DATA
    for data in out:
        assert_sound(data)


def test_a_udp_checksum_of_zero_goes_out_as_ones(bench: Bench) -> None:
    # The payload makes the first datagram's sum 0xffff.
    data = bytearray(100)
    probe = ipv4("10.0.0.1", "10.0.0.2", udp(5, 6, bytes(50)))
    data[0:2] = probe[26:28]
    out = cut(bench, super_packet(ipv4("10.0.0.1", "10.0.0.2", udp(5, 6, bytes(data))), 50))
    assert out[0][26:28] == b"\xff\xff"


def test_frames_are_cut_behind_their_tags(bench: Bench) -> None:
    frame = vlan(vlan(ethernet(segment4(DATA)), 5), 6)
    bench.flow(bench.a, Segment(), Output(bench.b))
    bench.send(bench.a, MemoryPacket(frame, offload=Offload(True, 42, 16, 1, 1000)))
    out = bench.sent(bench.b)
    assert [data[:22] for data in out] == [frame[:22]] * 3
    for data in out:
        assert_sound(data[22:])


@pytest.mark.conformance("H1")
def test_the_rest_of_the_program_runs_on_each_segment(bench: Bench) -> None:
    state = bench.engine.new_state(7)
    program = [Segment(), Push(b"\0\0"), Id(0, state), Clone((Output(bench.y),)), Output(bench.y)]
    packet = super_packet(segment4(DATA), 1000)
    out = bench.run(program, packet.data, packet.offload)
    assert [data[:2] for data in out] == [b"\0\7", b"\0\7", b"\0\x08", b"\0\x08", b"\0\x09", b"\0\x09"]


def test_the_books_of_a_cut(bench: Bench) -> None:
    cut(bench, super_packet(segment4(DATA), 1000))
    stats = bench.engine.port_stats(bench.x)
    assert (stats.rx_packets, stats.rx_segments, stats.segmented, stats.forwarded) == (1, 3, 2, 3)
    assert bench.engine.port_stats(bench.y).tx_segments == 3


def test_a_super_packet_that_the_output_takes_stays_whole(bench: Bench) -> None:
    packet = super_packet(segment4(DATA), 1000)
    bench.flow(bench.x, Segment(Feature.CSUM | Feature.TSO4), Output(bench.y))
    bench.send(bench.x, packet)
    (out,) = bench.collect(bench.y)
    assert out.offload == Offload(True, 20, 16, 1, 1000, 40)
    assert finished(out) == finished(packet)
    assert bench.engine.port_stats(bench.y).tx_segments == 3


@pytest.mark.parametrize(
    ("build", "features"),
    [
        (segment4, Feature.CSUM | Feature.TSO6 | Feature.USO),
        (segment4, Feature.TSO4),  # without CSUM
        (segment6, Feature.CSUM | Feature.TSO4 | Feature.USO),
    ],
)
def test_a_super_packet_that_the_output_does_not_take_is_cut(  # type: ignore[no-untyped-def]
    bench: Bench, build, features: Feature
) -> None:
    assert len(cut(bench, super_packet(build(DATA), 1000), Segment(features))) == 3


@pytest.mark.parametrize(("most", "count"), [(0, 3), (1040, 3), (1039, 3), (540, 5), (88, 53)])
def test_segments_are_no_longer_than_the_most_that_is_asked(bench: Bench, most: int, count: int) -> None:
    out = cut(bench, super_packet(segment4(DATA), 1000), Segment(0, most))
    assert len(out) == count
    assert max(map(len, out)) <= (most or 1040)
    assert b"".join(map(payload, out)) == DATA
    for data in out:
        assert_sound(data)


@pytest.mark.conformance("H6")
def test_an_output_that_cuts_by_itself_is_told_a_smaller_size(bench: Bench) -> None:
    bench.flow(bench.x, Segment(ALL, 540), Output(bench.y))
    bench.send(bench.x, super_packet(segment4(DATA), 1000))
    (out,) = bench.collect(bench.y)
    assert out.offload.gso_size == 500
    assert bench.engine.port_stats(bench.y).tx_segments == 5


def test_segments_with_less_payload_than_linux_sends_are_refused(bench: Bench) -> None:
    assert cut(bench, super_packet(segment4(DATA), 1000), Segment(0, 87)) == []
    assert bench.drops(bench.x) == {"gso_invalid": 1}


def test_a_datagram_is_not_made_smaller(bench: Bench) -> None:
    whole = super_packet(ipv4("10.0.0.1", "10.0.0.2", udp(5, 6, DATA)), 1000)
    assert cut(bench, whole, Segment(0, 1027)) == []
    assert bench.drops(bench.x) == {"mtu_exceeded": 1}
    assert len(cut(bench, whole, Segment(0, 1028))) == 3


def test_a_plain_packet_is_left_alone(bench: Bench) -> None:
    packet = segment4(DATA)
    assert cut(bench, MemoryPacket(packet), Segment(0, 500)) == [packet]
    assert bench.engine.port_stats(bench.x).segmented == 0


@pytest.mark.parametrize("features", [Feature.NONE, Feature.TSO4 | Feature.TSO6 | Feature.USO])
def test_an_unfinished_checksum_is_finished(bench: Bench, features: Feature) -> None:
    from vdp.testing.builders import pseudo_sum

    whole = segment4(DATA)
    partial = pseudo_sum(whole[12:20], 6, len(whole) - 20).to_bytes(2, "big")
    unfinished = whole[:36] + partial + whole[38:]
    packet = MemoryPacket(unfinished, offload=Offload(True, 20, 16))
    assert cut(bench, packet, Segment(features)) == [whole]


def test_an_unfinished_checksum_is_left_to_an_output_that_takes_it(bench: Bench) -> None:
    packet = MemoryPacket(segment4(DATA), offload=Offload(True, 20, 16))
    bench.flow(bench.x, Segment(Feature.CSUM), Output(bench.y))
    bench.send(bench.x, packet)
    (out,) = bench.collect(bench.y)
    assert out.offload == packet.offload
    assert out.data == packet.data


@pytest.mark.conformance("H3", "G3")
def test_a_super_packet_behind_pushed_headers_can_not_be_cut(bench: Bench) -> None:
    outer = ipv4("192.0.2.1", "192.0.2.2", b"", protocol=47) + gre(b"")
    packet = super_packet(segment4(DATA), 1000)
    assert bench.run([Push(outer), Segment(), Output(bench.y)], packet.data, packet.offload) == []
    assert sum(bench.drops(bench.x).values()) == 1


def test_a_super_packet_whose_tunnel_is_pulled_off_can_be_cut(bench: Bench) -> None:
    inner = segment4(DATA)
    whole = ipv4("192.0.2.1", "192.0.2.2", gre(inner), protocol=47)
    offload = Offload(True, 24 + 20, 16, 1, 1000)
    # The checksum field in a tunnel is the sender's to prepare.
    out = bench.run([Pull(24), Segment(), Output(bench.y)], whole, offload)
    assert b"".join(map(payload, out)) == DATA
    for data in out:
        assert_sound(data)


@pytest.mark.conformance("H3")
def test_a_super_packet_whose_own_header_is_pulled_off_is_dropped(bench: Bench) -> None:
    packet = super_packet(segment4(DATA), 1000)
    assert bench.run([Pull(21), Output(bench.y)], packet.data, packet.offload) == []
    assert bench.drops(bench.x) == {"gso_invalid": 1}


@pytest.mark.conformance("H3")
def test_headers_that_grew_over_the_payload_leave_nothing_to_cut(bench: Bench) -> None:
    # Two segments of 20 bytes; then TCP's data offset is made 15 words.
    packet = super_packet(segment4(bytes(40)), 20)
    program = [Set(32, b"\xf0", b"\xf0"), Segment(), Output(bench.y)]
    assert bench.run(program, packet.data, packet.offload) == []
    assert bench.drops(bench.x) == {"gso_invalid": 1}


def test_headers_that_grew_over_all_but_one_segment_leave_one(bench: Bench) -> None:
    packet = super_packet(segment4(bytes(50)), 20)
    program = [Set(32, b"\xf0", b"\xf0"), Segment(), Output(bench.y)]
    (out,) = bench.run(program, packet.data, packet.offload)
    assert len(payload(out)) == 10


def test_segments_leave_room_in_front(bench: Bench) -> None:
    packet = super_packet(segment4(DATA), 1000)
    outer = bytes(range(256))
    out = bench.run([Segment(), Push(outer), Push(outer), Output(bench.y)], packet.data, packet.offload)
    assert [data[:512] for data in out] == [outer * 2] * 3


@pytest.mark.conformance("H10")
def test_segment_and_coalesce_are_inverses(bench: Bench) -> None:
    cell = bench.cell(PacketType.L3)
    bench.flow(cell, Output(bench.y))
    bench.flow(bench.x, Segment(), Output(cell))
    for build in (segment4, segment6):
        for size in (1000, 1250, 2499, 100):
            whole = super_packet(build(DATA, 77, flags=ACK | PSH), size)
            bench.send(bench.x, whole)
            (out,) = bench.collect(bench.y)
            assert (finished(out), out.offload.gso_size) == (finished(whole), size)


@pytest.mark.conformance("H10")
def test_coalesce_and_segment_are_inverses(bench: Bench) -> None:
    cell = bench.cell(PacketType.L3)
    bench.flow(bench.x, Output(cell))
    bench.flow(cell, Segment(), Output(bench.y))
    for build in (segment4, segment6):
        # The ids of atomic IPv4 packets count up: a fixed one is not told by a virtio_net_hdr.
        packets = [
            build(DATA[at : at + 700], at, **({"id": 9 + at // 700} if build is segment4 else {}))
            for at in range(0, 2500, 700)
        ]
        bench.send(bench.x, *packets)
        assert bench.sent(bench.y) == packets
    assert bench.engine.port_stats(cell).merged == 6


@pytest.mark.conformance("H4")
@pytest.mark.parametrize("left", [False, True])
def test_a_tcp_checksum_of_zero_stays_one(bench: Bench, left: bool) -> None:
    """Of TCP it is one as any other (gso_make_checksum); skb_checksum_help writes 0xffff for it."""
    rest = segment4(bytes(100), flags=ACK)[36:38]
    whole = super_packet(segment4(rest + bytes(148), flags=ACK), 100)
    action = Segment(Feature.CSUM) if left else Segment()
    program = [action, Segment(), Output(bench.y)]
    first, _ = bench.run(program, whole.data, whole.offload)
    assert first[36:38] == (b"\xff\xff" if left else b"\0\0")
