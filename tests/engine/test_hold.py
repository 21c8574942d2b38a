"""How long a cell of a running worker waits for more of a flow: until it is full, closed, or hold_us over."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.engine.streams import segment4, stream4
from vdp.engine.interface import EngineConfig, Feature, Match, PacketType, PortConfig, PortType
from vdp.engine.native import NativeEngine
from vdp.engine.program import Output
from vdp.testing.builders import ACK, PSH

DEADLINE_S = 10
LONG_US = 3600 * 10**6
VNET_HDR_SIZE = 10


@dataclass
class Held:
    """A worker that coalesces what comes in at `near` and sends it to `far`: TUNs, as far as it knows."""

    engine: NativeEngine
    cell: int
    near: socket.socket
    far: socket.socket

    def give(self, packet: bytes) -> None:
        """One packet, in a batch of its own: it has been read when this returns."""
        self.near.send(packet)
        deadline = time.monotonic() + DEADLINE_S
        while struct.unpack("i", fcntl.ioctl(self.near, termios.TIOCOUTQ, bytes(4)))[0]:
            assert time.monotonic() < deadline

    def take(self) -> bytes:
        return self.far.recv(70000)[VNET_HDR_SIZE:]


@contextmanager
def held(hold_us: int, poll_us: int = 0) -> Iterator[Held]:
    near, theirs_near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    far, theirs_far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    far.settimeout(DEADLINE_S)
    engine = NativeEngine(EngineConfig(packets=256, hold_us=hold_us, poll_us=poll_us))
    with near, theirs_near, far, theirs_far, engine:
        features = Feature.VNET_HDR | Feature.CSUM | Feature.TSO4
        come = engine.add_port(PortConfig("near", PortType.TUN, fds=(theirs_near.fileno(),)))
        go = engine.add_port(PortConfig("far", PortType.TUN, features=features, fds=(theirs_far.fileno(),)))
        cell = engine.add_port(PortConfig("cell", PortType.CELL, PacketType.L3, Feature.TSO4))
        engine.install(0, Match(come, b"", b""), [Output(cell)])
        engine.install(0, Match(cell, b"", b""), [Output(go)])
        engine.start()
        yield Held(engine, cell, near, far)
        engine.stop()


@pytest.mark.parametrize("poll_us", [0, 50])
def test_what_comes_while_the_cell_is_held_is_joined(poll_us: int) -> None:
    first, second, third = stream4([100, 100, 50])
    with held(LONG_US, poll_us) as worker:
        worker.give(first)
        worker.give(second)
        worker.give(third)  # short, so the last one
        assert len(worker.take()) == 40 + 250
        assert worker.engine.port_stats(worker.cell).merged == 2


def test_a_segment_that_ends_the_merge_is_not_held() -> None:
    with held(LONG_US) as worker:
        worker.give(segment4(b"all of it", flags=ACK | PSH))
        assert worker.take().endswith(b"all of it")


def test_what_can_not_be_joined_is_not_held() -> None:
    with held(LONG_US) as worker:
        worker.give(segment4(b""))
        assert len(worker.take()) == 40


@pytest.mark.conformance("F1")
def test_the_time_is_bounded() -> None:
    first, second = stream4([100, 100])
    with held(1000) as worker:
        worker.give(first)
        assert len(worker.take()) == 140
        worker.give(second)
        assert len(worker.take()) == 140


def test_nothing_is_held_where_it_may_not_be() -> None:
    first, second = stream4([100, 100])
    with held(0) as worker:
        worker.give(first)
        assert len(worker.take()) == 140
        worker.give(second)
        assert len(worker.take()) == 140
        assert worker.engine.port_stats(worker.cell).merged == 0


def test_the_control_side_does_not_wait_for_what_is_held() -> None:
    with held(LONG_US) as worker:
        worker.give(stream4([100])[0])
        worker.engine.dump(0)  # runs on the worker, which settles first
        assert len(worker.take()) == 140


def test_what_is_held_is_there_when_the_worker_stops() -> None:
    """rx = tx + drops + held, whatever the moment."""
    with held(LONG_US) as worker:
        worker.give(stream4([100])[0])
        worker.engine.stop()
        stats = worker.engine.port_stats(worker.cell)
        assert stats.offered == stats.rx_packets + stats.merged + stats.tx_dropped + stats.tx_queued
