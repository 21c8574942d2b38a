"""What happened between two looks, as `vdp perf show --json` has it: fields are added, not renamed.

Every time is of one packet, call or batch, in the unit that the name ends in; null where there was none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TypedDict

from vdp.engine.interface import WorkerStats
from vdp.engine.timing import BATCH_SIZES, Close, Stage, StageTime, WorkerTimes
from vdp.histogram import DURATIONS, percentile
from vdp.perf.look import CellLook, HandlerLook, Look, Spent

US = 1e6
#: Plugin of the handlers that are vdp's own, and of what of an upcall is no handler's.
ITSELF = "vdp"


class StageRow(TypedDict):
    stage: str
    share: float  # of the time that the workers were timed for
    batches: int
    packets: int
    packets_a_batch: float | None
    ns_a_packet: float | None


class WorkerPerf(TypedDict):
    worker: int
    busy: float  # part of its time, 0 to 1
    iterations: int
    packets: int  # looked up: of a packet that a cell held, it and what came out
    packets_an_iteration: float | None
    ns_a_packet: float | None  # of busy time
    hit_ratio: float | None
    stages: list[StageRow]
    batch_sizes: dict[str, int]  # receipts of so many packets, by the most of them


class CachePerf(TypedDict):
    lookups: int
    previous_hits: int  # those whose flow was that of the packet before
    table_hits: int
    misses: int
    hit_ratio: float | None
    probes_a_lookup: float | None  # masks tried
    flows: int
    masks: int


class CellPerf(TypedDict):
    link: str
    offered: int
    merged: int
    frames: int
    segments_a_frame: float | None


class DurationRow(TypedDict):
    count: int
    seconds: float
    mean_us: float | None
    p50_us: float | None
    p99_us: float | None


class UpcallPerf(DurationRow):
    total: dict[str, int]  # miss, action
    lost: int
    share: float  # of the time of the one thread that decides


class HandlerPerf(DurationRow):
    """seconds: its own; the other times are with what it asked other handlers."""

    list: str
    priority: int
    name: str
    plugin: str
    upcalls: dict[str, int]  # how often it ran, by outcome
    packets: dict[str, int]  # by outcome: those of its flows, too


class PluginPerf(TypedDict):
    plugin: str
    handlers: int
    upcalls: int
    seconds: float
    us_an_upcall: float | None
    share: float  # of the time of all upcalls


class PerfReport(TypedDict):
    seconds: float
    timed: bool  # stages have times
    findings: list[str]
    workers: list[WorkerPerf]
    stages: list[StageRow]  # of all workers
    batch_sizes: dict[str, int]
    cache: CachePerf
    cells: list[CellPerf]  # of links that something came for
    cells_closed: dict[str, int]  # by why nothing more was joined
    upcalls: UpcallPerf
    handlers: list[HandlerPerf]
    plugins: list[PluginPerf]


def report(before: Look | None, now: Look, seconds: float) -> PerfReport:
    """From one look to the other; before None: since the start, which was so many seconds ago."""
    from vdp.perf.findings import findings

    workers = [_grown(*pair) for pair in zip_longest(now.workers, before.workers if before else ())]
    times = [_passed(*pair) for pair in zip_longest(now.times, before.times if before else ())]
    known = {(each.list, each.name, each.plugin): each for each in before.handlers} if before else {}
    handlers = [_handler(each, known.get((each.list, each.name, each.plugin))) for each in now.handlers]
    upcalls = _upcalls(before, now, sum(each.upcalls_lost for each in workers), seconds)
    # From the start on, somebody may have timed a part of it: that is no measure of the whole.
    timed = before is not None and any(each.ns for each in times)
    made: PerfReport = {
        "seconds": seconds,
        "timed": timed,
        "findings": [],
        "workers": [
            _worker(number, stats, times[number] if timed else None) for number, stats in enumerate(workers)
        ],
        "stages": _stages(times) if timed else [],
        "batch_sizes": _sizes(times) if timed else {},
        "cache": _cache(workers, now.workers),
        "cells": _cells(before.cells if before else {}, now.cells),
        "cells_closed": {
            close.name.lower(): sum(each.cells_closed[close] for each in times) for close in Close
        },
        "upcalls": upcalls,
        "handlers": sorted(handlers, key=lambda row: -row["seconds"]),
        "plugins": _plugins(handlers, upcalls),
    }
    made["findings"] = findings(made)
    return made


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _grown(now: WorkerStats, before: WorkerStats | None) -> WorkerStats:
    """Counters since then; flows and masks as they are."""
    if before is None:
        return now
    gauges = ("flows", "masks", "packets_free", "packets_total")
    names = [name for name in WorkerStats.__dataclass_fields__ if name not in gauges]
    return WorkerStats(**{name: getattr(now, name) - getattr(before, name) for name in names})


def _passed(now: WorkerTimes, before: WorkerTimes | None) -> WorkerTimes:
    if before is None:
        return now
    return WorkerTimes(
        now.ns - before.ns,
        tuple(
            StageTime(*(each - then for each, then in zip(*pair, strict=True)))
            for pair in zip(now.stages, before.stages, strict=True)
        ),
        _less(now.batch_sizes, before.batch_sizes),
        _less(now.cells_closed, before.cells_closed),
    )


def _less(now: Sequence[int], before: Sequence[int]) -> tuple[int, ...]:
    return tuple(each - then for each, then in zip(now, before, strict=True))


def _worker(number: int, stats: WorkerStats, times: WorkerTimes | None) -> WorkerPerf:
    return {
        "worker": number,
        "busy": _ratio(stats.busy_ns, stats.busy_ns + stats.idle_ns) or 0.0,
        "iterations": stats.iterations,
        "packets": stats.lookups,
        "packets_an_iteration": _ratio(stats.lookups, stats.iterations),
        "ns_a_packet": _ratio(stats.busy_ns, stats.lookups),
        "hit_ratio": _ratio(stats.lookups - stats.misses, stats.lookups),
        "stages": _stages([times]) if times else [],
        "batch_sizes": _sizes([times]) if times else {},
    }


def _stages(times: Sequence[WorkerTimes]) -> list[StageRow]:
    whole = sum(each.ns for each in times)
    rows: list[StageRow] = []
    for stage in Stage:
        found = [each.stages[stage] for each in times]
        ns, batches, packets = (sum(values) for values in zip(*found, strict=True))
        rows.append(
            {
                "stage": stage.name.lower(),
                "share": _ratio(ns, whole) or 0.0,
                "batches": batches,
                "packets": packets,
                "packets_a_batch": _ratio(packets, batches),
                "ns_a_packet": _ratio(ns, packets),
            }
        )
    return rows


def _sizes(times: Sequence[WorkerTimes]) -> dict[str, int]:
    return {
        str(size): sum(each.batch_sizes[index] for each in times) for index, size in enumerate(BATCH_SIZES)
    }


def _cache(grown: Sequence[WorkerStats], now: Sequence[WorkerStats]) -> CachePerf:
    def total(name: str) -> int:
        return sum(getattr(each, name) for each in grown)

    lookups, misses = total("lookups"), total("misses")
    return {
        "lookups": lookups,
        "previous_hits": total("previous_hits"),
        "table_hits": total("table_hits"),
        "misses": misses,
        "hit_ratio": _ratio(lookups - misses, lookups),
        "probes_a_lookup": _ratio(total("mask_probes"), lookups),
        "flows": sum(each.flows for each in now),
        "masks": sum(each.masks for each in now),
    }


def _cells(before: Mapping[str, CellLook], now: Mapping[str, CellLook]) -> list[CellPerf]:
    """Those that most was joined in first."""
    rows: list[CellPerf] = []
    for link, look in now.items():
        then = before.get(link)
        if then is not None and then.offered > look.offered:
            then = None  # another link of that name
        cell = look if then is None else CellLook(*_less(look, then))
        if cell.offered:
            rows.append(
                {
                    "link": link,
                    "offered": cell.offered,
                    "merged": cell.merged,
                    "frames": cell.frames,
                    "segments_a_frame": _ratio(cell.segments, cell.frames),
                }
            )
    return sorted(rows, key=lambda row: -row["offered"])


def _durations(now: Spent, before: Spent | None) -> DurationRow:
    counts = list(now.counts) if before is None else _less(now.counts, before.counts)
    seconds = now.seconds - (before.seconds if before else 0.0)
    count, middle, most = sum(counts), percentile(DURATIONS, counts, 0.5), percentile(DURATIONS, counts, 0.99)
    return {
        "count": count,
        "seconds": seconds,
        "mean_us": seconds / count * US if count else None,
        "p50_us": None if middle is None else middle * US,
        "p99_us": None if most is None else most * US,
    }


def _counts(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {name: count - before.get(name, 0) for name, count in now.items()}


def _upcalls(before: Look | None, now: Look, lost: int, seconds: float) -> UpcallPerf:
    row = _durations(now.durations, before.durations if before else None)
    totals = {"miss": 0, "action": 0} | _counts(now.upcalls, before.upcalls if before else {})
    return {**row, "total": totals, "lost": lost, "share": _ratio(row["seconds"], seconds) or 0.0}


def _handler(now: HandlerLook, before: HandlerLook | None) -> HandlerPerf:
    row = _durations(now.durations, before.durations if before else None)
    row["seconds"] = now.own_seconds - (before.own_seconds if before else 0.0)
    return {
        **row,
        "list": now.list,
        "priority": now.priority,
        "name": now.name,
        "plugin": now.plugin,
        "upcalls": _counts(now.upcalls, before.upcalls if before else {}),
        "packets": _counts(now.packets, before.packets if before else {}),
    }


def _plugins(handlers: Sequence[HandlerPerf], upcalls: UpcallPerf) -> list[PluginPerf]:
    """The dearest first.  What of the upcalls' time is no handler's is vdp's own."""
    whole = upcalls["seconds"]
    seconds = dict.fromkeys((row["plugin"] for row in handlers), 0.0) | {ITSELF: 0.0}
    for row in handlers:
        seconds[row["plugin"]] += row["seconds"]
    seconds[ITSELF] += max(0.0, whole - sum(seconds.values()))
    rows: list[PluginPerf] = []
    for plugin, spent in seconds.items():
        own = [row for row in handlers if row["plugin"] == plugin]
        calls = sum(row["count"] for row in own) if plugin != ITSELF else upcalls["count"]
        rows.append(
            {
                "plugin": plugin,
                "handlers": len(own),
                "upcalls": calls,
                "seconds": spent,
                "us_an_upcall": spent / calls * US if calls else None,
                "share": _ratio(spent, whole) or 0.0,
            }
        )
    return sorted(rows, key=lambda row: -row["seconds"])
