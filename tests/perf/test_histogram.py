"""Histograms and percentiles."""

from __future__ import annotations

import pytest

from vdp.histogram import DURATIONS, Histogram, percentile


@pytest.mark.parametrize(
    ("value", "bucket"), [(0.0, 0), (1e-6, 0), (1.5e-6, 1), (2e-6, 1), (DURATIONS[-1], 14), (1.0, 15)]
)
def test_a_bound_is_the_most_of_its_bucket(value: float, bucket: int) -> None:
    histogram = Histogram()
    histogram.observe(value)
    assert histogram.counts.index(1) == bucket
    assert histogram.sum == value


def test_percentiles_lie_evenly_in_their_bucket() -> None:
    assert percentile((1.0, 2.0, 4.0), (0, 10, 0, 0), 0.5) == 1.5
    assert percentile((1.0, 2.0, 4.0), (5, 0, 5, 0), 0.5) == 1.0
    assert percentile((1.0, 2.0, 4.0), (0, 0, 0, 3), 0.99) == 4.0
    assert percentile((1.0, 2.0), (0, 0, 0), 0.5) is None
