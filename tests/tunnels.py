"""Tunnels as the datapath and interop tests build them: configurations of vdp, and what must pass.

One vdp end is: a raw port as underlay in one of its two forms; a TAP (gretap) or TUN
(gre) in a namespace of its own, which plays the computer behind the tunnel; the link
between them, by a bridge or a connect.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.lab import Daemon, Host, Lab, wait_for

#: What is set on the link, by the name a test shows.  Linux words: see ip-link(8).
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "key": {"key": 42},
    "csum": {"csum": True},
    "seq": {"seq": True},
    "all": {"key": 42, "csum": True, "seq": True},
}
UNDERLAYS = ("protocol", "interface")
KINDS = ("gretap", "gre")
#: Links of layer 3; all others carry frames.
L3_KINDS = ("gre", "ip6gre", "gue", "gue6")
#: The plugin that gives the kind, of those in examples/plugins.
EXAMPLES = {"vxlan": "vxlan", "vxlan6": "vxlan", "gue": "gue", "gue6": "gue", "guetap": "gue"}
#: Fits into 1500 with every option: 20 IP + 16 GRE + 14 Ethernet.
INNER_MTU = 1450


@dataclass(frozen=True)
class Tunnel:
    """One end's configuration.  underlay: "protocol" or "interface"; inner: namespace of the TAP or TUN."""

    kind: str
    underlay: str
    local: str
    remote: str
    inner: str
    inner_address: str
    options: dict[str, Any] = field(default_factory=dict)
    interface: str = "eth0"
    mtu: int = INNER_MTU
    workers: int = 1  # and queues of its ports that may have several
    offload: bool = True  # of an interface

    @property
    def device(self) -> str:
        return "tun0" if self.kind in L3_KINDS else "tap0"

    @property
    def plugins(self) -> list[str]:
        """Those that give the kind, and take its packets."""
        if self.kind in EXAMPLES:
            return [EXAMPLES[self.kind]]
        takers = ["ip6gre"] if self.kind.startswith("ip6") else ["gre", "gretap"]
        return takers + ["erspan"] * self.kind.endswith("erspan")

    def toml(self) -> str:
        """The file for `vdp -c`."""
        raw = 'protocol = "gre"' if self.underlay == "protocol" else f'interface = "{self.interface}"'
        if self.underlay == "protocol" and self.kind.startswith("ip6"):
            raw += '\nfamily = "ipv6"'
        elif self.underlay == "interface":
            raw += f"\nqueues = {self.workers}\noffload = {json.dumps(self.offload)}"
        options = "\n".join(f"{key} = {json.dumps(value)}" for key, value in self.options.items())
        joined = '[[bridge]]\nname = "br0"' if self.device == "tap0" else "[[connect]]"
        return f"""
[[port]]
name = "underlay"
type = "raw"
{raw}

[[port]]
name = "{self.device}"
type = "{self.device[:3]}"
netns = "{self.inner}"
address = ["{self.inner_address}"]
mtu = {self.mtu}
queues = {self.workers}

[[link]]
name = "t0"
kind = "{self.kind}"
local = "{self.local}"
remote = "{self.remote}"
underlay = "underlay"
{options}

{joined}
members = ["{self.device}", "t0"]

[engine]
workers = {self.workers}

[plugins]
load = {json.dumps(self.plugins)}
"""


@dataclass
class TwoVdp:
    """Two daemons, each in a host, joined by a cable; behind each a host of its own."""

    left: Daemon
    right: Daemon
    left_inner: Host
    right_inner: Host
    left_host: Host
    right_host: Host


def two_vdp(
    lab: Lab, kind: str, underlay: str, options: dict[str, Any], mtu: int = INNER_MTU, workers: int = 1
) -> TwoVdp:
    """Bring up both ends; returns when both daemons are ready."""
    left, right = lab.host("left"), lab.host("right")
    left_inner, right_inner = lab.host("a"), lab.host("b")
    lab.cable(left, "192.0.2.1/24", right, "192.0.2.2/24")
    one, two = ("192.0.2.1", left_inner, "10.0.0.1/24"), ("192.0.2.2", right_inner, "10.0.0.2/24")
    ends = [
        Tunnel(kind, underlay, local, remote, inner.name, address, options, mtu=mtu, workers=workers)
        for (local, inner, address), (remote, *_) in ((one, two), (two, one))
    ]
    daemons = [lab.vdp(host, end.toml(), wait=False) for host, end in zip((left, right), ends, strict=True)]
    for daemon in daemons:
        daemon.wait_ready()
    return TwoVdp(daemons[0], daemons[1], left_inner, right_inner, left, right)


def imbalance(port: dict[str, Any]) -> str:
    """What is wrong with one port's books, "" when they balance (see struct vdp_port_stats)."""
    c = port["counters"]
    came = c["rx_packets"] + c["injected"] + c["cloned"] + c["segmented"]
    went = c["forwarded"] + c["dropped"] + c["consumed"] + c["held"]
    sent = c["tx_packets"] + c["tx_dropped"] + c["tx_queued"]
    if port["type"] == "gro-cell":
        sent = c["rx_packets"] + c["merged"] + c["tx_dropped"] + c["tx_queued"]
    wrong = []
    if came != went:
        wrong.append(f"came {came} != went {went}")
    if c["offered"] != sent:
        wrong.append(f"offered {c['offered']} != sent {sent}")
    return f"{port['name']}: {', '.join(wrong)}: {c}" if wrong else ""


def assert_books_balance(daemon: Daemon) -> None:
    """No packet vanished at any port.  Waits for packets under way to arrive."""
    wrong: list[str] = []

    def balanced() -> bool:
        wrong[:] = [text for text in map(imbalance, daemon.ports().values()) if text]
        return not wrong

    try:
        wait_for("the books to balance", balanced, 5)
    except AssertionError:
        raise AssertionError("\n".join(wrong)) from None


def received_bytes(report: dict[str, Any]) -> int:
    """Of an iperf3 TCP run: what arrived."""
    return int(report["end"]["sum_received"]["bytes"])


def udp_loss(client: Host, server: Host, address: str, *, transfer: str = "600K", rate: str = "10M") -> float:
    """Percentage of datagrams that do not arrive, of UDP at a rate that is little for vdp.

    The least of three attempts: what else runs on a machine may hold up all of a way for longer than the
    kernel's queues before it last.
    """
    least = 100.0
    for _ in range(3):
        report = client.iperf(server, address, transfer=transfer, udp_rate=rate, size=1200)
        least = min(least, float(report["end"]["sum"]["lost_percent"]))
        if least < 1:
            break
    return least
