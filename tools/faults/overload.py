"""Faults of too much: a port that takes nothing, a loop."""

from __future__ import annotations

import socket
import time

from tools.faults.catalogue import Outcome, fault
from tools.faults.devices import cpu, flowing_after, reload
from tools.faults.world import World
from vdp.netlink import namespaces


@fault("F12", "a port that takes nothing: its queue full, ENOBUFS, for 5 s", 1)
def refusing(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    for _ in range(times):
        usual = cpu(world)
        # One packet a second: what waits beyond its queue is refused (ENOBUFS).
        world.near.run("tc", "qdisc", "add", "dev", "eth2", "root", "tbf", "rate", "8kbit", "burst", "1600",
                       "limit", "3000")  # fmt: skip
        world.main.begin()
        outcome.notice(world.finds("port pb: .*tx_queue_full", 3), "pb takes nothing")
        time.sleep(4)
        busy = cpu(world)
        window = world.main.end()
        world.near.run("tc", "qdisc", "del", "dev", "eth2", "root")
        outcome.figure("flowing_after_ms", flowing_after(world.others), most=100)
        outcome.figure("others_rate", window.rate / max(1.0, window.sent / window.seconds), least=0.95)
        outcome.figure("memory_mb", world.rss_kb() / 1024, most=150)
        outcome.figure("cpu_points_more", busy - usual, most=25)
        outcome.notice(world.is_over("^port p[ab]"), "pb takes packets again")


def _broadcast(world: World, interface: str) -> None:
    """A frame to everybody, by that interface."""

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as one:
            one.bind((interface, 0))
            one.send(b"\xff" * 6 + bytes.fromhex("02000000bb01") + b"\x88\xb5" + bytes(46))

    namespaces.run_in(world.near.name, send)


@fault("F24", "two ports of a bridge joined by a cable outside (a loop)", 2)
def looped(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    ports = "".join(f'[[port]]\nname = "l{n}"\ntype = "raw"\ninterface = "l{n}"\n' for n in (0, 1))
    for _ in range(times):
        world.near.ip("link", "add", "l0", "type", "veth", "peer", "name", "l1")
        for name in ("l0", "l1"):
            world.near.ip("link", "set", name, "up")
        before = world.configuration
        try:
            reload(world, before + ports + '[[bridge]]\nname = "br2"\nmembers = ["l0", "l1"]\n')
            world.main.begin()
            world.others.begin()
            _broadcast(world, "l0")
            time.sleep(2)
            passes = world.daemon.ports()["l1"]["counters"]["rx_packets"]
            outcome.figure("passes", passes)
            outcome.notice(world.finds("worker|port l[01]", 2), "a storm is seen")
            for name, flow in (("main", world.main), ("others", world.others)):
                window = flow.end()
                outcome.figure(f"{name}_rate", window.rate / (window.sent / window.seconds), least=0.9)
        finally:
            reload(world, before)
            world.near.ip("link", "del", "l0")
