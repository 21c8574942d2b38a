"""The engine on its own threads: the same answers while it runs."""

from __future__ import annotations

import errno
import select
import time
from collections.abc import Callable

import pytest

from tests.conftest import EngineFactory
from tests.engine.conftest import POLICY, Bench, refused
from vdp.engine.interface import Count, MemoryPacket, Resolution, Resolve
from vdp.engine.program import Count as CountAction
from vdp.engine.program import Drop, Output, Push, Sequence32

DEADLINE_S = 20


def until(true: Callable[[], bool]) -> None:
    """Wait for a condition; fail when it has not come by the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, "the deadline has passed"
        time.sleep(0.0005)


def collect(bench: Bench, port: int, count: int) -> list[bytes]:
    """The next `count` packets of a port."""
    found: list[bytes] = []

    def enough() -> bool:
        found.extend(bench.sent(port))
        return len(found) >= count

    until(enough)
    return found


def test_packets_pass_in_order_while_it_runs(bench: Bench) -> None:
    state, counter = bench.engine.new_state(), bench.engine.new_counter()
    bench.flow(bench.x, Sequence32(0, state), CountAction(counter), Output(bench.y))
    bench.engine.start()
    found: list[bytes] = []
    for _ in range(10):
        bench.inject(bench.x, *[bytes(4)] * 100)
        found += collect(bench, bench.y, 100)
    bench.engine.stop()
    assert found == [n.to_bytes(4, "big") for n in range(1000)]
    assert bench.engine.read_counter(counter) == Count(1000, 4000)


def test_poll_is_refused_while_it_runs(bench: Bench) -> None:
    bench.engine.start()
    with refused(errno.EBUSY):
        bench.engine.poll()
    with refused(errno.EBUSY):
        bench.engine.start()
    bench.engine.stop()
    bench.engine.poll()


def test_an_upcall_wakes_the_slow_path_and_is_resolved_while_it_runs(bench: Bench) -> None:
    bench.engine.start()
    bench.inject(bench.x, b"\1", b"\2", b"\3")
    assert select.select([bench.engine.event_fd()], [], [], DEADLINE_S)[0]
    until(lambda: bench.engine.port_stats(bench.x).held == 3)
    (upcall,) = bench.upcalls(1)
    bench.resolve(bench.installed(upcall, Push(b"!"), Output(bench.y)))
    bench.inject(bench.x, b"\4")
    assert collect(bench, bench.y, 4) == [b"!\1", b"!\2", b"!\3", b"!\4"]
    bench.engine.stop()
    assert bench.engine.port_stats(bench.x).upcalls == 3


def test_flows_change_while_packets_pass(bench: Bench) -> None:
    flow = bench.flow(bench.x, Output(bench.y))
    bench.engine.start()
    total = 0
    for turn in range(30):
        bench.inject(bench.x, *[b"\1"] * 20)
        bench.engine.replace(0, flow, [Push(b"!"), Output(bench.y)] if turn % 2 else [Output(bench.y)])
        total += 20
        if turn % 10 == 9:
            assert bench.engine.remove(0, [flow]) == 1
            flow = bench.flow(bench.x, Output(bench.y))
    until(lambda: bench.engine.port_stats(bench.x).rx_packets == total)
    bench.engine.stop()
    stats = bench.engine.port_stats(bench.x)
    assert stats.forwarded + stats.held == total


def test_ports_come_and_go_while_packets_pass(bench: Bench) -> None:
    bench.engine.start()
    for _ in range(20):
        port = bench.memory()
        bench.flow(bench.x, Output(port))
        bench.inject(bench.x, *[b"\1"] * 50)
        bench.engine.remove_port(port)
        bench.engine.expire(0, 0, 0)
    until(lambda: bench.engine.port_stats(bench.x).rx_packets == 1000)
    bench.engine.stop()


def test_two_workers_have_their_own_upcalls(make_engine: EngineFactory) -> None:
    bench = Bench(make_engine(workers=2))
    bench.inject(bench.x, b"\1")
    bench.settle()
    assert bench.engine.workers == 2
    assert bench.engine.take_upcalls(1) == []
    (upcall,) = bench.engine.take_upcalls(0)
    assert bench.engine.resolve(1, [Resolution(upcall.token, Resolve.CONSUME)]) == [-errno.EINVAL]
    assert bench.engine.resolve(0, [Resolution(upcall.token, Resolve.CONSUME)]) == [0]


@pytest.mark.conformance("B19", "B27")
def test_counters_and_states_are_shared_by_workers(make_engine: EngineFactory) -> None:
    bench = Bench(make_engine(workers=3))
    state, counter = bench.engine.new_state(5), bench.engine.new_counter()
    program = [Sequence32(0, state), CountAction(counter), Output(bench.b)]
    for worker in (2, 0, 1):
        bench.engine.execute(worker, bench.a, bytes(4), program)
    assert sorted(bench.sent(bench.b)) == [n.to_bytes(4, "big") for n in (5, 6, 7)]
    assert bench.engine.read_counter(counter) == Count(3, 12)
    assert bench.engine.port_stats(bench.a).injected == 3


def test_states_can_be_read_and_written(bench: Bench) -> None:
    state = bench.engine.new_state(7)
    assert bench.engine.read_state(state) == 7
    bench.engine.write_state(state, 0xFFFFFFFF)
    assert bench.engine.read_state(state) == 0xFFFFFFFF
    bench.engine.free_state(state)
    for call in (lambda: bench.engine.read_state(state), lambda: bench.engine.free_state(state)):
        with refused(errno.ENOENT):
            call()


def test_counters_that_are_freed_are_gone(bench: Bench) -> None:
    counter = bench.engine.new_counter()
    bench.engine.free_counter(counter)
    with refused(errno.ENOENT):
        bench.engine.read_counter(counter)
    with refused(errno.ENOENT):
        bench.engine.free_counter(counter)


def test_the_clock_stands_where_it_was_set(bench: Bench) -> None:
    bench.engine.set_clock(42)
    assert bench.engine.clock() == 42
    bench.engine.set_clock(0)  # the real one
    assert bench.engine.clock() > 42


def test_a_small_pool_loses_packets_but_counts_them(make_engine: EngineFactory) -> None:
    bench = Bench(make_engine(packets=70))
    slow = bench.memory(tx_queue=30)
    bench.flow(bench.a, Output(slow))
    bench.flow(bench.b, Drop(POLICY))
    for _ in range(10):
        bench.send(bench.a, *[bytes(60)] * 50)
        bench.send(bench.x, *[b"\1"] * 50)
        bench.send(bench.b, *[MemoryPacket(bytes(60))] * 10)
    stats = bench.engine.port_stats(slow)
    assert (stats.tx_packets, stats.offered, stats.tx_dropped + stats.tx_queued) == (30, 500, 470)
    assert bench.drops(bench.b) == {"policy_rule": 100}
