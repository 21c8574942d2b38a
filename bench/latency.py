"""`bench latency`: round trips of a small datagram through the tunnel, idle and beside other traffic.

The other traffic is UDP at a rate that every contender can carry: 1,400 bytes each, one way.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from bench.packets import contenders
from bench.pairs import TITLES, Pair, pairs
from bench.program import need, program
from bench.rounds import Figures, Rounds, Target, add_options, collect, show
from tests.lab import Lab, wait_for

PORT, LOAD_PORT = 7007, 7008
#: Between two round trips, so that both ends go to sleep.
GAP_US = 200
LOAD = "100M"
STATES = ("idle", "loaded")


def add_command(commands: Any) -> None:
    parser = commands.add_parser("latency", help="round trips, idle and loaded: vdp, Open vSwitch, veth")
    add_options(parser)
    parser.add_argument("--no-ovs", action="store_true", help="leave Open vSwitch out")
    parser.set_defaults(run=run, needs_root=True)


def run(arguments: argparse.Namespace) -> int:
    """Build the pairs, measure."""
    need("cc", "ip", "iperf3", "ping")
    names = contenders(arguments.no_ovs, "veth")
    with Lab() as lab:
        made = pairs(lab, names, {})
        for pair in made.values():
            server = pair.receiver.start(str(program("pingpong")), "serve", pair.address, str(PORT))
            wait_for("pingpong", lambda server=server: "ready" in server.out.read_text())  # type: ignore[misc]
        found = collect(
            {
                f"{state} {name}": _ask(name, pair, state, arguments.seconds)
                for state in STATES
                for name, pair in made.items()
            },
            arguments.rounds,
        )
    targets = {}
    if "ovs" in names:
        targets = {
            "idle_p50_to_ovs": Target(found.ratio("idle_vdp_p50_us", "idle_ovs_p50_us"), 1),
            "loaded_p99_to_ovs": Target(found.ratio("loaded_vdp_p99_us", "loaded_ovs_p99_us"), 1),
        }
    return show(arguments, found.medians(1), targets, _table(found, names))


def _ask(name: str, pair: Pair, state: str, seconds: float) -> Callable[[], Figures]:
    def once() -> Figures:
        with _load(pair, seconds) if state == "loaded" else nullcontext():
            said = json.loads(
                pair.sender.run(
                    str(program("pingpong")), "ask", pair.address, str(PORT), str(seconds), str(GAP_US)
                )
            )
        return {f"{state}_{name}_{key}": value for key, value in said.items()}

    return once


@contextmanager
def _load(pair: Pair, seconds: float) -> Iterator[None]:
    """Other traffic the same way, for as long as the block runs."""
    listening = pair.receiver.start(
        "iperf3", "-s", "-1", "-p", str(LOAD_PORT), "-B", pair.address, "--forceflush", name="iperf3-s"
    )
    wait_for("iperf3 to listen", lambda: "listening" in listening.out.read_text())
    client = pair.sender.start(
        "iperf3", "-c", pair.address, "-p", str(LOAD_PORT), "-u", "-b", LOAD, "-l", "1400",
        "-t", str(math.ceil(seconds) + 5), "--forceflush", name="iperf3-c",
    )  # fmt: skip
    wait_for("iperf3 to send", lambda: "connected to" in client.out.read_text())
    try:
        yield
    finally:
        client.stop()
        listening.stop()


def _table(found: Rounds, names: list[str]) -> list[str]:
    lines = [f"{'round trip':14}" + "".join(f"{f'{state} p50':>14}{f'{state} p99':>14}" for state in STATES)]
    for name in names:
        cells = (
            f"{found.median(f'{state}_{name}_{key}'):11.1f} us"
            for state in STATES
            for key in ("p50_us", "p99_us")
        )
        lines.append(f"{TITLES[name]:14}" + "".join(cells))
    return lines
