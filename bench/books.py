"""`bench books`: mixed, broken and dropped packets in memory, and every one of them counted once.

A port goes down and up, queues and the pool run full, cells and groups overflow, the slow path
answers in every way it can.  Each port's equations, those of all together, and what sender and
receiver count themselves must agree to the packet; bench/c/books.c has them.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from bench.program import ask
from bench.rounds import Target

PACKETS = 10_000_000


def add_command(commands: Any) -> None:
    parser = commands.add_parser("books", help="do the counters account for every packet?")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--packets", type=int, default=PACKETS, help=f"to send (default {PACKETS:,})")
    parser.add_argument("--seed", type=int, default=1, help="of the random packets (default 1)")
    parser.set_defaults(run=run, needs_root=False)


def run(arguments: argparse.Namespace) -> int:
    """Send them all once; 1 when the books do not balance."""
    found: dict[str, Any] = ask("books", arguments.packets, arguments.seed, timeout=1800)
    reasons = found.pop("reasons")
    target = Target(found["difference"], 0)
    if arguments.json:
        print(json.dumps({**found, "reasons": reasons, "targets": {"difference": target.json()}}, indent=2))
    else:
        for name, count in found.items():
            print(f"{name:22}{count:14,}")
        for name, count in sorted(reasons.items(), key=lambda item: -int(item[1])):
            print(f"  {name:20}{count:14,}")
    return 0 if target.is_met else 1
