"""Faults of the process itself: killed, restarted, crashing again and again, standing still."""

from __future__ import annotations

import os
import signal
import statistics
import time

from tests.lab import wait_for
from tools.faults.catalogue import Outcome, fault
from tools.faults.devices import reload
from tools.faults.world import World

#: What a device's queue holds for whoever reads it next (txqueuelen).
QUEUE = 1000
#: One that is made to hold what comes within a second, or as many as this.
LONG_QUEUE = 10_000
BATCH = 64


def _carriers(world: World) -> int:
    """How often the TAP's carrier changed."""
    return int(world.left.run("cat", "/sys/class/net/tap0/carrier_changes"))


@fault("F1", "kill -9, started again with its descriptors", 50, quick=True)
def kill(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    world.stream.wait()
    outages, excess = [], []
    carrier = _carriers(world)
    for _ in range(times):
        starts = len(world.manager.starts)
        world.main.begin()
        world.manager.kill()
        world.manager.wait_ready(starts + 1)
        world.ready()
        window = world.main.end()
        outages.append(window.silence_ms)
        while_out = window.sent / window.seconds * window.silence_ms / 1000
        excess.append(max(0.0, window.lost - max(0.0, while_out - QUEUE)))
        world.stream.wait()
    ordered = sorted(outages)
    outcome.figure("outage_ms_median", statistics.median(outages), most=500)
    outcome.figure("outage_ms_p99", ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], most=1000)
    outcome.figure("loss_beyond_queue_most", max(excess), most=BATCH)
    outcome.figure("carrier_changes", _carriers(world) - carrier, most=0)
    outcome.figure("books", world.imbalance(), most=0)
    outcome.figure("times", times)
    outcome.notice(world.is_over("."), "what is wrong after a restart: nothing")


@fault("F3", "the service manager restarts it", 5, quick=True)
def restart(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    outages, ends = [], []
    carrier = _carriers(world)
    for _ in range(times):
        starts = len(world.manager.starts)
        world.main.begin()
        ends.append(world.manager.restart() * 1000)
        world.manager.wait_ready(starts + 1)
        world.ready()
        outages.append(world.main.end().silence_ms)
    outcome.figure("outage_ms_worst", max(outages), most=2000)
    outcome.figure("end_ms_worst", max(ends), most=2000)
    outcome.figure("carrier_changes", _carriers(world) - carrier, most=0)
    outcome.notice("STOPPING=1" in world.manager.states, "STOPPING=1")


@fault("F4", "SIGTERM and start: the ring of an interface and a long queue of a TAP bridge it", 5, quick=True)
def bridged(world: World, outcome: Outcome, times: int) -> None:
    length = max(LONG_QUEUE, world.main.rate)
    reload(world, world.configuration.replace('type = "tap"\n', f'type = "tap"\ntxqueuelen = {length}\n'))
    world.ready()
    lost, tap_lost, hits = 0, 0, []
    for _ in range(times):
        starts = len(world.manager.starts)
        world.others.begin()
        world.main.begin()
        world.manager.restart()
        world.manager.wait_ready(starts + 1)
        world.ready()
        lost += world.others.end().lost
        tap_lost += world.main.end().lost
        time.sleep(1)
        workers = world.daemon.ask("status")["workers"]
        lookups = sum(worker["lookups"] for worker in workers)
        hits.append(1 - sum(worker["misses"] for worker in workers) / max(lookups, 1))
    reload(world, world.configuration)
    outcome.figure("others_lost", lost, most=0)
    outcome.figure("tap_lost", tap_lost, most=0)
    outcome.figure("hit_ratio_after_start", min(hits), least=0.95)
    outcome.notice(world.is_over("."), "what is wrong after a restart: nothing")


@fault("F19", "SIGSTOP for 5 s, SIGCONT", 1)
def stopped(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    world.stream.wait()
    for _ in range(times):
        before = world.daemon.ask("status")["flows"]["evictions"]["idle"]
        mark = world.log_mark()
        os.kill(world.manager.pid, signal.SIGSTOP)
        time.sleep(5)
        began = time.monotonic()
        os.kill(world.manager.pid, signal.SIGCONT)
        wait_for("datagrams to flow again", world.main.is_flowing, 5)
        outcome.figure("flowing_after_ms", (time.monotonic() - began) * 1000, most=200)
        evicted = world.daemon.ask("status")["flows"]["evictions"]["idle"] - before
        outcome.figure("flows_expired", evicted, most=2)
        outcome.figure("log_lines", world.log_lines(mark, "^(warning|error)"), most=3)
        world.stream.wait()
        outcome.notice(world.is_over("^(port|link|handler|plugin)"), "nothing is left to say after it")
