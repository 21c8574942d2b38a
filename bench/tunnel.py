"""`bench tunnel`: gretap between two hosts by vdp, by Open vSwitch (netdev), and no tunnel at all.

Three times the same: two network namespaces joined by a veth pair, MTU 1500.  In the
first a vdp at each end with a TAP behind it; in the second an Open vSwitch at each end
with its internal port; in the third the veth itself.  TCP is one iperf3 stream; packets
are UDP datagrams of 64 bytes sent as fast as iperf3 can, counted where they arrive.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from typing import Any

from bench.rounds import Rounds, measure
from tests.interop.ovs import OvsPeer
from tests.lab import Host, Lab
from tests.tunnels import two_vdp

_PAYLOAD = 64


def add_command(commands: Any) -> None:
    parser = commands.add_parser(
        "tunnel", help="TCP and small packets through gretap: vdp, Open vSwitch, none"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=5, help="paired rounds (default 5)")
    parser.add_argument("--seconds", type=int, default=2, help="length of one measurement (default 2)")
    parser.add_argument(
        "--underlay", choices=("interface", "protocol"), default="interface", help="vdp's form of raw port"
    )
    parser.add_argument("--csum", action="store_true", help="GRE checksums on (vdp and Open vSwitch)")
    parser.add_argument("--no-ovs", action="store_true", help="leave Open vSwitch out")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Build the three, measure, print."""
    options = {"csum": True} if arguments.csum else {}
    with Lab() as lab:
        pairs: dict[str, tuple[Host, Host, str]] = {"vdp": _vdp(lab, arguments.underlay, options)}
        if not arguments.no_ovs and shutil.which("ovs-vswitchd"):
            pairs["ovs"] = _ovs(lab, arguments.csum)
        pairs["veth"] = _veth(lab)
        for sender, _, address in pairs.values():
            sender.wait_ping(address)
        tcp = measure(
            {name: _tcp(*pair, arguments.seconds) for name, pair in pairs.items()}, arguments.rounds, _tell
        )
        packets = measure(
            {name: _packets(*pair, arguments.seconds) for name, pair in pairs.items()},
            arguments.rounds,
            _tell,
        )
    result = {
        "plain": _figures(tcp, "gbps", 3),
        "packets": {**_figures(packets, "pps", 0), "payload_bytes": _PAYLOAD},
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "underlay": arguments.underlay,
        "csum": arguments.csum,
        "kernel": os.uname().release,
        "cpus": os.cpu_count(),
    }
    print(json.dumps(result, indent=2) if arguments.json else _table(result, list(pairs)))
    return 0


def _vdp(lab: Lab, underlay: str, options: dict[str, Any]) -> tuple[Host, Host, str]:
    net = two_vdp(lab, "gretap", underlay, options)
    return net.left_inner, net.right_inner, "10.0.0.2"


def _ovs(lab: Lab, csum: bool) -> tuple[Host, Host, str]:
    left, right = lab.host("ovs-left"), lab.host("ovs-right")
    lab.cable(left, "", right, "")
    ends = (OvsPeer(left, "eth0", "192.0.2.1/24"), OvsPeer(right, "eth0", "192.0.2.2/24"))
    ends[0].add_tunnel("192.0.2.2", "10.0.0.1/24", csum=csum)
    ends[1].add_tunnel("192.0.2.1", "10.0.0.2/24", csum=csum)
    return left, right, "10.0.0.2"


def _veth(lab: Lab) -> tuple[Host, Host, str]:
    left, right = lab.host("veth-left"), lab.host("veth-right")
    lab.cable(left, "192.0.2.1/24", right, "192.0.2.2/24")
    return left, right, "192.0.2.2"


def _tcp(sender: Host, receiver: Host, address: str, seconds: int) -> Callable[[], float]:
    """Gbit/s that arrived, of one TCP stream."""

    def once() -> float:
        report = sender.iperf(receiver, address, seconds=seconds)
        return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9

    return once


def _packets(sender: Host, receiver: Host, address: str, seconds: int) -> Callable[[], float]:
    """Datagrams a second that arrived."""

    def once() -> float:
        end = sender.iperf(receiver, address, seconds=seconds, udp_rate="0", size=_PAYLOAD)["end"]["sum"]
        return float(end["packets"] - end["lost_packets"]) / float(end["seconds"])

    return once


def _figures(rounds: Rounds, unit: str, digits: int) -> dict[str, float]:
    """{"vdp_gbps": …, "ratio_ovs": …, "spread": …}: medians, and vdp's ratio to each other one."""
    figures: dict[str, float] = {}
    for name in rounds.figures:
        figures[f"{name}_{unit}"] = round(rounds.median(name), digits)
    for name in rounds.figures:
        if name != "vdp":
            figures[f"ratio_{name}"] = round(rounds.ratio("vdp", name), 3)
    figures["spread"] = round(max(rounds.spread(name) for name in rounds.figures), 3)
    return figures


def _table(result: dict[str, Any], names: list[str]) -> str:
    titles = {"vdp": "vdp", "ovs": "Open vSwitch", "veth": "no tunnel"}
    lines = [f"{'':14}{'TCP Gbit/s':>12}{'vdp is x':>10}{'packets/s':>12}{'vdp is x':>10}"]
    for name in names:
        tcp, packets = result["plain"], result["packets"]
        line = f"{titles[name]:14}{tcp[f'{name}_gbps']:12.2f}{tcp.get(f'ratio_{name}', 1.0):10.2f}"
        lines.append(f"{line}{packets[f'{name}_pps']:12.0f}{packets.get(f'ratio_{name}', 1.0):10.2f}")
    lines.append(
        f"medians of {result['rounds']} rounds of {result['seconds']} s; spread "
        f"{result['plain']['spread']:.0%} and {result['packets']['spread']:.0%}; "
        f"kernel {result['kernel']}, {result['cpus']} CPUs"
    )
    return "\n".join(lines)


def _tell(line: str) -> None:
    print(line, file=sys.stderr)
