"""GRO and GSO are inverses, for any streams: segment(coalesce(packets)) = packets, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.books import check_books
from tests.engine.conftest import Bench
from tests.engine.streams import finished, segment4, segment6, super_packet, unfinished
from vdp.engine.interface import Engine, EngineConfig, MemoryPacket
from vdp.engine.program import Output, Segment
from vdp.testing.builders import ACK, CWR, ECE, FIN, PSH, ipv4, ipv6, tcp_timestamp, udp

Factory = Callable[[EngineConfig], Engine]
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

flags = st.sampled_from([ACK] * 6 + [ACK | PSH, ACK | FIN, ACK | ECE, ACK | CWR, ACK | PSH | CWR])
numbers = st.integers(0, 0xFFFFFFFF)
#: Of TCP, each a multiple of four bytes: what a stream has is the same in all its segments, or not.
options = st.one_of(
    st.sampled_from([b"", tcp_timestamp(1, 2), b"\1\1\1\1"]),
    st.integers(0, 10).flatmap(lambda words: st.binary(min_size=4 * words, max_size=4 * words)),
)


@st.composite
def datagrams(draw: st.DrawFn) -> list[bytes]:
    """Datagrams of some flows as they were sent, mixed; ids count up, as nothing else does in IPv4."""
    flows = []
    for port in range(draw(st.integers(1, 3))):
        is_ip6, ident, size = draw(st.booleans()), draw(numbers), draw(st.integers(0, 60))
        own = []
        for n in range(draw(st.integers(1, 12))):
            length = draw(st.sampled_from([size] * 8 + [size + 1, max(size - 1, 0), 0]))
            datagram = udp(port + 1, 9, draw(st.binary(min_size=length, max_size=length)))
            ip4 = {"id": (ident + n) & 0xFFFF, "flags": draw(st.sampled_from([0, 2, 2, 2]))}
            ends6 = "2001:db8::1", "2001:db8::2"
            own.append(ipv6(*ends6, datagram) if is_ip6 else ipv4("10.0.0.1", "10.0.0.2", datagram, **ip4))
        flows.append(own)
    order = draw(st.permutations([index for index, own in enumerate(flows) for _ in own]))
    return [flows[index].pop(0) for index in order]


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Segments of some flows in the order in which they were sent, mixed; ids count up."""
    flows = []
    for port in range(draw(st.integers(1, 3))):
        build: Callable[..., bytes] = draw(st.sampled_from([segment4, segment6]))
        seq, ident, size, known = draw(numbers), draw(numbers), draw(st.integers(1, 60)), draw(options)
        own = []
        for n in range(draw(st.integers(1, 12))):
            length = draw(st.sampled_from([size] * 8 + [size + 1, max(size - 1, 1), 0]))
            fields: dict[str, Any] = {"id": (ident + n) & 0xFFFF} if build is segment4 else {}
            # ECN: the field in IP, which a router may set in one segment and not in the next.
            fields["tos" if build is segment4 else "traffic_class"] = draw(st.sampled_from([2] * 8 + [3]))
            if draw(st.integers(0, 9)) == 0:
                known = draw(options)
            body = bytes([65 + port]) * length
            own.append(build(body, seq, sport=port + 1, flags=draw(flags), options=known, **fields))
            seq += length
        flows.append(own)
    order = draw(st.permutations([index for index, own in enumerate(flows) for _ in own]))
    return [flows[index].pop(0) for index in order]


def by_flow(packets: list[bytes]) -> dict[bytes, list[bytes]]:
    """Packets by version and source port: the order between flows is no matter."""
    found: dict[bytes, list[bytes]] = {}
    for data in packets:
        transport = 20 if data[0] >> 4 == 4 else 40
        found.setdefault(data[:1] + data[transport : transport + 2], []).append(data)
    return found


def through(engine: Engine, packets: Sequence[bytes | MemoryPacket]) -> list[bytes]:
    """The packets after a cell and a cut."""
    bench = Bench(engine)
    cell = bench.cell()
    bench.flow(bench.x, Output(cell))
    bench.flow(cell, Segment(), Output(bench.y))
    bench.send(bench.x, *packets)
    return bench.sent(bench.y)


@pytest.mark.conformance("H10")
@quick
@given(st.one_of(streams(), datagrams()))
def test_cutting_what_a_cell_joined_gives_the_same_packets(
    engine_class: Factory, packets: list[bytes]
) -> None:
    engine = engine_class(EngineConfig(packets=256))
    assert by_flow(through(engine, packets)) == by_flow(packets)
    check_books(engine)
    engine.close()


@pytest.mark.conformance("H10")
@quick
@given(st.one_of(streams(), datagrams()), st.integers(0, (1 << 36) - 1))
def test_packets_of_a_local_sender_are_finished_by_the_cut(
    engine_class: Factory, packets: list[bytes], chosen: int
) -> None:
    """Some of them, by the bits of `chosen`, come with their checksums unfinished."""
    engine = engine_class(EngineConfig(packets=256))
    given = [unfinished(data) if chosen >> n & 1 else data for n, data in enumerate(packets)]
    assert by_flow(through(engine, given)) == by_flow(packets)
    check_books(engine)
    engine.close()


@pytest.mark.conformance("H10")
@quick
@given(
    st.sampled_from([segment4, segment6]),
    st.integers(2, 1500),
    st.integers(48, 500),
    flags,
    numbers,
    options,
)
def test_joining_what_was_cut_gives_the_same_packet(
    engine_class: Factory,
    build: Callable[..., bytes],
    length: int,
    size: int,
    flag: int,
    seq: int,
    known: bytes,
) -> None:
    engine = engine_class(EngineConfig(packets=256))
    bench = Bench(engine)
    cell = bench.cell()
    bench.flow(bench.x, Segment(), Output(cell))
    bench.flow(cell, Output(bench.y))
    ecn = bool(flag & CWR) and length > size
    whole = super_packet(build(bytes(length), seq, flags=flag, options=known), size, ecn=ecn)
    bench.send(bench.x, whole)
    (out,) = bench.collect(bench.y)
    assert finished(out) == finished(whole)
    assert out.offload.gso_type == (whole.offload.gso_type if length > size else 0)
    check_books(engine)
    engine.close()
