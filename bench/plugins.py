"""`bench plugins`: what a packet of a third party's protocol costs, beside one of the built-in gre.

The third party is examples/plugins/vdp-mpls, which knows nothing of vdp but its public API.
Both have 8 bytes between the outer IP header and the same inner packet of 64 bytes: gre its
header with a key, mpls a GRE header and a label.  So frames are of one size, as many bytes
come off and go on, and what is left to differ is what the plugins' traces became: match and
program.  Both run in the C program of `bench engine`, in turn, round after round.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from bench.program import ask
from bench.rounds import Figures, Target, add_options, collect, show
from bench.scenario import Sort, Tunnels
from tests.examples.tree import importable
from vdp.testing.builders import ETH_IPV4, gre

KEY = LABEL = 42
MPLS = 0x8847
WAYS = ("decapsulation", "encapsulation")
#: As built in.
BUILT_IN = Sort("gre", ("gre",), {"key": KEY}, gre(b"", ETH_IPV4, key=KEY))
#: In the pipe model, which does as much as gre; in the uniform one TTLs are copied, and checksums made anew.
ENTRY = (LABEL << 12 | 1 << 8 | 64).to_bytes(4, "big")
SORTS = {
    "gre": BUILT_IN,
    "mpls": Sort("mpls", ("gre", "mpls"), {"label": LABEL, "ttl_model": "pipe", "tc": 0}, gre(ENTRY, MPLS)),
    "mpls_uniform": Sort(
        "mpls", ("gre", "mpls"), {"label": LABEL, "ttl_model": "uniform", "tc": 0}, gre(ENTRY, MPLS)
    ),
}
MOST = 1.1


def add_command(commands: Any) -> None:
    parser = commands.add_parser(
        "plugins", help="cost of a packet of a third party's protocol, beside the built-in gre's"
    )
    add_options(parser, seconds=0.5)
    parser.set_defaults(run=run, needs_root=False)


def run(arguments: argparse.Namespace) -> int:
    """Trace a flow of each sort and way, then have the C program run them."""
    with tempfile.TemporaryDirectory() as folder:
        paths = _write(Path(folder))

        def cost(sort: str, way: str) -> Figures:
            said = ask("engine", "steps", paths[sort, way], arguments.seconds, 1, 1)
            return {f"{way}_{sort}_ns": said["lookup_and_program_ns"]}

        contenders = {
            f"{sort} {way}": lambda sort=sort, way=way: cost(sort, way) for way in WAYS for sort in SORTS
        }
        found = collect(contenders, arguments.rounds)
    targets = {
        f"{way}_mpls_to_gre": Target(found.ratio(f"{way}_mpls_ns", f"{way}_gre_ns"), MOST) for way in WAYS
    }
    medians = found.medians()
    table = [f"{name.replace('_', ' '):30}{value:12.2f}" for name, value in medians.items()]
    return show(arguments, medians, targets, table)


def _write(folder: Path) -> dict[tuple[str, str], Path]:
    """A scenario of each sort and way.  Their frames have one size, or it would be no comparison."""
    paths = {}
    sizes = set()
    with importable("mpls"):
        for name, sort in SORTS.items():
            with Tunnels(1, sort) as tunnels:
                sizes.add(len(tunnels.outer(0)))
                for way in WAYS:
                    paths[name, way] = tunnels.write(folder / f"{name}-{way}", way).path
    assert len(sizes) == 1, f"frames of {sizes} bytes"
    return paths
