"""`python -m tools.faults.soak --for 60m [--json FILE]`: traffic, and a fault each 10 s, by chance.

Only faults that a process survives, so that its memory and descriptors say something: kills are F1's.
Each is made once before anything is measured.  What datagrams are lost must be found in a counter:
of vdp's drops, or of frames that the kernel dropped in front of a port.
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
from pathlib import Path

from tests.config.planted import MISTAKES
from tests.lab import Daemon, wait_for
from tools.faults import world as module
from tools.faults.devices import reload, write
from tools.faults.plugins import asking_for, enabled
from tools.faults.world import World

EVERY_S = 10.0
MB_AN_HOUR = 1.0
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


ACTS: dict[str, Callable[[World], None]] = {
    "an interface deleted and made again": _deleted,
    "an interface flapping": _flapping,
    "an interface renamed": _renamed,
    "another MTU": _mtu,
    "offloads off and on": _offloads,
    "a port that takes nothing": _refusing,
    "a TAP deleted": _tap_deleted,
    "the process stopped": _stopped,
    "reloads": _reloads,
    "broken configurations": _broken,
    "a handler that raises": _unruly(7001),
    "a handler that hangs": _unruly(7010),
    "a handler that answers junk": _unruly(7021),
    "a netlink storm": _storm,
}


#: Whose flow a fault harms outside vdp: what its hosts lose by themselves is no loss of vdp's.
HARMS = {
    "others": ("deleted and made", "flapping", "renamed", "MTU", "offloads", "takes nothing"),
    "main": ("TAP deleted",),
}


def _counted(*daemons: Daemon) -> int:
    """Packets that some counter says were lost."""
    rows = [row["packets"] for daemon in daemons for row in daemon.ask("drop.show")]
    rows += [port["kernel_drops"] for daemon in daemons for port in daemon.ports().values()]
    return int(sum(rows))


class Soak:
    """One run."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.books = 0
        self.lost = self.counted = self.faults = 0
        self.samples: list[tuple[float, int]] = []

    def one(self, name: str) -> None:
        """A fault, and that all flows after it."""
        world = self.world
        for flow in (world.main, world.others):
            flow.begin()
        before = _counted(world.daemon, world.far_daemon)
        ACTS[name](world)
        world.ready()
        wait_for("nothing to be wrong with ports", lambda: not self._is_wrong(), 20)
        windows = {"main": world.main.end(), "others": world.others.end()}
        for which, window in windows.items():
            if not any(harm in name for harm in HARMS[which]):
                self.lost += window.lost
        self.counted += max(0, _counted(world.daemon, world.far_daemon) - before)
        self.books = max(self.books, world.imbalance())
        self.faults += 1

    def _is_wrong(self) -> bool:
        about = [each.sentence for each in self.world.wrong() if each.subject.startswith("port")]
        return any("dropped" not in sentence and "kernel" not in sentence for sentence in about)

    def run(self, seconds: float) -> dict[str, object]:
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
        slope = self._slope()
        unexplained = max(0, self.lost - self.counted)
        detail = f"{self.faults} faults in {seconds / 60:.0f} min"
        return {
            "R9": {"figure": self.books, "met": self.books == 0, "detail": detail},
            "R10": {
                "figure": f"{slope:.2f} MB/h, {drift} descriptors",
                "met": slope <= MB_AN_HOUR and drift <= 0,
                "detail": f"{detail}, {self.samples[-1][1] / 1024:.0f} MB at the end",
            },
            "soak": {
                "seconds": seconds, "faults": self.faults, "lost": self.lost, "counted": self.counted,
                "unexplained": unexplained, "restarts": len(world.manager.starts) - 1,
                "same_process": world.manager.pid == pid,
            },
        }  # fmt: skip

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
    try:
        found = Soak(world, arguments.seed).run(arguments.seconds)
    except BaseException:
        print(world.manager.said(), file=sys.stderr)
        raise
    finally:
        world.close()
    print(json.dumps(found, indent=1))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    scores = [value for name, value in found.items() if name.startswith("R")]
    return 0 if all(isinstance(score, dict) and score["met"] for score in scores) else 1


if __name__ == "__main__":
    sys.exit(main())
