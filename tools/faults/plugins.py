"""Faults of plugins: they raise, hang, misbehave, crash the process, or can not be loaded."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial

from tests.lab import LabError, wait_for
from tools.faults.catalogue import Outcome, fault
from tools.faults.devices import reload
from tools.faults.world import World
from vdp.netlink import namespaces
from vdp.testing.builders import gre, ipv4, udp

HANDLER = "unruly_rcv"
FINDING = f"handler {HANDLER}"
#: Kinds of fault, by the port that asks for it (tools.faults.unruly).
RAISES = {
    "always": 7001, "BaseException": 7002, "sys.exit": 7003, "RecursionError": 7004, "MemoryError": 7005,
    "KeyboardInterrupt": 7008,
}  # fmt: skip
HANGS = {"busy": 7010, "sleep": 7011, "read": 7012, "lock": 7013}
#: Under the interpreter's own lock: nothing of Python runs, whatever it is; for 3 s, for ever, for 10 s.
HOLDS, HOLDS_ON, HOLDS_LONG, CRASHES = 7014, 7015, 7016, 7030
MISBEHAVES = {"keeps": 7020, "junk": 7021, "grows": 7022, "opens": 7023, "forks": 7024, "closes": 7025}


@contextlib.contextmanager
def asking_for(world: World, port: int, rate: float = 50.0) -> Iterator[None]:
    """Packets that ask the plugin for that, `rate` a second, while the block runs."""
    end = threading.Event()
    packet = gre(ipv4("10.7.0.2", "10.7.0.1", udp(1000, port, bytes(8))), 0x0800)

    def make() -> socket.socket:
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, 47)

    raw = namespaces.run_in(world.far.name, make)

    def send() -> None:
        while not end.wait(1 / rate):
            with contextlib.suppress(OSError):
                raw.sendto(packet, ("192.0.2.1", 0))

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        end.set()
        sender.join()
        raw.close()


def _has_started(world: World, times: int) -> bool:
    return len(world.manager.starts) >= times


def _state(world: World) -> str:
    rows = world.daemon.ask("handler.list")
    return str(next(row["state"] for row in rows if row["name"] == HANDLER))


def enabled(world: World) -> None:
    """Have the handler asked, whatever it did before."""
    world.daemon.ask("handler.enable", name=HANDLER)
    wait_for("the handler to be asked", lambda: _state(world) == "asked")


def _suffers(world: World, outcome: Outcome, name: str, port: int, seconds: float) -> None:
    """That fault of the plugin, for so long: what others lose, what is said, who is put out."""
    pid, mark = world.manager.pid, world.log_mark()
    enabled(world)
    world.main.begin()
    world.others.begin()
    with asking_for(world, port):
        outcome.notice(world.finds(FINDING, seconds), f"{name}: the handler is in quarantine")
        time.sleep(1)
    rates = [
        window.rate / (window.sent / window.seconds) for window in (world.main.end(), world.others.end())
    ]
    outcome.figure(f"{name}_others_rate", min(rates), least=0.95)
    outcome.must(world.manager.pid == pid, f"{name}: the process lives")
    lines = world.log_lines(mark, "handler unruly_rcv (raised|took)")
    outcome.must(lines <= 2 + seconds, f"{name}: {lines} log lines, at most one a second")
    enabled(world)
    outcome.notice(world.is_over(FINDING), f"{name}: asked again by command")


@fault("F2", "the control thread is blocked for 10 s", 5)
def blocked(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    lost, blocked_s = 0, []
    for _ in range(times):
        enabled(world)
        mtu = world.daemon.ports()["pa"]["mtu"]
        world.main.begin()
        with asking_for(world, HOLDS_LONG, rate=1):  # one packet
            time.sleep(1.5)
        began = time.monotonic()
        world.near.ip("link", "set", "eth1", "mtu", "1400")
        wait_for("what changed meanwhile", lambda: world.daemon.ports()["pa"]["mtu"] == 1400, 20)
        blocked_s.append(time.monotonic() - began)
        outcome.notice(True, "what changed meanwhile is found")
        lost += world.main.end().lost
        world.near.ip("link", "set", "eth1", "mtu", str(mtu))
        enabled(world)
    outcome.figure("lost", lost, most=0)
    outcome.figure("blocked_s_least", min(blocked_s), least=8)


@fault("F5", "a plugin crashes the process, again and again", 1)
def crashing(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    for _ in range(times):
        enabled(world)
        world.manager.restart()
        starts, crashes = len(world.manager.starts), world.manager.crashes
        world.manager.wait_ready(starts)
        with asking_for(world, CRASHES):
            wait_for("two crashes", partial(_has_started, world, starts + 2), 20)
            world.manager.wait_ready(len(world.manager.starts))
            outcome.notice(world.finds(FINDING, 5), "the handler that crashed it is passed over")
            world.ready()
            stays = len(world.manager.starts)
            world.main.begin()
            time.sleep(2)
            window = world.main.end()
        outcome.provoked += world.manager.crashes - crashes
        outcome.figure("crashes", len(world.manager.starts) - starts, most=3)
        outcome.must(len(world.manager.starts) == stays, "it stays up")
        outcome.figure("main_rate", window.rate / (window.sent / window.seconds), least=0.95)
        said = world.manager.said(20000)
        outcome.notice("the process before ended while it ran" in said, "the log says who crashed it")
        world.manager.restart()  # an end that is nobody's fault
        world.manager.wait_ready(stays + 1)
        world.ready()


@fault("F14", "a handler raises", 1)
def raising(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    for _ in range(times):
        for name, port in RAISES.items():
            _suffers(world, outcome, name, port, 3)
        pid = world.manager.pid
        for port in (7006, 7007):  # too seldom for a quarantine, or nobody's exception
            with asking_for(world, port):
                time.sleep(0.5)
        outcome.must(world.manager.pid == pid, "the process lives")
        enabled(world)


@fault("F15", "a handler hangs", 1)
def hanging(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    for _ in range(times):
        for name, port in HANGS.items():
            _suffers(world, outcome, name, port, 15)
        starts = len(world.manager.starts)
        world.main.begin()
        with asking_for(world, HOLDS_ON, rate=2), world.manager.watching():
            wait_for("the service manager to end it", partial(_has_started, world, starts + 1), 20)
        world.manager.wait_ready(starts + 1)
        outcome.notice(world.finds(FINDING, 3), "the handler that held the interpreter is passed over")
        world.ready()
        outcome.figure("held_silence_ms", world.main.end().silence_ms, most=1000)
        world.manager.restart()
        world.manager.wait_ready(starts + 2)
        world.ready()


@fault("F16", "a handler keeps its packet, answers junk, leaks, forks, closes", 1)
def misbehaving(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    for _ in range(times):
        for name, port in MISBEHAVES.items():
            pid = world.manager.pid
            world.main.begin()
            with asking_for(world, port):
                time.sleep(1)
            window = world.main.end()
            outcome.figure(f"{name}_others_rate", window.rate / (window.sent / window.seconds), least=0.95)
            outcome.must(world.manager.pid == pid, f"{name}: the process lives")
            if name == "junk":
                outcome.notice(world.finds(FINDING, 3), "who answers junk is in quarantine")
        enabled(world)
        starts = len(world.manager.starts)  # what it took goes with the process
        world.manager.restart()
        world.manager.wait_ready(starts + 1)
        world.ready()
        outcome.notice(world.is_over(FINDING), "nothing is left of it")


@fault("F17", "plugins that can not be loaded", 1)
def unloadable(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    for name, text in (
        ("tomorrow", "tomorrow"), ("missing", "a_library_that_is_not_there"), ("greedy", "priority 1"),
    ):  # fmt: skip
        world.main.begin()
        answer = ""
        try:
            reload(world, world.configuration.replace('"unruly"', f'"unruly", "{name}"'))
        except LabError as refused:
            answer = str(refused)
        reload(world, world.configuration)
        outcome.notice(text in answer, f"{name}: the sentence says why")
        outcome.figure(f"{name}_lost", world.main.end().lost, most=0)
    world.main.begin()
    began = time.monotonic()
    reload(world, world.configuration.replace('"unruly"', '"unruly", "slow"'))
    outcome.figure("slow_import_s", time.monotonic() - began, most=6)
    reload(world, world.configuration)
    outcome.figure("slow_lost", world.main.end().lost, most=0)
