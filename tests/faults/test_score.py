"""How figures are judged: what a run is worth, what is missing, and what makes a row short."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench.rounds import Target
from bench.score import scored
from tools import score
from tools.faults import devices, hosts, overload, plugins, record, restart, verdict
from tools.faults.__main__ import FULL_RATE, is_full
from tools.faults.catalogue import FAULTS, Outcome

MODULES = (devices, hosts, overload, plugins, restart)
#: As a soak wrote it before crashes and losses were judged.
OLDER: dict[str, Any] = {
    "R9": {"figure": 0, "met": True, "detail": "374 faults in 60 min"},
    "R10": {"figure": "0.10 MB/h, 0 descriptors", "met": True, "detail": "374 faults in 60 min"},
    "soak": {"seconds": 3600.0, "faults": 374, "lost": 10, "counted": 20, "unexplained": 0, "restarts": 0,
             "same_process": True},
}  # fmt: skip


def lines(folder: Path) -> dict[str, score.Line]:
    return {row.id: score.line(row, folder) for row in score.ROWS}


def leave(folder: Path, suite: str, found: Any) -> None:
    (folder / f"{suite}.json").write_text(json.dumps(found))


def soak(**differences: Any) -> dict[str, Any]:
    return {**OLDER, "soak": {**OLDER["soak"], **differences}}


def faults(**differences: Any) -> dict[str, Any]:
    """All, as they are when all is well."""
    figures = {
        "F1": {"outage_ms_median": 300, "outage_ms_p99": 400, "loss_beyond_queue_most": 0, "times": 50}
    }
    return {
        name: {"title": "", "met": True, "noticed": True, "crashes": 0, "short": [], "at": 7.0,
               "figures": figures.get(name, {"lost": 0}), **differences.get(name, {})}
        for name in FAULTS
    }  # fmt: skip


def test_a_score_that_nobody_measured_is_short(tmp_path: Path) -> None:
    found = lines(tmp_path)
    assert list(found) == [f"R{number}" for number in range(1, 15)]
    assert not any(each.is_met for each in found.values())
    assert found["R9"].detail == "soak.json has it not"


def test_a_soak_of_before_is_read(tmp_path: Path) -> None:
    leave(tmp_path, "soak", OLDER)
    found = lines(tmp_path)
    assert str(found["R9"]) == "R9 0 0 met"
    assert str(found["R10"]) == "R10 0.10 MB/h, 0 descriptors <= 1 MB/h, 0 met"


@pytest.mark.parametrize(
    ("differences", "met", "sentence"),
    [
        ({"restarts": 2, "same_process": False}, set(), "started again 2 times"),
        ({"restarts": 1}, set(), "started again 1 times"),
        ({"unexplained": 37}, {"R1", "R9", "R10"}, "37 lost datagrams are in no counter"),
        ({}, {"R1", "R9", "R10"}, ""),
    ],
)
def test_a_soak_is_judged_by_its_process_and_by_what_it_lost(
    differences: dict[str, Any], met: set[str], sentence: str
) -> None:
    found = verdict.judged(soak(**differences))
    assert {name for name in ("R1", "R9", "R10") if found[name]["met"]} == met
    assert sentence in " ".join([*found["R9"]["short"], found["R9"]["lost"]])
    assert verdict.judged(found) == found


def test_a_soak_that_is_too_short_says_nothing(tmp_path: Path) -> None:
    leave(tmp_path, "soak", soak(seconds=90.0))
    found = lines(tmp_path)
    assert found["R10"].figure is None
    assert not found["R10"].is_met
    assert found["R10"].detail == "the soak took 1.5 min, 60 are owed"


def test_a_soak_that_broke_off_is_short(tmp_path: Path) -> None:
    leave(tmp_path, "soak", verdict.broken(RuntimeError("datagrams did not flow\nlog"), 12, 1))
    found = lines(tmp_path)
    assert not found["R9"].is_met
    assert found["R9"].detail == "after 12 faults: datagrams did not flow"
    assert found["R1"].figure == 1


@pytest.mark.parametrize(
    ("lost", "counted", "is_cut", "is_harmless", "owed"),
    [
        (5, 100, False, True, 5), (0, 100, False, True, 0), (5, 5, False, False, 0), (7, 5, False, False, 2),
        (900, 0, True, False, 0),
    ],
)  # fmt: skip
def test_what_a_fault_may_cost_a_flow(
    lost: int, counted: int, is_cut: bool, is_harmless: bool, owed: int
) -> None:
    assert verdict.unexplained(lost, counted, is_cut=is_cut, is_harmless=is_harmless) == owed


def test_a_run_that_is_not_in_full_is_not_kept() -> None:
    kill = FAULTS["F1"]
    assert is_full(kill, 50, FULL_RATE)
    assert not is_full(kill, 1, FULL_RATE)
    assert not is_full(kill, 50, 1000)


def test_faults_are_kept_beside_those_of_earlier_runs(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    record.merge(path, faults())
    before = json.loads(path.read_text())
    assert [before[name]["met"] for name in ("R1", "R2", "R3", "R4", "R5")] == [True] * 5
    assert "after 20 ms" in before["R2"]["detail"]
    record.merge(path, {"F6": {**faults()["F6"], "noticed": False, "crashes": 1, "at": 9.0}})
    after = json.loads(path.read_text())
    assert after["faults"].keys() == FAULTS.keys()
    assert (after["R5"]["figure"], after["R5"]["detail"]) == ("23 of 24", "missed: F6")
    assert (after["R1"]["figure"], after["R1"]["met"]) == (1, False)
    assert after["R1"]["detail"].endswith(": F6")
    assert after["R5"]["at"] == 7.0
    assert after["R2"] == before["R2"]


def test_faults_that_nobody_ran_are_named() -> None:
    found = record.scores({"F1": {**faults()["F1"], "figures": {}, "short": ["it did not start"]}})
    assert found["R2"] == {"figure": None, "detail": "F1 was not done: it did not start"}
    assert found["R5"]["detail"].startswith("not run in full: F2") or "F2" in found["R5"]["detail"]
    assert "R4" not in found
    assert not record.scores(faults(F22={"figures": {"lost": 3}}))["R4"]["met"]


def test_an_end_that_the_fault_made_is_no_crash() -> None:
    outcome = Outcome(provoked=2)
    outcome.ended(2)
    assert (outcome.crashes, outcome.is_met) == (0, True)
    outcome.ended(3)
    assert (outcome.crashes, outcome.shorts) == (1, ["the process ended 1 times by itself"])


def test_of_a_figure_taken_again_the_worst_is_kept() -> None:
    outcome = Outcome()
    for value in (3, 0, 2):
        outcome.figure("overruns", value, least=1)
        outcome.figure("lost", value, most=5)
    assert outcome.worst() == {"overruns": 0, "lost": 3}
    assert not outcome.is_met


def test_crashes_are_added_over_the_suites(tmp_path: Path) -> None:
    leave(tmp_path, "fuzz", {"R1": {"figure": 0, "ok": True, "detail": "reports"}})
    leave(tmp_path, "soak", OLDER)
    first = lines(tmp_path)["R1"]
    assert (first.figure, first.is_met) == (0, False)
    assert "faults.json has it not" in first.detail
    leave(tmp_path, "faults", record.scores(faults()))
    assert lines(tmp_path)["R1"].is_met
    leave(tmp_path, "soak", soak(restarts=2))
    last = lines(tmp_path)["R1"]
    assert (last.figure, last.is_met) == (2, False)


def test_a_figure_is_met_if_all_its_targets_are(tmp_path: Path) -> None:
    good = {"goodput": Target(0.95, 0.9, at_least=True), "control_lost": Target(0.5, 1)}
    leave(tmp_path, "overload", {"R14": scored(0.95, good), "R8": {"figure": 0.9, "detail": {}}})
    assert lines(tmp_path)["R14"].is_met
    assert "does not say whether all of it is met" in lines(tmp_path)["R8"].detail
    assert not lines(tmp_path)["R8"].is_met
    bad = good | {"control_lost": Target(2.0, 1)}
    leave(tmp_path, "overload", {"R14": {**scored(0.95, bad), "detail": {"times": 3}}})
    assert not lines(tmp_path)["R14"].is_met
    assert lines(tmp_path)["R14"].detail == "times 3; control_lost 2.00 (<= 1: missed)"


def test_what_lacks_a_row_or_is_older_than_what_it_is_of_is_run(tmp_path: Path) -> None:
    """An overload file with one of its two rows has only the other one made."""
    for name in ("vdp", "plugins", "bench"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "some.py").touch()
        os.utime(tmp_path / name / "some.py", (100, 100))
    both = [command for command, _ in score.SUITES["overload"].commands]
    assert score.behind("overload", tmp_path, tmp_path) == both
    leave(tmp_path, "overload", {"R14": {"figure": 1, "met": True, "at": 150}})
    assert score.behind("overload", tmp_path, tmp_path) == both[1:]
    leave(tmp_path, "overload", {name: {"figure": 1, "met": True, "at": 150} for name in ("R8", "R14")})
    assert score.behind("overload", tmp_path, tmp_path) == []
    os.utime(tmp_path / "plugins" / "some.py", (200, 200))
    assert score.behind("overload", tmp_path, tmp_path) == both


def test_every_row_is_made_by_each_of_its_suites() -> None:
    made = {(row, name) for name, suite in score.SUITES.items() for _, rows in suite.commands for row in rows}
    assert made == {(row.id, suite) for row in score.ROWS for suite in row.suites}


def test_the_table_is_written_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{score.BEGIN}\nold\n{score.END}\nafter\n")
    score.write([score.line(row, tmp_path) for row in score.ROWS], page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert text.count("| R") == len(score.ROWS)
