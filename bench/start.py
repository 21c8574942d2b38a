"""`bench start`: from the command to the first forwarded frame, and what stays in memory.

Frames come in at the tunnel all the time, a thousand a second, and the first one that leaves
on the other side stops the clock.  Open vSwitch means its two daemons, an empty database and
the commands that configure it.  vdp's modules are compiled before, which pip does once.
"""

from __future__ import annotations

import argparse
import compileall
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.packets import contenders
from bench.program import need, program
from bench.rounds import Figures, Target, add_options, collect, show
from bench.site import FRESH, STEADY, Site
from tests.lab import REPOSITORY, Lab, Process, wait_for

RATE = 1000


def add_command(commands: Any) -> None:
    parser = commands.add_parser("start", help="time to the first packet, and memory")
    add_options(parser)
    parser.add_argument("--no-ovs", action="store_true", help="leave Open vSwitch out")
    parser.set_defaults(run=run, needs_root=True)


def run(arguments: argparse.Namespace) -> int:
    """A site of its own for each start."""
    need("cc", "ip", "ethtool")
    names = contenders(arguments.no_ovs)
    for folder in ("vdp", "plugins"):  # as pip leaves what it installs
        compileall.compile_dir(REPOSITORY / folder, quiet=2)
    found = collect({name: _start(name) for name in names}, arguments.rounds)
    targets = {"vdp_mbytes": Target(found.median("vdp_mbytes"), 120)}
    if "ovs" in names:
        targets["seconds_to_ovs"] = Target(found.ratio("vdp_s", "ovs_s"), 1)
    table = [f"{'':8}{'first frame':>14}{'resident':>14}"]
    table += [
        f"{name:8}{found.median(f'{name}_s'):12.2f} s{found.median(f'{name}_mbytes'):11.1f} MB"
        for name in names
    ]
    return show(arguments, found.medians(), targets, table)


def _start(name: str) -> Callable[[], Figures]:
    def once() -> Figures:
        with Lab() as lab:
            site = Site.bare(lab, name)
            sink = site.far.start(str(program("sink")), "eth0", f"{STEADY:x}", f"{FRESH:x}", name="sink")
            wait_for("sink", lambda: "ready" in sink.out.read_text())
            site.send("decapsulation", RATE)
            started = time.monotonic()
            site.start(name, wait=False)
            first = wait_for("a frame", lambda: _first(sink), 60)
            return {f"{name}_s": first - started, f"{name}_mbytes": _resident(site)}

    return once


def _first(sink: Process) -> float | None:
    """When the first frame came, by time.monotonic()."""
    found = re.search(r"first (\d+)", sink.out.read_text())
    return int(found.group(1)) / 1e9 if found else None


def _resident(site: Site) -> float:
    """Megabytes of all processes in the middle."""
    pids = subprocess.run(
        ["ip", "netns", "pids", site.middle.name], capture_output=True, text=True, check=True
    ).stdout.split()
    statuses = (Path(f"/proc/{pid}/status").read_text() for pid in pids)
    return sum(int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) for status in statuses) / 1000
