"""`bench scale`: does a packet cost the same with many tunnels, flows, masks and workers?

Every packet is another tunnel's (or flow's), thrown at random: the worst case, in which
nothing of the packet before is of use.  `tunnels` is the whole way through the engine, from
a port's receive to another's flush, over flows that the slow path made of so many links;
`flows` and `masks` are the lookup and the program of a classifier that has so many.  `live`
asks the same where a user would see it, through packet sockets: see bench/live.py.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import live
from bench.program import MissingTool, ask, need
from bench.rounds import Figures, Rounds, Target, add_options, collect, show, tell
from bench.scenario import Scenario, Tunnels
from tests.lab import Lab

PARTS = ("memory", "live")
WAYS = ("decapsulation", "encapsulation")
FLOWS = (1, 100, 10_000, 200_000)
MASKS = (1, 8, 32)
#: Flows that are spread over the masks.
MASKED = 10_000
#: The most tunnels that the live part has: each has to be learned, packet by packet.
MOST_LIVE = 10_000
#: Figures, targets and the lines of a table.
Part = tuple[dict[str, Any], dict[str, Target], list[str]]


def add_command(commands: Any) -> None:
    parser = commands.add_parser("scale", help="the same with many tunnels, flows, masks, workers")
    add_options(parser, seconds=0.5)
    parser.add_argument(
        "--tunnels",
        type=lambda text: sorted({1, *map(int, text.split(","))}),
        default=[1, 100, 10_000, 100_000],
        help="how many, separated by commas (default 1,100,10000,100000)",
    )
    parser.add_argument("--only", choices=PARTS, help="one part: `memory`, or `live`, which needs root")
    parser.set_defaults(run=run, needs_root=False)


def run(arguments: argparse.Namespace) -> int:
    """Both parts, or the one that was asked for; `live` only as root."""
    parts = [arguments.only] if arguments.only else list(PARTS)
    if "live" in parts and os.geteuid() != 0:
        if arguments.only:
            raise MissingTool("needs root, to make network namespaces")
        tell("not root: the live part is left out")
        parts.remove("live")
    figures: dict[str, Any] = {}
    targets: dict[str, Target] = {}
    table: list[str] = []
    for part in parts:
        measured = _memory(arguments) if part == "memory" else _live(arguments)
        figures |= measured[0]
        targets |= measured[1]
        table += measured[2]
    return show(arguments, figures, targets, table)


def _memory(arguments: argparse.Namespace) -> Part:
    """Make the scenarios once, then measure in turn."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        scenarios = {count: _scenarios(folder, count) for count in arguments.tunnels}
        found = collect(_contenders(scenarios, arguments.seconds), arguments.rounds)
    last = max(count for count in arguments.tunnels)
    targets = {
        f"{way}_at_{last}_tunnels": Target(found.ratio(f"{way}_{last}_ns", f"{way}_1_ns"), 1.3)
        for way in WAYS
    }
    if last > 10_000 and 10_000 in scenarios:
        targets |= {
            f"{way}_at_10000_tunnels": Target(found.ratio(f"{way}_10000_ns", f"{way}_1_ns"), 1.3)
            for way in WAYS
        }
    targets["200000_flows"] = Target(found.ratio(f"flows_{FLOWS[-1]}_ns", "flows_1_ns"), 2)
    targets["2_workers"] = Target(found.ratio("workers_2_mpps", "workers_1_mpps"), 1.7, at_least=True)
    return _figures(found, scenarios), targets, _table(found, scenarios)


def _live(arguments: argparse.Namespace) -> Part:
    """Two daemons beside each other, measured in turn."""
    need("cc", "ip", "ethtool")
    counts = [1, min(max(arguments.tunnels), MOST_LIVE)]
    if counts[1] == 1:
        tell("no more than one tunnel: the live part has nothing to compare")
        return {}, {}, []
    with Lab() as lab:
        found = collect(live.contenders(lab, counts, arguments.seconds), arguments.rounds)
    figures: dict[str, Any] = found.medians(1)
    one, many = (f"live_{count}_ns" for count in counts)
    ratio = found.ratio(many, one)
    figures["live_ratio"] = round(ratio, 3)
    figures["live_spread"] = round(max(found.spread(one), found.spread(many)), 3)
    table = [f"{'live':>10}{'decapsulation ns':>19}"]
    table += [f"{count:10}{found.median(f'live_{count}_ns'):19.0f}" for count in counts]
    return figures, {f"live_at_{counts[1]}_tunnels": Target(ratio, 1.3)}, table


def _scenarios(folder: Path, count: int) -> dict[str, Scenario]:
    tell(f"{count} tunnels: links and traces")
    with Tunnels(count) as tunnels:
        return {way: tunnels.write(folder / f"{way}-{count}", way) for way in WAYS}


def _contenders(
    scenarios: dict[int, dict[str, Scenario]], seconds: float
) -> dict[str, Callable[[], Figures]]:
    one = scenarios[1]["decapsulation"].path
    contenders: dict[str, Callable[[], Figures]] = {}

    def whole(name: str, path: Path, workers: int, figure: str) -> None:
        contenders[name] = lambda: {f"{name}_{figure}": ask("engine", "run", path, seconds, workers)[figure]}

    def steps(name: str, flows: int, masks: int) -> None:
        contenders[name] = lambda: {
            f"{name}_ns": ask("engine", "steps", one, seconds, flows, masks)["lookup_and_program_ns"]
        }

    for way in WAYS:
        for count, written in scenarios.items():
            whole(f"{way}_{count}", written[way].path, 1, "ns")
    for flows in FLOWS:
        steps(f"flows_{flows}", flows, 1)
    for masks in MASKS:
        steps(f"masks_{masks}", MASKED, masks)
    for workers in (1, 2):
        whole(f"workers_{workers}", one, workers, "mpps")
    return contenders


def _figures(found: Rounds, scenarios: dict[int, dict[str, Scenario]]) -> dict[str, Any]:
    links = {
        str(count): {
            "link_us": round(written["decapsulation"].link_s * 1e6, 1),
            "link_bytes": round(written["decapsulation"].link_bytes),
            "trace_us": round(sum(written[way].trace_s for way in WAYS) * 1e6, 1),
        }
        for count, written in scenarios.items()
    }
    return {**found.medians(2), "links": links}


def _table(found: Rounds, scenarios: dict[int, dict[str, Scenario]]) -> list[str]:
    titles = ("decapsulation ns", "encapsulation ns", "a link is made in", "and takes")
    lines = [f"{'tunnels':>10}" + "".join(f"{title:>19}" for title in titles)]
    for count, written in scenarios.items():
        times = "".join(f"{found.median(f'{way}_{count}_ns'):19.1f}" for way in WAYS)
        link = written["decapsulation"]
        lines.append(f"{count:10}{times}{link.link_s * 1e6:16.0f} us{link.link_bytes / 1000:16.1f} kB")
    lines.append(f"{'flows':>10}{'lookup and program ns':>24}")
    lines += [f"{flows:10}{found.median(f'flows_{flows}_ns'):24.1f}" for flows in FLOWS]
    lines.append(f"{'masks':>10}{'the same, 10000 flows':>24}")
    lines += [f"{masks:10}{found.median(f'masks_{masks}_ns'):24.1f}" for masks in MASKS]
    lines.append(f"{'workers':>10}{'million packets a second':>26}")
    lines += [f"{workers:10}{found.median(f'workers_{workers}_mpps'):26.2f}" for workers in (1, 2)]
    return lines
