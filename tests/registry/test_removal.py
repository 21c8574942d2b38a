"""Removing a handler while packets pass: synchronize_net, gre_cisco_unregister.

When `remove` returns, the engine has no flow that rests on the handler, whatever is on
its way at that moment, and no packet is offered to it any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.conftest import native_engine
from tests.plane import L3, A, B, MakePlane, Plane
from vdp.api import IPv4, Packet, TunnelInfo, Verdict
from vdp.engine.interface import EngineConfig, MemoryPacket, PacketType
from vdp.registry import Registered
from vdp.testing.builders import gre, ipv4, udp

DEADLINE_S = 20
META = bytes([0, 0, 0, PacketType.L3, 0, 0, 8, 0]).ljust(32, b"\0")
BURST = 200


def packet(flow: int) -> bytes:
    """One of some flows that the handler tells apart."""
    return ipv4(B, A, gre(ipv4("10.0.0.2", f"10.0.0.{flow}", udp(1, 2, b"hello"))), protocol=47)


class Taker:
    """A handler that takes everything to port lan, and notes when it is asked."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self.asked = 0

    def receive(self, packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        self.asked += 1
        packet.pull(info.header_size)
        assert packet.header(IPv4).destination
        return packet.output(self._plane.datapath.ports["lan"].number)


class Running:
    """A dataplane on the C engine, on a thread of its own; the slow path is the test's."""

    def __init__(self) -> None:
        self.plane = Plane(native_engine()(EngineConfig(upcall_rate=0, action_rate=0)))
        self.plane.port("underlay", L3)
        self.plane.port("lan", L3)
        self.plane.link("gre1", "gre", local=A, remote="192.0.2.9")
        self.handlers = self.plane.datapath.registry.list("gre_cisco")
        self.sent = 0
        self.plane.engine.start()

    def add(self, taker: Taker) -> Registered:
        return self.handlers.add(taker.receive, priority=1, name="taker", owner="test")

    def burst(self) -> None:
        """Packets of several flows; they are on their way when this returns."""
        number = self.plane.datapath.ports["underlay"].number
        for index in range(BURST):
            self.plane.engine.inject(number, MemoryPacket(packet(index % 8), META))
        self.sent += BURST

    def serve(self) -> None:
        """Until all that was sent is forwarded or dropped."""
        stats = self.plane.stats
        self.serve_until(lambda: stats("underlay").forwarded + stats("underlay").dropped >= self.sent)

    def serve_until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not true():
            self.plane.datapath.slowpath.run()
            assert time.monotonic() < deadline, self.plane.stats("underlay")
            self.plane.received("lan")
            self.plane.received("underlay")

    def taken(self) -> int:
        """Packets that the handler's flows have put out."""
        return self.plane.stats("lan").offered

    def close(self) -> None:
        self.plane.engine.stop()
        self.plane.close()


@pytest.mark.conformance("A10")
def test_no_packet_reaches_a_removed_handler_while_traffic_runs() -> None:
    running = Running()
    try:
        for _ in range(30):
            taker = Taker(running.plane)
            registered = running.add(taker)
            running.burst()
            running.serve_until(lambda taker=taker: taker.asked > 0)  # type: ignore[misc]
            running.burst()
            running.handlers.remove(registered, "test")
            # From here on nothing of it is left, though packets of its flows are still coming in.
            index = running.plane.datapath.slowpath.index
            engine = {stats.id for stats in running.plane.engine.dump(0)}
            assert engine == {id for _, id in index.flows}
            assert not [
                flow for flow in index.flows.values() if any("taker" in asked for asked in flow.asked)
            ]
            taken, asked = running.taken(), taker.asked
            running.burst()
            running.serve()
            assert (running.taken(), taker.asked) == (taken, asked)
        assert running.taken() > BURST, "it has taken packets before"
    finally:
        running.close()


@pytest.mark.conformance("A10")
def test_who_decides_next_is_asked_about_flows_that_run(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=A, remote="192.0.2.9")
    handlers = plane.datapath.registry.list("gre_cisco")
    first, second = Taker(plane), Taker(plane)
    registered = handlers.add(first.receive, priority=1, name="first", owner="test")
    handlers.add(second.receive, priority=2, name="second", owner="test")
    plane.send("underlay", packet(1))
    assert (first.asked, second.asked) == (1, 0)
    handlers.remove(registered, "test")
    assert (first.asked, second.asked) == (1, 1), "the flow was traced again, and kept"
    plane.send("underlay", packet(1))
    assert plane.upcalls == 1
    assert len(plane.received("lan")) == 2


@pytest.mark.conformance("A10")
def test_a_handler_that_removes_itself_is_not_asked_again(make_plane: MakePlane) -> None:
    """From inside of a batch: what the batch has decided by then is decided anew at its end."""
    plane = make_plane()
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=A, remote="192.0.2.9")
    handlers = plane.datapath.registry.list("gre_cisco")
    taker = Taker(plane)

    def once(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        packet.on_commit(lambda: handlers.remove(registered, "test") if registered in handlers else None)
        return taker.receive(packet, ip, info)

    registered = handlers.add(once, priority=1, name="once", owner="test")
    counters = list(registered.counters.values())
    plane.send("underlay", *(packet(flow) for flow in range(4)))
    asked = taker.asked
    plane.send("underlay", *(packet(flow) for flow in range(8)))
    assert taker.asked == asked
    assert plane.drops("underlay")["tunnel_no_link"] >= 8
    assert not [flow for flow in plane.flows("underlay") if any("once" in each for each in flow.asked)]
    for counter in counters:
        with pytest.raises(OSError):
            plane.engine.read_counter(counter)


@pytest.mark.conformance("A10")
def test_handlers_that_come_and_go_use_nothing_up(make_plane: MakePlane) -> None:
    """More often than the engine has counters."""
    plane = make_plane()
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=A, remote="192.0.2.9")
    handlers = plane.datapath.registry.list("gre_cisco")
    least = plane.engine.new_counter()
    plane.engine.free_counter(least)
    for _ in range(50):
        registered = handlers.add(Taker(plane).receive, priority=1, name="taker", owner="test")
        plane.send("underlay", packet(1))
        assert max(registered.counters.values()) < least + len(registered.counters)
        handlers.remove(registered, "test")


def test_an_owner_of_nothing_has_no_flow_traced_again(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=A, remote="192.0.2.9")
    taker = Taker(plane)
    plane.datapath.registry.list("gre_cisco").add(taker.receive, priority=1, name="taker", owner="test")
    plane.send("underlay", packet(1))
    assert taker.asked == 1
    plane.datapath.registry.remove_owner("nobody")
    plane.datapath.pipeline.remove_owner("nobody")
    plane.datapath.revalidate()
    assert taker.asked == 1
