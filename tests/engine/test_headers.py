"""Headers: bytes that programs have in common, exchanged in one place."""

from __future__ import annotations

import errno

import pytest

from tests.engine.conftest import Bench, refused
from vdp.engine.interface import MAX_HEADER
from vdp.engine.program import Checksum, Output, Push, WriteHeader

ONE, OTHER = b"aaaaaaaaaaaa", b"bbbbbbbbbbbb"


def test_a_program_writes_what_the_header_holds_at_the_time(bench: Bench) -> None:
    header = bench.engine.new_header(ONE)
    bench.flow(bench.x, Push(bytes(14)), WriteHeader(1, header), Output(bench.y))
    bench.send(bench.x, b"packet")
    bench.engine.write_header(header, OTHER)
    bench.send(bench.x, b"packet")
    bench.engine.write_header(header, b"cc")
    bench.send(bench.x, b"packet")
    written = (ONE, OTHER, b"cc" + bytes(10))
    assert bench.sent(bench.y) == [b"\0" + data + b"\0packet" for data in written]


def test_many_flows_have_one_header(bench: Bench) -> None:
    header = bench.engine.new_header(b"1")
    bench.flow(bench.x, WriteHeader(0, header), Output(bench.y))
    bench.flow(bench.a, WriteHeader(3, header), Output(bench.b))
    bench.engine.write_header(header, b"2")
    bench.send(bench.x, b"....")
    bench.send(bench.a, b"....")
    assert bench.sent(bench.y) + bench.sent(bench.b) == [b"2...", b"...2"]


def test_a_checksum_behind_it_covers_it(bench: Bench) -> None:
    header = bench.engine.new_header(b"\x12\x34")
    bench.flow(bench.x, WriteHeader(2, header), Checksum(0, 0), Output(bench.y))
    bench.send(bench.x, bytes(4))
    assert bench.sent(bench.y) == [b"\xed\xcb\x12\x34"]


@pytest.mark.parametrize("size", [1, 7, 8, 9, MAX_HEADER])
def test_all_sizes(bench: Bench, size: int) -> None:
    data = bytes(range(1, size + 1))
    bench.flow(bench.x, WriteHeader(0, bench.engine.new_header(data)), Output(bench.y))
    bench.send(bench.x, b"\xff" * MAX_HEADER)
    assert bench.sent(bench.y) == [data + b"\xff" * (MAX_HEADER - size)]


def test_what_does_not_fit_is_dropped_and_what_is_not_there_too(bench: Bench) -> None:
    header = bench.engine.new_header(ONE)
    bench.flow(bench.x, WriteHeader(1, header), Output(bench.y))
    bench.send(bench.x, b"." * 12)
    assert bench.drops(bench.x) == {"parse_truncated": 1}
    bench.engine.free_header(header)
    bench.send(bench.x, b"." * 13)
    assert bench.drops(bench.x) == {"parse_truncated": 1, "handler_error": 1}
    assert bench.sent(bench.y) == []


def test_what_is_refused(bench: Bench) -> None:
    engine = bench.engine
    header = engine.new_header(ONE)
    for data in (b"", bytes(MAX_HEADER + 1)):
        with refused(errno.EINVAL):
            engine.new_header(data)
        with refused(errno.EINVAL):
            engine.write_header(header, data)
    engine.free_header(header)
    for number in (header, 0, 1 << 31):
        with refused(errno.ENOENT):
            engine.free_header(number)
        with refused(errno.ENOENT):
            engine.write_header(number, ONE)
    assert engine.new_header(ONE) == header


def test_no_packet_gets_half_of_one_and_half_of_another(bench: Bench) -> None:
    """A started worker writes it while the control side exchanges it."""
    header = bench.engine.new_header(ONE)
    bench.flow(bench.x, WriteHeader(0, header), Output(bench.y))
    bench.engine.start()
    found: list[bytes] = []
    while len(found) < 2000:
        bench.inject(bench.x, *[bytes(12)] * 50)
        for data in (OTHER, ONE) * 100:
            bench.engine.write_header(header, data)
        found += bench.sent(bench.y)
    bench.engine.stop()
    assert set(found) <= {ONE, OTHER}
