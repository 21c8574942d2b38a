"""`python -m tools.faults [F1 F6 …] [--times N] [--quick] [--json FILE]`: run the fault matrix, as root."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from tests.lab import LabError
from tools.faults import devices, hosts, overload, plugins, record, restart, world
from tools.faults.catalogue import FAULTS, Fault, Outcome
from tools.faults.world import World
from vdp.control.errors import ControlError, DaemonUnreachable

MODULES = (restart, devices, plugins, hosts, overload)
#: Datagrams a second of a run that counts.
FULL_RATE = world.RATE


class Suite:
    """Runs faults one after the other, in one world as long as that is whole."""

    def __init__(self) -> None:
        self._world: World | None = None
        self.outcomes: dict[str, Outcome] = {}

    def run(self, fault: Fault, times: int) -> Outcome:
        """One fault; what it could not do is short, and its world is given up."""
        outcome = self.outcomes[fault.id] = Outcome()
        began, ends = time.monotonic(), self._crashes()
        try:
            whole = self._world = self._world or World()
            fault.run(whole, outcome, times)
            outcome.figure("books", whole.imbalance(), most=0)
            if outcome.noticed is False:
                outcome.shorts += [f"it says: {each.subject}: {each.sentence}" for each in whole.wrong()]
        except (LabError, OSError, ControlError, DaemonUnreachable) as error:
            outcome.shorts.append(str(error))
            outcome.ended(self._crashes() - ends)
            if self._world is not None:
                print(self._world.manager.said(), file=sys.stderr)
            self.close()
        else:
            outcome.ended(self._crashes() - ends)
        figures = ", ".join(map(str, outcome.figures))
        took = time.monotonic() - began
        print(f"{fault.id:4}{'met' if outcome.is_met else 'short':6}{fault.title}: {figures} [{took:.0f} s]")
        for sentence in outcome.shorts:
            print(f"      {sentence}")
        sys.stdout.flush()
        return outcome

    def _crashes(self) -> int:
        return self._world.manager.crashes if self._world is not None else 0

    def close(self) -> None:
        """Take the world away."""
        world, self._world = self._world, None
        if world is not None:
            world.close()


def is_full(fault: Fault, times: int, rate: int) -> bool:
    """Whether a run of it counts for the score."""
    return times >= fault.times and rate >= FULL_RATE


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.faults", description=__doc__)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help="such as F1; all, when none is named")
    parser.add_argument("--times", type=float, default=1.0, help="so many times as often as by default")
    parser.add_argument("--quick", action="store_true", help="the short suite, each fault once")
    parser.add_argument("--rate", type=int, default=world.RATE, help="datagrams a second through the tunnel")
    parser.add_argument(
        "--json", type=Path, help="put the outcomes of what ran in full there, beside those of earlier runs"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.faults) - FAULTS.keys()
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    if os.geteuid() != 0:
        parser.error("needs root, to make network namespaces")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as ^C: what was made is taken away
    world.RATE = arguments.rate
    suite, kept, partial = Suite(), {}, []
    try:
        for fault in sorted(FAULTS.values(), key=lambda each: int(each.id[1:])):
            if arguments.faults and fault.id not in arguments.faults:
                continue
            if arguments.quick and not fault.quick:
                continue
            times = 1 if arguments.quick else max(1, round(fault.times * arguments.times))
            outcome = suite.run(fault, times)
            if is_full(fault, times, arguments.rate):
                kept[fault.id] = record.told(outcome, fault.title, times)
            else:
                partial.append(f"{fault.id} ({times} of {fault.times} times, {arguments.rate} datagrams/s)")
    finally:
        suite.close()
    if arguments.json and partial:
        print(f"not kept for the score, since not in full: {', '.join(partial)}")
    if arguments.json and kept:
        record.merge(arguments.json, kept)
    return 0 if all(outcome.is_met for outcome in suite.outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
