"""Two ends of tunnels under traffic and faults, watched by a Prometheus: what dashboards are tried on.

    inside (a) ── tap0, tun0 ── edge1 ══ office (gretap), branch (gre) ══ edge2 ── tap0, tun0 ── (b)

Everything is in namespaces of a laboratory and ends with it; Prometheus runs beside edge1.
"""

from __future__ import annotations

import json
import sys
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.lab import REPOSITORY, Daemon, Host, Lab, LabError, Process, wait_for
from vdp.netlink import namespaces
from vdp.testing.builders import ETH_TEB, gre, icmp, ipv4

PROMETHEUS = "127.0.0.1:9090"
RULES = REPOSITORY / "etc" / "prometheus" / "vdp.rules.yml"
CONSOLES = REPOSITORY / "etc" / "prometheus" / "consoles"
LIBRARIES = REPOSITORY / "etc" / "prometheus" / "console_libraries"
EDGE1, EDGE2 = "192.0.2.1", "192.0.2.2"
#: Where each end has its metrics and its status page; edge1 reaches both.
STATUS_PAGES = {"edge1": f"{EDGE1}:9479", "edge2": f"{EDGE2}:9479"}
#: What a rule drops on purpose: the discard service.
DISCARD = 9
#: EtherType for experiments (IEEE 802): what the moody plugin fails on.
MOODY = 0x88B5

#: A plugin as everybody writes one some day.
_MOODY_PLUGIN = f'''
"""Fails on each packet of one protocol."""

from vdp.api import Datapath, IPv4, Packet, TunnelInfo, Verdict, hookimpl

vdp_api = 1


@hookimpl
def vdp_register(datapath: Datapath) -> None:
    def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        if info.protocol != {MOODY:#x}:
            return Verdict.REJECT
        raise ValueError("this was not meant to happen")

    datapath.registry.list("gre_cisco").add(receive, priority=40, name="moody_rcv", owner="moody")
'''

#: Raw IPv4 packets, in hex as its further arguments, in turn: so many a second, so many in all (0: no end).
_SEND_RAW = """
import itertools, socket, sys, time
rate, count = float(sys.argv[1]), int(sys.argv[2])
out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
packets = [bytes.fromhex(text) for text in sys.argv[3:]]
start = time.monotonic()
for number, packet in enumerate(itertools.cycle(packets)):
    if count and number == count:
        break
    time.sleep(max(0, start + number / rate - time.monotonic()))
    out.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
"""

#: UDP datagrams: address, port, size, so many a second, so many in all (0: no end).
_SEND_UDP = """
import itertools, socket, sys, time
address, port, size, rate, count = sys.argv[1], *map(int, sys.argv[2:])
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
start = time.monotonic()
for number in itertools.count():
    if count and number == count:
        break
    time.sleep(max(0, start + number / rate - time.monotonic()))
    out.sendto(bytes(size), (address, port))
"""


def _configuration(local: str, remote: str, inside: Host, number: int) -> str:
    """One end's.  number: the last of its addresses inside."""
    return f"""
[metrics]
listen = "{local}:9479"

[[port]]
name = "underlay"
type = "raw"
interface = "eth0"

[[port]]
name = "tap0"
type = "tap"
netns = "{inside.name}"
address = ["10.0.0.{number}/24"]
mtu = 1446

[[port]]
name = "tun0"
type = "tun"
netns = "{inside.name}"
address = ["10.0.1.{number}/24"]
mtu = 1472

[[link]]
name = "office"
kind = "gretap"
local = "{local}"
remote = "{remote}"
underlay = "underlay"
key = 42
csum = true

[[link]]
name = "branch"
kind = "gre"
local = "{local}"
remote = "{remote}"
underlay = "underlay"
key = 7

[[bridge]]
name = "br0"
members = ["tap0", "office"]

[[connect]]
members = ["tun0", "branch"]

[[rule]]
priority = 100
match = {{ eth_type = "ipv4", ip_proto = "udp", tp_dst = {DISCARD} }}
actions = ["drop"]

[plugins]
load = ["gre", "gretap", "moody"]
"""


def _install_plugin(folder: Path) -> None:
    """As pip would have installed it."""
    (folder / "vdp_moody.py").write_text(_MOODY_PLUGIN)
    metadata = folder / "vdp_moody-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: vdp-moody\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[vdp]\nmoody = vdp_moody\n")


@dataclass
class Site:
    """The hosts, the daemons and Prometheus."""

    lab: Lab
    edge1: Host
    edge2: Host
    inside1: Host
    inside2: Host
    daemons: list[Daemon] = field(default_factory=list)

    @classmethod
    def of(cls, lab: Lab, scrape_s: int = 1) -> Site:
        """Everything started, each scraped once.  scrape_s: the interval of scrapes and rules."""
        edge1, edge2, inside1, inside2 = map(lab.host, ("edge1", "edge2", "a", "b"))
        site = cls(lab, edge1, edge2, inside1, inside2)
        lab.cable(site.edge1, f"{EDGE1}/24", site.edge2, f"{EDGE2}/24")
        packages = lab.folder / "packages"
        packages.mkdir()
        _install_plugin(packages)
        lab.packages.append(packages)
        site.daemons = [
            lab.vdp(site.edge1, _configuration(EDGE1, EDGE2, site.inside1, 1), wait=False),
            lab.vdp(site.edge2, _configuration(EDGE2, EDGE1, site.inside2, 2), wait=False),
        ]
        for daemon in site.daemons:
            daemon.wait_ready()
        for network in (0, 1):
            site.inside1.wait_ping(f"10.0.{network}.2")
        site._start_prometheus(scrape_s)
        return site

    def _start_prometheus(self, scrape_s: int) -> None:
        folder = self.lab.folder
        targets = [
            {"targets": [address], "labels": {"instance": name}} for name, address in STATUS_PAGES.items()
        ]
        every = f"{scrape_s}s"
        configuration = {
            "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "vdp", "static_configs": targets}],
        }
        file = folder / "prometheus.yml"
        file.write_text(json.dumps(configuration))  # JSON is YAML
        process = self.edge1.start(
            "prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address={PROMETHEUS}", f"--web.console.templates={CONSOLES}",
            f"--web.console.libraries={LIBRARIES}", "--log.level=warn",
        )  # fmt: skip

        def scraped() -> bool:
            if process.status is not None:
                raise LabError(f"prometheus ended with {process.status}\n{process.said()}")
            try:
                return len(self.ask("query", query="vdp_build_info")["result"]) == len(self.daemons)
            except OSError:
                return False

        wait_for("Prometheus to scrape both ends", scraped, 30)

    def wait_scraped(self, after: float) -> float:
        """Until both ends were scraped after that time (of the epoch); the time of the later scrape."""

        def scraped() -> float | None:
            found = self.ask("query", query="timestamp(vdp_ready)")["result"]
            times = [float(series["value"][1]) for series in found]
            return max(times) if len(times) == len(self.daemons) and min(times) > after else None

        return wait_for("a scrape of both ends", scraped, 20)

    def ask(self, what: str, **parameters: Any) -> Any:
        """`data` of the answer of Prometheus' API."""
        return json.loads(self.get(f"/api/v1/{what}?{urllib.parse.urlencode(parameters)}"))["data"]

    def get(self, target: str) -> str:
        """What Prometheus serves there."""

        def read() -> str:
            with urllib.request.urlopen(f"http://{PROMETHEUS}{target}", timeout=10) as answer:
                return str(answer.read().decode())

        return namespaces.run_in(self.edge1.name, read)

    # Traffic and faults ------------------------------------------------------------------------

    def send_udp(self, address: str, size: int, rate: int, count: int = 0, port: int = 5000) -> Process:
        """Datagrams from `a`.  size: of the payload, in bytes; count 0: until the laboratory ends."""
        said = map(str, (address, port, size, rate, count))
        return self.inside1.start(sys.executable, "-c", _SEND_UDP, *said, name="udp")

    def send_broken(self, rate: float, count: int = 0) -> Process:
        """To edge1, in turn: for no link; without the checksum that office wants; what moody fails on; cut;
        and what a router says that can not reach the other end of office.
        """
        outer = partial(ipv4, EDGE2, EDGE1, protocol=47)
        inner = ipv4("10.0.1.2", "10.0.1.1", bytes(40), protocol=17)
        packets = [
            outer(gre(inner, key=666)),
            outer(gre(bytes(60), ETH_TEB, key=42)),
            outer(gre(bytes(40), MOODY, key=7)),
            outer(gre(inner, key=7)[:6]),
            ipv4(
                EDGE2,
                EDGE1,
                icmp(
                    3,
                    1,
                    payload=ipv4(EDGE1, "192.0.2.2", gre(bytes(60), ETH_TEB, key=42, csum=True), protocol=47)[
                        :64
                    ],
                ),
                protocol=1,
            ),
        ]
        said = [str(rate), str(count), *(packet.hex() for packet in packets)]
        return self.edge2.start(sys.executable, "-c", _SEND_RAW, *said, name="broken")

    def serve_iperf(self, port: int = 5201) -> None:
        """In `b`, until the laboratory ends."""
        server = self.inside2.start("iperf3", "-s", "-p", str(port), "--forceflush", name="iperf3-s")
        wait_for("iperf3 to listen", lambda: "listening" in server.out.read_text())

    def fail_reload(self) -> None:
        """A mistake in edge1's file, and a reload."""
        file = self.daemons[0].socket.with_suffix(".toml")
        good = file.read_text()
        file.write_text(good + "\n[engine]\nworkers = -1\n")
        try:
            self.daemons[0].ask("reload", dry_run=False)
        finally:
            file.write_text(good)
