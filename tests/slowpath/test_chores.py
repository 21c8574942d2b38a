"""Datapath.every: what plugins have done again and again, on the engine's clock."""

from __future__ import annotations

import logging

import pytest

from tests.plane import Plane


def test_a_chore_is_done_when_its_time_has_come(plane: Plane) -> None:
    done: list[int] = []
    plane.datapath.every(5, lambda: done.append(plane.now_ns))
    start = plane.now_ns
    for _ in range(12):
        plane.pass_time(1)
    assert [(at - start) // 10**9 for at in done] == [5, 10]


def test_time_that_was_slept_through_is_not_caught_up_with(plane: Plane) -> None:
    done: list[int] = []
    plane.datapath.every(1, lambda: done.append(plane.now_ns))
    plane.pass_time(100)
    assert len(done) == 1


def test_it_is_known_when_the_next_one_is_due(plane: Plane) -> None:
    assert plane.datapath.chores_due_s() == 1.0
    plane.datapath.every(5, lambda: None)
    assert plane.datapath.chores_due_s() == 1.0  # others may come
    plane.datapath.every(0.05, lambda: None)
    assert plane.datapath.chores_due_s() == pytest.approx(0.05)
    plane.now_ns += 10**8
    plane.engine.set_clock(plane.now_ns)
    # Overdue: soon, but let others have their turn.
    assert plane.datapath.chores_due_s() == pytest.approx(0.01)


def test_a_chore_that_fails_costs_that_time_only(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []

    def fail() -> None:
        done.append("failing")
        raise RuntimeError("out of order")

    plane.datapath.every(1, fail)
    plane.datapath.every(1, lambda: done.append("sound"))
    with caplog.at_level(logging.ERROR):
        plane.pass_time(1)
        plane.pass_time(1)
    assert done == ["failing", "sound"] * 2
    assert "out of order" in caplog.text
