"""The limit follows what sweeps take; above it, who has more than his part does without."""

from __future__ import annotations

import pytest

from vdp.flow_limit import CHANCE, FLOOR, FlowLimit, exceeds_part


def test_it_begins_with_what_the_tables_hold_but_for_a_spare_part() -> None:
    assert FlowLimit(65536).value == 57344


@pytest.mark.parametrize(
    ("seconds", "value", "step"),
    [(2.5, 22937, "reduced"), (1.4, 43008, "scaled"), (1.1, 57344, ""), (0.5, 57344, "")],
)
def test_slow_sweeps_lower_it(seconds: float, value: int, step: str) -> None:
    limit = FlowLimit(65536)
    limit.swept(seconds, 60000)
    assert (limit.value, "".join(limit.steps)) == (value, step)


def test_quick_sweeps_raise_it_by_a_thousand_to_the_ceiling() -> None:
    limit = FlowLimit(65536)
    limit.value = 56000
    limit.swept(0.1, 50000)
    assert limit.value == 57000
    limit.swept(0.1, 50000)
    limit.swept(0.1, 50000)
    assert (limit.value, limit.steps["grew"]) == (57344, 2)


def test_it_never_falls_below_the_floor() -> None:
    limit = FlowLimit(65536)
    for _ in range(20):
        limit.swept(10.0, 60000)
    assert limit.value == FLOOR


def test_short_memory_halves_it_until_it_is_over() -> None:
    limit = FlowLimit(65536)
    limit.resize(0.5)
    limit.swept(0.01, 50000)
    assert limit.value == 28672
    limit.resize(1.0)
    limit.swept(0.01, 50000)
    assert limit.value == 29672


def test_below_the_limit_every_flow_is_kept() -> None:
    limit = FlowLimit(8000)
    assert all(limit.admits(6999, 1, 6999) for _ in range(100))


def test_above_it_one_in_so_many_is_kept_of_who_has_most_and_all_of_the_others() -> None:
    limit = FlowLimit(8000)
    kept = sum(limit.admits(6900, 2, 7000) for _ in range(4000))
    assert 300 < kept < 700, f"one in {CHANCE}"
    assert limit.steps["hit"] == 4000 - kept
    assert all(limit.admits(100, 2, 7000) for _ in range(100))


def test_a_part_is_what_each_would_have_of_equal_ones() -> None:
    assert exceeds_part(5, 2, 10)
    assert not exceeds_part(4, 2, 10)
    assert not exceeds_part(0, 0, 0)
