"""`bench packets`: frames of 64 bytes a second through one tunnel end, in and out of the tunnel.

The same frames into vdp, into Open vSwitch (netdev), and into a C program that only moves
them between the same packet sockets; sent by a C program, counted by the kernel of the host
that they arrive at.
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


def add_command(commands: Any) -> None:
    parser = commands.add_parser("packets", help="packets a second: vdp, Open vSwitch, a bare forwarder")
    add_options(parser)
    parser.add_argument("--no-ovs", action="store_true", help="leave Open vSwitch out")
    parser.set_defaults(run=run, needs_root=True)


def run(arguments: argparse.Namespace) -> int:
    """Build the sites, measure, print."""
    need("cc", "ip", "ethtool")
    names = contenders(arguments.no_ovs, "forwarder")
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
    targets = {}
    for way in WAYS:
        if "ovs" in names:
            targets[f"{way}_to_ovs"] = Target(figures[way]["ratio_ovs"], 5, at_least=True)
        targets[f"{way}_to_forwarder"] = Target(figures[way]["ratio_forwarder"], 0.7, at_least=True)
    table = [f"{'':12}{'decapsulation':>16}{'encapsulation':>16}   packets a second"]
    table += [
        f"{name:12}" + "".join(f"{figures[way][f'{name}_pps']:16.0f}" for way in WAYS)
        for name in (*names, "offered")
    ]
    return show(arguments, figures, targets, table)


def contenders(no_ovs: bool, *others: str) -> list[str]:
    """vdp, Open vSwitch where it is installed and wanted, and others."""
    if not no_ovs and shutil.which("ovs-vswitchd") is None:
        tell("Open vSwitch is not installed: it is left out")
        no_ovs = True
    return ["vdp", *([] if no_ovs else ["ovs"]), *others]


def _rate(site: Site, name: str, way: str, seconds: float) -> Callable[[], Figures]:
    def once() -> Figures:
        arrived, offered = site.rate(way, seconds)
        return {f"{way}_{name}": arrived, f"{way}_{name}_offered": offered}

    return once


def _figures(found: Rounds, way: str, names: list[str]) -> dict[str, float]:
    figures = {f"{name}_pps": round(found.median(f"{way}_{name}")) for name in names}
    figures["offered_pps"] = round(min(found.median(f"{way}_{name}_offered") for name in names))
    ratios = {
        f"ratio_{name}": round(found.ratio(f"{way}_vdp", f"{way}_{name}"), 3)
        for name in names
        if name != "vdp"
    }
    spread = max(found.spread(f"{way}_{name}") for name in names)
    return {**figures, **ratios, "spread": round(spread, 3)}
