"""Quarantine: who fails again and again is passed over for a while, and let out again.

The others lose nothing meanwhile: their flows are traced again, and no packet of theirs
misses, is late or is dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import native_engine
from tests.links.errors import unreachable
from tests.plane import L3, A, B, MakePlane, Plane
from vdp.api import IPv4, Packet, TunnelInfo, Verdict
from vdp.engine.interface import EngineConfig, MemoryPacket, PacketType
from vdp.inspector import Inspector
from vdp.quarantine import FIRST_TERM_NS, MOST_FAILURES, MOST_TERM_NS, NS, WINDOW_NS, Conduct
from vdp.testing.builders import gre, ipv4, udp

FIRST_S = FIRST_TERM_NS / NS
PROTOCOL = 0x9999


def packet(flow: int = 1, protocol: int | None = None) -> bytes:
    """A packet for link gre1; or one for no link, with a GRE protocol of its own, to fail on."""
    inner = ipv4("10.0.0.2", f"10.0.0.{flow}", udp(1, 2, b"hello"))
    if protocol is None:
        return ipv4(B, A, gre(inner), protocol=47)
    return ipv4("192.0.2.99", A, gre(inner, protocol), protocol=47)


class Failing:
    """A handler that reads a packet before all others, and fails on some."""

    def __init__(self, plane: Plane, priority: int = 1) -> None:
        self.fails: Callable[[TunnelInfo], bool] = lambda info: True
        self.how: Callable[[], object] = self._raise
        self.asked = 0
        handlers = plane.datapath.registry.list("gre_cisco")
        self.registered = handlers.add(
            self.receive, priority=priority, name="failing", owner="test", error=self.error
        )

    @staticmethod
    def _raise() -> None:
        raise ZeroDivisionError("again")

    def receive(self, packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        self.asked += 1
        packet.read(info.header_size, 20)
        if self.fails(info):
            self.how()
        return Verdict.REJECT

    def error(self, *_: Any) -> Verdict:
        self.asked += 1
        raise ZeroDivisionError("an error, too")

    @property
    def is_out(self) -> bool:
        return self.registered.conduct.is_out


@pytest.fixture
def plane(make_plane: MakePlane) -> Plane:
    return equipped(make_plane())


def equipped(plane: Plane) -> Plane:
    """A link on an underlay, connected to lan."""
    for name in ("underlay", "lan"):
        plane.port(name, L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.connect("lan", "gre1")
    return plane


def fail(plane: Plane, times: int) -> None:
    """As many failures, in as many flows."""
    for flow in range(times):
        plane.send("underlay", packet(flow + 1))
        plane.datapath.slowpath.flush()


@pytest.mark.conformance("A14")
def test_repeated_failure_puts_a_handler_out_and_it_is_said_once(
    plane: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing(plane)
    fail(plane, MOST_FAILURES - 1)
    assert not failing.is_out
    fail(plane, 3)
    assert failing.is_out
    assert failing.asked == MOST_FAILURES
    assert caplog.text.count("handler failing is passed over for 1 s") == 1
    assert len(plane.received("lan")) == MOST_FAILURES + 2, "the next handler takes them all"


@pytest.mark.conformance("A14")
def test_flows_that_it_decided_are_traced_again_without_it_and_no_packet_asks(plane: Plane) -> None:
    failing = Failing(plane)
    failing.fails = lambda info: info.protocol == PROTOCOL
    misses = plane.datapath.slowpath.upcalls
    plane.send("underlay", packet(1))
    (flow,) = plane.flows("underlay")
    assert any(name == "failing" for _, name, _ in flow.asked)
    before = misses["miss"]
    for n in range(MOST_FAILURES):
        plane.send("underlay", packet(n + 1, PROTOCOL))
    assert misses["miss"] == before + MOST_FAILURES
    flows = plane.flows("underlay")
    assert flows
    assert not [each for each in flows if any(name == "failing" for _, name, _ in each.asked)]
    plane.send("underlay", packet(1))
    assert misses["miss"] == before + MOST_FAILURES
    assert plane.drops("underlay") == {"tunnel_no_link": MOST_FAILURES}


@pytest.mark.conformance("A14")
def test_it_is_let_out_after_its_term_and_the_next_one_is_twice_as_long(plane: Plane) -> None:
    failing = Failing(plane)
    fail(plane, MOST_FAILURES)
    for term in (1, 2, 4):
        assert failing.is_out
        asked = failing.asked
        plane.pass_time(FIRST_S * term - 0.1)
        fail(plane, 1)
        assert failing.asked == asked
        plane.pass_time(0.2)
        assert not failing.is_out
        fail(plane, 1)
        assert failing.asked == asked + 1
    assert failing.registered.conduct.terms == 4


def test_one_that_is_let_out_decides_about_flows_that_run(plane: Plane) -> None:
    failing = Failing(plane)
    fail(plane, MOST_FAILURES)
    plane.send("underlay", packet(9))
    failing.fails = lambda info: False
    plane.pass_time(FIRST_S + 0.1)
    assert any(name == "failing" for _, name, _ in plane.flows("underlay")[0].asked)


def test_a_term_has_an_end_and_good_conduct_is_remembered() -> None:
    conduct, now = Conduct(), 0
    for _ in range(MOST_FAILURES):
        conduct.fail(now)
    for _ in range(20):
        assert conduct.is_out
        now = conduct.until_ns
        assert conduct.release(now)
        conduct.fail(now)
    assert conduct.term_ns == MOST_TERM_NS
    now = conduct.until_ns
    conduct.release(now)
    now = conduct.probation_ns
    assert now >= conduct.until_ns + MOST_TERM_NS
    assert not conduct.fail(now), "its probation is over: once is not repeatedly"
    for _ in range(MOST_FAILURES - 1):
        conduct.fail(now)
    assert conduct.is_out
    assert conduct.term_ns == FIRST_TERM_NS


def test_failures_that_are_far_apart_are_not_repeated_failure() -> None:
    conduct = Conduct()
    for n in range(100):
        assert not conduct.fail(n * (WINDOW_NS // (MOST_FAILURES - 1) + 1))


@pytest.mark.conformance("A14")
def test_failing_error_handlers_count_and_are_passed_over(plane: Plane) -> None:
    failing = Failing(plane)
    about = unreachable(ipv4(A, B, gre(bytes(20)), protocol=47))
    plane.send("underlay", *[about] * (MOST_FAILURES + 3))
    assert (failing.is_out, failing.asked) == (True, MOST_FAILURES)
    assert plane.handler("ipgre_rcv").errors == {"received": MOST_FAILURES + 3}


def test_a_slots_handler_that_is_out_is_as_none(plane: Plane) -> None:
    def receive(*_: Any) -> Verdict:
        raise ZeroDivisionError("no")

    table = plane.datapath.registry.table("ip_protocol")
    table.add(receive, slot=4, name="ipip", owner="test")
    inner = ipv4(B, A, ipv4("10.0.0.2", "10.0.0.1", udp(1, 2)), protocol=4)
    for _ in range(MOST_FAILURES + 2):
        plane.send("underlay", inner)
        plane.datapath.slowpath.flush()
    assert plane.handler("ipip").verdicts == {"error": MOST_FAILURES}


def test_vdps_own_handlers_are_never_out(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    plane.faults = True
    receiver = plane.handler("gre_rcv")
    receiver.receive = Failing._raise  # type: ignore[assignment]
    fail(plane, MOST_FAILURES * 2)
    assert receiver.verdicts["error"] >= MOST_FAILURES
    assert not receiver.conduct.is_out


@pytest.mark.conformance("A14")
def test_a_command_lets_it_out_and_forgets_or_keeps_it_out(plane: Plane) -> None:
    failing = Failing(plane)
    fail(plane, MOST_FAILURES)
    plane.datapath.discipline.judge(failing.registered, Conduct.enable)
    assert not failing.is_out
    fail(plane, MOST_FAILURES - 1)
    assert not failing.is_out, "nothing is held against it"
    plane.datapath.discipline.judge(failing.registered, Conduct.disable)
    plane.pass_time(100_000)
    assert failing.registered.conduct.state == "disabled"


def test_it_is_shown(plane: Plane) -> None:
    failing = Failing(plane)
    fail(plane, MOST_FAILURES)
    rows = Inspector(plane.datapath, None).list_handlers()  # type: ignore[arg-type]
    row = next(row for row in rows if row["name"] == "failing")
    assert (row["state"], row["quarantines"], row["quarantine_left_s"]) == ("quarantine", 1, FIRST_S)
    assert row["last_error"].startswith("ZeroDivisionError: again (registry/test_quarantine.py:")
    assert row["verdicts"]["error"] == MOST_FAILURES
    plane.datapath.discipline.judge(failing.registered, Conduct.enable)
    row = next(r for r in Inspector(plane.datapath, None).list_handlers() if r["name"] == "failing")  # type: ignore[arg-type]
    assert (row["state"], row["quarantine_left_s"]) == ("asked", None)


# -- while the C worker forwards ---------------------------------------------------------------

DEADLINE_S = 20
META = bytes([0, 0, 0, PacketType.L3, 0, 0, 8, 0]).ljust(32, b"\0")


@pytest.fixture
def running() -> Iterator[Plane]:
    """On the C engine, on a thread of its own; the slow path is the test's."""
    plane = equipped(Plane(native_engine()(EngineConfig(upcall_rate=0, action_rate=0))))
    plane.datapath.limit.seconds = 0.02
    plane.datapath.limit.start()
    plane.engine.start()
    yield plane
    plane.datapath.limit.stop()
    plane.engine.stop()
    plane.close()


@pytest.mark.conformance("A14", "A10")
@pytest.mark.parametrize("how", [Failing._raise, lambda: time.sleep(30)], ids=["raises", "hangs"])
def test_established_flows_lose_nothing_while_a_handler_fails_is_put_out_and_comes_back(
    running: Plane, how: Callable[[], object]
) -> None:
    plane = running
    failing = Failing(plane)
    failing.how = how
    failing.fails = lambda info: info.protocol == PROTOCOL
    number = plane.datapath.ports["underlay"].number
    sent = bad = 0

    def inject(*packets: bytes) -> None:
        for data in packets:
            plane.engine.inject(number, MemoryPacket(data, META))

    def until(true: Callable[[], bool]) -> None:
        """Established traffic runs meanwhile."""
        nonlocal sent
        deadline = time.monotonic() + DEADLINE_S
        while not true():
            inject(*(packet(flow) for flow in range(1, 9)))
            sent += 8
            plane.datapath.slowpath.run()
            plane.datapath.discipline.end_quarantines()
            while plane.stats("lan").offered < sent - 400:
                plane.received("lan")
                plane.datapath.slowpath.run()
                assert time.monotonic() < deadline
            plane.received("lan")
            assert time.monotonic() < deadline, plane.stats("underlay")

    until(lambda: len(plane.flows("underlay")) >= 1 and plane.stats("lan").offered > 100)
    while not failing.is_out:
        inject(packet(bad + 1, PROTOCOL))
        bad += 1
        before = sent
        until(lambda before=before: sent > before + 80)  # type: ignore[misc]
        assert bad < 50
    failing.how = lambda: None
    plane.datapath.discipline.judge(failing.registered, Conduct.enable)
    asked = failing.asked
    inject(packet(200))
    until(lambda: failing.asked > asked)
    until(lambda: plane.stats("lan").offered >= sent)
    deadline = time.monotonic() + DEADLINE_S
    while plane.stats("lan").offered < sent + 1:
        plane.datapath.slowpath.run()
        plane.received("lan")
        assert time.monotonic() < deadline, (sent, plane.stats("lan"), plane.drops("underlay"))
    drops = plane.drops("underlay")
    assert drops.keys() <= {"handler_timeout", "tunnel_no_link"}
    assert sum(drops.values()) <= bad
    assert plane.drops("gre1") == {}
