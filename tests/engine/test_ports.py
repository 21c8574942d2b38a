"""Ports: packet types, up and down, queues, removal, and the cell's loop guard."""

from __future__ import annotations

import errno

import pytest

from tests.engine.conftest import Bench, refused
from vdp.engine.interface import Engine, Feature, MemoryPacket, PacketType, PortConfig, PortType
from vdp.engine.program import Clone, Meta, Output, Pull
from vdp.testing.reference import ReferenceEngine


def test_a_frame_does_not_leave_a_layer_3_port(bench: Bench) -> None:
    bench.flow(bench.a, Output(bench.x))
    bench.send(bench.a, b"frame")
    assert bench.drops(bench.x) == {"packet_type": 1}
    stats = bench.engine.port_stats(bench.x)
    assert (stats.offered, stats.tx_dropped, stats.tx_packets) == (1, 1, 0)


def test_a_layer_3_packet_does_not_leave_a_frame_port(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.a))
    bench.send(bench.x, b"\x45")
    assert bench.drops(bench.a) == {"packet_type": 1}


def test_a_program_may_change_the_packet_type(bench: Bench) -> None:
    bench.flow(bench.a, Pull(14), Meta(0, PacketType.L3), Output(bench.x))
    bench.send(bench.a, bytes(14) + b"\x45")
    assert bench.sent(bench.x) == [b"\x45"]


def test_a_frame_does_not_enter_a_layer_3_cell(bench: Bench) -> None:
    cell = bench.cell(PacketType.L3)
    bench.flow(bench.a, Output(cell))
    bench.send(bench.a, b"frame")
    assert bench.drops(cell) == {"packet_type": 1}


def test_a_port_that_is_down_takes_nothing(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y))
    bench.engine.set_port_up(bench.y, False)
    bench.send(bench.x, b"\1")
    assert bench.drops(bench.y) == {"port_down": 1}
    assert not bench.engine.port_stats(bench.y).up
    bench.engine.set_port_up(bench.y, True)
    bench.send(bench.x, b"\2")
    assert bench.sent(bench.y) == [b"\2"]


def test_what_comes_in_by_a_port_that_is_down_is_dropped(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y))
    bench.engine.set_port_up(bench.x, False)
    bench.send(bench.x, b"\1")
    assert bench.drops(bench.x) == {"port_down": 1}
    stats = bench.engine.port_stats(bench.x)
    assert (stats.rx_packets, stats.hits, stats.misses) == (1, 0, 0)


@pytest.mark.conformance("F3", "B29")
def test_a_cell_that_is_down_takes_nothing(bench: Bench) -> None:
    cell = bench.cell()
    bench.flow(bench.x, Output(cell))
    bench.engine.set_port_up(cell, False)
    bench.send(bench.x, b"\1")
    assert bench.drops(cell) == {"port_down": 1}


def test_a_full_transmit_queue_drops_at_the_output(bench: Bench) -> None:
    small = bench.memory(PacketType.L3, tx_queue=4)
    bench.flow(bench.x, Output(small))
    bench.send(bench.x, *[bytes([n]) for n in range(10)])
    # Four are with whoever collects them, four more wait behind them.
    stats = bench.engine.port_stats(small)
    assert (stats.tx_packets, stats.tx_queued, stats.tx_dropped) == (4, 4, 2)
    assert bench.drops(small) == {"tx_queue_full": 2}
    assert bench.sent(small) == [b"\0", b"\1", b"\2", b"\3"]
    bench.engine.poll()
    assert bench.sent(small) == [b"\4", b"\5", b"\6", b"\7"]


def test_a_port_that_is_removed_is_no_port_for_flows_that_still_name_it(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y))
    bench.engine.remove_port(bench.y)
    bench.send(bench.x, b"\1")
    assert bench.drops(bench.x) == {"no_port": 1}


@pytest.mark.parametrize("call", ["remove_port", "port_stats", "port_drops", "collect"])
def test_calls_on_a_removed_port_are_refused(bench: Bench, call: str) -> None:
    bench.engine.remove_port(bench.y)
    with refused(errno.ENODEV):
        getattr(bench.engine, call)(bench.y)


def test_injected_packets_go_with_a_removed_port(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y))
    bench.inject(bench.x, b"\1")
    bench.engine.remove_port(bench.x)
    bench.settle()
    assert bench.sent(bench.y) == []


def test_removing_an_in_port_leaves_packets_that_an_output_has_taken(bench: Bench) -> None:
    small = bench.memory(PacketType.L3, tx_queue=1)
    bench.flow(bench.x, Output(small))
    bench.send(bench.x, b"\1")
    bench.send(bench.x, b"\2")
    bench.engine.remove_port(bench.x)
    assert bench.sent(small) == [b"\1"]
    bench.engine.poll()
    assert bench.sent(small) == [b"\2"]


def test_a_cell_is_no_memory_port(bench: Bench) -> None:
    cell = bench.cell()
    with refused(errno.ENODEV):
        bench.inject(cell, b"\1")


def test_a_packet_larger_than_the_engine_takes_is_refused(bench: Bench) -> None:
    with refused(errno.EINVAL):
        bench.inject(bench.x, bytes(65793))


def test_a_port_with_a_name_that_is_too_long_is_refused(engine: Engine) -> None:
    engine.add_port(PortConfig("n" * 31, PortType.MEMORY))
    with refused(errno.EINVAL):
        engine.add_port(PortConfig("n" * 32, PortType.MEMORY))


@pytest.mark.conformance("G21")
def test_packets_go_round_through_cells_eight_times_and_no_more(bench: Bench) -> None:
    cells = [bench.cell() for _ in range(2)]
    bench.flow(bench.x, Output(cells[0]))
    for cell, other in (cells, reversed(cells)):
        bench.flow(cell, Clone((Output(bench.y),)), Output(other))
    bench.send(bench.x, b"\1")
    assert bench.sent(bench.y) == [b"\1"] * 8
    assert bench.drops(cells[1]) == {"loop_guard": 1}


def test_a_cell_that_feeds_itself_is_stopped(bench: Bench) -> None:
    cell = bench.cell()
    bench.flow(bench.x, Output(cell))
    bench.flow(cell, Output(cell))
    bench.send(bench.x, b"\1")
    assert bench.drops(cell) == {"loop_guard": 1}


@pytest.mark.conformance("H8")
def test_features_can_be_changed(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y))
    bench.engine.set_port_features(bench.y, Feature.NONE)
    bench.send(bench.x, MemoryPacket(b"\1"))
    assert bench.sent(bench.y) == [b"\1"]


def test_packets_of_each_port_are_received_in_order(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y))
    packets = [n.to_bytes(2, "big") for n in range(500)]
    bench.send(bench.x, *packets)
    assert bench.sent(bench.y) == packets
    stats = bench.engine.port_stats(bench.x)
    assert (stats.rx_packets, stats.rx_bytes, stats.rx_segments) == (500, 1000, 500)


@pytest.mark.conformance("H9", "F1")
def test_poll_receives_at_most_a_batch_from_a_port(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y))
    bench.inject(bench.x, *[b"\1"] * 100)
    assert [bench.engine.poll() for _ in range(3)] == [64, 36, 0]
    assert bench.engine.port_stats(bench.x).forwarded == 100


@pytest.mark.parametrize("kind", [kind for kind in PortType if kind not in (PortType.MEMORY, PortType.CELL)])
def test_the_reference_engine_has_no_kernel_ports(kind: PortType) -> None:
    engine = ReferenceEngine()
    with refused(errno.ENOTSUP):
        engine.add_port(PortConfig("kernel", kind, fds=(0,)))
    engine.close()
