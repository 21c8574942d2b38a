"""`python -m tools.faults.soak --for 60m [--json FILE]`: traffic, and a fault each 10 s, by chance.

Only faults that a process survives, so that its memory and descriptors say something: kills are F1's.
Each is made once before anything is measured.  A fault that harms neither flow costs neither a datagram;
of others, what is lost must be found in a counter of the flow's own ports: of vdp's drops, or of frames
that the kernel dropped in front of them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.config.planted import MISTAKES
from tests.lab import wait_for
from tools.faults import verdict
from tools.faults import world as module
from tools.faults.devices import reload, write
from tools.faults.plugins import asking_for, enabled
from tools.faults.world import World

EVERY_S = 10.0
MB_AN_HOUR = 1.0
#: Within which a counter of the kernel's has to be vdp's.
COUNTED_S = 3.0
#: Datagrams a second of a run that counts.
FULL_RATE = module.RATE
#: Of the time, until what is used for the first time has been: the packet pool, arenas of the heap.
WARM_PART = 0.25


def _deleted(world: World) -> None:
    world.near.ip("link", "del", "eth1")
    world.finds("port pa")
    world.cable_p()


def _flapping(world: World) -> None:
    for _ in range(5):
        for state in ("down", "up"):
            world.near.ip("link", "set", "eth1", state)
            time.sleep(0.05)


def _renamed(world: World) -> None:
    world.near.ip("link", "set", "eth1", "name", "lan1")
    world.finds("port pa")
    world.near.ip("link", "set", "lan1", "name", "eth1")


def _mtu(world: World) -> None:
    for size in ("1400", "1500"):
        world.near.ip("link", "set", "eth2", "mtu", size)


def _offloads(world: World) -> None:
    for state in ("off", "on"):
        world.near.run("ethtool", "-K", "eth1", "tso", state, "gro", state, check=False)


def _refusing(world: World) -> None:
    shape = (
        "tc",
        "qdisc",
        "add",
        "dev",
        "eth2",
        "root",
        "tbf",
        "rate",
        "8kbit",
        "burst",
        "1600",
        "limit",
        "3000",
    )
    world.near.run(*shape)
    time.sleep(1)
    world.near.run("tc", "qdisc", "del", "dev", "eth2", "root")


def _tap_deleted(world: World) -> None:
    world.left.ip("link", "del", "tap0")
    wait_for("tap0", lambda: "LOWER_UP" in world.left.ip("link", "show", "tap0", check=False), 5)


def _stopped(world: World) -> None:
    os.kill(world.manager.pid, signal.SIGSTOP)
    time.sleep(0.5)
    os.kill(world.manager.pid, signal.SIGCONT)


def _reloads(world: World) -> None:
    for _ in range(5):
        reload(world, world.configuration)


def _broken(world: World) -> None:
    for mistake in random.sample(MISTAKES, 5):
        write(world, mistake.text.replace("¦", ""))
        world.daemon.ask("reload")
    reload(world, world.configuration)


def _unruly(port: int) -> Callable[[World], None]:
    def act(world: World) -> None:
        with asking_for(world, port):
            time.sleep(1)
        enabled(world)

    return act


def _storm(world: World) -> None:
    batch = world.lab.folder / "storm"
    hosts = (f"10.200.{n // 256}.{n % 256}" for n in range(2000))
    batch.write_text(
        "".join(f"neigh replace {a} lladdr 02:00:00:00:00:01 dev eth0 nud noarp\n" for a in hosts)
    )
    world.near.run("ip", "-batch", str(batch))
    world.near.ip("neigh", "flush", "dev", "eth0", "nud", "noarp")


@dataclass(frozen=True)
class Act:
    """cuts: whose flow it cuts outside vdp.  waits: whose flow waits for vdp, longer than there is room."""

    make: Callable[[World], None]
    cuts: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()


ACTS: dict[str, Act] = {
    "an interface deleted and made again": Act(_deleted, cuts=("others",)),
    "an interface flapping": Act(_flapping, cuts=("others",)),
    "an interface renamed": Act(_renamed),
    "another MTU": Act(_mtu),
    "offloads off and on": Act(_offloads, cuts=("others",)),
    "a port that takes nothing": Act(_refusing, cuts=("others",)),
    "a TAP deleted": Act(_tap_deleted, cuts=("main",)),
    "the process stopped": Act(_stopped, waits=("main", "others")),
    "reloads": Act(_reloads),
    "broken configurations": Act(_broken),
    "a handler that raises": Act(_unruly(7001)),
    "a handler that hangs": Act(_unruly(7010)),
    "a handler that answers junk": Act(_unruly(7021)),
    "a netlink storm": Act(_storm),
}
OTHERS = ("pa", "pb")


def _counted(world: World) -> dict[str, int]:
    """Packets that counters say were lost, at the ports of each flow."""
    found = {"main": 0, "others": 0}
    for daemon in (world.daemon, world.far_daemon):
        for name, port in daemon.ports().items():
            counters = port["counters"]
            flow = "others" if daemon is world.daemon and name in OTHERS else "main"
            found[flow] += port["kernel_drops"] + counters["dropped"] + counters["tx_dropped"]
    return found


@dataclass
class Loss:
    """Of one flow in all faults of one name."""

    fault: str
    flow: str
    times: int = 0
    lost: int = 0
    counted: int = 0
    unexplained: int = 0


class Soak:
    """One run."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.books = 0
        self.faults = 0
        self.losses: dict[tuple[str, str], Loss] = {}
        self.samples: list[tuple[float, int]] = []

    def one(self, name: str) -> None:
        """A fault, and that all flows after it."""
        world = self.world
        for flow in (world.main, world.others):
            flow.begin()
        before = _counted(world)
        ACTS[name].make(world)
        world.ready()
        wait_for("nothing to be wrong with ports", lambda: not self._is_wrong(), 20)
        windows = {"main": world.main.end(), "others": world.others.end()}
        deadline = time.monotonic() + COUNTED_S  # the kernel is asked for its counters now and then
        while True:
            counted = {which: max(0, count - before[which]) for which, count in _counted(world).items()}
            is_counted = all(counted[which] >= windows[which].lost for which in ACTS[name].waits)
            if is_counted or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        for which, window in windows.items():
            self._lost(name, which, window.lost, counted[which])
        self.books = max(self.books, world.imbalance())
        self.faults += 1

    def _lost(self, name: str, flow: str, lost: int, counted: int) -> None:
        act = ACTS[name]
        loss = self.losses.setdefault((name, flow), Loss(name, flow))
        loss.times += 1
        loss.lost += lost
        loss.counted += counted
        loss.unexplained += verdict.unexplained(
            lost, counted, is_cut=flow in act.cuts, is_harmless=not act.cuts and not act.waits
        )

    def _is_wrong(self) -> bool:
        about = [each.sentence for each in self.world.wrong() if each.subject.startswith("port")]
        return any("dropped" not in sentence and "kernel" not in sentence for sentence in about)

    def run(self, seconds: float) -> dict[str, Any]:
        """Each fault once; then by chance, for so long."""
        world = self.world
        for name in ACTS:
            self.one(name)
        time.sleep(1)
        pid, fds = world.manager.pid, world.fds()
        began_at = time.monotonic()
        ends = began_at + seconds
        while (began := time.monotonic()) < ends:
            self.one(self.random.choice(list(ACTS)))
            time.sleep(max(0.0, min(began + EVERY_S, ends) - time.monotonic()))
            if began - began_at > WARM_PART * seconds:
                self.samples.append((time.monotonic(), world.rss_kb()))
            if self.faults % 30 == 0:
                print(f"{self.faults} faults, {world.rss_kb() / 1024:.1f} MB, {world.fds()} descriptors")
                sys.stdout.flush()
        wait_for("descriptors to be closed", lambda: world.fds() <= fds, 10)
        drift = world.fds() - fds
        for flow in (world.main, world.others):
            flow.close()
        time.sleep(1)
        self.books = max(self.books, world.imbalance())
        slope, memory = self._slope(), world.rss_kb() / 1024
        detail = f"{self.faults} faults in {seconds / 60:.0f} min"
        losses = [loss for loss in self.losses.values() if loss.lost]
        return verdict.judged({
            "R9": {"figure": self.books, "met": self.books == 0, "detail": detail},
            "R10": {
                "figure": f"{slope:.2f} MB/h, {drift} descriptors",
                "met": slope <= MB_AN_HOUR and drift <= 0,
                "detail": f"{detail}, {memory:.0f} MB at the end",
            },
            "soak": {
                "seconds": seconds, "faults": self.faults, "lost": sum(loss.lost for loss in losses),
                "unexplained": sum(loss.unexplained for loss in losses),
                "restarts": world.manager.crashes, "same_process": world.manager.pid == pid,
                "losses": [asdict(loss) for loss in losses],
            },
        })  # fmt: skip

    def _slope(self) -> float:
        """MB an hour, by the median of pairs of samples (Theil-Sen): single steps do not tilt it."""
        pairs = [
            (later[1] - first[1]) / (later[0] - first[0])
            for n, first in enumerate(self.samples)
            for later in self.samples[n + len(self.samples) // 2 :]
            if later[0] > first[0]
        ]
        return statistics.median(pairs) * 3600 / 1024 if pairs else 0.0


def _seconds(text: str) -> float:
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


def _keep(found: dict[str, Any], arguments: argparse.Namespace) -> None:
    """For the score, if the run was to be one that counts."""
    if not arguments.json:
        return
    if arguments.seconds < verdict.LEAST_S or arguments.rate < FULL_RATE:
        owed = f"{verdict.LEAST_S / 60:g} min with {FULL_RATE:,} datagrams a second"
        print(f"not kept for the score: {owed} are owed")
        return
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(found, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.faults.soak", description=__doc__)
    parser.add_argument(
        "--for", dest="seconds", type=_seconds, default=3600.0, metavar="TIME", help="60m, 8h, 90s"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=int, default=module.RATE, help="datagrams a second through the tunnel")
    parser.add_argument("--json", type=Path, help="write the scores there")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    module.RATE = arguments.rate
    world = World()
    soak = Soak(world, arguments.seed)
    try:
        found = soak.run(arguments.seconds)
    except BaseException as error:
        print(world.manager.said(), file=sys.stderr)
        if isinstance(error, Exception):
            _keep(verdict.broken(error, soak.faults, world.manager.crashes), arguments)
        raise
    finally:
        world.close()
    print(json.dumps(found, indent=1))
    _keep(found, arguments)
    scores = [value for name, value in found.items() if name.startswith("R")]
    return 0 if all(score["met"] for score in scores) and not found["soak"]["unexplained"] else 1


if __name__ == "__main__":
    sys.exit(main())
