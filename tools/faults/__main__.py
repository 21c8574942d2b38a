"""`python -m tools.faults [F1 F6 …] [--times N] [--quick] [--json FILE]`: run the fault matrix, as root."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tests.lab import LabError
from tools.faults import devices, hosts, overload, plugins, restart, world
from tools.faults.catalogue import FAULTS, Fault, Outcome
from tools.faults.world import World
from vdp.control.errors import ControlError, DaemonUnreachable

MODULES = (restart, devices, plugins, hosts, overload)


class Suite:
    """Runs faults one after the other, in one world as long as that is whole."""

    def __init__(self) -> None:
        self._world: World | None = None
        self.outcomes: dict[str, Outcome] = {}

    def run(self, fault: Fault, times: int) -> Outcome:
        """One fault; what it could not do is short, and its world is given up."""
        outcome = self.outcomes[fault.id] = Outcome()
        began = time.monotonic()
        try:
            whole = self._world = self._world or World()
            fault.run(whole, outcome, times)
            outcome.figure("books", whole.imbalance(), most=0)
            if outcome.noticed is False:
                outcome.shorts += [f"it says: {each.subject}: {each.sentence}" for each in whole.wrong()]
        except (LabError, OSError, ControlError, DaemonUnreachable) as error:
            outcome.shorts.append(str(error))
            if self._world is not None:
                print(self._world.manager.said(), file=sys.stderr)
            self.close()
        figures = ", ".join(map(str, outcome.figures))
        took = time.monotonic() - began
        print(f"{fault.id:4}{'met' if outcome.is_met else 'short':6}{fault.title}: {figures} [{took:.0f} s]")
        for sentence in outcome.shorts:
            print(f"      {sentence}")
        sys.stdout.flush()
        return outcome

    def close(self) -> None:
        """Take the world away."""
        world, self._world = self._world, None
        if world is not None:
            world.close()


def scores(outcomes: dict[str, Outcome]) -> dict[str, Any]:
    """What the score sheet has of them: R2 to R5."""
    found: dict[str, Any] = {}

    def value(fault: str, name: str) -> float | None:
        return outcomes[fault].value(name) if fault in outcomes else None

    median, worst = value("F1", "outage_ms_median"), value("F1", "outage_ms_p99")
    if median is not None and worst is not None:
        found["R2"] = {
            "figure": f"{median:.0f} / {worst:.0f} ms",
            "met": median <= 500 and worst <= 1000,
            "detail": f"{value('F1', 'times'):.0f} kills, started again after 100 ms",
        }
        excess = value("F1", "loss_beyond_queue_most")
        found["R3"] = {"figure": excess, "met": excess is not None and excess <= 64, "detail": "worst kill"}
    lost = {name: value(name, "lost") for name in ("F2", "F18", "F22")}
    if None not in lost.values():
        found["R4"] = {
            "figure": sum(v or 0 for v in lost.values()),
            "met": not any(lost.values()),
            "detail": ", ".join(f"{name} {v:.0f}" for name, v in lost.items()),
        }
    asked = {name: outcome.noticed for name, outcome in outcomes.items() if outcome.noticed is not None}
    if len(asked) == len(FAULTS):
        missed = [name for name, noticed in asked.items() if not noticed]
        found["R5"] = {
            "figure": f"{len(asked) - len(missed)} of {len(asked)}",
            "met": not missed,
            "detail": f"missed: {', '.join(missed)}" if missed else "",
        }
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.faults", description=__doc__)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help="such as F1; all, when none is named")
    parser.add_argument("--times", type=float, default=1.0, help="so many times as often as by default")
    parser.add_argument("--quick", action="store_true", help="the short suite, each fault once")
    parser.add_argument("--rate", type=int, default=world.RATE, help="datagrams a second through the tunnel")
    parser.add_argument("--json", type=Path, help="write outcomes and scores there")
    arguments = parser.parse_args()
    unknown = set(arguments.faults) - FAULTS.keys()
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    if os.geteuid() != 0:
        parser.error("needs root, to make network namespaces")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as ^C: what was made is taken away
    world.RATE = arguments.rate
    suite = Suite()
    try:
        for fault in sorted(FAULTS.values(), key=lambda each: int(each.id[1:])):
            if arguments.faults and fault.id not in arguments.faults:
                continue
            if arguments.quick and not fault.quick:
                continue
            suite.run(fault, 1 if arguments.quick else max(1, round(fault.times * arguments.times)))
    finally:
        suite.close()
    if arguments.json:
        told = {
            name: {
                "title": FAULTS[name].title,
                "met": outcome.is_met,
                "figures": {figure.name: figure.value for figure in outcome.figures},
                "short": outcome.shorts,
            }
            for name, outcome in suite.outcomes.items()
        }
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({**scores(suite.outcomes), "faults": told}, indent=1) + "\n")
    return 0 if all(outcome.is_met for outcome in suite.outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
