"""Counts of durations by bucket: what metrics show of them, and percentiles."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

#: Upper bounds of the buckets, in seconds: 1 us times 2^k.
DURATIONS = tuple(1e-6 * 2**k for k in range(15))


class Histogram:
    """Counts by bucket (the last: above all bounds), and the sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = DURATIONS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.sum += value
        self.counts[bisect_left(self.bounds, value)] += 1


def percentile(bounds: Sequence[float], counts: Sequence[int], part: float) -> float | None:
    """The value that `part` (0 to 1) of the observations do not exceed: evenly spread in its bucket.

    None where there are none; the last bound where it lies above that.
    """
    rank = part * sum(counts)
    if not rank:
        return None
    below, least = 0, 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and below + count >= rank:
            return least + (bound - least) * (rank - below) / count
        below, least = below + count, bound
    return bounds[-1]
