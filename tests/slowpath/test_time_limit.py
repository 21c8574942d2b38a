"""The soft limit: who hangs is interrupted, its packet is dropped, and nothing else is harmed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.plane import L3, A, B, MakePlane, Plane
from vdp import time_limit
from vdp.api import Packet, Verdict
from vdp.testing.builders import gre, ipv4, udp
from vdp.time_limit import SIGNAL, WAIT_LIMITS, HandlerTimeout, TimeLimit

SECONDS = 0.02
RECEIVED = ipv4(B, A, gre(ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"hello"))), protocol=47)
#: Far beyond any limit: what is not interrupted fails the test.
FOREVER_S = 30


@pytest.fixture
def plane(make_plane: MakePlane) -> Iterator[Plane]:
    """A link on an underlay, connected to lan, and the limit in force."""
    plane = make_plane()
    for name in ("underlay", "lan"):
        plane.port(name, L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.connect("lan", "gre1")
    plane.datapath.limit.seconds = SECONDS
    plane.datapath.limit.start()
    yield plane
    plane.datapath.limit.stop()


def busy(*_: Any) -> Verdict:
    until = time.monotonic() + FOREVER_S
    while time.monotonic() < until:
        pass
    raise AssertionError("it was not interrupted")


def asleep(*_: Any) -> Verdict:
    time.sleep(FOREVER_S)
    raise AssertionError("it was not interrupted")


def reading(packet: Packet, *_: Any) -> Verdict:
    until = time.monotonic() + FOREVER_S
    while time.monotonic() < until:
        packet.read(0, 4)
    raise AssertionError("it was not interrupted")


def swallowing(*_: Any) -> Verdict:
    with contextlib.suppress(Exception):
        busy()
    return Verdict.RECEIVED


def add(plane: Plane, receive: Callable[..., Verdict], priority: int = 1, **more: Any) -> None:
    handlers = plane.datapath.registry.list("gre_cisco")
    handlers.add(receive, priority=priority, name=f"p{priority}", owner="test", **more)


@pytest.mark.conformance("A14")
@pytest.mark.parametrize("hang", [busy, asleep, reading, swallowing])
def test_a_handler_that_hangs_costs_its_packet(
    plane: Plane, hang: Callable[..., Verdict], caplog: pytest.LogCaptureFixture
) -> None:
    started = time.monotonic()
    add(plane, hang)
    plane.send("underlay", RECEIVED)
    assert time.monotonic() - started < FOREVER_S / 2
    assert plane.drops("underlay") == {"handler_timeout": 1}
    assert plane.verdicts()["p1"] == {"timeout": 1}
    assert plane.verdicts()["gre_cisco_rcv"] == {"drop": 1}
    assert "ms (slowpath/test_time_limit.py:" in plane.handler("p1").last_error
    assert "handler p1 took too long" in caplog.text
    assert plane.flows("underlay") == [], "another packet may go well"
    assert plane.received("lan") == []


@pytest.mark.conformance("A14")
def test_what_follows_a_hang_is_as_ever(plane: Plane) -> None:
    calls = iter([busy])

    def once(*arguments: Any) -> Verdict:
        return next(calls, lambda *_: Verdict.REJECT)(*arguments)

    add(plane, once)
    plane.send("underlay", RECEIVED, RECEIVED)
    assert plane.drops("underlay") == {"handler_timeout": 1}
    assert len(plane.received("lan")) == 1
    assert len(plane.flows("underlay")) == 1


def test_who_is_quick_is_not_blamed_for_who_was_asked_before(plane: Plane) -> None:
    """Each of several takes less than the limit; together they take more."""

    def brief(packet: Packet, *_: Any) -> Verdict:
        until = time.thread_time() + SECONDS / 3
        while time.thread_time() < until:
            packet.read(0, 1)
        return Verdict.REJECT

    for priority in range(1, 10):
        add(plane, brief, priority)
    plane.send("underlay", RECEIVED)
    assert len(plane.received("lan")) == 1
    assert not any(plane.handler(f"p{priority}").verdicts["timeout"] for priority in range(1, 10))


def test_who_raises_has_left_too(plane: Plane) -> None:
    def fail(*_: Any) -> Verdict:
        raise ValueError("no")

    add(plane, fail)
    plane.send("underlay", RECEIVED)
    assert plane.datapath.limit._runs == []


def test_an_error_handler_that_hangs_is_passed_by(plane: Plane) -> None:
    from tests.links.errors import unreachable

    add(plane, lambda *_: Verdict.REJECT, error=busy)
    plane.send("underlay", unreachable(ipv4(A, B, gre(bytes(20)), protocol=47)))
    assert plane.handler("p1").errors == {"error": 1}
    assert plane.handler("ipgre_rcv").errors == {"received": 1}


@pytest.mark.parametrize("where", ["chore", "effect", "stage"])
def test_a_plugins_other_calls_are_limited_too(
    plane: Plane, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    def effect(packet: Packet, *_: Any) -> Verdict:
        packet.on_commit(busy)  # type: ignore[arg-type]
        return Verdict.REJECT if where != "effect" else packet.drop("policy_rule")

    if where == "chore":
        plane.datapath.every(1, busy)  # type: ignore[arg-type]
        plane.pass_time(1.1)
        assert "a timer failed: " in caplog.text
    elif where == "effect":
        add(plane, effect)
        plane.send("underlay", RECEIVED)
        assert "an effect failed: " in caplog.text
        assert plane.drops("underlay") == {"policy_rule": 1}
    else:
        plane.datapath.pipeline.add(busy, priority=1, name="hang", owner="test")  # type: ignore[arg-type]
        plane.send("lan", ipv4("10.0.0.2", "10.0.0.1", udp(1, 2)))
        assert plane.drops("lan") == {"handler_timeout": 1}


def test_asyncio_and_what_is_shared_is_never_left_half_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption waits until the plugin's own code runs again."""
    monkeypatch.setattr(time_limit, "PATIENCE_LIMITS", 10_000)
    limit = TimeLimit(0.005)
    limit.start()
    half_done: list[int] = []

    def shared(depth: int) -> None:
        """Stands for code of asyncio: entered and left in pairs."""
        half_done.append(depth)
        for _ in range(3000):
            pass
        half_done.pop()

    made = compile("def call(depth):\n    shared(depth)\n", asyncio.__file__, "exec")
    names: dict[str, Any] = {"shared": shared}
    exec(made, names)

    def plugin() -> None:
        for depth in range(1_000_000):
            names["call"](depth)
            for _ in range(1000):
                pass

    try:
        for _ in range(10):
            run = limit.enter()
            with pytest.raises(HandlerTimeout):
                plugin()
            limit.leave(run)
            assert half_done == []
    finally:
        limit.stop()


def test_a_loop_goes_on_while_handlers_are_interrupted() -> None:
    limit = TimeLimit(0.005)

    async def several() -> int:
        loop, done = asyncio.get_running_loop(), 0
        loop.add_signal_handler(signal.SIGUSR1, lambda: None)  # a wake-up descriptor, as in the daemon
        for _ in range(5):
            run = limit.enter()
            try:
                busy()
            except HandlerTimeout as timeout:
                done += timeout.run is run
            finally:
                limit.leave(run)
            await asyncio.sleep(0.001)
        loop.remove_signal_handler(signal.SIGUSR1)
        return done

    limit.start()
    try:
        assert asyncio.run(several()) == 5
    finally:
        limit.stop()


def test_nothing_is_interrupted_that_is_no_run() -> None:
    limit = TimeLimit(0.001)
    limit.start()
    try:
        signal.raise_signal(SIGNAL)
        with limit.enter():
            pass
        until = time.monotonic() + 0.05
        while time.monotonic() < until:
            pass
    finally:
        limit.stop()
    assert signal.getsignal(SIGNAL) is signal.SIG_DFL


def test_the_watching_thread_sleeps_while_nothing_runs() -> None:
    limit = TimeLimit(0.002)
    limit.start()
    try:
        for _ in range(3):
            deadline = time.monotonic() + 10
            while not limit._is_parked:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            run = limit.enter()
            with pytest.raises(HandlerTimeout):
                busy()
            limit.leave(run)
    finally:
        limit.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "vdp-time-limit"]


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_without_a_limit_nobody_watches(seconds: float) -> None:
    limit = TimeLimit(seconds)
    limit.start()
    assert not [thread for thread in threading.enumerate() if thread.name == "vdp-time-limit"]
    limit.stop()


def test_who_waits_gets_more_time_than_who_works() -> None:
    limit = TimeLimit(0.02)
    limit.start()

    def wait() -> None:
        time.sleep(0.02 * WAIT_LIMITS / 2)

    try:
        with limit.enter():
            wait()
    finally:
        limit.stop()
