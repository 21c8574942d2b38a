"""A tunnel's end in the middle of two hosts, with frames that are made there and counted there.

    near eth0 ── underlay ── eth0 middle eth1 ── the network behind it ── eth0 far

Frames for the tunnel are sent by `near` as the other end would send them, and arrive at
`far` as they are; those that `far` sends arrive at `near` in the tunnel's headers.  The
middle is one of three: vdp (which may send by AF_XDP), Open vSwitch with its user-space
datapath, or the C program that only moves bytes.  The kernels of near and far take no part:
no frame is for them.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from functools import partial

from bench import processors
from bench.program import need, program
from tests.interop.ovs import OvsPeer
from tests.lab import Daemon, Host, Lab, Process, wait_for
from vdp.testing.builders import ETH_TEB, IP_GRE, ethernet, gre, ipv4

LOCAL, REMOTE = "192.0.2.1", "192.0.2.2"
#: The stations behind either end of the tunnel, and the next hop that the middle sends to.
HERE, THERE, NEXT_HOP = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:99"
#: EtherTypes for experiments (IEEE 802): what is established, and what is new.
STEADY, FRESH = 0x88B5, 0x88B6
#: With its checksum behind it 64 bytes, the least that Ethernet has.
FRAME_SIZE = 60
OUTER_SIZE = 14 + 20 + 4

CONFIGURATION = f"""
[[port]]
name = "underlay"
type = "raw"
interface = "eth0"

[[port]]
name = "lan"
type = "raw"
interface = "eth1"

[[link]]
name = "t0"
kind = "gretap"
local = "{LOCAL}"
remote = "{REMOTE}"
underlay = "underlay"

[[bridge]]
name = "br0"
members = ["lan", "t0"]

[plugins]
load = ["gretap"]
"""


def _by_xdp(configuration: str) -> str:
    return configuration.replace('type = "raw"', 'type = "raw"\ntransmit = "xdp"')


@dataclass(frozen=True)
class Rate:
    """Frames a second that arrived, and that were offered; nanoseconds of processor for one that arrived."""

    arrived: float
    offered: float
    cost_ns: float


@dataclass
class Site:
    """The three hosts, and what runs in the middle."""

    near: Host
    middle: Host
    far: Host
    #: MAC address of the middle on the underlay; Open vSwitch's bridge gets the interface's.
    mac: str
    processes: list[Process] = field(default_factory=list)
    daemon: Daemon | None = None
    peer: OvsPeer | None = None
    #: Processes that packets pass through.
    pids: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, lab: Lab, contender: str) -> Site:
        """A site with that contender started: "vdp", "vdp_xdp", "ovs" or "forwarder"."""
        site = cls.bare(lab, contender)
        site.start(contender)
        return site

    @classmethod
    def bare(cls, lab: Lab, contender: str, name: str = "") -> Site:
        """Hosts and cables only.  Open vSwitch takes the underlay's address for itself.

        name: of the hosts, where a contender has more than one site.
        """
        near, middle, far = (lab.host(f"{name or contender}-{place}") for place in ("near", "middle", "far"))
        lab.cable(near, f"{REMOTE}/24", middle, f"{LOCAL}/24" if contender.startswith("vdp") else "")
        lab.cable(middle, "", far, "", names=("eth1", "eth0"))
        for device in ("eth0", "eth1"):  # the sender's frames need NAPI on this side
            middle.run("ethtool", "-K", device, "gro", "on")
        mac = middle.run("cat", "/sys/class/net/eth0/address").strip()
        return cls(near, middle, far, mac)

    def start(
        self, contender: str, *, wait: bool = True, settings: str = "", configuration: str = CONFIGURATION
    ) -> None:
        """Start the contender; without `wait` it need not be ready.  configuration: of vdp."""
        if contender.startswith("vdp"):
            configuration = _by_xdp(configuration) if contender == "vdp_xdp" else configuration
            self.middle.ip("neigh", "replace", REMOTE, "lladdr", NEXT_HOP, "dev", "eth0", "nud", "permanent")
            self.daemon = self.middle.lab.vdp(self.middle, settings + configuration, wait=wait)
            self.processes = [self.daemon.process]
            self.pids = [self.daemon.process.pid]
        elif contender == "ovs":
            need("ovs-vswitchd", "ovsdb-server")
            peer = self.peer = OvsPeer(self.middle, "eth0", f"{LOCAL}/24")
            peer.vsctl("set", "bridge", "br-phy", f'other-config:hwaddr="{self.mac}"')
            peer.add_tunnel(REMOTE, "10.0.0.1/24")
            peer.vsctl("add-port", "br-int", "eth1")
            peer.appctl("tnl/neigh/set", "br-phy", REMOTE, NEXT_HOP)
            self.pids = [int((peer.folder / "ovs-vswitchd.pid").read_text())]
        else:
            header = self.outer(b"")[:OUTER_SIZE]
            self.processes = [
                self.middle.start(str(program("forwarder")), "eth0", "eth1", header.hex(), name="forwarder")
            ]
            self.pids = [self.processes[0].pid]

    # -- frames ---------------------------------------------------------------------------

    @staticmethod
    def inner(to: str, origin: str, type: int = STEADY) -> bytes:
        """A frame of the least size between two stations."""
        return ethernet(bytes(FRAME_SIZE - 14), to=to, origin=origin, ethertype=type)

    def outer(self, frame: bytes) -> bytes:
        """The same in the tunnel, as it comes to the middle."""
        packet = ipv4(REMOTE, LOCAL, gre(frame, ETH_TEB), protocol=IP_GRE)
        return ethernet(packet, to=self.mac, origin=NEXT_HOP)

    # -- traffic --------------------------------------------------------------------------

    def send(self, way: str, rate: int = 0, on: int | None = None) -> Process:
        """Have frames sent until the process is stopped: for "decapsulation" or "encapsulation".

        on: the processor that sends, and on which the middle's kernel then receives.
        """
        if way == "decapsulation":
            host, frame = self.near, self.outer(self.inner(THERE, HERE))
        else:
            host, frame = self.far, self.inner(HERE, THERE)
        command = [str(program("sender")), "eth0", frame.hex(), str(rate)]
        return host.start(*processors.kept_to(on), *command, name="sender")

    def receiver(self, way: str) -> Host:
        return self.far if way == "decapsulation" else self.near

    def received(self, way: str) -> int:
        """Frames that the far end of a cable got: the kernel's count."""
        return int(self.receiver(way).run("cat", "/sys/class/net/eth0/statistics/rx_packets"))

    def learn(self) -> None:
        """Let both stations be known: until frames pass either way."""
        for way in ("decapsulation", "encapsulation", "decapsulation"):
            before = self.received(way)
            sender = self.send(way, 100)
            wait_for(f"frames by {way}", partial(self._passed, way, before + 3))
            sender.stop()

    def _passed(self, way: str, count: int) -> bool:
        return self.received(way) >= count

    def rate(self, way: str, seconds: float) -> Rate:
        """As many frames as there can be: the sender has a processor, and the middle another one."""
        sending, forwarding = processors.two()
        processors.keep(self.pids, forwarding)
        sender = self.send(way, on=sending)
        before = self.received(way)
        wait_for(f"frames by {way}", partial(self._passed, way, before + 100))
        first, used, started = self.received(way), processors.used_ns(self.pids), time.monotonic()
        time.sleep(seconds)
        count, took = self.received(way) - first, time.monotonic() - started
        spent = processors.used_ns(self.pids) - used
        sender.stop()
        said = json.loads(sender.out.read_text())
        return Rate(count / took, said["sent"] / said["seconds"], spent / max(count, 1))
