"""What the fault matrix leaves for the score sheet: each fault by its last run in full, and R1 to R5."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.service_manager import RESTART_S
from tools.faults.catalogue import FAULTS, Outcome

Told = Mapping[str, Any]


def told(outcome: Outcome, title: str, times: int) -> dict[str, Any]:
    """One fault's, as the file has it."""
    return {
        "title": title,
        "met": outcome.is_met,
        "times": times,
        "noticed": outcome.noticed,
        "crashes": outcome.crashes,
        "figures": outcome.worst(),
        "short": outcome.shorts,
        "at": time.time(),
    }


def merge(path: Path, ran: Mapping[str, Told]) -> None:
    """Put these faults beside those of earlier runs, and what all of them come to."""
    faults: dict[str, Told] = {}
    if path.exists():
        at = path.stat().st_mtime
        faults = {name: {"at": at, **each} for name, each in json.loads(path.read_text())["faults"].items()}
    faults |= ran
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**scores(faults), "faults": faults}, indent=1) + "\n")


def scores(faults: Mapping[str, Told]) -> dict[str, Any]:
    """What the score sheet has of them; "at": when the oldest of them ran."""
    found = {"R1": _crashes(faults), "R5": _noticed(faults)}
    if "F1" in faults:
        found |= _kills(faults["F1"])
    if faults.keys() >= {"F2", "F18", "F22"}:
        found["R4"] = _lost({name: faults[name] for name in ("F2", "F18", "F22")})
    return found


def _kills(kill: Told) -> dict[str, Any]:
    """R2 and R3."""
    figures = kill["figures"]
    median, worst = figures.get("outage_ms_median"), figures.get("outage_ms_p99")
    excess = figures.get("loss_beyond_queue_most")
    if median is None or worst is None or excess is None:
        missing = {"figure": None, "detail": f"F1 was not done: {'; '.join(kill['short'])}"}
        return {"R2": missing, "R3": missing}
    detail = f"{figures['times']:.0f} kills, started again after {1000 * RESTART_S:.0f} ms"
    return {
        "R2": {
            "figure": f"{median:.0f} / {worst:.0f} ms",
            "met": median <= 500 and worst <= 1000,
            "detail": detail,
            "at": kill["at"],
        },
        "R3": {"figure": excess, "met": excess <= 64, "detail": "worst kill", "at": kill["at"]},
    }


def _lost(faults: Mapping[str, Told]) -> dict[str, Any]:
    lost = {name: each["figures"].get("lost") for name, each in faults.items()}
    undone = [name for name, count in lost.items() if count is None]
    if undone:
        return {"figure": None, "detail": f"not done: {', '.join(undone)}"}
    return {
        "figure": sum(lost.values()),
        "met": not any(lost.values()),
        "detail": ", ".join(f"{name} {count:.0f}" for name, count in lost.items()),
        "at": _oldest(faults),
    }


def _noticed(faults: Mapping[str, Told]) -> dict[str, Any]:
    unasked = [name for name in FAULTS if faults.get(name, {}).get("noticed") is None]
    if unasked:
        return {"figure": None, "detail": f"not run in full: {', '.join(unasked)}"}
    missed = [name for name in FAULTS if not faults[name]["noticed"]]
    return {
        "figure": f"{len(FAULTS) - len(missed)} of {len(FAULTS)}",
        "met": not missed,
        "detail": f"missed: {', '.join(missed)}" if missed else "",
        "at": _oldest(faults),
    }


def _crashes(faults: Mapping[str, Told]) -> dict[str, Any]:
    """The process ended though no fault ended it."""
    unknown = [name for name in FAULTS if faults.get(name, {}).get("crashes") is None]
    if unknown:
        return {"figure": None, "detail": f"not run in full: {', '.join(unknown)}"}
    crashed = [name for name in FAULTS if faults[name]["crashes"]]
    by = f": {', '.join(crashed)}" if crashed else ""
    return {
        "figure": sum(faults[name]["crashes"] for name in FAULTS),
        "met": not crashed,
        "detail": f"ends of the process in {len(FAULTS)} faults that are not the fault{by}",
        "at": _oldest(faults),
    }


def _oldest(faults: Mapping[str, Told]) -> float:
    return float(min(each["at"] for each in faults.values()))
