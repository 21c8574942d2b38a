"""`bench engine`: what a packet costs in memory, step by step, in one process.

The flows are what the slow path makes of a gre tunnel on Ethernet.  The yardsticks: copying
1,400 bytes that are hot, reading memory, and two Python libraries that take a frame's
headers off and hand over what was in it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.program import ask
from bench.rounds import Figures, Target, add_options, collect, show
from bench.scenario import Tunnels


def add_command(commands: Any) -> None:
    parser = commands.add_parser("engine", help="cost of a packet in memory: lookup, program, segment, …")
    add_options(parser, seconds=0.5)
    parser.set_defaults(run=run, needs_root=False)


def run(arguments: argparse.Namespace) -> int:
    """Ask the C program and the Python libraries, round after round."""
    with tempfile.TemporaryDirectory() as folder, Tunnels(1) as tunnels:
        ways = {way: tunnels.write(Path(folder, way), way).path for way in ("decapsulation", "encapsulation")}
        frame = tunnels.outer(0)
        seconds = arguments.seconds

        def steps(way: str) -> Figures:
            said = ask("engine", "steps", ways[way], seconds, 1, 1)
            return {f"{way}_ns": said["lookup_and_program_ns"], f"{way}_lookup_ns": said["lookup_ns"]}

        found = collect(
            {
                "decapsulation": lambda: steps("decapsulation"),
                "encapsulation": lambda: steps("encapsulation"),
                "bytes": lambda: ask("engine", "bytes", seconds),
                "segment": lambda: ask("engine", "cut", seconds),
                "coalesce": lambda: ask("engine", "join", seconds),
                "scapy": lambda: {"scapy_ns": _time(_scapy(), frame, seconds)},
                "dpkt": lambda: {"dpkt_ns": _time(_dpkt(), frame, seconds)},
            },
            arguments.rounds,
        )
    targets = {
        "decapsulation_to_memcpy": Target(found.ratio("decapsulation_ns", "memcpy_1400_ns"), 3),
        "checksum_to_read": Target(found.ratio("checksum_gbytes", "read_gbytes"), 0.5, at_least=True),
        "scapy_to_decapsulation": Target(found.ratio("scapy_ns", "decapsulation_ns"), 1000, at_least=True),
        "dpkt_to_decapsulation": Target(found.ratio("dpkt_ns", "decapsulation_ns"), 50, at_least=True),
    }
    medians = found.medians()
    table = [f"{name.replace('_', ' '):26}{value:12.2f}" for name, value in medians.items()]
    return show(arguments, medians, targets, table)


def _scapy() -> Callable[[bytes], bytes]:
    """Decapsulation by scapy; imported here, since that takes a while."""
    from scapy.layers.inet import IP  # noqa: F401  importing it is what makes scapy decode
    from scapy.layers.l2 import GRE, Ether

    return lambda frame: bytes(Ether(frame)[GRE].payload)


def _dpkt() -> Callable[[bytes], bytes]:
    import dpkt

    return lambda frame: bytes(dpkt.ethernet.Ethernet(frame).data.data.data)


def _time(decapsulate: Callable[[bytes], bytes], frame: bytes, seconds: float) -> float:
    """Nanoseconds of processor time a frame."""
    assert len(decapsulate(frame)) == len(frame) - 38
    count = 0
    until = time.monotonic() + seconds
    started = time.thread_time()
    while time.monotonic() < until:
        for _ in range(20):
            decapsulate(frame)
        count += 20
    return (time.thread_time() - started) * 1e9 / count
