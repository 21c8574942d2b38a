"""GRO cells and packets of local senders, whose checksums are unfinished (CHECKSUM_PARTIAL), on both engines.

Linux joins them like others (skb_gro_checksum_validate asks for none): what crossed no wire is
right once it is finished, and of what is joined the checksum is unfinished again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.engine.conftest import Bench
from tests.engine.streams import assert_sound, finished, layer, segment4, stream4, stream6, unfinished
from vdp.engine.interface import MemoryPacket, Offload, PacketType
from vdp.engine.program import Output, Pull, Segment
from vdp.testing.builders import ethernet, gre, ipv4, ipv6, udp

pytestmark = pytest.mark.conformance("F3", "F8")

Make = Callable[[list[int]], list[bytes]]


def datagrams4(sizes: list[int]) -> list[bytes]:
    ends = "10.0.0.1", "10.0.0.2"
    return [ipv4(*ends, udp(7, 9, bytes([n]) * size), id=n) for n, size in enumerate(sizes)]


def datagrams6(sizes: list[int]) -> list[bytes]:
    return [ipv6("2001:db8::1", "2001:db8::2", udp(7, 9, bytes([n]) * size)) for n, size in enumerate(sizes)]


def through(bench: Bench, *packets: bytes | MemoryPacket, cut: bool = False) -> list[MemoryPacket]:
    """What a cell makes of one batch."""
    cell = bench.cell()
    flows = bench.flow(bench.x, Output(cell)), bench.flow(cell, *[Segment()] * cut, Output(bench.y))
    bench.inject(bench.x, *packets)
    bench.engine.poll()
    bench.engine.remove(0, flows)
    return bench.collect(bench.y)


@pytest.mark.parametrize("make", [stream4, stream6, datagrams4, datagrams6])
@pytest.mark.parametrize("chosen", [0b111, 0b001, 0b010, 0b110])
def test_they_are_joined_among_themselves_and_with_finished_ones(
    bench: Bench, make: Make, chosen: int
) -> None:
    packets = make([100, 100, 60])
    given = [unfinished(data) if chosen >> n & 1 else data for n, data in enumerate(packets)]
    (whole,) = through(bench, *given)
    assert whole == through(bench, *packets)[0]
    assert_sound(finished(whole))
    assert [packet.data for packet in through(bench, *given, cut=True)] == packets


def test_one_alone_passes_as_it_came(bench: Bench) -> None:
    packet = unfinished(segment4(b"alone"))
    (out,) = through(bench, packet)
    assert (out.data, out.offload) == (packet.data, packet.offload)


def test_what_a_tunnel_in_udp_leaves_unfinished_is_not_the_datagrams(bench: Bench) -> None:
    """The outer checksums are as they are, and joined they would be computed anew."""
    inside = [unfinished(data) for data in stream4([100, 100])]
    outer = [ipv4("192.0.2.1", "192.0.2.2", udp(5, 4754, each.data), id=n) for n, each in enumerate(inside)]
    offload = replace(inside[0].offload, csum_start=28 + 20)
    given = [MemoryPacket(data, offload=offload) for data in outer]
    assert [(out.data, out.offload) for out in through(bench, *given)] == [(data, offload) for data in outer]


@pytest.mark.conformance("H2")
@pytest.mark.parametrize(
    ("start", "offset"), [(0, 16), (4, 10), (20, 0), (20, 2), (20, 6), (24, 12), (40, 2)]
)
def test_a_mark_that_would_change_the_headers_does_not_come_out_of_a_tunnel(
    bench: Bench, start: int, offset: int
) -> None:
    """Rules look at addresses and ports before the checksum is finished: they are to stay what they were."""
    cell = bench.cell()
    bench.flow(bench.x, Pull(24), Output(cell))
    bench.flow(cell, Output(bench.y))
    data = ipv4("192.0.2.1", "192.0.2.2", gre(segment4(bytes(100))), protocol=47)
    bench.send(bench.x, MemoryPacket(data, offload=Offload(True, 24 + start, offset)))
    assert bench.sent(bench.y) == []
    assert bench.drops(cell) == {"vnet_hdr_invalid": 1}


@pytest.mark.parametrize("make", [stream4, stream6, datagrams4])
def test_one_without_the_pseudo_headers_sum_is_not_repaired(bench: Bench, make: Make) -> None:
    one, two = (unfinished(data) for data in make([100, 100]))
    at = two.offload.csum_start + two.offload.csum_offset
    wrong = replace(two, data=two.data[:at] + bytes([two.data[at] ^ 0x40]) + two.data[at + 1 :])
    assert [packet.data for packet in through(bench, one, wrong)] == [one.data, wrong.data]
    assert [packet.data for packet in through(bench, wrong, one)] == [wrong.data, one.data]


def test_what_was_unfinished_in_a_header_that_is_gone_is_no_matter(bench: Bench) -> None:
    """Of the outer UDP: behind it are finished checksums, and those are verified."""
    one, two = stream4([100, 100])
    bad = two[:-1] + bytes([two[-1] ^ 1])
    cell = bench.cell()
    bench.flow(bench.x, Pull(28), Output(cell))
    bench.flow(cell, Output(bench.y))
    carried = [
        unfinished(ipv4("192.0.2.1", "192.0.2.2", udp(5, 4754, data))) for data in (one, two, one, bad)
    ]
    bench.send(bench.x, *carried[:2])
    (out,) = bench.collect(bench.y)
    assert len(layer(out.data)["TCP"].payload) == 200
    bench.send(bench.x, *carried[2:])
    assert bench.sent(bench.y) == [one, bad]


def test_frames_are_joined_too(bench: Bench) -> None:
    cell = bench.cell(PacketType.L2)
    bench.flow(bench.a, Output(cell))
    bench.flow(cell, Output(bench.b))
    packets = [unfinished(data) for data in stream6([100, 100, 100])]
    moved = [
        MemoryPacket(
            ethernet(each.data), offload=replace(each.offload, csum_start=each.offload.csum_start + 14)
        )
        for each in packets
    ]
    bench.send(bench.a, *moved)
    (out,) = bench.collect(bench.b)
    assert (out.offload.gso_type, out.offload.gso_size, out.offload.csum_start) == (4, 100, 54)
