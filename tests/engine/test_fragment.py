"""IPv4 fragments: what is cut, how, and what comes together again."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP, defragment, fragment

from tests.engine.conftest import POLICY, Bench
from tests.engine.streams import segment4, super_packet
from vdp.engine.interface import MemoryPacket, Offload, Resolution, Resolve
from vdp.engine.program import Action, Clone, Drop, Fragment, Id, Meta, Output, Pull, Push, Upcall
from vdp.testing.builders import ethernet, ipv4, udp, vlan

DATA = bytes(n * 7 & 0xFF for n in range(3000))
ELSE = (Drop(POLICY),)
RECORD_ROUTE = b"\x07\x07\x04\1\2\3\4"  # stays with the first fragment
LOOSE_ROUTE = b"\x83\x07\x04\5\6\7\x08"  # is copied into each
ROUTER_ALERT = b"\x94\x04\0\0"  # likewise


def datagram(size: int = 3000, **fields: object) -> bytes:
    """An IPv4 UDP packet with that many bytes behind the UDP header."""
    return ipv4("10.0.0.1", "10.0.0.2", udp(5, 6, DATA[:size]), **{"flags": 0, "id": 7, **fields})  # type: ignore[arg-type]


def cut(bench: Bench, data: bytes, most: int = 1500, at: int = 0, *rest: Action) -> list[bytes]:
    """What FRAGMENT makes of a packet from x; its else is a drop as policy_rule."""
    return bench.run([Fragment(at, most, ELSE), *rest, Output(bench.y)], data)


def place(data: bytes) -> tuple[bool, int, int]:
    """MF, offset in bytes, and payload size of an IPv4 packet."""
    packet = IP(data)
    return bool(packet.flags.MF), packet.frag * 8, packet.len - packet.ihl * 4


def assert_header_sound(data: bytes) -> None:
    """Total length and header checksum are what scapy computes."""
    packet = IP(data)
    del packet.len
    del packet.chksum
    assert bytes(packet)[:20] == data[:20]


def reassembled(fragments: list[bytes]) -> bytes:
    """The payload that fragments carry, which must be of one packet, each byte once (RFC 791 3.2)."""
    pieces = {place(data)[1]: data[(data[0] & 15) * 4 :] for data in fragments}
    first = min(pieces)
    whole = b""
    for offset in sorted(pieces):
        assert offset == first + len(whole)
        whole += pieces[offset]
    assert len({data[4:6] + data[8:10] + data[12:20] for data in fragments}) == 1
    return whole


# Cutting.


@pytest.mark.conformance("G19", "L14")
@pytest.mark.parametrize("most", [28, 68, 500, 576, 1500, 1503, 1507, 2000, 3027])
def test_fragments_are_those_of_scapy(bench: Bench, most: int) -> None:
    data = datagram()
    assert cut(bench, data, most) == [bytes(part) for part in fragment(IP(data), most - 20)]


def test_scapy_puts_fragments_together_again(bench: Bench) -> None:
    data = datagram()
    out = cut(bench, data, 576)
    (whole,) = defragment([IP(part) for part in reversed(out[:-1])] + [IP(out[-1])])
    assert bytes(whole) == data


def test_the_last_fragment_may_fill_what_is_no_multiple_of_eight(bench: Bench) -> None:
    data = datagram(1480 + 1483 - 8)
    assert [place(part) for part in cut(bench, data, 1503)] == [(True, 0, 1480), (False, 1480, 1483)]
    assert [place(part)[2] for part in cut(bench, data, 1502)] == [1480, 1480, 3]


@pytest.mark.parametrize("flags", [0, 2])
@pytest.mark.parametrize("most", [1028, 1029])
def test_what_is_not_too_long_goes_on_as_it_is(bench: Bench, flags: int, most: int) -> None:
    data = datagram(1000, flags=flags, tos=3)
    assert cut(bench, data, most) == [data]
    assert bench.engine.port_stats(bench.x).segmented == 0


def test_what_is_not_too_long_is_not_looked_at(bench: Bench) -> None:
    assert cut(bench, b"\xff" * 28, 28) == [b"\xff" * 28]
    assert cut(bench, b"\xff" * 28, 28, 100) == [b"\xff" * 28]


def test_one_byte_too_many_is_cut(bench: Bench) -> None:
    assert [place(part) for part in cut(bench, datagram(1000), 1027)] == [(True, 0, 1000), (False, 1000, 8)]


@pytest.mark.conformance("G19")
def test_df_and_too_long_takes_else(bench: Bench) -> None:
    frame = ethernet(datagram(1001, flags=2)) + b"padding"
    program = [Fragment(14, 1028, (Push(b"!"), Output(bench.y))), Output(bench.x)]
    assert bench.run(program, frame) == [b"!" + frame]
    assert bench.engine.port_stats(bench.x).segmented == 0


def test_the_header_is_kept_but_for_length_flags_offset_and_checksum(bench: Bench) -> None:
    data = datagram(tos=0xB9, ttl=3, id=0xFFFF)
    for part in cut(bench, data):
        assert (
            part[:2] + part[4:6] + part[8:10] + part[12:20] == data[:2] + data[4:6] + data[8:10] + data[12:20]
        )
        assert_header_sound(part)


def test_the_reserved_flag_is_cleared(bench: Bench) -> None:
    assert [place(part)[0] for part in cut(bench, datagram(flags=4))] == [True, True, False]
    assert [part[6] & 0xC0 for part in cut(bench, datagram(flags=4))] == [0, 0, 0]


# A packet that is a fragment already.


def test_a_fragment_keeps_its_offset(bench: Bench) -> None:
    out = cut(bench, datagram(2000, fragment=100))
    assert [place(part) for part in out] == [(True, 800, 1480), (False, 2280, 528)]


def test_a_fragment_in_the_middle_keeps_mf_on_its_last_part(bench: Bench) -> None:
    out = cut(bench, datagram(2000, fragment=100, flags=1))
    assert [place(part) for part in out] == [(True, 800, 1480), (True, 2280, 528)]
    for part in out:
        assert_header_sound(part)


def test_fragments_of_fragments_come_together_again(bench: Bench) -> None:
    out = cut(bench, datagram(), 1500, 0, Fragment(0, 576, ELSE), Fragment(0, 100, ELSE))
    assert all(len(part) <= 100 for part in out)
    assert reassembled(out) == datagram()[20:]


def test_offsets_go_up_to_the_last_that_there_is(bench: Bench) -> None:
    out = cut(bench, datagram(1527, fragment=8000), 1000)
    assert [place(part)[1] for part in out] == [64000, 64976]
    assert cut(bench, datagram(1528, fragment=8000), 1000) == []
    assert bench.drops(bench.x) == {"ip_header": 1}


# Options.


def test_options_that_are_not_copied_stay_with_the_first_fragment(bench: Bench) -> None:
    options = RECORD_ROUTE + LOOSE_ROUTE + b"\1" + ROUTER_ALERT + b"\x44\x05\x05\0\0"
    out = cut(bench, datagram(options=options))
    later = b"\1" * 7 + LOOSE_ROUTE + b"\1" + ROUTER_ALERT + b"\1" * 5
    assert [part[20:44] for part in out] == [options, later, later]
    assert [place(part)[2] for part in out] == [1456, 1456, 96]
    for part in out:
        assert_header_sound(part)


@pytest.mark.parametrize(
    ("options", "later"),
    [
        (b"\0" + RECORD_ROUTE, b"\0" + RECORD_ROUTE),  # behind the end of options
        (b"\x07\x01\0\0", b"\x07\x01\0\0"),  # size too small
        (RECORD_ROUTE + b"\x07", b"\1" * 7 + b"\x07"),  # no room for a size
        (ROUTER_ALERT + b"\x07\x05\1\1", ROUTER_ALERT + b"\x07\x05\1\1"),  # beyond the header
        (ROUTER_ALERT + b"\x07\x04\1\2", ROUTER_ALERT + b"\1\1\1\1"),  # up to its end
    ],
)
def test_options_are_blanked_up_to_the_first_that_is_malformed(
    bench: Bench, options: bytes, later: bytes
) -> None:
    out = cut(bench, datagram(options=options))
    assert [part[20 : 20 + len(options)] for part in out] == [options, later, later]


def test_options_of_a_later_fragment_are_left_as_they_are(bench: Bench) -> None:
    out = cut(bench, datagram(options=RECORD_ROUTE + b"\1", fragment=1))
    assert [part[20:28] for part in out] == [RECORD_ROUTE + b"\1"] * 3


def test_options_that_leave_no_room_for_eight_bytes_are_too_long(bench: Bench) -> None:
    data = datagram(100, options=b"\1" * 40)
    assert [place(part)[2] for part in cut(bench, data, 68)] == [8] * 13 + [4]
    assert cut(bench, data, 67) == []
    assert bench.drops(bench.x) == {"mtu_exceeded": 1}


# What stands before and behind the IP packet.


def test_what_is_in_front_is_copied_before_each_fragment(bench: Bench) -> None:
    frame = vlan(vlan(ethernet(datagram()), 5), 6)
    bench.flow(bench.a, Fragment(22, 1500, ELSE), Output(bench.b))
    bench.send(bench.a, frame)
    out = bench.sent(bench.b)
    assert [part[:22] for part in out] == [frame[:22]] * 3
    assert [part[22:] for part in out] == [bytes(part) for part in fragment(IP(datagram()), 1480)]


def test_a_front_longer_than_a_piece_is_kept_whole(bench: Bench) -> None:
    front = bytes(range(256))
    out = cut(bench, front + datagram(200), 36, 256)
    assert [part[:256] for part in out] == [front] * 13
    assert reassembled([part[256:] for part in out]) == datagram(200)[20:]


def test_padding_is_no_part_of_a_fragment(bench: Bench) -> None:
    assert cut(bench, datagram() + b"padding") == cut(bench, datagram())


def test_what_is_too_long_by_its_padding_only_goes_on_without_it(bench: Bench) -> None:
    data = datagram(1000, flags=2)
    assert cut(bench, data + b"padding", 1028) == [data]
    assert bench.engine.port_stats(bench.x).segmented == 0


# What is malformed.


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (datagram(total_length=3029), "parse_bad_length"),
        (datagram(total_length=65535), "parse_bad_length"),
        (datagram(total_length=19), "ip_header"),
        (datagram(total_length=0), "ip_header"),
        (datagram(options=b"\1" * 4, total_length=23), "ip_header"),
        (b"\x65" + datagram()[1:], "ip_header"),
        (b"\x44" + datagram()[1:], "ip_header"),
        (b"\x40" + datagram()[1:], "ip_header"),
    ],
)
def test_what_is_too_long_and_malformed_is_dropped(bench: Bench, data: bytes, reason: str) -> None:
    assert cut(bench, data) == []
    assert bench.drops(bench.x) == {reason: 1}


# Offload marks.


@pytest.mark.parametrize("padding", [b"", b"padding"])
def test_an_unfinished_checksum_is_finished_before_the_cut(bench: Bench, padding: bytes) -> None:
    data = datagram()
    pseudo = IP(data)
    pseudo[UDP].chksum = 0
    unfinished = bytearray(bytes(pseudo))
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(12, 20, 2)) + 17 + len(data) - 20
    unfinished[26:28] = ((total & 0xFFFF) + (total >> 16)).to_bytes(2, "big")
    program = [Fragment(0, 1500, ELSE), Output(bench.y)]
    flow = bench.flow(bench.x, *program)
    bench.send(bench.x, MemoryPacket(bytes(unfinished) + padding, offload=Offload(True, 20, 6)))
    out = bench.collect(bench.y)
    bench.engine.remove(0, [flow])
    assert [packet.offload for packet in out] == [Offload()] * 3
    assert reassembled([packet.data for packet in out]) == data[20:]


def test_an_unfinished_checksum_of_a_short_packet_stays_so(bench: Bench) -> None:
    bench.flow(bench.x, Fragment(0, 1500, ELSE), Output(bench.y))
    packet = MemoryPacket(datagram(100), offload=Offload(True, 20, 6))
    bench.send(bench.x, packet)
    assert [(out.data, out.offload) for out in bench.collect(bench.y)] == [(packet.data, packet.offload)]


def test_a_checksum_field_in_the_padding_drops_the_packet(bench: Bench) -> None:
    bench.flow(bench.x, Fragment(0, 1500, ELSE), Output(bench.y))
    bench.send(bench.x, MemoryPacket(datagram() + bytes(9), offload=Offload(True, 3000, 30)))
    assert bench.sent(bench.y) == []
    assert bench.drops(bench.x) == {"vnet_hdr_invalid": 1}


@pytest.mark.parametrize(("most", "count"), [(1040, 1), (1039, 0)])
@pytest.mark.parametrize("flags", [0, 2])
def test_a_super_packet_counts_as_one_segment(bench: Bench, most: int, count: int, flags: int) -> None:
    packet = super_packet(segment4(DATA, ip_flags=flags), 1000)
    bench.flow(bench.x, Fragment(0, most, ELSE), Output(bench.y))
    bench.send(bench.x, packet)
    out = bench.collect(bench.y)
    assert [len(part.data) for part in out] == [len(packet.data)] * count
    assert [part.offload.gso_size for part in out] == [1000] * count
    assert bench.drops(bench.x) == ({} if count else {"policy_rule": 1})


# The rest of the program.


def test_the_rest_of_the_program_runs_on_each_fragment(bench: Bench) -> None:
    state = bench.engine.new_state(7)
    rest = Push(b"\0\0"), Id(0, state), Clone((Pull(1), Output(bench.y)))
    out = cut(bench, datagram(), 1500, 0, *rest)
    assert [part[:2] for part in out] == [b"\x07E", b"\0\x07", b"\x08E", b"\0\x08", b"\x09E", b"\0\x09"]


def test_fragments_go_in_order(bench: Bench) -> None:
    assert [place(part)[1] for part in cut(bench, datagram(), 1028)] == [0, 1008, 2016]


def test_the_books_of_a_cut(bench: Bench) -> None:
    cut(bench, datagram())
    stats = bench.engine.port_stats(bench.x)
    assert (stats.rx_packets, stats.segmented, stats.forwarded) == (1, 2, 3)
    out = bench.engine.port_stats(bench.y)
    assert (out.tx_packets, out.tx_segments, out.tx_bytes) == (3, 3, 3028 + 2 * 20)


def test_each_fragment_is_dropped_for_itself(bench: Bench) -> None:
    assert cut(bench, datagram(), 1500, 0, Fragment(0, 68, ELSE), Drop(POLICY)) == []
    assert bench.drops(bench.x) == {"policy_rule": sum(-(-size // 48) for size in (1480, 1480, 48))}


def test_metadata_and_in_port_travel_with_each_fragment(bench: Bench) -> None:
    bench.flow(bench.x, Meta(3, 0xABCD), Fragment(0, 1500, ELSE), Upcall(9), Drop(POLICY))
    bench.send(bench.x, datagram())
    upcalls = bench.upcalls()
    assert [upcall.in_port for upcall in upcalls] == [bench.x] * 3
    assert [upcall.meta[12:16] for upcall in upcalls] == [b"\0\0\xab\xcd"] * 3
    bench.resolve(*(Resolution(upcall.token, Resolve.CONSUME) for upcall in upcalls))


def test_fragments_go_round_no_more_often_than_their_packet(bench: Bench) -> None:
    cell = bench.cell()
    bench.flow(cell, Fragment(0, 1500, ELSE), Output(cell))
    bench.flow(bench.x, Output(cell))
    bench.send(bench.x, datagram())
    assert bench.drops(cell) == {"loop_guard": 3}
    assert bench.engine.port_stats(cell).rx_packets == 1 + 7 * 3


# Identity.

OPTION = st.sampled_from([RECORD_ROUTE, LOOSE_ROUTE, ROUTER_ALERT, b"\1", b"\x07", b"\0"])


@pytest.mark.conformance("G19")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(0, 3000),
    most=st.integers(28, 1600),
    place_in_whole=st.tuples(st.integers(0, 7000), st.booleans()),
    options=st.lists(OPTION, max_size=5).map(b"".join),
    front=st.binary(max_size=40),
    padding=st.binary(max_size=9),
)
def test_fragments_come_together_to_what_was_cut(
    bench: Bench,
    size: int,
    most: int,
    place_in_whole: tuple[int, bool],
    options: bytes,
    front: bytes,
    padding: bytes,
) -> None:
    offset, more = place_in_whole
    data = datagram(size, fragment=offset, flags=int(more), options=options[:40])
    head = (data[0] & 15) * 4
    out = cut(bench, front + data + padding, most, len(front))
    if len(data) + len(padding) <= most:
        assert out == [front + data + padding]
    elif most < head + 8 and len(data) > most:
        assert out == []
    else:
        assert {part[: len(front)] for part in out} == {front}
        parts = [part[len(front) :] for part in out]
        assert reassembled(parts) == data[head:]
        assert [place(part)[0] for part in parts] == [True] * (len(parts) - 1) + [more]
        assert place(parts[0])[1] == offset * 8
        assert all(len(part) <= most for part in parts)
        assert all(len(part) > most - 8 for part in parts[:-1])
        for part in parts:
            assert_header_sound(part)
