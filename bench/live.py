"""The live part of `bench scale`: what a packet costs vdp where it has one tunnel, and where it has many.

Real frames through packet sockets, by the C sender, at two daemons that differ in the number of
their links only: gretap links that differ by their keys, and a bridge.  Behind each tunnel is a
station of its own.  Of many tunnels each has its turn, so that no packet in a batch is of the
tunnel of another one.  The cost is processor time of the daemon, the kernel's work for it in
system calls included, by packets that arrived at the far end; neither is counted by vdp.

At the end the next hop of all tunnels gets another MAC address, while packets are sent to all:
how long Python has to do with that, and how many packets it has to decide.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from bench.program import program
from bench.rounds import Figures, tell
from bench.site import LOCAL, NEXT_HOP, OUTER_SIZE, REMOTE, THERE, Site
from tests.lab import Daemon, Lab, Process, wait_for
from vdp.testing.builders import ETH_TEB, IP_GRE, ethernet, gre, ipv4

#: Stations behind the tunnels: the last four bytes are the tunnel's number, as its key is.
STATIONS = "02:01:00:00:00:00"
KEY_SIZE = 4
#: What no bridge passes on (IEEE 802.1Q, 8.6.3).
NEAREST_BRIDGE = "01:80:c2:00:00:0e"
#: Where the number is: the key, and the source of the frame inside; the destination of one that is
#: to go to a station.
KEY, SOURCE, STATION = OUTER_SIZE, OUTER_SIZE + KEY_SIZE + 8, 2
WAYS = ("decapsulation", "encapsulation")
#: What the next hop is exchanged for.
OTHER_HOP = "02:00:00:00:00:98"
#: Frames a second while flows are established: more than Python serves, and each comes again.
LEARNING = 20_000
#: How long Python may need for the flows of all tunnels.
LEARN_S = 200
#: Turns of all tunnels that a change may take to be heard of.
LEAST_PASSES = 3
#: Flows stay, whoever has his turn; a worker that waits sleeps, so that its time is work.
SETTINGS = """
[engine]
upcall_rate = 1000000
upcall_queue = 8192
flow_idle_s = 86400
poll_us = 0
"""


def configuration(numbers: range) -> str:
    """A bridge of the network behind and of one tunnel for each number."""
    ports = "".join(
        f'[[port]]\nname = "{name}"\ntype = "raw"\ninterface = "{interface}"\n'
        for name, interface in (("underlay", "eth0"), ("lan", "eth1"))
    )
    links = "".join(
        f'[[link]]\nname = "t{number}"\nkind = "gretap"\nlocal = "{LOCAL}"\nremote = "{REMOTE}"\n'
        f'key = {number}\nunderlay = "underlay"\n'
        for number in numbers
    )
    members = ", ".join(f'"{name}"' for name in ("lan", *(f"t{number}" for number in numbers)))
    bridge = f'[[bridge]]\nname = "br0"\nageing_s = 86400\nmembers = [{members}]\n'
    return f'{ports}{links}{bridge}[plugins]\nload = ["gretap"]\n'


class LiveTunnels:
    """A daemon with so many tunnels between two hosts, all of whose flows are established."""

    def __init__(self, lab: Lab, count: int) -> None:
        self.count = count
        self.site = Site.bare(lab, "vdp", f"vdp-{count}")
        for host in (self.site.near, self.site.middle, self.site.far):
            # What hosts send of their own would be flooded to each of the tunnels.
            host.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        self.site.start(
            "vdp", wait=False, settings=SETTINGS, configuration=configuration(range(1, count + 1))
        )
        assert self.site.daemon is not None
        self.daemon: Daemon = self.site.daemon
        self.daemon.wait_ready(timeout=120)
        self._learn()

    def _learn(self) -> None:
        """Frames of each tunnel, until every one of them has passed by a flow."""
        own = self.site.inner(NEAREST_BRIDGE, THERE)  # known from then on, and flooded to nobody
        sender = self.site.far.start(str(program("sender")), "eth0", own.hex(), "100", name="sender")
        wait_for("a station", lambda: self.daemon.ask("bridge.macs", name="br0"), 30)
        sender.stop()
        for way in WAYS:  # the stations are learned by the first, and sent to by the second
            sender = self._send(way, LEARNING)
            wait_for(f"{way} by {self.count} tunnels", partial(self._all_pass, way), LEARN_S)
            sender.stop()

    def _all_pass(self, way: str) -> bool:
        """No packet is Python's while each tunnel has its turn."""
        before = self._misses()
        self._pass(way)
        return self._misses() == before

    def _pass(self, way: str) -> None:
        """Each tunnel has its turn."""
        before = self.site.received(way)
        wait_for("frames", lambda: self.site.received(way) > before + self.count + 100, 60)

    def _misses(self) -> int:
        """How many packets Python was to decide about."""
        return sum(worker["misses"] for worker in self.daemon.ask("status")["workers"])

    def _send(self, way: str, rate: int = 0) -> Process:
        if way == "decapsulation":
            inner = self.site.inner(THERE, STATIONS)
            packet = ipv4(REMOTE, LOCAL, gre(inner, ETH_TEB, key=0), protocol=IP_GRE)
            host, frame = self.site.near, ethernet(packet, to=self.site.mac, origin=NEXT_HOP)
            where = [str(KEY), str(self.count), str(SOURCE)]
        else:
            host, frame = self.site.far, self.site.inner(STATIONS, THERE)
            where = [str(STATION), str(self.count)]
        return host.start(str(program("sender")), "eth0", frame.hex(), str(rate), *where, name="sender")

    def cost(self, way: str, seconds: float) -> Figures:
        """Nanoseconds of processor a packet, and packets a second."""
        sender = self._send(way)
        self._pass(way)
        first, used, started = self.site.received(way), self._used_ns(), time.monotonic()
        time.sleep(seconds)
        count, spent = self.site.received(way) - first, self._used_ns() - used
        took = time.monotonic() - started
        sender.stop()
        name = f"live_{way}_{self.count}"
        return {f"{name}_ns": spent / max(count, 1), f"{name}_pps": count / took}

    def exchange_next_hop(self) -> Figures:
        """Seconds of processor that the daemon needs beyond the packets', and packets that missed."""
        sender = self._send("encapsulation", LEARNING)
        self._pass("encapsulation")
        idle = self._spent_in_passing()
        misses, used, passed = self._misses(), self._used_ns(), 0
        middle = self.site.middle
        middle.ip("neigh", "replace", REMOTE, "lladdr", OTHER_HOP, "dev", "eth0", "nud", "permanent")
        while not self._all_pass("encapsulation") or passed < LEAST_PASSES:
            passed += 1
        spent = self._used_ns() - used - (passed + 1) * idle
        sender.stop()
        name = f"next_hop_{self.count}"
        return {f"{name}_s": max(spent, 0) / 1e9, f"{name}_misses": self._misses() - misses}

    def _spent_in_passing(self) -> int:
        before = self._used_ns()
        self._pass("encapsulation")
        return self._used_ns() - before

    def _used_ns(self) -> int:
        """Processor time of all threads of the daemon, user's and system's."""
        tasks = Path(f"/proc/{self.daemon.process.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir())


def start(lab: Lab, counts: Iterable[int]) -> list[LiveTunnels]:
    """A daemon for each number of tunnels."""
    tunnels = []
    for count in counts:
        tell(f"{count} live tunnels: a daemon, and flows")
        tunnels.append(LiveTunnels(lab, count))
    return tunnels


def contenders(tunnels: Iterable[LiveTunnels], seconds: float) -> dict[str, Callable[[], Figures]]:
    """Both ways of each of them."""
    return {f"{way} live {one.count}": partial(one.cost, way, seconds) for way in WAYS for one in tunnels}
