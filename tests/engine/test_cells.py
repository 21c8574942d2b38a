"""GRO cells: which TCP segments are joined, in which order all comes out, and the books."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import IP, TCP

from tests.engine.conftest import Bench
from tests.engine.streams import (
    finished,
    layer,
    payload,
    segment4,
    segment6,
    stream4,
    stream6,
    super_packet,
)
from vdp.engine.interface import Feature, MemoryPacket, Offload, PacketType
from vdp.engine.program import Output, Pull, Segment
from vdp.testing.builders import (
    ACK,
    CWR,
    ECE,
    FIN,
    PSH,
    RST,
    SYN,
    URG,
    ethernet,
    ipv4,
    tcp,
    tcp_timestamp,
    vlan,
)

A, B = b"a" * 100, b"b" * 100


class Coalescer:
    """A layer-3 port whose packets go through a cell, and the port behind it."""

    def __init__(self, bench: Bench, tx_queue: int = 1024, packet_type: PacketType = PacketType.L3) -> None:
        self.bench = bench
        self.cell = bench.cell(packet_type, tx_queue)
        frames = packet_type == PacketType.L2
        self.origin, self.out = (bench.a, bench.b) if frames else (bench.x, bench.y)
        bench.flow(self.origin, Output(self.cell))
        bench.flow(self.cell, Output(self.out))

    def __call__(self, *packets: bytes | MemoryPacket) -> list[MemoryPacket]:
        """What comes out when these come in as one batch."""
        self.bench.inject(self.origin, *packets)
        self.bench.engine.poll()
        return self.bench.collect(self.out)

    def sizes(self, *packets: bytes | MemoryPacket) -> list[int]:
        """TCP payload sizes of what comes out."""
        return [len(payload(packet.data)) for packet in self(*packets)]


@pytest.fixture
def coalesce(bench: Bench) -> Coalescer:
    return Coalescer(bench)


@pytest.mark.conformance("F4")
def test_segments_in_sequence_become_one_super_packet(coalesce: Coalescer) -> None:
    packets = stream4([100, 100, 100])
    (out,) = coalesce(*packets)
    assert out.offload == Offload(True, 20, 16, 1, 100, 40)
    assert payload(out.data) == b"".join(map(payload, packets))
    assert (layer(out.data).len, layer(out.data).id) == (340, 1)
    again = IP(out.data)
    del again.chksum
    assert bytes(again)[:20] == out.data[:20]


@pytest.mark.conformance("F4")
def test_ipv6_segments_become_one_super_packet(coalesce: Coalescer) -> None:
    packets = stream6([100, 100])
    (out,) = coalesce(*packets)
    assert out.offload == Offload(True, 40, 16, 4, 100, 60)
    assert payload(out.data) == b"".join(map(payload, packets))
    assert layer(out.data).plen == 220


@pytest.mark.conformance("C8")
def test_the_checksum_of_a_super_packet_is_unfinished_and_right_when_finished(bench: Bench) -> None:
    for stream in (stream4, stream6):
        cell = bench.cell()
        flows = bench.flow(bench.x, Output(cell)), bench.flow(cell, Output(bench.y))
        bench.engine.set_port_features(bench.y, Feature.CSUM | Feature.TSO4 | Feature.TSO6)
        bench.send(bench.x, *stream([100, 100]))
        (out,) = bench.collect(bench.y)
        start = out.offload.csum_start
        total = sum(
            int.from_bytes(out.data[i : i + 2].ljust(2, b"\0"), "big") for i in range(start, len(out.data), 2)
        )
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        assert ~total & 0xFFFF == layer(finished(out))[TCP].chksum
        bench.engine.remove(0, flows)


def test_a_single_segment_comes_out_as_it_was(coalesce: Coalescer) -> None:
    (packet,) = stream4([100])
    assert coalesce(packet) == [MemoryPacket(packet, bytes(3) + b"\1\0\0\x08\0" + bytes(24))]


@pytest.mark.conformance("F5")
@pytest.mark.parametrize(
    ("sizes", "out"),
    [
        ([100, 50], [150]),
        ([100, 50, 50], [150, 50]),
        ([100, 50, 100], [150, 100]),
        ([50, 100], [50, 100]),
        ([50, 100, 100], [50, 200]),
        ([100, 100, 99, 100, 100], [299, 200]),
        ([1, 1, 1], [3]),
    ],
)
def test_a_shorter_segment_ends_a_merge_and_a_longer_one_starts_another(
    coalesce: Coalescer, sizes: list[int], out: list[int]
) -> None:
    assert coalesce.sizes(*stream4(sizes)) == out


@pytest.mark.conformance("F4")
def test_push_flag_ends_a_merge(coalesce: Coalescer) -> None:
    one, two = stream4([100, 100])
    three = segment4(A, 200, id=3, flags=ACK | PSH)
    four = segment4(A, 300, id=4)
    out = coalesce(one, two, three, four)
    assert [len(payload(packet.data)) for packet in out] == [300, 100]
    assert layer(out[0].data)[TCP].flags == "PA"


@pytest.mark.conformance("F4")
def test_fin_flag_joins_and_ends_a_merge(coalesce: Coalescer) -> None:
    out = coalesce(segment4(A, 0, id=1), segment4(A, 100, id=2, flags=ACK | FIN), segment4(A, 200, id=3))
    assert [len(payload(packet.data)) for packet in out] == [200, 100]
    assert layer(out[0].data)[TCP].flags == "FA"


@pytest.mark.conformance("F4")
@pytest.mark.parametrize("flag", [SYN, RST, URG])
def test_syn_rst_and_urg_never_join(coalesce: Coalescer, flag: int) -> None:
    packets = [segment4(A, 0, id=1), segment4(A, 100, id=2, flags=ACK | flag), segment4(A, 200, id=3)]
    assert coalesce.sizes(*packets) == [100, 100, 100]


@pytest.mark.parametrize("flag", [PSH, FIN, SYN, RST, URG])
def test_nothing_joins_a_first_segment_with_such_a_flag(coalesce: Coalescer, flag: int) -> None:
    packets = [segment4(A, 0, id=1, flags=ACK | flag), segment4(A, 100, id=2, flags=ACK | flag)]
    assert coalesce.sizes(*packets) == [100, 100]


def test_cwr_is_kept_at_the_front_and_marks_the_super_packet(coalesce: Coalescer) -> None:
    out = coalesce(segment4(A, 0, id=1, flags=ACK | CWR), segment4(A, 100, id=2), segment4(A, 200, id=3))
    assert [packet.offload.gso_type for packet in out] == [1 | 0x80]


def test_cwr_in_a_later_segment_starts_another_packet(coalesce: Coalescer) -> None:
    packets = [segment4(A, 0, id=1), segment4(A, 100, id=2, flags=ACK | CWR), segment4(A, 200, id=3)]
    assert coalesce.sizes(*packets) == [100, 200]


@pytest.mark.conformance("F4")
def test_pure_acks_are_not_joined(coalesce: Coalescer) -> None:
    assert coalesce.sizes(*stream4([0, 0, 0])) == [0, 0, 0]


def test_a_pure_ack_ends_a_merge(coalesce: Coalescer) -> None:
    packets = [segment4(A, 0, id=1), segment4(b"", 100, id=2), segment4(A, 100, id=3)]
    assert coalesce.sizes(*packets) == [100, 0, 100]


def pair4(**second: Any) -> list[bytes]:
    return [segment4(A, 0, id=1), segment4(B, 100, **{"id": 2, **second})]


def pair6(**second: Any) -> list[bytes]:
    return [segment6(A, 0), segment6(B, 100, **second)]


FIRST, SECOND = pair4()
DIFFERENT: dict[str, list[bytes]] = {
    "sequence_gap": [segment4(A, 0, id=1), segment4(B, 101, id=2)],
    "sequence_again": [segment4(A, 0, id=1), segment4(A, 0, id=2)],
    "acknowledgement": pair4(ack=1),
    "window": pair4(window=1000),
    "urgent_pointer": pair4(urgent=1),
    "ece": pair4(flags=ACK | ECE),
    "options": pair4(options=tcp_timestamp(1, 1)),
    "timestamps": [
        segment4(A, 0, id=1, options=tcp_timestamp(1, 1)),
        segment4(B, 100, id=2, options=tcp_timestamp(2, 1)),
    ],
    "ttl": pair4(ttl=63),
    "tos": pair4(tos=4),
    "ecn": pair4(tos=3),
    "dont_fragment": [FIRST, segment4(B, 100, id=2, ip_flags=0)],
    "reserved_bit": [segment4(A, 0, id=1, ip_flags=6), segment4(B, 100, id=2, ip_flags=6)],
    "port": pair4(sport=1001),
    "ipv4_options": [
        segment4(A, 0, id=1, ip_options=b"\1" * 4),
        segment4(B, 100, id=2, ip_options=b"\1" * 4),
    ],
    "id_gap": pair4(id=3),
    "id_back": pair4(id=0),
    "hop_limit": pair6(hop_limit=63),
    "traffic_class": pair6(traffic_class=1),
    "flow_label": pair6(flow_label=1),
    "extension": pair6(next_header=60, extensions=b"\x06\0" + bytes(6)),
    "extension_content": [
        segment6(A, 0, next_header=60, extensions=b"\x06\0\1\4" + bytes(4)),
        segment6(B, 100, next_header=60, extensions=b"\x06\0\1\4" + bytes(3) + b"\1"),
    ],
    "segments_left": stream6([100, 100], next_header=43, extensions=b"\x06\0\0\1" + bytes(4)),
    "family": [segment4(A, 0), segment6(B, 100)],
    "ipv4_checksum": [FIRST, SECOND[:10] + b"\xde\xad" + SECOND[12:]],
    "tcp_checksum": [FIRST, SECOND[:-1] + b"!"],
    "first_tcp_checksum": [FIRST[:-1] + b"!", SECOND],
    "padding": [FIRST, SECOND + b"\0\0"],
    "first_padding": [FIRST + b"\0\0", SECOND],
}


@pytest.mark.conformance("F4")
@pytest.mark.parametrize("name", DIFFERENT)
def test_segments_that_differ_are_not_joined_and_keep_their_order(coalesce: Coalescer, name: str) -> None:
    packets = DIFFERENT[name]
    assert [packet.data for packet in coalesce(*packets)] == packets


SAME: dict[str, list[bytes]] = {
    "timestamps": stream4([100, 100], options=tcp_timestamp(7, 9)),
    "without_ack_flag": stream4([100, 100], flags=0),
    "ece": stream4([100, 100], flags=ACK | ECE),
    "sequence_wraps": stream4([100, 100], seq=0xFFFFFFFF - 99),
    "sequence_wraps_inside": stream4([100, 100], seq=0xFFFFFFFF - 49),
    "id_wraps": stream4([100, 100], id=0xFFFF),
    "fixed_id_with_df": [segment4(A, 0, id=5), segment4(B, 100, id=5)],
    "extensions": stream6([100, 100], next_header=60, extensions=b"\x06\0\1\4" + bytes(4)),
    "two_extensions": stream6(
        [100, 100], next_header=0, extensions=b"\x3c\0\1\4" + bytes(4) + b"\x06\0\1\4" + bytes(4)
    ),
    "routing_header_at_its_end": stream6([100, 100], next_header=43, extensions=b"\x06\0\0\0" + bytes(4)),
    "odd_sizes": stream4([101, 101, 101]),
}


@pytest.mark.conformance("F4", "F12")
@pytest.mark.parametrize("name", SAME)
def test_segments_that_belong_together_are_joined(coalesce: Coalescer, name: str) -> None:
    packets = SAME[name]
    (out,) = coalesce(*packets)
    assert payload(out.data) == b"".join(map(payload, packets))


@pytest.mark.conformance("F7")
@pytest.mark.parametrize(
    ("ids", "df", "out"),
    [
        ([5, 5, 5], True, [300]),
        ([5, 6, 7], True, [300]),
        ([5, 5, 6], True, [200, 100]),
        ([5, 6, 6], True, [200, 100]),
        ([5, 6, 7], False, [300]),
        ([5, 5, 5], False, [100, 100, 100]),
        ([5, 7, 8], True, [100, 200]),
    ],
)
def test_ipv4_ids_are_fixed_with_df_or_count_up_and_do_not_mix(
    coalesce: Coalescer, ids: list[int], df: bool, out: list[int]
) -> None:
    packets = [
        ipv4("10.0.0.1", "10.0.0.2", tcp(1, 2, A, seq=100 * n), id=number, flags=2 if df else 0)
        for n, number in enumerate(ids)
    ]
    assert coalesce.sizes(*packets) == out


@pytest.mark.conformance("F4")
def test_a_fragment_is_not_joined_and_ends_all_merges(coalesce: Coalescer) -> None:
    first, second = stream4([100, 100])
    fragment = ipv4("10.0.0.1", "10.0.0.2", second[20:60], protocol=6, flags=1, id=9)
    assert [packet.data for packet in coalesce(first, fragment, second)] == [first, fragment, second]


@pytest.mark.conformance("F12")
def test_an_ipv6_fragment_is_not_joined(coalesce: Coalescer) -> None:
    packets = stream6([100, 100], next_header=44, extensions=b"\x06\0\0\0\0\0\0\1")
    assert [packet.data for packet in coalesce(*packets)] == packets


BETWEEN: dict[str, list[bytes]] = {
    "ipv4_options": [
        segment4(b"a", 0, id=1),
        segment4(B, 50, id=1, ip_options=b"\1" * 40),
        segment4(b"c", 1, id=2),
    ],
    "extension": [
        segment6(b"a", 0),
        segment6(B, 50, next_header=60, extensions=b"\x06\0\1\4" + bytes(4)),
        segment6(b"c", 1),
    ],
    "no_extension": [
        segment6(A, 0, next_header=60, extensions=b"\x06\0\1\4" + bytes(4)),
        segment6(b"b", 50),
        segment6(B, 100, next_header=60, extensions=b"\x06\0\1\4" + bytes(4)),
    ],
}


@pytest.mark.parametrize("name", BETWEEN)
def test_nothing_of_a_flow_is_joined_past_another_ip_header(coalesce: Coalescer, name: str) -> None:
    packets = BETWEEN[name]
    assert [packet.data for packet in coalesce(*packets)] == packets


@pytest.mark.conformance("F6")
def test_a_super_packet_grows_no_longer_than_ip_can_say(coalesce: Coalescer) -> None:
    sizes = [1448] * 46
    out = coalesce.sizes(*stream4(sizes))
    assert out == [45 * 1448, 1448]
    assert 45 * 1448 + 40 <= 65535 < 46 * 1448 + 40


@pytest.mark.conformance("F6")
def test_a_super_packet_has_at_most_sixty_four_segments(bench: Bench) -> None:
    coalesce = Coalescer(bench)
    bench.flow(bench.y, Segment(), Output(coalesce.cell))
    bench.send(bench.y, super_packet(segment4(bytes(5000)), 50))
    assert [len(payload(data)) for data in bench.sent(bench.y)] == [64 * 50, 36 * 50]


def test_flows_are_joined_apart_and_come_out_in_order_of_their_first(coalesce: Coalescer) -> None:
    one, two = stream4([100, 100, 100]), stream4([60, 60, 60], sport=2000)
    mixed = [packet for both in zip(one, two, strict=True) for packet in both]
    assert coalesce.sizes(*mixed) == [300, 180]


@pytest.mark.conformance("F3")
def test_other_packets_pass_in_their_place(coalesce: Coalescer) -> None:
    other = ipv4("10.0.0.1", "10.0.0.2", b"an echo's length", protocol=1)
    one, two = stream4([100, 100])
    out = coalesce(other, one, other, b"", b"\x45", two, b"\xff" * 40)
    assert [len(packet.data) for packet in out] == [36, 240, 36, 0, 1, 40]


def test_eight_flows_are_open_at_a_time(coalesce: Coalescer) -> None:
    flows = [stream4([100, 100], sport=1000 + n) for n in range(9)]
    firsts, seconds = zip(*flows, strict=True)
    # The ninth takes the place of the first.
    assert coalesce.sizes(*firsts, *seconds[1:]) == [100] + [200] * 8


def test_a_flow_that_gave_way_to_a_ninth_starts_again(coalesce: Coalescer) -> None:
    flows = [stream4([100, 100], sport=1000 + n) for n in range(9)]
    firsts, seconds = zip(*flows, strict=True)
    assert coalesce.sizes(*firsts, seconds[0]) == [100] * 10


def test_frames_are_joined_when_all_in_front_of_ip_is_the_same(bench: Bench) -> None:
    coalesce = Coalescer(bench, packet_type=PacketType.L2)
    one, two, three, four = (ethernet(packet) for packet in stream4([100, 100, 100, 100]))
    (out,) = coalesce(one, two)
    assert (len(out.data), out.offload.csum_start) == (14 + 240, 34)
    (out,) = coalesce(vlan(vlan(one, 7), 8), vlan(vlan(two, 7), 8))
    assert (len(out.data), out.offload.csum_start) == (22 + 240, 42)
    assert len(coalesce(vlan(one, 7), vlan(two, 8), three, four)) == 3
    for tpid in (0x8100, 0x88A8, 0x9100):
        assert len(coalesce(vlan(one, 7, tpid=tpid), vlan(two, 7, tpid=tpid))) == 1
    assert len(coalesce(vlan(one, 7, tpid=0x9200), vlan(two, 7, tpid=0x9200))) == 2


def test_packets_with_other_metadata_are_not_joined(coalesce: Coalescer) -> None:
    one, two = stream4([100, 100])
    assert len(coalesce(MemoryPacket(one, bytes(28) + b"\0\0\0\1"), MemoryPacket(two))) == 2


@pytest.mark.conformance("F3")
def test_a_super_packet_passes_a_cell_as_it_is(coalesce: Coalescer) -> None:
    whole = super_packet(segment4(bytes(300), 0, id=1), 100)
    after = segment4(A, 300, id=4)
    out = coalesce(whole, after)
    assert [packet.offload.gso_size for packet in out] == [100, 0]
    assert [len(payload(packet.data)) for packet in out] == [300, 100]


@pytest.mark.conformance("F1")
def test_nothing_is_held_beyond_a_batch(coalesce: Coalescer) -> None:
    one, two = stream4([100, 100])
    assert len(coalesce(one)) == 1
    assert len(coalesce(two)) == 1


@pytest.mark.conformance("F1")
def test_what_is_made_by_execute_and_resolve_leaves_the_cell_at_once(bench: Bench) -> None:
    coalesce = Coalescer(bench)
    meta = bytes(3) + b"\1\0\0\x08\0" + bytes(24)
    bench.engine.execute(0, bench.x, segment4(A), [Output(coalesce.cell)], meta)
    assert len(bench.sent(bench.y)) == 1


@pytest.mark.conformance("F2")
def test_a_full_cell_drops_what_it_cannot_join(bench: Bench) -> None:
    coalesce = Coalescer(bench, tx_queue=2)
    one, two, three = (stream4([100, 100], sport=port) for port in (1, 2, 3))
    out = coalesce.sizes(one[0], two[0], three[0], one[1], three[1], two[1])
    assert out == [200, 200]
    assert bench.drops(coalesce.cell) == {"cell_full": 2}


def test_cells_are_emptied_all_at_once_before_what_they_had_goes_on(bench: Bench) -> None:
    first, last = bench.cell(), bench.cell()
    bench.flow(bench.x, Output(last), max_length=140)
    bench.flow(bench.x, Pull(1), Output(first), min_length=141)
    bench.flow(first, Output(last))
    bench.flow(last, Output(bench.y))
    one, two = stream4([100, 100])
    # The second one comes to the last cell by way of the first: too late to be joined there.
    bench.inject(bench.x, b"E" + two, one)
    bench.settle()
    assert [len(data) for data in bench.sent(bench.y)] == [140, 140]


@pytest.mark.conformance("J")
def test_the_books_of_a_cell(bench: Bench) -> None:
    coalesce = Coalescer(bench)
    coalesce(*stream4([100] * 5), *stream4([100] * 2, sport=7))
    stats = bench.engine.port_stats(coalesce.cell)
    assert (stats.offered, stats.merged, stats.rx_packets, stats.rx_segments) == (7, 5, 2, 7)
    assert (stats.tx_queued, stats.tx_dropped, stats.forwarded) == (0, 0, 2)
    assert stats.rx_bytes == 540 + 240
    assert bench.engine.port_stats(bench.y).tx_segments == 7
