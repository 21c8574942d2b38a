"""What a report comes to, in sentences: what limits, or would be the first to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vdp.perf.report import PerfReport

BUSY, NEAR = 0.9, 0.5
PROBES_MOST = 16.0
#: Fewer say nothing of ratios.
LOOKUPS_LEAST = 1000
MISSES_MOST = 0.05
SMALL_BATCH = 4.0


def findings(report: PerfReport) -> list[str]:
    """The worst first; what is nearest to its limit where nothing limits."""
    return [*_limits(report)] or [_nearest(report)]


def _limits(report: PerfReport) -> Iterator[str]:
    upcalls, cache = report["upcalls"], report["cache"]
    if upcalls["lost"]:
        yield (
            f"{upcalls['lost']} upcalls were lost: new flows came faster than Python decides, or faster than "
            "[engine] upcall_rate lets them."
        )
    if upcalls["share"] > NEAR:
        yield f"The slow path has work {upcalls['share']:.0%} of the time{_dearest(report)}."
    for worker in report["workers"]:
        if worker["busy"] > BUSY:
            yield (
                f"Worker {worker['worker']} has work {worker['busy']:.0%} of the time{_stage(report)}: "
                "more [engine] workers, or queues for its ports."
            )
        elif worker["busy"] > NEAR and (worker["packets_an_iteration"] or SMALL_BATCH) < SMALL_BATCH:
            yield (
                f"Worker {worker['worker']} finds {worker['packets_an_iteration']:.1f} packets at a time: "
                "most of its time goes into system calls."
            )
    if cache["lookups"] >= LOOKUPS_LEAST:
        if (probes := cache["probes_a_lookup"] or 0) > PROBES_MOST:
            yield f"A lookup tries {probes:.0f} masks: `vdp flow dump --explain` shows who reads what."
        if (missed := cache["misses"] / cache["lookups"]) > MISSES_MOST:
            yield f"{missed:.0%} of the packets have no flow: `vdp flow dump --sort age`, and vdp_flow_*."


def _dearest(report: PerfReport) -> str:
    for plugin in report["plugins"]:
        if plugin["seconds"]:
            return f", most of it in {plugin['plugin']} ({plugin['share']:.0%})"
    return ""


def _stage(report: PerfReport) -> str:
    stages = [row for row in report["stages"] if row["stage"] != "wait"]
    if not stages:
        return ""
    most = max(stages, key=lambda row: row["share"])
    return f", most of it in the stage {most['stage']} ({most['share']:.0%})"


def _nearest(report: PerfReport) -> str:
    busiest = max((worker["busy"] for worker in report["workers"]), default=0.0)
    slow = report["upcalls"]["share"]
    if busiest < 0.01 and slow < 0.01:
        return "Nothing limits: workers and slow path are idle."
    return (
        f"Nothing limits: the busiest worker has work {busiest:.0%} of the time{_stage(report)}; "
        f"the slow path {slow:.0%}."
    )
