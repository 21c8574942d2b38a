"""What `vdp perf show` says of a dataplane: who took how long, for how many packets."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.plane import A, B, Plane
from vdp.control.errors import ControlError
from vdp.engine.interface import EngineConfig
from vdp.perf.findings import findings
from vdp.perf.look import Look
from vdp.perf.method import perf_table
from vdp.perf.report import PerfReport, report
from vdp.testing.builders import ethernet, gre, ipv4, udp
from vdp.testing.dataplane import Dataplane
from vdp.testing.reference import ReferenceEngine
from vdp.verdict import Verdict

INNER = ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, b"hello"))
ARRIVES = ethernet(ipv4(B, A, gre(INNER), protocol=47))


def between(plane: Plane, before: Look) -> PerfReport:
    now = Look.take(plane.datapath, timed=True)
    return report(before, now, now.at - before.at)


def handler(found: PerfReport, name: str) -> Any:
    return next(row for row in found["handlers"] if row["name"] == name)


def test_upcalls_are_a_handlers_and_packets_are_those_of_its_flows_too(plane: Plane) -> None:
    before = Look.take(plane.datapath, timed=True)
    plane.send("underlay", ARRIVES)
    plane.send("underlay", *[ARRIVES] * 9)
    found = between(plane, before)
    row = handler(found, "ipgre_rcv")
    assert (row["count"], row["upcalls"], row["packets"]["received"]) == (1, {"received": 1}, 10)
    assert 0 < row["p50_us"] <= row["p99_us"]
    assert row["mean_us"] >= row["seconds"] * 1e6
    assert found["upcalls"]["total"] == {"miss": 2, "action": 0}, "from the underlay, and out of the cell"
    assert found["cache"]["misses"] == 2
    (cell,) = found["cells"]
    assert (cell["link"], cell["offered"], cell["frames"]) == ("gre1", 10, 10)


def test_what_a_handler_asks_others_is_not_its_own(plane: Plane) -> None:
    def slow(packet: Any, *args: Any) -> Verdict:
        until = time.perf_counter() + 0.005
        while time.perf_counter() < until:
            pass
        return Verdict.REJECT

    plane.datapath.registry.list("gre_cisco").add(slow, priority=1, name="slow_rcv", owner="slow")
    before = Look.take(plane.datapath, timed=False)
    plane.send("underlay", ARRIVES)
    found = between(plane, before)
    outer, slow_row = handler(found, "gre_rcv"), handler(found, "slow_rcv")
    assert slow_row["seconds"] >= 0.005
    assert outer["mean_us"] >= 5000, "it asked the other"
    assert outer["seconds"] < 0.005
    assert found["plugins"][0]["plugin"] == "slow", "the dearest first"
    assert sum(row["seconds"] for row in found["plugins"]) == pytest.approx(found["upcalls"]["seconds"])
    assert sum(row["share"] for row in found["plugins"]) == pytest.approx(1)


def test_between_two_looks_only_what_came_between_counts(plane: Plane) -> None:
    plane.send("underlay", ARRIVES)
    before = Look.take(plane.datapath, timed=True)
    plane.send("underlay", ARRIVES)
    found = between(plane, before)
    assert (found["cache"]["lookups"], found["cache"]["misses"], found["upcalls"]["count"]) == (2, 0, 0)
    assert found["cache"]["hit_ratio"] == 1
    assert handler(found, "ipgre_rcv")["count"] == 0
    whole = report(None, Look.take(plane.datapath, timed=True), 1.0)
    assert (whole["cache"]["lookups"], whole["timed"], whole["stages"]) == (4, False, [])


def test_stages_share_the_time(plane: Plane) -> None:
    before = Look.take(plane.datapath, timed=True)
    plane.send("underlay", *[ARRIVES] * 20)
    found = between(plane, before)
    assert found["timed"]
    assert sum(row["share"] for row in found["stages"]) == pytest.approx(1, rel=1e-3)
    rows = {row["stage"]: row for row in found["stages"]}
    assert rows["receive"]["packets"] == 20
    assert rows["cells"]["packets"] == 20
    assert found["batch_sizes"]["32"] == 1


def test_an_engine_in_python_has_no_stages() -> None:
    with Dataplane(ReferenceEngine(EngineConfig()), ("gre",)) as plane:
        before = Look.take(plane.datapath, timed=True)
        found = report(before, Look.take(plane.datapath, timed=True), 1.0)
    assert (found["timed"], found["stages"], found["workers"][0]["stages"]) == (False, [], [])


def test_workers_are_timed_as_long_as_somebody_measures(plane: Plane) -> None:
    show: Any = perf_table(plane.datapath)["perf.show"]

    async def measure() -> list[PerfReport]:
        short, long = asyncio.create_task(show({"for_s": 0.1})), asyncio.create_task(show({"for_s": 0.2}))
        first = await short
        plane.engine.poll()
        return [first, await long]

    assert all(found["timed"] for found in asyncio.run(measure()))
    assert Look.take(plane.datapath, timed=False).times[0].ns == 0, "it ended with the last one"
    assert asyncio.run(show({}))["timed"] is False


@pytest.mark.parametrize("params", [{"for_s": "5"}, {"for_s": 0}, {"for_s": True}, {"s": 1}, {"for_s": 1e9}])
def test_what_can_not_be_measured_is_refused(plane: Plane, params: dict[str, Any]) -> None:
    show: Any = perf_table(plane.datapath)["perf.show"]
    with pytest.raises(ControlError, match="for_s"):
        asyncio.run(show(params))


def test_the_findings_name_what_limits(plane: Plane) -> None:
    found = report(None, Look.take(plane.datapath, timed=True), 10.0)
    assert findings(found) == ["Nothing limits: workers and slow path are idle."]
    found["upcalls"] |= {"share": 0.8, "lost": 7}
    found["plugins"][0] |= {"plugin": "slow", "seconds": 7.0, "share": 0.9}
    found["workers"][0]["busy"] = 0.95
    found["stages"] = [
        {**row, "stage": stage, "share": share}  # type: ignore[typeddict-item]
        for (stage, share), row in zip(
            {"wait": 0.5, "transmit": 0.4}.items(),
            [{}, {}],
            strict=True,  # type: ignore[list-item]
        )
    ]
    found["cache"] |= {"lookups": 10_000, "misses": 1000, "probes_a_lookup": 40.0}
    lost, slow, busy, probes, missed = findings(found)
    assert lost.startswith("7 upcalls were lost")
    assert slow == "The slow path has work 80% of the time, most of it in slow (90%)."
    assert busy.startswith("Worker 0 has work 95% of the time, most of it in the stage transmit (40%)")
    assert probes.startswith("A lookup tries 40 masks")
    assert missed.startswith("10% of the packets have no flow")
