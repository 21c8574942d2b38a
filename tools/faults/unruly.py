"""A plugin with every fault that a plugin may have, one for each UDP port inside GRE; for tools.faults.

It is installed as a third party's would be.  What it is to do it reads in the packet, so that one
daemon can have all of it, one after the other.
"""

from __future__ import annotations

import ctypes
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from vdp.api import Verdict, hookimpl

vdp_api = 1
kept: list[Any] = []
held = threading.Lock()
held.acquire()
PORT = 20 + 2  # of the inner IP header and UDP header


class Unusual(BaseException):
    """Nobody's Exception."""


class Rude:
    def __del__(self) -> None:
        raise RuntimeError("in __del__")


def raises(error: BaseException) -> Callable[[Any], NoReturn]:
    def act(packet: Any) -> NoReturn:
        raise error

    return act


def recurse(packet: Any) -> Any:
    return recurse(packet)


def exits(packet: Any) -> None:
    sys.exit(3)


def rarely(packet: Any) -> None:
    if random.random() < 0.01:
        raise ValueError("one in a hundred")


def deletes(packet: Any) -> None:
    Rude()


def spins(packet: Any) -> None:
    while True:
        pass


def reads(packet: Any) -> None:
    os.read(os.pipe()[0], 1)


def blocks(packet: Any) -> None:
    with held:
        pass


class Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def holds(seconds: int) -> Callable[[Any], None]:
    """In a call that neither gives the interpreter back nor hears signals: a mutex that it has itself."""

    def act(packet: Any) -> None:
        library, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(64)
        library.pthread_mutex_lock(mutex)
        library.pthread_mutex_timedlock(mutex, ctypes.byref(Timespec(int(time.time()) + seconds, 0)))

    return act


def keeps(packet: Any) -> None:
    for old in kept:
        try:
            old.read(0, 1)
            old.drop("policy_drop")
        except Exception:
            continue
    kept[:] = [packet]


def junk(packet: Any) -> Any:
    return "received"


def grows(packet: Any) -> None:
    kept.append(bytearray(1 << 16))


def opens(packet: Any) -> None:
    kept.extend(os.dup(0) for _ in range(100) if len(os.listdir("/proc/self/fd")) < 1000)


def forks(packet: Any) -> None:
    if os.fork() == 0:
        os._exit(0)
    os.wait()


def closes(packet: Any) -> None:
    os.close(kept.pop() if kept and isinstance(kept[-1], int) else os.dup(0))


def crashes(packet: Any) -> None:
    ctypes.string_at(1)


ACTS: dict[int, Callable[[Any], Any]] = {
    7001: raises(ValueError("always")),
    7002: raises(Unusual("not an Exception")),
    7003: exits,
    7004: recurse,
    7005: raises(MemoryError()),
    7006: deletes,
    7007: rarely,
    7008: raises(KeyboardInterrupt()),
    7010: spins,
    7011: lambda packet: time.sleep(60),
    7012: reads,
    7013: blocks,
    7014: holds(3),
    7015: holds(60),
    7016: holds(10),
    7020: keeps,
    7021: junk,
    7022: grows,
    7023: opens,
    7024: forks,
    7025: closes,
    7030: crashes,
}


@hookimpl
def vdp_register(datapath: Any) -> None:
    def receive(packet: Any, ip: Any, info: Any) -> Any:
        if info.protocol != 0x0800:
            return Verdict.REJECT
        start = info.header_size + PORT
        if not packet.has(start + 2):
            return Verdict.REJECT
        act = ACTS.get(int.from_bytes(packet.read(start, 2), "big"))
        if act is None:
            return Verdict.REJECT
        packet.uncacheable()  # each packet is asked about
        answer = act(packet)
        return Verdict.REJECT if answer is None else answer

    datapath.registry.list("gre_cisco").add(receive, priority=1, name="unruly_rcv", owner="unruly")


@hookimpl
def vdp_stop(datapath: Any) -> None:
    raise RuntimeError("in vdp_stop")
