"""When the rungs are taken, and in which order they are given up."""

from __future__ import annotations

import pytest

from vdp.overload.ladder import Ladder, Reading, Rung


@pytest.fixture
def ladder() -> Ladder:
    return Ladder(
        (
            Rung("early", "busy", "less", lambda reading: reading.busy, 0.9, 1.0),
            Rung("late", "busy", "least", lambda reading: reading.busy, 0.95, 3.0),
            Rung("lost", "lost", "fair", lambda reading: reading.lost, 0.001),
        ),
        recovery_s=10,
    )


def names(ladder: Ladder) -> list[str]:
    return [rung.name for rung in ladder.taken]


def test_a_rung_is_taken_when_its_reading_was_above_the_bound_for_as_long_as_it_says(ladder: Ladder) -> None:
    seen = []
    for now in range(5):
        ladder.look(now, Reading(busy=0.99))
        seen.append(names(ladder))
    assert seen == [[], ["early"], ["early"], ["early", "late"], ["early", "late"]]


def test_at_the_bound_is_not_above_it(ladder: Ladder) -> None:
    for now in range(5):
        ladder.look(now, Reading(busy=0.9, lost=0.001))
    assert names(ladder) == []


def test_one_reading_below_begins_the_count_anew(ladder: Ladder) -> None:
    for now, busy in enumerate((0.99, 0.99, 0.5, 0.99, 0.99, 0.99)):
        ladder.look(now, Reading(busy=busy))
    assert names(ladder) == ["early"], "never for three seconds"


def test_without_a_time_it_is_taken_at_once(ladder: Ladder) -> None:
    assert [rung.name for rung in ladder.look(0, Reading(lost=0.002))[0]] == ["lost"]
    assert ladder.look(1, Reading(lost=0.002)) == ([], [])
    assert ladder.counts["lost"] == 1


def test_what_was_taken_last_is_given_up_first_after_the_recovery(ladder: Ladder) -> None:
    for now in range(5):
        ladder.look(now, Reading(busy=0.99))
    ladder.look(5, Reading(busy=0.99, lost=0.5))
    assert names(ladder) == ["early", "late", "lost"]
    given_up = {}
    for now in range(6, 30):
        for rung in ladder.look(now, Reading())[1]:
            given_up[rung.name] = now
    assert given_up == {"lost": 16, "late": 17, "early": 18}


def test_a_reading_above_the_bound_meanwhile_keeps_what_is_below_it(ladder: Ladder) -> None:
    for now in range(5):
        ladder.look(now, Reading(busy=0.99))
    for now in range(5, 40):  # busy enough for the lower one
        ladder.look(now, Reading(busy=0.92))
    assert names(ladder) == ["early"]
    ladder.look(41, Reading(busy=0.99))
    ladder.look(44, Reading(busy=0.99))
    assert names(ladder) == ["early", "late"]
    assert ladder.counts == {"early": 1, "late": 2}
