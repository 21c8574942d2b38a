"""`bench tunnel`: TCP through gretap between two hosts, by vdp, by Open vSwitch (netdev), and without.

One iperf3 stream for each variant of the link's options; what arrived counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from bench.packets import contenders
from bench.pairs import TITLES, VARIANTS, Pair, pairs
from bench.program import need
from bench.rounds import Rounds, Target, add_options, measure, show, tell
from tests.lab import Lab

#: At least so many times Open vSwitch, and such a part of the veth.
_TO_OVS = {"plain": 12.0, "csum": 10.0}
_TO_VETH = {"plain": 0.4}


def add_command(commands: Any) -> None:
    parser = commands.add_parser("tunnel", help="TCP through gretap: vdp, Open vSwitch, none")
    add_options(parser, seconds=2)
    parser.add_argument(
        "--variants", default=",".join(VARIANTS), help=f"of {', '.join(VARIANTS)}; separated by commas"
    )
    parser.add_argument(
        "--underlay", choices=("interface", "protocol"), default="interface", help="vdp's form of raw port"
    )
    parser.add_argument("--no-ovs", action="store_true", help="leave Open vSwitch out")
    parser.set_defaults(run=run, needs_root=True)


def run(arguments: argparse.Namespace) -> int:
    """Variant by variant: build the pairs, measure."""
    need("ip", "iperf3", "ping")
    names = contenders(arguments.no_ovs, "veth")
    figures: dict[str, dict[str, float]] = {}
    for variant in arguments.variants.split(","):
        if arguments.underlay == "protocol" and "encap" in VARIANTS[variant]:
            tell(f"{variant}: left out, it needs an interface")
            continue
        tell(f"{variant}:")
        with Lab() as lab:
            made = pairs(lab, names, VARIANTS[variant], arguments.underlay)
            tcp = measure(
                {name: _tcp(pair, arguments.seconds) for name, pair in made.items()}, arguments.rounds
            )
        figures[variant] = _figures(tcp)
    return show(
        arguments,
        {**figures, "underlay": arguments.underlay},
        _targets(figures),
        _table(figures, names),
    )


def _tcp(pair: Pair, seconds: float) -> Callable[[], float]:
    """Gbit/s that arrived, of one TCP stream; iperf3 has whole seconds only."""

    def once() -> float:
        report = pair.sender.iperf(pair.receiver, pair.address, seconds=max(1, round(seconds)))
        return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9

    return once


def _figures(rounds: Rounds) -> dict[str, float]:
    """{"vdp_gbps": …, "ratio_ovs": …, "spread": …}: medians, and vdp's ratio to each other one."""
    figures = {f"{name}_gbps": round(rounds.median(name), 3) for name in rounds.figures}
    for name in rounds.figures:
        if name != "vdp":
            figures[f"ratio_{name}"] = round(rounds.ratio("vdp", name), 3)
    figures["spread"] = round(max(rounds.spread(name) for name in rounds.figures), 3)
    return figures


def _targets(figures: dict[str, dict[str, float]]) -> dict[str, Target]:
    targets = {}
    for peer, limits in (("ovs", _TO_OVS), ("veth", _TO_VETH)):
        for variant, limit in limits.items():
            ratio = figures.get(variant, {}).get(f"ratio_{peer}")
            if ratio is not None:
                targets[f"{variant}_to_{peer}"] = Target(ratio, limit, at_least=True)
    return targets


def _table(figures: dict[str, dict[str, float]], names: list[str]) -> list[str]:
    lines = [f"{'TCP Gbit/s':14}" + "".join(f"{variant:>14}{'vdp is x':>10}" for variant in figures)]
    for name in names:
        cells = (
            f"{one[f'{name}_gbps']:14.2f}{one.get(f'ratio_{name}', 1.0):10.2f}" for one in figures.values()
        )
        lines.append(f"{TITLES[name]:14}" + "".join(cells))
    return lines
