"""`bench upcalls`: flows that nobody has seen before: Python handlers beside Open vSwitch's slow path.

Every frame in the tunnel comes from another station, which both have to learn, and is a flow
of its own.  `rate`: more of them than can be served come in, and those that leave count;
meanwhile frames of an established flow pass, and those that do not arrive count, too.
`latency`: one at a time, from its sender to its receiver.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from bench.packets import contenders
from bench.program import need, program
from bench.rounds import Figures, Rounds, Target, add_options, collect, show
from bench.site import FRESH, OUTER_SIZE, STEADY, THERE, Site
from tests.lab import Lab, Process, wait_for

#: New flows that are offered a second, and frames of the established one.
OFFERED, ESTABLISHED = 60_000, 5_000
PROBES = 300
#: Source of the frames; the last four bytes, which are there in the outer frame, are another each time.
STATIONS, STATION = "02:01:00:00:00:00", OUTER_SIZE + 8
#: As many as come: what is asked here is what Python can do.
SETTINGS = "[engine]\nupcall_rate = 1000000\n"


def add_command(commands: Any) -> None:
    parser = commands.add_parser("upcalls", help="new flows a second and their latency")
    add_options(parser)
    parser.add_argument("--no-ovs", action="store_true", help="leave Open vSwitch out")
    parser.set_defaults(run=run, needs_root=True)


def run(arguments: argparse.Namespace) -> int:
    """Build the sites, measure."""
    need("cc", "ip", "ethtool")
    names = contenders(arguments.no_ovs)
    with Lab() as lab:
        sites = {}
        for name in names:
            sites[name] = site = Site.bare(lab, name)
            site.start(name, settings=SETTINGS)
            site.learn()
        steps: dict[str, Callable[[], Figures]] = {}
        for name, site in sites.items():
            steps[f"latency {name}"] = _latency(name, site)
            steps[f"rate {name}"] = _rate(name, site, arguments.seconds)
        found = collect(steps, arguments.rounds)
    targets = {"established_lost_percent": Target(found.median("vdp_lost_percent"), 0)}
    if "ovs" in names:
        targets["rate_to_ovs"] = Target(found.ratio("vdp_flows", "ovs_flows"), 0.3, at_least=True)
    return show(arguments, found.medians(2), targets, _table(found, names))


def _latency(name: str, site: Site) -> Callable[[], Figures]:
    def once() -> Figures:
        frame = site.outer(site.inner(THERE, STATIONS, FRESH))
        said = json.loads(
            site.near.run(
                str(program("probe")), site.near.name, "eth0", site.far.name, "eth0",
                frame.hex(), str(STATION), f"{FRESH:x}", str(PROBES), timeout=120,
            )
        )  # fmt: skip
        return {f"{name}_{key}": value for key, value in said.items() if key != "lost"}

    return once


def _rate(name: str, site: Site, seconds: float) -> Callable[[], Figures]:
    def once() -> Figures:
        sink = site.far.start(str(program("sink")), "eth0", f"{STEADY:x}", f"{FRESH:x}", name="sink")
        wait_for("sink", lambda: "ready" in sink.out.read_text())
        established = site.send("decapsulation", ESTABLISHED)
        fresh = site.outer(site.inner(THERE, STATIONS, FRESH))
        started = time.monotonic()
        flood = site.near.start(
            str(program("sender")), "eth0", fresh.hex(), str(OFFERED), str(STATION), name="sender"
        )
        time.sleep(seconds)
        flood.stop()
        took = time.monotonic() - started
        established.stop()
        _settle(site)
        sink.stop()
        said = json.loads(sink.out.read_text().splitlines()[-1])
        sent = _sent(established)
        return {
            f"{name}_flows": said["other"] / took,
            f"{name}_lost_percent": max(0.0, 100 * (sent - said["one"]) / sent),
        }

    return once


def _sent(sender: Process) -> int:
    return int(json.loads(sender.out.read_text())["sent"])


def _settle(site: Site) -> None:
    """Until nothing arrives any more."""
    before = -1
    while (now := site.received("decapsulation")) != before:
        before = now
        time.sleep(0.1)


def _table(found: Rounds, names: list[str]) -> list[str]:
    lines = [f"{'':8}{'new flows/s':>14}{'p50':>12}{'p99':>12}{'established lost':>20}"]
    for name in names:
        p50, p99 = (found.median(f"{name}_{key}_us") for key in ("p50", "p99"))
        lost = found.median(f"{name}_lost_percent")
        lines.append(f"{name:8}{found.median(f'{name}_flows'):14.0f}{p50:9.0f} us{p99:9.0f} us{lost:18.2f} %")
    return lines
