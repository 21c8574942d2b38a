"""`bench scale`: does a packet cost the same with many tunnels, flows, masks and workers?

Every packet is another tunnel's (or flow's), thrown at random: the worst case, in which
nothing of the packet before is of use.  `tunnels` is the whole way through the engine, from
a port's receive to another's flush, over flows that the slow path made of so many links;
`flows` and `masks` are the lookup and the program of a classifier that has so many.  Those
that are compared take turns of some milliseconds in one process, and a ratio is taken within
a turn.  What two workers get done is asked by the clock, of those moments alone in which
both had a processor to themselves, and by their processor time; `numbers` are packets into a
tunnel with sequence numbers, which have to leave in order whoever takes them.  `live` asks
for tunnels where a user would see it, through packet sockets: see bench/live.py.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bench import live
from bench.program import MissingTool, ask, need
from bench.rounds import Figures, Rounds, Target, add_options, collect, show, tell
from bench.scenario import GRE, Scenario, Tunnels
from tests.lab import Lab

PARTS = ("memory", "live")
WAYS = ("decapsulation", "encapsulation")
FLOWS = (1, 100, 10_000, 200_000)
MASKS = (1, 8, 32)
#: Flows that are spread over the masks.
MASKED = 10_000
#: The most tunnels that the live part has: each has to be learned, packet by packet.
MOST_LIVE = 10_000
#: What workers are given to do.
TASKS = ("workers", "numbers")
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
        with Tunnels(1, replace(GRE, options={"seq": True})) as tunnels:
            numbers = tunnels.write(folder / "numbers", "encapsulation").path
        found = collect(_contenders(scenarios, numbers, arguments.seconds), arguments.rounds)
    last = max(count for count in arguments.tunnels)
    targets = {f"{way}_at_{last}_tunnels": Target(found.median(f"{way}_{last}_ratio"), 1.3) for way in WAYS}
    if last > 10_000 and 10_000 in scenarios:
        targets |= {
            f"{way}_at_10000_tunnels": Target(found.median(f"{way}_10000_ratio"), 1.3) for way in WAYS
        }
    targets["200000_flows"] = Target(found.median(f"flows_{FLOWS[-1]}_ratio"), 2)
    targets["2_workers"] = Target(_gain(found, "workers"), 1.7, at_least=True)
    return _figures(found, scenarios), targets, _table(found, scenarios)


def _undisturbed(found: Rounds, name: str) -> float:
    """The median of the rounds that have it; 0 where both workers never had a processor each."""
    return statistics.median([value for value in found.figures[name] if value] or [0.0])


def _gain(found: Rounds, task: str) -> float:
    """What a second worker brings: by the clock, or else by processor time."""
    return _undisturbed(found, f"{task}_2_wall_gain") or found.median(f"{task}_2_gain")


def _live(arguments: argparse.Namespace) -> Part:
    """Two daemons beside each other, measured in turn; then their next hop changes."""
    need("cc", "ip", "ethtool")
    counts = [1, min(max(arguments.tunnels), MOST_LIVE)]
    if counts[1] == 1:
        tell("no more than one tunnel: the live part has nothing to compare")
        return {}, {}, []
    with Lab() as lab:
        tunnels = live.start(lab, counts)
        found = collect(live.contenders(tunnels, arguments.seconds), arguments.rounds)
        changed: dict[str, float] = {}
        for one in tunnels:
            changed |= one.exchange_next_hop()
    figures: dict[str, Any] = found.medians(1) | {name: round(value, 3) for name, value in changed.items()}
    targets: dict[str, Target] = {}
    table = [f"{'live':>10}" + "".join(f"{way + ' ns':>19}" for way in WAYS) + f"{'another next hop':>20}"]
    for way in WAYS:
        first, many = (f"live_{way}_{count}_ns" for count in counts)
        ratio = found.ratio(many, first)
        figures[f"live_{way}_ratio"] = round(ratio, 3)
        figures[f"live_{way}_spread"] = round(max(found.spread(first), found.spread(many)), 3)
        targets[f"live_{way}_at_{counts[1]}_tunnels"] = Target(ratio, 1.3)
    for count in counts:
        costs = "".join(f"{found.median(f'live_{way}_{count}_ns'):19.0f}" for way in WAYS)
        seconds, misses = changed[f"next_hop_{count}_s"], changed[f"next_hop_{count}_misses"]
        table.append(f"{count:10}{costs}{seconds:8.2f} s,{misses:5.0f} misses")
    return figures, targets, table


def _scenarios(folder: Path, count: int) -> dict[str, Scenario]:
    tell(f"{count} tunnels: links and traces")
    with Tunnels(count) as tunnels:
        return {way: tunnels.write(folder / f"{way}-{count}", way) for way in WAYS}


def _contenders(
    scenarios: dict[int, dict[str, Scenario]], numbers: Path, seconds: float
) -> dict[str, Callable[[], Figures]]:
    """Each is a process in which those that are compared take turns."""
    one = scenarios[1]["decapsulation"].path
    contenders: dict[str, Callable[[], Figures]] = {}

    def run(**named: tuple[int, Path]) -> Callable[[], Figures]:
        words = [f"{name}={workers}*{path}" for name, (workers, path) in named.items()]
        return lambda: ask("engine", "run", seconds, *words)

    for way in WAYS:
        contenders[way] = run(
            **{f"{way}_{count}": (1, written[way].path) for count, written in scenarios.items()}
        )
    for task, path in zip(TASKS, (one, numbers), strict=True):
        contenders[task] = run(**{f"{task}_{workers}": (workers, path) for workers in (1, 2)})
    named = {f"flows_{flows}": f"{flows}x1" for flows in FLOWS}
    contenders["flows"] = partial(_flows, one, seconds, named)
    named = {f"masks_{masks}": f"{MASKED}x{masks}" for masks in MASKS}
    contenders["masks"] = partial(_flows, one, seconds, named)
    return contenders


def _flows(scenario: Path, seconds: float, named: Mapping[str, str]) -> Figures:
    """By name, what a packet costs, and its ratio to the first."""
    said = ask("engine", "flows", scenario, seconds, *named.values())
    return {
        f"{name}_{figure}": said[f"{word}_{figure}"]
        for name, word in named.items()
        for figure in ("ns", "ratio")
    }


def _figures(found: Rounds, scenarios: dict[int, dict[str, Scenario]]) -> dict[str, Any]:
    links = {
        str(count): {
            "link_us": round(written["decapsulation"].link_s * 1e6, 1),
            "link_bytes": round(written["decapsulation"].link_bytes),
            "trace_us": round(sum(written[way].trace_s for way in WAYS) * 1e6, 1),
        }
        for count, written in scenarios.items()
    }
    measured = found.medians(3)
    for task in TASKS:
        for figure in ("wall_mpps", "wall_gain"):
            measured[f"{task}_2_{figure}"] = round(_undisturbed(found, f"{task}_2_{figure}"), 3)
    by = {task: "clock" if measured[f"{task}_2_wall_gain"] else "processor time" for task in TASKS}
    return {**measured, "links": links, "workers_by": by}


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
    lines.append(f"{'workers':>10}{'M packets/s of processor':>26}{'by the clock':>14}{'undisturbed':>13}")
    for task in TASKS:
        for workers in (1, 2):
            name = f"{task}_{workers}"
            title = f"{workers}" if task == "workers" else f"{workers}, seq"
            clock = _undisturbed(found, f"{name}_wall_mpps")
            lines.append(
                f"{title:>10}{found.median(f'{name}_mpps'):26.2f}"
                + (f"{clock:14.2f}" if clock else f"{'-':>14}")
                + f"{100 * found.median(f'{name}_undisturbed'):11.0f} %"
            )
    return lines
