"""What faults are made in: a vdp between hosts, run as a service, with traffic that nobody of it counts.

    left ─ tap0 ┐                                          ┌ tap0 ─ right
                br0 ─ gt0 ══ GRE over eth0 (wan) ══ gt0 ─ br0            numbered datagrams, TCP
    p ─ eth1 (pa) ─ br1 ─ (pb) eth2 ─ q                                  "others": datagrams only

The daemon under test runs under a service manager that keeps its descriptors; the one behind the
tunnel is left alone.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.lab import Daemon, Lab, wait_for
from tests.service_manager import ServiceManager, serve
from tools.faults.distributions import install
from tools.faults.flows import Datagrams, Stream, Window
from vdp.control.errors import ControlError, DaemonUnreachable
from vdp.control.remote import RemoteView
from vdp.status import Finding, Sample, findings, rates

RATE = 20_000
OTHERS_RATE = 2_000
#: Within which a fault must be in what `vdp status` and `vdp top` say.
NOTICE_S = 1.0
#: Rates are of at most that long.
RATES_S = 0.5

PORTS = """
[[port]]
name = "tap0"
type = "tap"
netns = "{left}"
address = ["10.1.0.1/24"]
mtu = 1400
[[port]]
name = "wan"
type = "raw"
interface = "eth0"
[[port]]
name = "pa"
type = "raw"
interface = "eth1"
[[port]]
name = "pb"
type = "raw"
interface = "eth2"
[[link]]
name = "gt0"
kind = "gretap"
local = "192.0.2.1"
remote = "192.0.2.2"
underlay = "wan"
key = 1
[[bridge]]
name = "br0"
members = ["tap0", "gt0"]
[[bridge]]
name = "br1"
members = ["pa", "pb"]
[plugins]
load = ["gretap", "unruly"]
[metrics]
listen = "127.0.0.1:9479"
"""
FAR = """
[[port]]
name = "tap0"
type = "tap"
netns = "{right}"
address = ["10.1.0.2/24"]
mtu = 1400
[[port]]
name = "wan"
type = "raw"
interface = "eth0"
[[link]]
name = "gt0"
kind = "gretap"
local = "192.0.2.2"
remote = "192.0.2.1"
underlay = "wan"
key = 1
[[bridge]]
name = "br0"
members = ["tap0", "gt0"]
[plugins]
load = ["gretap"]
[metrics]
enabled = false
"""


class World:
    """Hosts, two daemons, and flows that run from the start."""

    def __init__(self, patience: float = 1.0) -> None:
        """patience: see Outcome."""
        self.patience = patience
        self.lab = lab = Lab()
        self._samples: list[Sample] = []
        lab.packages.append(install(lab.folder / "packages"))
        try:
            self.left, self.right = lab.host("left"), lab.host("right")
            self.near, self.far = lab.host("near"), lab.host("far")
            self.p, self.q = lab.host("p"), lab.host("q")
            self.cable_wan()
            self.cable_others()
            self.far_daemon = lab.vdp(self.far, FAR.format(right=self.right.name))
            self.configuration = PORTS.format(left=self.left.name)
            self.manager: ServiceManager
            self.daemon: Daemon
            self.manager, self.daemon = serve(lab, self.near, self.configuration, watchdog_s=3)
            self.daemon.wait_ready()
            self.left.wait_ping("10.1.0.2")
            self.p.wait_ping("10.2.0.2")
        except BaseException:
            self.close()
            raise

    def cable_wan(self) -> None:
        self.lab.cable(self.near, "192.0.2.1/24", self.far, "192.0.2.2/24")

    def cable_others(self) -> None:
        self.lab.cable(self.near, "", self.q, "10.2.0.2/24", names=("eth2", "eth0"))
        self.cable_p()

    def cable_p(self) -> None:
        """Also again, when eth1 is gone."""
        self.lab.cable(self.near, "", self.p, "10.2.0.1/24", names=("eth1", "eth0"))
        self.introduce()

    def introduce(self) -> None:
        """p and q know each other for good: neighbours that are asked for anew are not vdp's time."""
        for host, other, address in ((self.p, self.q, "10.2.0.2"), (self.q, self.p, "10.2.0.1")):
            mac = other.run("cat", "/sys/class/net/eth0/address").strip()
            host.ip("neigh", "replace", address, "lladdr", mac, "dev", "eth0", "nud", "permanent")

    def close(self) -> None:
        """Take all of it away."""
        self.lab.close()

    # -- traffic ----------------------------------------------------------------------------------

    @cached_property
    def main(self) -> Datagrams:
        """From left to right, through the tunnel."""
        flow = Datagrams(self.left, self.right, "10.1.0.2", RATE)
        flow.wait()
        return flow

    @cached_property
    def others(self) -> Datagrams:
        """From p to q."""
        flow = Datagrams(self.p, self.q, "10.2.0.2", OTHERS_RATE)
        flow.wait()
        return flow

    @cached_property
    def stream(self) -> Stream:
        """TCP from left to right."""
        stream = Stream(self.left, self.right, "10.1.0.2")
        stream.wait()
        return stream

    def undisturbed(self, act: Callable[[], None], *flows: Datagrams) -> list[Window]:
        """What became of the datagrams of these flows while `act` ran."""
        for flow in flows:
            flow.begin()
        act()
        return [flow.end() for flow in flows]

    # -- what vdp says ----------------------------------------------------------------------------

    def wrong(self) -> list[Finding]:
        """What it finds wrong now, and in the rates of the last fraction of a second."""
        sample = Sample.take(RemoteView(str(self.daemon.socket)), time.monotonic())
        self._samples = [each for each in self._samples if sample.at - each.at < RATES_S]
        oldest = self._samples[0] if self._samples else None
        if oldest is not None and oldest.status["pid"] != sample.status["pid"]:
            self._samples, oldest = [], None
        self._samples.append(sample)
        return findings(sample, rates(sample, oldest))

    def finds(self, pattern: str, within_s: float = NOTICE_S) -> bool:
        """Whether it finds that wrong (subject and sentence), by then."""
        return self._comes_true(lambda: any(self._matches(pattern, each) for each in self.wrong()), within_s)

    def is_over(self, pattern: str, within_s: float = NOTICE_S) -> bool:
        """Whether it finds that wrong no more, by then."""
        return self._comes_true(
            lambda: not any(self._matches(pattern, each) for each in self.wrong()), within_s
        )

    @staticmethod
    def _matches(pattern: str, finding: Finding) -> bool:
        return re.search(pattern, f"{finding.subject}: {finding.sentence}") is not None

    def _comes_true(self, is_so: Callable[[], bool], within_s: float) -> bool:
        deadline = time.monotonic() + within_s * self.patience
        while True:
            with contextlib.suppress(ControlError, DaemonUnreachable, OSError):
                if is_so():
                    return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)

    def log_mark(self) -> int:
        """Where its log ends now."""
        return self.manager.log.stat().st_size

    def log_lines(self, mark: int, pattern: str) -> int:
        """Lines of its log since then that match."""
        with self.manager.log.open("rb") as log:
            log.seek(mark)
            text = log.read().decode(errors="replace")
        return sum(1 for line in text.splitlines() if re.search(pattern, line))

    # -- what it holds --------------------------------------------------------------------------

    def fds(self) -> int:
        """Open descriptors of the daemon."""
        return len(list(Path(f"/proc/{self.manager.pid}/fd").iterdir()))

    def rss_kb(self) -> int:
        """Memory of the daemon."""
        status = Path(f"/proc/{self.manager.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        return int(found.group(1)) if found else 0

    def cpu_s(self) -> float:
        """Processor time of the daemon, all threads."""
        fields = Path(f"/proc/{self.manager.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def imbalance(self) -> int:
        """By how many packets the books of its ports do not balance: 0, or packets vanished."""
        return sum(map(_imbalance, self.daemon.ports().values()))

    def ready(self, starts: int = 0) -> None:
        """Until it serves, both flows flow, and nothing is wrong."""
        if starts:
            self.manager.wait_ready(starts)
        self.daemon.wait_ready()
        for flow in (self.main, self.others):
            wait_for("datagrams to flow again", flow.is_flowing, 20)


def _imbalance(port: dict[str, Any]) -> int:
    """engine.h, struct vdp_port_stats."""
    c = port["counters"]
    came = c["rx_packets"] + c["injected"] + c["cloned"] + c["segmented"]
    went = c["forwarded"] + c["dropped"] + c["consumed"] + c["held"]
    left = c["tx_packets"] + c["tx_dropped"] + c["tx_queued"]
    if port["type"] == "gro-cell":
        left = c["rx_packets"] + c["merged"] + c["tx_dropped"] + c["tx_queued"]
    return abs(int(came - went)) + abs(int(c["offered"] - left))
