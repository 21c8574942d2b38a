"""Bounds on what goes to the slow path: lines, and rates by the stopped clock."""

from __future__ import annotations

from tests.conftest import START_NS
from tests.engine.conftest import POLICY
from vdp.engine.program import Drop, Upcall

SECOND = 1_000_000_000


def test_a_port_s_line_takes_no_more_than_its_limit(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(upcall_queue=3)
    bench.send(bench.x, *[b"\1"] * 5)
    bench.send(bench.a, b"\1")
    assert bench.drops(bench.x) == {"upcall_queue_full": 2}
    assert bench.drops(bench.a) == {}
    assert bench.engine.worker_stats(0).upcalls_lost == 2
    assert len(bench.upcalls()) == 4
    bench.send(bench.x, b"\1")  # those taken are not in line any more
    assert bench.drops(bench.x) == {"upcall_queue_full": 2}


def test_all_lines_together_hold_at_most_half_of_the_pool(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(packets=400, upcall_queue=150)
    for port in (bench.x, bench.a, bench.b):
        for _ in range(3):
            bench.send(port, *[b"\1"] * 50)
    held = [bench.engine.port_stats(port).held for port in (bench.x, bench.a, bench.b)]
    assert held == [100, 50, 25], "no line is longer than what is still free"
    assert bench.drops(bench.b) == {"upcall_queue_full": 125}


def test_misses_of_a_port_are_bounded_a_second(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(upcall_rate=10)
    bench.send(bench.x, *[b"\1"] * 15)
    bench.send(bench.a, *[b"\1"] * 3)
    assert bench.drops(bench.x) == {"upcall_rate": 5}
    assert bench.drops(bench.a) == {}
    assert bench.engine.worker_stats(0).upcalls_lost == 5
    bench.engine.set_clock(START_NS + SECOND // 5)  # room for two more
    bench.send(bench.x, *[b"\1"] * 5)
    assert bench.drops(bench.x) == {"upcall_rate": 8}
    bench.engine.set_clock(START_NS + 100 * SECOND)  # never more than a second's worth
    bench.send(bench.x, *[b"\1"] * 15)
    assert bench.drops(bench.x) == {"upcall_rate": 13}


def test_a_rate_of_zero_is_no_bound(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(upcall_rate=0, action_rate=0)
    bench.flow(bench.a, Upcall(1), Drop(POLICY))
    for _ in range(5):
        bench.send(bench.x, *[b"\1"] * 60)
        bench.send(bench.a, *[b"\1"] * 60)
    assert bench.drops(bench.x) == {}
    assert bench.engine.port_stats(bench.a).upcalls == 300


def test_upcall_actions_of_a_port_are_bounded_a_second(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(action_rate=10)
    for port in (bench.x, bench.a):
        bench.flow(port, Upcall(1), Drop(POLICY))
    bench.send(bench.x, *[b"\1"] * 60)
    bench.send(bench.a, *[b"\1"] * 4)
    # Half a second's worth at once: five.  What is suppressed is not lost: no copy was made.
    assert [bench.engine.port_stats(port).upcalls for port in (bench.x, bench.a)] == [5, 4]
    assert bench.engine.worker_stats(0).actions_suppressed == 55
    assert bench.drops(bench.x) == {"policy_rule": 60}
    bench.engine.set_clock(START_NS + SECOND)
    bench.send(bench.x, *[b"\1"] * 9)
    assert bench.engine.port_stats(bench.x).upcalls == 10


def test_a_port_that_is_added_starts_with_a_rate_of_its_own(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(action_rate=2)
    for _ in range(3):
        port = bench.memory()
        bench.flow(port, Upcall(1), Drop(POLICY))
        bench.send(port, *[b"\1"] * 2)
        assert bench.engine.port_stats(port).upcalls == 1
        bench.engine.remove_port(port)


def test_a_copy_that_finds_its_line_full_is_dropped(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(upcall_queue=2)
    bench.flow(bench.x, Upcall(1), Drop(POLICY))
    bench.send(bench.x, *[b"\1"] * 3)
    stats = bench.engine.port_stats(bench.x)
    assert (stats.cloned, stats.upcalls) == (3, 2)
    assert bench.drops(bench.x) == {"policy_rule": 3, "upcall_queue_full": 1}


def test_a_clock_that_goes_back_does_not_stop_a_rate(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(upcall_rate=1)
    bench.engine.set_clock(100 * SECOND)
    bench.send(bench.x, b"\1")
    bench.engine.set_clock(1 * SECOND)
    bench.send(bench.x, b"\1")
    bench.engine.set_clock(2 * SECOND)
    bench.send(bench.x, b"\1")
    assert bench.drops(bench.x) == {"upcall_rate": 1}
