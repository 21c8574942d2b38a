"""The flow table: install, replace, remove, dump, expire, and its limits."""

from __future__ import annotations

import errno

from tests.engine.conftest import POLICY, Bench, refused
from vdp.engine.interface import PortConfig, PortType
from vdp.engine.program import Drop, Output, Push

SECOND = 1_000_000_000


def test_a_flow_counts_packets_and_bytes_as_they_came_in(bench: Bench) -> None:
    flow = bench.flow(bench.x, Push(b"more"), Output(bench.y))
    bench.send(bench.x, bytes(10), bytes(20))
    (stats,) = bench.engine.dump(0)
    assert (stats.id, stats.packets, stats.bytes) == (flow, 2, 30)


def test_a_flow_remembers_the_clock_of_its_last_hit(bench: Bench) -> None:
    bench.engine.set_clock(5 * SECOND)
    bench.flow(bench.x, Output(bench.y))
    assert bench.engine.dump(0)[0].used_ns == 5 * SECOND
    bench.engine.set_clock(7 * SECOND)
    bench.send(bench.x, b"\1")
    assert bench.engine.dump(0)[0].used_ns == 7 * SECOND


def test_replace_changes_the_program_and_keeps_the_counters(bench: Bench) -> None:
    flow = bench.flow(bench.x, Output(bench.y))
    bench.send(bench.x, b"\1")
    bench.engine.replace(0, flow, [Push(b"new"), Output(bench.y)])
    bench.send(bench.x, b"\1")
    assert bench.sent(bench.y) == [b"\1", b"new\1"]
    assert [(stats.id, stats.packets) for stats in bench.engine.dump(0)] == [(flow, 2)]


def test_replace_of_a_flow_that_is_gone_is_refused(bench: Bench) -> None:
    flow = bench.flow(bench.x, Output(bench.y))
    bench.engine.remove(0, [flow])
    with refused(errno.ENOENT):
        bench.engine.replace(0, flow, [Drop(POLICY)])


def test_remove_says_how_many_were_there(bench: Bench) -> None:
    one = bench.flow(bench.x, Output(bench.y), mask="ff", value="01")
    two = bench.flow(bench.x, Output(bench.y), mask="ff", value="02")
    assert bench.engine.remove(0, [one, 12345678, two, one]) == 2
    assert bench.engine.dump(0) == []


def test_a_removed_flow_takes_nothing(bench: Bench) -> None:
    one = bench.flow(bench.x, Drop(POLICY), mask="ff", value="01")
    bench.flow(bench.x, Output(bench.y), mask="ff", value="02")
    bench.engine.remove(0, [one])
    bench.send(bench.x, b"\1", b"\2")
    assert bench.sent(bench.y) == [b"\2"]
    assert bench.drops(bench.x) == {}
    bench.consume()


def test_an_id_is_not_given_twice(bench: Bench) -> None:
    ids = set()
    for _ in range(100):
        flow = bench.flow(bench.x, Output(bench.y))
        ids.add(flow)
        bench.engine.remove(0, [flow])
    assert len(ids) == 100
    assert min(ids) > 0


def test_a_second_flow_of_the_same_match_is_refused(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y), mask="ff", value="01")
    with refused(errno.EEXIST):
        bench.flow(bench.x, Drop(POLICY), mask="ff00", value="0100", min_length=1)
    bench.send(bench.x, b"\1")
    assert bench.sent(bench.y) == [b"\1"]


def test_flows_of_the_same_value_and_other_lengths_are_not_the_same(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y), min_length=0, max_length=1)
    bench.flow(bench.x, Output(bench.y), min_length=2, max_length=2)
    assert len(bench.engine.dump(0)) == 2


def test_a_flow_for_a_port_that_is_not_there_is_refused(bench: Bench) -> None:
    with refused(errno.ENODEV):
        bench.flow(7777, Output(bench.y))


def test_a_worker_that_is_not_there_is_refused(bench: Bench) -> None:
    with refused(errno.ENODEV):
        bench.engine.install(1, bench.match(bench.x), [Output(bench.y)])


def test_each_worker_has_flows_of_its_own(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(workers=2)
    bench.engine.install(1, bench.match(bench.x), [Drop(POLICY)])
    bench.flow(bench.x, Output(bench.y))
    bench.send(bench.x, b"\1")
    assert bench.sent(bench.y) == [b"\1"]
    assert [stats.packets for stats in bench.engine.dump(1)] == [0]


def test_the_table_takes_no_more_than_its_limit(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(flows=3)
    flows = [bench.flow(bench.x, Drop(POLICY), mask="ff", value=f"{n:02x}") for n in range(3)]
    with refused(errno.ENOSPC):
        bench.flow(bench.a, Drop(POLICY))
    bench.engine.remove(0, flows[:1])
    bench.flow(bench.a, Drop(POLICY))


def test_an_in_port_has_no_more_masks_than_its_limit(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(port_masks=2)
    first = bench.flow(bench.x, Drop(POLICY), mask="ff", value="01")
    bench.flow(bench.x, Drop(POLICY), mask="0f", value="02")
    with refused(errno.E2BIG):
        bench.flow(bench.x, Drop(POLICY), mask="f0", value="10")
    bench.flow(bench.x, Drop(POLICY), mask="0f", value="03")  # a mask that is there
    bench.flow(bench.a, Drop(POLICY), mask="f0", value="10")  # another in-port's
    bench.engine.remove(0, [first])
    bench.flow(bench.x, Drop(POLICY), mask="f0", value="10")
    assert bench.engine.worker_stats(0).masks == 3


def test_expire_removes_what_has_been_idle_that_long(bench: Bench) -> None:
    old = bench.flow(bench.x, Output(bench.y), mask="ff", value="01")
    used = bench.flow(bench.x, Output(bench.y), mask="ff", value="02")
    bench.engine.set_clock(11 * SECOND)
    bench.send(bench.x, b"\2")
    assert bench.engine.expire(0, 10 * SECOND, 100) == [old]
    assert [stats.id for stats in bench.engine.dump(0)] == [used]
    assert bench.engine.expire(0, 10 * SECOND, 100) == []


def test_expire_removes_the_longest_idle_above_what_may_stay(bench: Bench) -> None:
    flows = []
    for n in range(5):
        bench.engine.set_clock((n + 1) * SECOND)
        flows.append(bench.flow(bench.x, Output(bench.y), mask="ff", value=f"{n:02x}"))
    bench.send(bench.x, b"\0")
    assert bench.engine.expire(0, 100 * SECOND, 2) == flows[1:4]
    assert {stats.id for stats in bench.engine.dump(0)} == {flows[0], flows[4]}


def test_a_clock_that_went_back_makes_no_flow_old(bench: Bench) -> None:
    bench.engine.set_clock(100 * SECOND)
    bench.flow(bench.x, Output(bench.y))
    bench.engine.set_clock(1 * SECOND)
    assert bench.engine.expire(0, 10 * SECOND, 100) == []


def test_the_flows_of_a_port_go_with_it(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y), mask="ff", value="01")
    bench.flow(bench.x, Output(bench.y), mask="0f", value="02")
    keep = bench.flow(bench.a, Output(bench.b))
    bench.engine.remove_port(bench.x)
    assert [stats.id for stats in bench.engine.dump(0)] == [keep]
    assert bench.engine.worker_stats(0).flows == 1


def test_a_new_port_has_none_of_the_flows_of_one_before(bench: Bench) -> None:
    bench.flow(bench.x, Drop(POLICY))
    bench.engine.remove_port(bench.x)
    port = bench.engine.add_port(PortConfig("new", PortType.MEMORY))
    assert port != bench.x
    bench.send(port, b"\1")
    assert bench.drops(port) == {}
    bench.consume()
