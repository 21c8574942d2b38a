"""R11, R12 and R13 of the release's score: what strangers get through, amplification, confinement.

    python -m tests.security.figures [FILE]

writes them from full runs into FILE (build/score/security.json); the tests beside this take a part of each.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from tests.lab import REPOSITORY
from tests.security.strangers import LINKS, strangers
from vdp.engine._native import lib
from vdp.engine.interface import PacketType
from vdp.engine.native import NativeEngine
from vdp.forwarding.routes import Route
from vdp.testing import builders as b
from vdp.testing.dataplane import Dataplane

A, B = "192.0.2.1", "192.0.2.2"
L2, L3 = PacketType.L2, PacketType.L3
SCORE = REPOSITORY / "build" / "score" / "security.json"
#: What one input may cost: a packet for each egress port, and these bytes for each header put on
#: (IPv6 with the encapsulation limit, UDP, GRE with all options, Ethernet).
MOST_ADDED = 78
#: An ICMPv6 error at most (RFC 4443 2.4 c).
ICMP_MOST = 1280
#: What fits everywhere, headers and all; a larger packet may have to be cut, into pieces of some size.
FITS, LEAST_PIECE = 1300, 1200


# -- R12: amplification -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Worst:
    """What the worst input cost: packets at one egress port, and bytes beyond its own there."""

    inputs: int
    packets: int
    added: int
    by: str


def sites() -> Iterator[tuple[str, Dataplane]]:
    """Dataplanes in which an input can go furthest: routed, bridged, tunnel to tunnel."""
    plane = Dataplane(plugins=("gre", "gretap", "wccp", "keepalive"))
    for name in ("underlay", "lan", "lan3"):
        plane.port(name, L3, mtu=1500)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.link("gre2", "gre", local=A, remote="192.0.2.3", key=7, csum=True, seq=True)
    plane.route(
        Route(ip_network("10.10.0.0/16"), "lan"),
        Route(ip_network("10.20.0.0/16"), "gre1"),
        Route(ip_network("0.0.0.0/0"), "gre2"),
    )
    yield "routed", plane
    plane = Dataplane(plugins=("gre", "gretap"))
    plane.port("underlay", L3, mtu=1500)
    for name in ("tap0", "tap1"):
        plane.port(name, L2, mtu=1500)
    plane.link("gt1", "gretap", local=A, remote=B)
    plane.bridge("br0", "tap0", "tap1", "gt1")
    yield "bridged", plane
    plane = Dataplane(plugins=("gre", "gretap", "ip6gre"))
    for name in ("underlay", "underlay6"):
        plane.port(name, L3, mtu=1500)
    plane.port("tap0", L2, mtu=1500)
    plane.link(
        "g6", "ip6gretap", underlay="underlay6", local="2001:db8::1", remote="2001:db8::2", key=1, csum=True
    )
    plane.link("gt1", "gretap", local=A, remote=B)
    plane.bridge("br0", "g6", "gt1", "tap0")
    yield "tunnel to tunnel", plane


def inputs(chance: random.Random) -> Iterator[bytes]:
    """Packets of every sort that asks for an answer, a copy, a loop or an error; and broken ones."""
    pick = chance.choice
    while True:
        source = pick(
            (B, B, "192.0.2.3", "10.20.0.5", "10.10.0.5", A, "224.0.0.1", "255.255.255.255", "0.0.0.0")
        )
        target = pick((A, B, "10.20.0.9", "10.10.0.9", "224.0.0.5", "255.255.255.255", "198.51.100.1"))
        size = pick((0, 1, 20, 100, 1400, 1472, 1480, 4000, 60000))
        body, protocol = pick(
            (
                (b.udp(1, pick((2, 53, 4754)), bytes(size)), None),
                (b.icmp(pick((0, 3, 8, 11, 12)), pick((0, 3, 4)), 0, bytes(min(size, 600))), 1),
                (b.tcp(1, 2, bytes(size)), None),
            )
        )
        packet = b.ipv4(source, target, body, protocol=protocol, ttl=pick((0, 1, 2, 64, 255)),
                        flags=pick((0, 2, 1)), fragment=pick((0, 0, 0, 1, 185)))  # fmt: skip
        for _ in range(pick((0, 1, 1, 1, 2, 3, 16))):
            inside, protocol = pick(
                ((packet, 0x0800), (packet, 0x86DD), (packet, 0x883E), (b.ethernet(packet), 0x6558), (b"", 0))
            )
            if pick((False, False, True)) and protocol == 0x6558:
                inside = b"\xff" * 6 + inside[6:]
            header = b.gre(inside, protocol, key=pick((None, None, 7, 8)), csum=pick((True, False)),
                           sequence=pick((None, 1)), flags=pick((0, 0, 0, chance.getrandbits(16))),
                           )  # fmt: skip
            if len(header) > 65000:
                break
            packet = b.ipv4(pick((source, B, "192.0.2.3")), pick((A, A, target)), header, protocol=47,
                            flags=pick((0, 2)), ttl=pick((1, 64)))  # fmt: skip
        if chance.random() < 0.2:
            packet = packet[: chance.randrange(len(packet))]
        if chance.random() < 0.2 and packet:
            at = chance.randrange(len(packet))
            packet = packet[:at] + bytes([chance.getrandbits(8)]) + packet[at + 1 :]
        yield packet


def amplification(count: int, seed: int = 12) -> Worst:
    """The worst of so many inputs, each alone, at every port of every site; one that is cut counts as one.

    A port is where packets leave vdp, or a link: what a bridge copies to several tunnels of one
    underlay is one packet for each of those.  An error to the sender counts as a packet.
    """
    chance = random.Random(seed)
    worst = Worst(0, 0, -(1 << 30), "")
    made = 0
    for site, plane in sites():
        with plane:
            names = list(plane.datapath.ports)
            source = inputs(chance)
            while made < count * (1 + ("routed", "bridged", "tunnel to tunnel").index(site)) // 3:
                packet, port = next(source), chance.choice(names)
                frame = b.ethernet(packet, to=chance.choice(("ff:ff:ff:ff:ff:ff", "02:00:00:00:00:02")))
                data = frame if plane.datapath.ports[port].packet_type is L2 else packet
                made += 1
                worst = _worse(worst, plane, site, port, data)
                if made % 500 == 0:
                    plane.pass_time(5)
    return Worst(made, worst.packets, worst.added, worst.by)


def _worse(worst: Worst, plane: Dataplane, site: str, port: str, data: bytes) -> Worst:
    plane.send(port, data)
    for egress in plane.datapath.ports:
        out = plane.received(egress)
        if not out:
            continue
        # An error about it is as large as it may be, whatever the input was (RFC 1812 4.3.2.3).
        back = egress == port
        most = max(len(data) + MOST_ADDED * len(out), ICMP_MOST if back else 0)
        assert sum(map(len, out)) <= most, (site, port, egress, data[:64].hex())
        added = 0 if back else max(map(len, out)) - len(data)
        packets = len(out)
        if len(data) > FITS:
            assert packets <= 1 + len(data) // LEAST_PIECE, data[:64].hex()
            packets = min(packets, 1)
        if (packets, added) > (worst.packets, worst.added):
            by = f"{site}, {port} to {egress}: {data[:64].hex()}"
            worst = Worst(0, packets, max(worst.added, added), by)
    return worst


# -- R13: confinement ---------------------------------------------------------------------

UNIT = REPOSITORY / "etc" / "systemd" / "vdp.service"


def exposure(unit: Path = UNIT) -> float:
    """What `systemd-analyze security` makes of the unit: 0 (best) to 10."""
    told = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", "--json=off", str(unit)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    last = [line for line in told.stdout.splitlines() if "Overall exposure level" in line]
    assert last, told.stdout[-400:] + told.stderr
    return float(last[0].split(":")[1].split()[0])


def worker_capabilities() -> int:
    """CapEff of a worker's thread that runs."""
    with NativeEngine() as engine:
        before = set(threads())
        engine.start()
        new = set(threads()) - before
        assert len(new) == 1
        return int(status(new.pop())["CapEff"], 16)


def threads() -> list[str]:
    return [path.name for path in Path("/proc/self/task").iterdir()]


def status(thread: str) -> dict[str, str]:
    """/proc/PID/status of one of our threads."""
    lines = Path(f"/proc/self/task/{thread}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def figures(packets: int, unanswered: int, tried: int) -> dict[str, dict[str, Any]]:
    """packets, unanswered: strangers', where they may have answers, and where none is configured."""
    told, untold = strangers(packets, silent=False), strangers(unanswered, silent=True)
    worst, score = amplification(tried), exposure()
    held, calls = worker_capabilities(), int(lib.vdp_confined_calls())
    return {
        "R11": {
            "figure": told["forwarded"] + untold["forwarded"],
            "met": told["forwarded"] + untold["forwarded"] + untold["replies"] == 0,
            "detail": f"of {told['distinct']:,} different packets, to {len(LINKS)} kinds of links; "
            f"ICMP errors sent: {told['replies']} to {packets:,}, as Linux, and "
            f"{untold['replies']} to {unanswered:,} with port_unreachable = false",
        },
        "R12": {
            "figure": worst.packets,
            "met": worst.packets == 1 and worst.added <= MOST_ADDED,
            "detail": f"packets, the worst of {worst.inputs:,} inputs at one port, no GSO packet among them; "
            f"at most {worst.added} "
            f"bytes more than came in ({worst.by})",
        },
        "R13": {
            "figure": score,
            "met": score <= 2.5 and not held and calls <= 40,
            "detail": f"systemd-analyze security; worker: capabilities {held:#x}, {calls} system calls",
        },
    }


def main(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    found = figures(packets=80_000, unanswered=20_000, tried=30_000)
    path.write_text(json.dumps(found, indent=2) + "\n")
    for name, figure in found.items():
        print(f"{name}: {figure['figure']} ({figure['detail']})")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SCORE)
