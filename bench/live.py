"""The live part of `bench scale`: what a packet costs vdp where it has one tunnel, and where it has many.

Real frames through packet sockets, by the C sender, at two daemons that differ in the number of
their links only: gretap links that differ by their keys, and a bridge.  Behind each tunnel is a
station of its own.  Of many tunnels each has its turn, so that no packet in a batch is of the
tunnel of another one.  The cost is processor time of the daemon, the kernel's work for it in
system calls included, by packets that arrived at the far end; neither is counted by vdp.
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
#: Where the number is: the key, and the source of the frame inside.
KEY, SOURCE = OUTER_SIZE, OUTER_SIZE + KEY_SIZE + 8
#: Frames a second while flows are established: more than Python serves, and each comes again.
LEARNING = 20_000
#: How long Python may need for the flows of all tunnels.
LEARN_S = 200
#: Seconds after which a daemon has looked at all its ways once.
LOOK_S = 12
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
            # A frame to everybody would be one to each of the tunnels.
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
        self._establish()
        # Its first look at all ways may find the next hop's MAC address, and then all is traced anew.
        wait_for("a look at the ways", lambda: self.daemon.ask("status")["uptime_s"] > LOOK_S, 2 * LOOK_S)
        self._establish()

    def _establish(self) -> None:
        sender = self._send(LEARNING)
        wait_for(f"{self.count} tunnels", self._all_pass, LEARN_S)
        sender.stop()

    def _all_pass(self) -> bool:
        """No packet is Python's while each tunnel has its turn."""
        before, first = self._upcalls(), self._received()
        wait_for("frames", lambda: self._received() > first + self.count + 100, 60)
        return self._upcalls() == before

    def _received(self) -> int:
        return self.site.received("decapsulation")

    def _upcalls(self) -> object:
        """How many packets Python decided, and how long that took."""
        return self.daemon.ask("status")["upcalls"]

    def _send(self, rate: int = 0) -> Process:
        inner = self.site.inner(THERE, STATIONS)
        packet = ipv4(REMOTE, LOCAL, gre(inner, ETH_TEB, key=0), protocol=IP_GRE)
        frame = ethernet(packet, to=self.site.mac, origin=NEXT_HOP)
        where = (str(KEY), str(self.count), str(SOURCE))
        return self.site.near.start(
            str(program("sender")), "eth0", frame.hex(), str(rate), *where, name="sender"
        )

    def cost(self, seconds: float) -> Figures:
        """Nanoseconds of processor a packet, and packets a second."""
        sender = self._send()
        before = self._received()
        wait_for("frames", lambda: self._received() > before + self.count + 100)
        first, used, started = self._received(), self._used_ns(), time.monotonic()
        time.sleep(seconds)
        count, spent = self._received() - first, self._used_ns() - used
        took = time.monotonic() - started
        sender.stop()
        name = f"live_{self.count}"
        return {f"{name}_ns": spent / max(count, 1), f"{name}_pps": count / took}

    def _used_ns(self) -> int:
        """Processor time of all threads of the daemon, user's and system's."""
        tasks = Path(f"/proc/{self.daemon.process.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir())


def contenders(lab: Lab, counts: Iterable[int], seconds: float) -> dict[str, Callable[[], Figures]]:
    """One for each number of tunnels."""
    tunnels = []
    for count in counts:
        tell(f"{count} live tunnels: a daemon, and flows")
        tunnels.append(LiveTunnels(lab, count))
    return {f"live {one.count}": partial(one.cost, seconds) for one in tunnels}
