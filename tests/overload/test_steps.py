"""What each step of the ladder does to a dataplane, that it is undone, and that it is said."""

from __future__ import annotations

import asyncio
import errno
import logging
from dataclasses import replace

import pytest

from tests.engine.conftest import refused
from tests.plane import L3, A, B, MakePlane, Plane
from vdp.config.model import OverloadSection
from vdp.engine.interface import EngineConfig, Tuning
from vdp.engine.native import NativeEngine
from vdp.engine.tap import Tap, TapConfig, TapPoint
from vdp.flow_limit import FlowLimit
from vdp.overload.ladder import Reading
from vdp.overload.overload import Overload
from vdp.overload.readings import Readings, memory_limit, memory_used
from vdp.testing.builders import gre, ipv4, udp

CALM = Reading()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Loaded:
    """A dataplane under readings that the test makes up, and what its engine was told last."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.clock = Clock()
        self.tuned = [Tuning()]
        tune = plane.engine.tune
        plane.engine.tune = lambda tuning: (self.tuned.append(tuning), tune(tuning))  # type: ignore[method-assign, assignment, func-returns-value]
        self.slowpath = plane.datapath.slowpath
        self.slowpath.sweeper.limit = FlowLimit(65536)
        self.overload = Overload(plane.engine, self.slowpath, OverloadSection(), self.clock)

    def read(self, reading: Reading, seconds: int) -> None:
        for _ in range(seconds + 1):
            self.overload.look(reading)
            self.clock.now += 1

    @property
    def taken(self) -> list[str]:
        return [rung.name for rung in self.overload.ladder.taken]


@pytest.fixture
def loaded(plane: Plane) -> Loaded:
    return Loaded(plane)


def test_a_busy_worker_costs_watchers_first_then_new_flows(loaded: Loaded) -> None:
    loaded.read(Reading(busy=0.92), 5)
    assert loaded.taken == ["watchers"]
    assert loaded.tuned[-1] == Tuning(tap_every=8)
    loaded.read(Reading(busy=0.97), 4)
    assert loaded.taken == ["watchers", "admission"]
    assert loaded.tuned[-1] == Tuning(tap_every=8, upcall_rate=500)
    assert loaded.slowpath.sweeper.most_idle_s == 1
    loaded.read(CALM, 15)
    assert loaded.taken == []
    assert loaded.tuned[-1] == Tuning()
    assert loaded.slowpath.sweeper.most_idle_s > 86400


def test_full_queues_become_fair(loaded: Loaded) -> None:
    loaded.read(Reading(lost=0.002), 0)
    assert loaded.tuned[-1] == Tuning(fair_queues=True)
    loaded.read(CALM, 11)
    assert loaded.tuned[-1] == Tuning()


def test_short_memory_halves_the_flows_and_ends_captures(loaded: Loaded) -> None:
    loaded.read(Reading(memory=0.81), 0)
    assert loaded.tuned[-1] == Tuning(hold_off=True, taps_off=True)
    assert loaded.slowpath.limit.value == 28672
    loaded.read(CALM, 11)
    assert loaded.tuned[-1] == Tuning()
    assert loaded.slowpath.limit.ceiling == 57344


def test_idle_flows_go_after_a_second_while_new_ones_are_taken_by_token(loaded: Loaded) -> None:
    plane = loaded.plane
    plane.port("underlay", L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.send("underlay", ipv4(B, A, gre(ipv4("10.0.0.1", "10.0.0.2", udp(1, 2))), protocol=47))
    count = len(loaded.slowpath.index)
    plane.pass_time(2)
    loaded.slowpath.sweep(10, 1000)
    assert len(loaded.slowpath.index) == count
    loaded.read(Reading(busy=1.0), 4)
    loaded.slowpath.sweep(10, 1000)
    assert len(loaded.slowpath.index) == 0


def test_each_step_is_one_line_of_the_log_and_so_is_its_end(
    loaded: Loaded, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "vdp"):
        loaded.read(Reading(lost=0.5, memory=0.9), 5)
        loaded.read(CALM, 30)
    assert [record.getMessage() for record in caplog.records] == [
        "overload: packets found queues full: 50 %: of a full queue each port gets its part, who sends most "
        "loses first",
        "overload: memory is used: 90 %: half as many flows, no captures, segments are not waited for",
        "overload: undone: half as many flows, no captures, segments are not waited for",
        "overload: undone: of a full queue each port gets its part, who sends most loses first",
    ]


def test_other_bounds_are_in_force_at_once(loaded: Loaded) -> None:
    loaded.read(Reading(memory=0.85), 0)
    loaded.overload.configure(OverloadSection(memory_percent=95))
    assert loaded.tuned[-1] == Tuning()
    loaded.read(Reading(memory=0.85), 3)
    assert loaded.taken == []
    assert loaded.overload.ladder.counts["memory"] == 1


def test_readings_are_of_the_time_between_two_looks(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.port("underlay", L3)
    readings = Readings(plane.engine, 2 * memory_used())
    assert readings.take().lost == 0
    before = plane.engine.worker_stats(0)
    later = replace_stats(
        before, queue_lost=before.queue_lost + 5, lookups=before.lookups + 100, busy=30, idle=70
    )
    plane.engine.worker_stats = lambda worker: later  # type: ignore[method-assign]
    taken = readings.take()
    assert (taken.lost, taken.busy) == (0.05, 0.3)
    assert 0.3 < taken.memory < 0.7
    assert readings.take().lost == 0


def replace_stats(stats, *, busy: int, idle: int, **known: int):  # type: ignore[no-untyped-def]
    return replace(stats, busy_ns=stats.busy_ns + busy, idle_ns=stats.idle_ns + idle, **known)


def test_memory_has_a_limit_on_any_machine() -> None:
    assert memory_limit() > memory_used() > 1 << 20


def test_a_sweep_in_slices_lets_others_have_their_turn(loaded: Loaded) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def sweep() -> None:
        counting = asyncio.ensure_future(count())
        loaded.slowpath.sweeper.is_full = True  # so it begins at once
        await loaded.overload.sweep(10, 1000)
        counting.cancel()

    asyncio.run(sweep())
    assert turns >= 1


# -- of the C engine alone: it is what has taps --------------------------------------------------


@pytest.fixture
def tapped():  # type: ignore[no-untyped-def]
    with NativeEngine(EngineConfig()) as engine:
        yield Loaded(Plane(engine, ("gre",)))


def capture(loaded: Loaded) -> Tap:
    return Tap(loaded.plane.engine, TapConfig(points=TapPoint.RX))  # type: ignore[arg-type]


def test_a_busy_worker_shows_one_packet_of_eight_and_counts_the_others(tapped: Loaded) -> None:
    from vdp.engine.tap import records

    tapped.plane.port("underlay", L3)
    tap = capture(tapped)
    tapped.read(Reading(busy=0.92), 2)
    tapped.plane.send("underlay", *[ipv4(B, A, udp(1, 2))] * 32)
    assert len(list(records(tap.read(0)))) == 4
    assert sum(loss.packets for loss in tap.losses()) == 28
    tapped.read(CALM, 12)
    tapped.plane.send("underlay", *[ipv4(B, A, udp(1, 2))] * 8)
    assert len(list(records(tap.read(0)))) == 8
    tap.close()


def test_short_memory_ends_captures_and_refuses_new_ones(tapped: Loaded) -> None:
    tap = capture(tapped)
    tapped.read(Reading(memory=0.9), 0)
    with refused(errno.ECANCELED):
        tap.read(0)
    with refused(errno.ECANCELED):
        capture(tapped)
    tap.close()
    tapped.read(CALM, 11)
    capture(tapped).close()
