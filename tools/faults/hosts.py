"""Faults of the machine and of who talks to vdp: netlink, clocks, limits, disks, clients."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.program import program
from tests.config.planted import MISTAKES
from tests.lab import REPOSITORY, LabError, wait_for
from tools.faults.catalogue import Outcome, fault
from tools.faults.devices import reload, write
from tools.faults.plugins import HOLDS, asking_for, enabled
from tools.faults.world import World
from vdp.control.errors import ControlError, DaemonUnreachable
from vdp.netlink import namespaces

STORM = 8000
METRICS = 9479
HOUR = 3600
#: Reloads within which the daemon's collector has looked at what they leave behind in circles: each
#: is some hundred objects, and it waits for vdp.daemon.COLLECT_AFTER of them.
COLLECTED = 700


@fault("F13", "a netlink storm while the control thread is blocked", 2)
def storm(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    enabled(world)
    lost, resynced = 0, []
    added = world.lab.folder / "added"
    # Each change is told to whoever listens; a new state of an entry, again and again, is one each.
    hosts = [f"10.{200 + n // 65536}.{n // 256 % 256}.{n % 256}" for n in range(STORM)]
    added.write_text(
        "".join(f"neigh replace {a} lladdr 02:00:00:00:00:01 dev eth0 nud noarp\n" for a in hosts)
    )
    for _ in range(times):
        before = sum(row["overruns"] for row in world.daemon.ask("status")["netlink"])
        world.main.begin()
        with asking_for(world, HOLDS, rate=1.0):
            time.sleep(1.5)
        for _ in range(3):
            world.near.run("ip", "-batch", str(added))
        world.near.ip("link", "set", "eth2", "mtu", "1380")
        began = time.monotonic()
        wait_for("what was last", lambda: world.daemon.ports()["pb"]["mtu"] == 1380, 20)
        resynced.append(time.monotonic() - began)
        world.near.ip("link", "set", "eth2", "mtu", "1500")
        wait_for("what was first", lambda: world.daemon.ports()["pb"]["mtu"] == 1500, 20)
        lost += world.main.end().lost
        after = world.daemon.ask("status")["netlink"]
        outcome.figure("overruns", sum(row["overruns"] for row in after) - before, least=1)
        world.near.ip("neigh", "flush", "dev", "eth0", "nud", "noarp")
        enabled(world)
    outcome.figure("lost", lost, most=0)
    outcome.figure("heard_s_worst", max(resynced), most=4)
    outcome.notice(world.is_over("^(port|link)", 5), "the tables are the kernel's")


@fault("F18", "broken configurations, many reloads, a busy port taken away and given back", 1)
def reloads(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    world.main.begin()
    for mistake in MISTAKES:
        write(world, mistake.text.replace("¦", ""))
        answer = world.daemon.ask("reload")
        outcome.must(answer["result"] in ("invalid", "refused"), f"{mistake.what}: it was {answer['result']}")
        outcome.must(bool(answer["problems"]), f"{mistake.what}: no problem is named")
    outcome.notice(world.finds("vdp: The last reload was refused"), "the last reload was refused")
    reload(world, world.configuration)
    outcome.notice(world.is_over("vdp: The last reload"), "the next one was not")
    without = re.sub(r'\[\[port\]\]\nname = "pb".*?(?=\[\[)', "", world.configuration, flags=re.DOTALL)
    without = without.replace('members = ["pa", "pb"]', 'members = ["pa"]')

    def often(count: int) -> None:
        for _ in range(count):
            reload(world, world.configuration)
        reload(world, without)
        reload(world, world.configuration)

    fds = world.fds()
    often(COLLECTED)
    memory = world.rss_kb()
    often(COLLECTED * times)
    outcome.figure("reloads", COLLECTED * (times + 1))
    outcome.figure("lost", world.main.end().lost, most=0)
    world.others.wait()
    outcome.figure("fds_left", world.fds() - fds, most=0)
    outcome.figure("memory_mb", (world.rss_kb() - memory) / 1024, most=1)


@fault("F20", "the wall clock jumps by an hour, forth and back", 2)
def clock(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    file = world.lab.folder / "offset"
    file.write_bytes(struct.pack("=q", 0))
    with world.manager.environment(LD_PRELOAD=str(program("clock")), VDP_CLOCK_OFFSET=str(file)):
        _started_again(world)
        for _ in range(times):
            status = world.daemon.ask("status")
            mark = world.log_mark()
            world.main.begin()
            for hours in (1, -1, 0):
                file.write_bytes(struct.pack("=q", hours * HOUR))
                time.sleep(1.2)
            outcome.figure("lost", world.main.end().lost, most=0)
            after = world.daemon.ask("status")
            idle = after["flows"]["evictions"]["idle"] - status["flows"]["evictions"]["idle"]
            outcome.figure("flows_expired", idle, most=2)
            outcome.figure("log_lines", world.log_lines(mark, "^(warning|error)"), most=0)
            outcome.notice(world.is_over("."), "nothing is claimed to be wrong")
    _started_again(world)


def _started_again(world: World) -> None:
    starts = len(world.manager.starts)
    world.manager.restart()
    world.manager.wait_ready(starts + 1)
    world.ready()


@fault("F21", "no descriptors left, no memory left, at each place that asks for some", 1)
def exhausted(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    pid, fds = world.manager.pid, world.fds()
    world.near.ip("link", "add", "spare", "type", "veth", "peer", "name", "spare2")
    more = world.configuration + '[[port]]\nname = "spare"\ntype = "raw"\ninterface = "spare"\nqueues = 4\n'
    world.main.begin()
    refused, tried = 0, 0
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    try:
        for room in range(1, 25):
            used = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (max(used, world.fds()) + room, before[1]))
            tried += 1
            write(world, more)
            with contextlib.suppress(ControlError, DaemonUnreachable):
                answer = world.daemon.ask("reload")
                if answer["result"] == "applied":
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
                    reload(world, world.configuration)
                    continue
            refused += 1
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    reload(world, world.configuration)
    world.near.ip("link", "del", "spare")
    outcome.figure("lost", world.main.end().lost, most=0)
    outcome.figure("tried", tried)
    outcome.figure("refused", refused, least=1)
    outcome.must(world.manager.pid == pid, "the process lives")
    wait_for("descriptors to be closed", lambda: world.fds() <= fds, 7)
    outcome.figure("fds_left", world.fds() - fds, most=0)
    outcome.figure("sites_without_memory", _allocations(), least=1)
    outcome.notice(world.log_lines(0, "Too many open files") > 0, "the log says what there was too little of")
    outcome.notice(world.is_over("^vdp"), "the last reload was good")


def _allocations() -> int:
    """How many allocations of the engine were made to fail, each in its turn (tests/c/test_no_memory.c)."""
    folder = REPOSITORY / "build" / "faults"
    test = folder / "tests" / "c" / "test_no_memory"
    said = ""
    if not (folder / "build.ninja").exists():
        options = ("-Dextension=false", "-Db_lundef=false", "-Db_sanitize=address,undefined")
        said += _run("meson", "setup", str(folder), str(REPOSITORY), *options)
    said += _run("ninja", "-C", str(folder), str(test.relative_to(folder)))
    found = re.search(r"(\d+) places", _run(str(test)))
    if found is None:
        raise LabError(f"test_no_memory says nothing\n{said}")
    return int(found.group(1))


def _run(*command: str) -> str:
    """What a command of this Python's environment says; LabError where it fails."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise LabError(f"{command[0]}: {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout + done.stderr


@fault("F22", "a capture onto a disk that is full, or read-only", 2, quick=True)
def full_disk(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    script = (
        "mount -t tmpfs -o size=64k{options} tmpfs /mnt && "
        f"{sys.executable} -m vdp capture --socket {world.daemon.socket} -w /mnt/x.pcapng --count 100000"
    )
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}"}
    world.main.begin()
    for _ in range(times):
        for options, sentence in (("", "No space left"), (",ro", "Read-only")):
            command = ["unshare", "-m", "sh", "-c", script.format(options=options)]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=30, env=environment, check=False
            )
            outcome.must(done.returncode != 0, "the capture ends")
            outcome.notice(sentence in done.stdout + done.stderr, f"the capture says: {sentence}")
    outcome.figure("lost", world.main.end().lost, most=0)


@fault("F23", "scrapers, a slow client, garbage, a foreign user", 1)
def clients(world: World, outcome: Outcome, times: int) -> None:
    world.ready()
    pid, fds = world.manager.pid, world.fds()
    noise = random.Random(1)
    for _ in range(times):
        world.main.begin()
        with _many(60, lambda: _scrape(world)), _many(8, lambda: _garbage(world, noise)):
            slow = namespaces.run_in(
                world.near.name, lambda: socket.create_connection(("127.0.0.1", METRICS))
            )
            slow.send(b"GET /metrics HTTP/1.1\r\n")
            half = socket.socket(socket.AF_UNIX)
            half.connect(str(world.daemon.socket))
            half.send(b'{"id": 1')
            time.sleep(6)
            for one in (slow, half):
                one.close()
        window = world.main.end()
        outcome.figure("main_rate", window.rate / (window.sent / window.seconds), least=0.95)
    asks = (
        "import socket,sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        's.send(b\'{"id":1,"method":"status","params":{}}\\n\'); print(s.recv(4096).decode())'
    )
    world.daemon.socket.chmod(0o666)
    world.lab.folder.chmod(0o755)
    said = world.near.run(
        "setpriv",
        "--reuid",
        "65534",
        "--clear-groups",
        "/usr/bin/python3",
        "-c",
        asks,
        str(world.daemon.socket),
    )
    world.daemon.socket.chmod(0o660)
    outcome.notice("error" in json.loads(said), "a foreign user is refused")
    outcome.must(world.manager.pid == pid, "the process lives")
    wait_for("clients to be gone", lambda: world.fds() <= fds, 10)
    outcome.figure("fds_left", world.fds() - fds, most=0)
    outcome.notice(world.is_over("^(port|vdp|slow)", 3), "nothing is wrong after it")


@contextlib.contextmanager
def _many(count: int, act: Callable[[], None]) -> Iterator[None]:
    """So many threads do it, again and again."""
    end = threading.Event()

    def repeat() -> None:
        while not end.wait(0.05):
            with contextlib.suppress(OSError):
                act()

    threads = [threading.Thread(target=repeat) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join()


def _scrape(world: World) -> None:
    one = namespaces.run_in(
        world.near.name, lambda: socket.create_connection(("127.0.0.1", METRICS), timeout=5)
    )
    with one:
        one.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while one.recv(1 << 16):
            pass


def _garbage(world: World, noise: random.Random) -> None:
    one = namespaces.run_in(
        world.near.name, lambda: socket.create_connection(("127.0.0.1", METRICS), timeout=2)
    )
    with one:
        one.sendall(noise.randbytes(noise.randrange(1, 4000)))
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(2)
        control.connect(str(world.daemon.socket))
        control.sendall(noise.randbytes(noise.randrange(1, 2000)) + b"\n")
        control.recv(4096)
