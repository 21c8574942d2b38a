"""`bench packets`: frames of 64 bytes a second through one tunnel end, in and out of the tunnel.

The same frames into vdp, into Open vSwitch (netdev), and into a C program that only moves
them between the same packet sockets; sent by a C program, counted by the kernel of the host
that they arrive at.  Beside frames a second, which depend on what else the machine does, stands
the processor time that a contender's threads take for a frame, system calls included.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from typing import Any

from bench.program import need
from bench.rounds import Figures, Rounds, Target, add_options, collect, show, tell
from bench.site import Site
from tests.lab import Lab

WAYS = ("decapsulation", "encapsulation")
#: What vdp is told to send by, as the name of a contender.
OURS = ("vdp", "vdp_xdp")
TIMES_OVS, OF_FORWARDER = 5, 0.7


def add_command(commands: Any) -> None:
    parser = commands.add_parser("packets", help="packets a second: vdp, Open vSwitch, a bare forwarder")
    add_options(parser)
    parser.add_argument("--no-ovs", action="store_true", help="leave Open vSwitch out")
    parser.set_defaults(run=run, needs_root=True)


def run(arguments: argparse.Namespace) -> int:
    """Build the sites, measure, print."""
    need("cc", "ip", "ethtool", "taskset")
    names = contenders(arguments.no_ovs, "vdp_xdp", "forwarder")
    with Lab() as lab:
        sites = {name: Site.of(lab, name) for name in names}
        for site in sites.values():
            site.learn()
        found = collect(
            {
                f"{way} {name}": _rate(site, name, way, arguments.seconds)
                for way in WAYS
                for name, site in sites.items()
            },
            arguments.rounds,
        )
    figures = {way: _figures(found, way, names) for way in WAYS}
    table = [f"{'':12}{'decapsulation':>24}{'encapsulation':>24}   packets a second, ns of processor each"]
    table += [
        f"{name:12}"
        + "".join(f"{figures[way][f'{name}_pps']:14.0f}{figures[way][f'{name}_ns']:10.0f}" for way in WAYS)
        for name in names
    ]
    table.append(f"{'offered':12}" + "".join(f"{figures[way]['offered_pps']:14.0f}{'':10}" for way in WAYS))
    return show(arguments, figures, _targets(figures, names), table)


def contenders(no_ovs: bool, *others: str) -> list[str]:
    """vdp, Open vSwitch where it is installed and wanted, and others."""
    if not no_ovs and shutil.which("ovs-vswitchd") is None:
        tell("Open vSwitch is not installed: it is left out")
        no_ovs = True
    return ["vdp", *([] if no_ovs else ["ovs"]), *others]


def _rate(site: Site, name: str, way: str, seconds: float) -> Callable[[], Figures]:
    def once() -> Figures:
        found = site.rate(way, seconds)
        key = f"{way}_{name}"
        return {f"{key}_pps": found.arrived, f"{key}_ns": found.cost_ns, f"{key}_offered": found.offered}

    return once


def _figures(found: Rounds, way: str, names: list[str]) -> dict[str, float]:
    """ratio_X: of vdp's packets a second to those of X; cost_ratio_X: of X's time for one to vdp's."""
    figures: dict[str, float] = {}
    for name in names:
        figures[f"{name}_pps"] = round(found.median(f"{way}_{name}_pps"))
        figures[f"{name}_ns"] = round(found.median(f"{way}_{name}_ns"))
    figures["offered_pps"] = round(min(found.median(f"{way}_{name}_offered") for name in names))
    for ours in OURS:
        prefix = ours.removeprefix("vdp").removeprefix("_")
        prefix = f"{prefix}_" if prefix else ""
        for name in names:
            if name in OURS:
                continue
            pps = found.ratio(f"{way}_{ours}_pps", f"{way}_{name}_pps")
            cost = found.ratio(f"{way}_{name}_ns", f"{way}_{ours}_ns")
            figures[f"{prefix}ratio_{name}"] = round(pps, 3)
            figures[f"{prefix}cost_ratio_{name}"] = round(cost, 3)
    spread = max(found.spread(f"{way}_{name}_pps") for name in names)
    return {**figures, "spread": round(spread, 3)}


def _targets(figures: dict[str, dict[str, float]], names: list[str]) -> dict[str, Target]:
    targets = {}
    for way in WAYS:
        found = figures[way]
        if "ovs" in names:
            targets[f"{way}_to_ovs"] = Target(found["ratio_ovs"], TIMES_OVS, at_least=True)
            targets[f"{way}_by_xdp_to_ovs"] = Target(found["xdp_ratio_ovs"], TIMES_OVS, at_least=True)
        targets[f"{way}_to_forwarder"] = Target(found["ratio_forwarder"], OF_FORWARDER, at_least=True)
    return targets
