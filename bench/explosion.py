"""`bench explosion`: tuple space explosion, and a flood of new flows, from another port.

    near eth0 ── victim's tunnel ── eth0 middle eth1 ── far eth0
    evil eth0 ────────────────────────── eth2 ─┘

The rules of the port `evil` are those of a tenant who may have what he likes (Csikor et al.,
CoNEXT 2019): three that let through one source, one source port, one destination port, and one
that drops the rest.  The frames differ from what is let through in one bit each, so that a
classifier that looks for prefixes gets a mask of its own for each.  They come at 1 Mbit/s,
while the victim's flow sends as much as passes; each contender has one processor for itself.
Then `evil` floods, each frame a new flow, and the victim opens new flows one at a time.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import processors, score
from bench.packets import contenders
from bench.program import need, program
from bench.rounds import Figures, Rounds, Target, add_options, collect, show, tell
from bench.site import CONFIGURATION, FRESH, HERE, OUTER_SIZE, THERE, Site
from tests.lab import Host, Lab
from vdp.testing.builders import ethernet, ipv4, udp

#: 1 Mbit/s of frames of 64 bytes (with checksum, preamble and gap: 84).
BITS, FRAME = 1_000_000, 60
RATE = BITS // (8 * (FRAME + 24))
FLOOD = 50_000
SOURCE, SOURCE_PORT, PORT = 0x0A00000A, 12345, 80
WARM_S = 8.0
STATIONS, STATION = "02:01:00:00:00:00", OUTER_SIZE + 8
PROBES = 300
IP_SOURCE = 14 + 12
_RULES = """
[[port]]
name = "evil"
type = "raw"
interface = "eth2"

[[rule]]
priority = 40
match = { in_port = "evil", ip_src = "10.0.0.10/32" }
actions = ["normal"]

[[rule]]
priority = 30
match = { in_port = "evil", eth_type = "ip", ip_proto = "udp", tp_src = 12345 }
actions = ["normal"]

[[rule]]
priority = 20
match = { in_port = "evil", eth_type = "ip", ip_proto = "udp", tp_dst = 80 }
actions = ["normal"]

[[rule]]
priority = 10
match = { in_port = "evil" }
actions = ["drop"]
"""
_OVS_RULES = (
    "priority=40,in_port=eth2,ip,nw_src=10.0.0.10,actions=normal",
    "priority=30,in_port=eth2,udp,tp_src=12345,actions=normal",
    "priority=20,in_port=eth2,udp,tp_dst=80,actions=normal",
    "priority=10,in_port=eth2,actions=drop",
)


def add_command(commands: Any) -> None:
    parser = commands.add_parser("explosion", help="a victim's rate while another port sends crafted headers")
    add_options(parser)
    parser.add_argument("--no-ovs", action="store_true", help="leave Open vSwitch out")
    parser.add_argument(
        "--warm",
        type=float,
        default=WARM_S,
        help=f"seconds of the attack before it is measured (default {WARM_S:g})",
    )
    parser.set_defaults(run=run, needs_root=True)


def run(arguments: argparse.Namespace) -> int:
    """Build the sites, measure."""
    need("cc", "ip", "ethtool")
    names = contenders(arguments.no_ovs)
    with Lab() as lab:
        crafted = lab.folder / "crafted"
        crafted.write_bytes(b"".join(_crafted()))
        steps: dict[str, Callable[[], Figures]] = {}
        for name in names:
            site, evil = _site(lab, name)
            steps[f"explosion {name}"] = _explosion(name, site, evil, crafted, arguments)
            steps[f"flood {name}"] = _flood(name, site, evil)
        found = collect(steps, arguments.rounds)
    share = found.ratio("vdp_attacked", "vdp_alone")
    targets = {
        "victim_rate": Target(share, 0.8, at_least=True),
        "masks_of_the_port": Target(found.most("vdp_masks"), 16),
        "victim_new_flow_p99_us": Target(found.most("vdp_p99_us"), 50_000),
        "victim_new_flows_lost": Target(found.most("vdp_lost"), 0),
    }
    detail = {name: round(value, 2) for name, value in found.medians().items()}
    is_long = arguments.seconds >= score.SECONDS and arguments.warm >= WARM_S
    if arguments.rounds >= score.ROUNDS and is_long:
        score.record("overload", "R8", share, targets, **detail)
    else:
        owed = f"{score.ROUNDS} rounds of {score.SECONDS:g} s, after {WARM_S:g} s of the attack, are owed"
        tell(f"not kept for the score: {owed}")
    return show(arguments, found.medians(2), targets, _table(found, names))


def _site(lab: Lab, name: str) -> tuple[Site, Host]:
    site, evil = Site.bare(lab, name), lab.host(f"{name}-evil")
    lab.cable(site.middle, "", evil, "", names=("eth2", "eth0"))
    configuration = CONFIGURATION.replace('members = ["lan", "t0"]', 'members = ["lan", "t0", "evil"]')
    site.start(name, configuration=configuration + _RULES)
    if site.peer is not None:
        site.peer.vsctl("add-port", "br-int", "eth2")
        for rule in _OVS_RULES:
            site.peer.ofctl("add-flow", rule)
    site.learn()
    processors.keep(site.pids, processors.two()[1])
    return site, evil


def _crafted() -> list[bytes]:
    """Frames that differ from what is let through in one bit of each field, and behind it at random."""
    chance = random.Random(1)

    def near(value: int, bits: int, at: int) -> int:
        low = bits - 1 - at
        return (value ^ 1 << low) >> low << low | chance.randrange(1 << low)

    frames = []
    for source in range(32):
        for source_port in range(16):
            for port in range(16):
                address = near(SOURCE, 32, source)
                segment = udp(near(SOURCE_PORT, 16, source_port), near(PORT, 16, port), bytes(FRAME - 42))
                packet = ipv4(
                    ".".join(map(str, address.to_bytes(4, "big"))), "10.0.0.20", segment,
                    ttl=chance.randrange(1, 256), tos=chance.randrange(256),
                )  # fmt: skip
                frames.append(ethernet(packet, to=HERE, origin="02:00:00:00:66:66"))
    chance.shuffle(frames)
    return frames


def _rate(site: Site, seconds: float) -> float:
    return site.rate("decapsulation", seconds).arrived


def _explosion(
    name: str, site: Site, evil: Host, crafted: Path, arguments: argparse.Namespace
) -> Callable[[], Figures]:
    def once() -> Figures:
        alone = _rate(site, arguments.seconds)
        attack = evil.start(
            str(program("replay")), "eth0", str(crafted), str(FRAME), str(RATE), name="replay"
        )
        victim = site.send("decapsulation", on=processors.two()[0])
        time.sleep(arguments.warm)  # 8192 frames at this rate take 5.5 s
        victim.stop()
        figures = {f"{name}_alone": alone, f"{name}_attacked": _rate(site, arguments.seconds)}
        figures[f"{name}_masks"] = _masks(site)
        attack.stop()
        return figures

    return once


def _masks(site: Site) -> float:
    """Most masks of a port of vdp; of Open vSwitch all that a lookup may try."""
    if site.peer is not None:
        said = site.peer.appctl("dpctl/dump-flows", "-m")
        return len({_shape(line) for line in said.splitlines() if "in_port(eth2)" in line})
    assert site.daemon is not None
    return float(site.daemon.ask("status")["workers"][0]["different_masks"])


def _shape(line: str) -> str:
    """The masks of a flow that OVS prints, without its values."""
    match = line.split(" actions:")[0].split(", packets:")[0]
    return ",".join(
        part.rpartition("/")[2] if "/" in part else part.partition("=")[0] for part in match.split(",")
    )


def _flood(name: str, site: Site, evil: Host) -> Callable[[], Figures]:
    def once() -> Figures:
        packet = ipv4("10.0.0.0", "10.0.0.20", udp(1, 2, bytes(FRAME - 42)))
        fresh = ethernet(packet, to=HERE, origin="02:00:00:00:66:66").hex()
        flood = evil.start(str(program("sender")), "eth0", fresh, str(FLOOD), str(IP_SOURCE), name="flood")
        time.sleep(1)
        frame = site.outer(site.inner(THERE, STATIONS, FRESH))
        said = json.loads(
            site.near.run(
                str(program("probe")), site.near.name, "eth0", site.far.name, "eth0",
                frame.hex(), str(STATION), f"{FRESH:x}", str(PROBES), timeout=120,
            )
        )  # fmt: skip
        flood.stop()
        return {f"{name}_{key}": value for key, value in said.items()}

    return once


def _table(found: Rounds, names: list[str]) -> list[str]:
    titles = ("alone", "attacked", "left", "masks", "new flow p50", "p99", "lost")
    lines = [f"{'':8}" + "".join(f"{title:>14}" for title in titles)]
    for name in names:
        figures = [found.median(f"{name}_{key}") for key in ("alone", "attacked")]
        left = 100 * found.ratio(f"{name}_attacked", f"{name}_alone")
        rest = [found.median(f"{name}_{key}") for key in ("masks", "p50_us", "p99_us", "lost")]
        lines.append(f"{name:8}" + "".join(f"{value:14.0f}" for value in (*figures, left, *rest)))
    return lines
