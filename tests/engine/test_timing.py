"""Timing of workers: each moment is one stage's, and all that passes is counted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.conftest import Bench
from tests.engine.streams import segment4, stream4
from vdp.engine.interface import EngineConfig
from vdp.engine.native import NativeEngine
from vdp.engine.program import Output
from vdp.engine.timing import BATCH_SIZES, Close, Stage, WorkerTimes, time_worker
from vdp.testing.builders import ipv4


@pytest.fixture
def bench() -> Iterator[Bench]:
    with NativeEngine(EngineConfig()) as engine:
        yield Bench(engine)


def look(bench: Bench, *, goes_on: bool = True) -> WorkerTimes:
    assert isinstance(bench.engine, NativeEngine)
    return time_worker(bench.engine, 0, goes_on=goes_on)


def test_nothing_is_timed_until_somebody_asks(bench: Bench) -> None:
    bench.flow(bench.a, Output(bench.b))
    bench.send(bench.a, b"frame")
    assert look(bench).ns == 0
    assert look(bench).ns > 0


def test_each_stage_counts_the_packets_that_pass_it(bench: Bench) -> None:
    bench.flow(bench.a, Output(bench.b))
    look(bench)
    bench.send(bench.a, *[b"frame"] * 5)
    times = look(bench)
    for stage in (Stage.RECEIVE, Stage.LOOKUP, Stage.EXECUTE, Stage.TRANSMIT):
        assert times.stages[stage].packets == 5, stage.name
        assert times.stages[stage].batches == 1, stage.name
        assert times.stages[stage].ns > 0, stage.name
    assert times.stages[Stage.CELLS].packets == 0
    assert dict(zip(BATCH_SIZES, times.batch_sizes, strict=True)) == {**dict.fromkeys(BATCH_SIZES, 0), 8: 1}


def test_the_stages_add_up_to_the_time(bench: Bench) -> None:
    bench.flow(bench.a, Output(bench.b))
    look(bench)
    for _ in range(50):
        bench.send(bench.a, *[b"frame"] * 64)
    times = look(bench)
    assert sum(stage.ns for stage in times.stages) == pytest.approx(times.ns, rel=1e-3)
    assert times.batch_sizes[-1] == 50


def test_it_ends_with_a_look_and_begins_anew(bench: Bench) -> None:
    bench.flow(bench.a, Output(bench.b))
    look(bench)
    bench.send(bench.a, b"frame")
    assert look(bench, goes_on=False).stages[Stage.RECEIVE].packets == 1
    bench.send(bench.a, b"frame")
    assert look(bench).stages[Stage.RECEIVE].packets == 0, "nobody timed it"
    bench.send(bench.a, b"frame")
    assert look(bench).stages[Stage.RECEIVE].packets == 1


def test_a_started_worker_is_timed_too(bench: Bench) -> None:
    bench.engine.start()
    look(bench)
    times = look(bench)
    assert times.stages[Stage.CONTROL].batches >= 1
    assert sum(stage.ns for stage in times.stages) == pytest.approx(times.ns, rel=1e-3)
    bench.engine.stop()


def test_there_is_no_such_worker(bench: Bench) -> None:
    assert isinstance(bench.engine, NativeEngine)
    with pytest.raises(OSError, match="No such device"):
        time_worker(bench.engine, 7, goes_on=True)


ONE = segment4(bytes(100), 0, id=1)
FRAGMENT = ipv4("10.0.0.1", "10.0.0.2", bytes(40), protocol=6, flags=1, id=9)


@pytest.mark.parametrize(
    ("packets", "why"),
    [
        ([ONE], {Close.FLUSH: 1}),
        (stream4([100, 100, 40]), {Close.LAST: 1}),
        (stream4([1400] * 50), {Close.FULL: 1, Close.FLUSH: 1}),
        ([ONE, segment4(bytes(100), 500, id=2)], {Close.DIFFERS: 1, Close.FLUSH: 1}),
        ([segment4(bytes(100), sport=port) for port in range(9)], {Close.ROOM: 1, Close.FLUSH: 8}),
        ([ONE, FRAGMENT], {Close.FRAGMENT: 1}),
    ],
    ids=lambda case: "-".join(each.name.lower() for each in case) if isinstance(case, dict) else "",
)
def test_why_a_cell_joins_nothing_more_is_counted(
    bench: Bench, packets: list[bytes], why: dict[Close, int]
) -> None:
    cell = bench.cell()
    bench.flow(bench.x, Output(cell))
    bench.flow(cell, Output(bench.y))
    bench.send(bench.x, *packets)
    times = look(bench)
    assert {close: count for close in Close if (count := times.cells_closed[close])} == why
