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


def _received(world: World, *ports: str) -> int:
    counted = world.daemon.ports()
    return sum(counted[name]["counters"]["rx_packets"] for name in ports)


def _broadcast(world: World, interface: str) -> None:
    """A frame to everybody, by that interface."""

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as one:
            one.bind((interface, 0))
            one.send(b"\xff" * 6 + bytes.fromhex("02000000bb01") + b"\x88\xb5" + bytes(46))

    namespaces.run_in(world.near.name, send)


@fault("F24", "two ports of a bridge joined by a cable outside (a loop)", 2)
def looped(world: World, outcome: Outcome, times: int) -> None:
    """A station behind a third port speaks to everybody, and comes back by both ends of the cable."""
    world.ready()
    names = ("l0", "l1", "l2")
    ports = "".join(f'[[port]]\nname = "{name}"\ntype = "raw"\ninterface = "{name}"\n' for name in names)
    for _ in range(times):
        for one, other in (("l0", "l1"), ("l2", "station")):
            world.near.ip("link", "add", one, "type", "veth", "peer", "name", other)
            for name in (one, other):
                world.near.ip("link", "set", name, "up")
        before = world.configuration
        try:
            reload(world, before + ports + f'[[bridge]]\nname = "br2"\nmembers = {list(names)}\n')
            world.main.begin()
            world.others.begin()
            _broadcast(world, "station")
            outcome.notice(world.finds("bridge br2: .* is held at l2"), "a loop is seen")
            passes = _received(world, "l0", "l1")
            outcome.figure("passes", passes)
            time.sleep(1)
            outcome.figure("passes_a_second_later", _received(world, "l0", "l1") - passes, most=0)
            for name, flow in (("main", world.main), ("others", world.others)):
                window = flow.end()
                outcome.figure(f"{name}_rate", window.rate / (window.sent / window.seconds), least=0.9)
        finally:
            reload(world, before)
            for name in ("l0", "l2"):
                world.near.ip("link", "del", name)
