"""A packet port sends through the host's stack or past it: the same frames, in order, and all counted."""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab import Host, Lab
from tests.ports.test_open import section, with_ports
from vdp.drops import Drops
from vdp.engine.interface import EngineConfig, Feature, Match, MemoryPacket, PortConfig, PortType
from vdp.engine.native import NativeEngine
from vdp.engine.program import Output
from vdp.netlink import System, namespaces
from vdp.ports import OpenedPort, open_port, refused

pytestmark = pytest.mark.root

TYPE = 0x88B5
COUNT = 300
WAYS = ["stack", "xdp"]


@pytest.fixture
def cabled(lab: Lab) -> tuple[Host, Host]:
    left, right = lab.host("left"), lab.host("right")
    lab.cable(left, "192.0.2.1/24", right, "192.0.2.2/24")
    return left, right


def frame(number: int, size: int = 60) -> bytes:
    return (b"\xff" * 6 + b"\x02" * 6 + struct.pack(">HI", TYPE, number)).ljust(size, b"\0")


@contextmanager
def listener(host: Host) -> Iterator[socket.socket]:
    made = namespaces.run_in(host.name, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    with made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        made.bind(("eth0", TYPE))
        made.settimeout(5)
        yield made


class Sender:
    """An engine whose memory port puts out by a packet port whatever it is given."""

    def __init__(self, engine: NativeEngine, opened: OpenedPort) -> None:
        self.engine = engine
        self.opened = opened
        self.port = engine.add_port(opened.config)
        assert engine.port_stats(self.port).rx_ring  # from here on it hears
        self.source = engine.add_port(PortConfig("source", PortType.MEMORY))
        engine.install(0, Match(self.source, b"", b""), [Output(self.port)])

    def send(self, frames: list[bytes]) -> None:
        for one in frames:
            self.engine.inject(self.source, MemoryPacket(one))
        while self.engine.poll():
            pass

    def drops(self) -> dict[str, int]:
        counts = self.engine.port_drops(self.port)
        return {reason.name: counts[reason.code] for reason in Drops() if counts[reason.code]}

    def check_books(self) -> None:
        stats = self.engine.port_stats(self.port)
        assert stats.offered == stats.tx_packets + stats.tx_dropped + stats.tx_queued


async def sending(engine: NativeEngine, system: System, host: Host, transmit: str) -> Sender:
    keys = section(name="p0", type="raw", netns=host.name, interface="eth0", transmit=transmit)
    port = await open_port(keys, system)
    assert Feature.VNET_HDR in port.config.features
    assert (
        (Feature.TSO4 in port.config.features)
        == (Feature.CSUM in port.config.features)
        == (transmit == "stack")
    )
    return Sender(engine, port)


def test_what_finds_no_room_goes_when_there_is() -> None:
    """The socket that sends is in epoll for as long as it is full."""
    hears, silent = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    sends, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with hears, silent, sends, other, NativeEngine(EngineConfig()) as engine:
        config = PortConfig("p0", PortType.PACKET, fds=(hears.fileno(),), send_fds=(sends.fileno(),))
        port = engine.add_port(config)
        source = engine.add_port(PortConfig("source", PortType.MEMORY))
        for number in range(COUNT):
            engine.execute(0, source, frame(number), [Output(port)])
        assert engine.port_stats(port).tx_queued > 0
        for number in range(COUNT):
            while not select.select([other], [], [], 0)[0]:
                engine.poll()
            assert other.recv(100) == frame(number)
        assert engine.port_stats(port).tx_packets == COUNT


@pytest.mark.conformance("H1")
@pytest.mark.parametrize("transmit", WAYS)
def test_frames_arrive_in_order(cabled: tuple[Host, Host], transmit: str) -> None:
    left, right = cabled

    async def test(system: System) -> None:
        with NativeEngine(EngineConfig()) as engine, listener(right) as heard:
            sender = await sending(engine, system, left, transmit)
            sender.send([frame(number, 60 + 4 * number) for number in range(COUNT)])
            for number in range(COUNT):
                assert heard.recv(4096) == frame(number, 60 + 4 * number)
            stats = engine.port_stats(sender.port)
            assert (stats.tx_packets, stats.tx_dropped) == (COUNT, 0)
            sender.check_books()

    with_ports(test)


def test_what_sends_by_xdp_hears_as_before_and_the_host_does_not_see_what_it_sends(
    cabled: tuple[Host, Host],
) -> None:
    left, right = cabled

    async def test(system: System) -> None:
        with NativeEngine(EngineConfig()) as engine, listener(right) as other, listener(left) as tap:
            sender = await sending(engine, system, left, "xdp")
            other.send(frame(1))
            while engine.port_stats(sender.port).rx_packets == 0:
                engine.poll()
            assert tap.recv(100) == frame(1)
            sender.send([frame(2)])
            assert other.recv(100) == frame(2)
            assert not select.select([tap], [], [], 0)[0]

    with_ports(test)


@pytest.mark.parametrize("transmit", WAYS)
def test_a_device_that_is_down_loses_frames_and_comes_back(cabled: tuple[Host, Host], transmit: str) -> None:
    left, right = cabled

    async def test(system: System) -> None:
        with NativeEngine(EngineConfig()) as engine, listener(right) as heard:
            sender = await sending(engine, system, left, transmit)
            left.ip("link", "set", "eth0", "down")
            sender.send([frame(number) for number in range(10)])
            assert sender.drops() == {"port_down": 10}
            left.ip("link", "set", "eth0", "up")
            sender.send([frame(number) for number in range(10, 20)])
            assert [heard.recv(100) for _ in range(10)] == [frame(number) for number in range(10, 20)]
            sender.check_books()

    with_ports(test)


@pytest.mark.parametrize("transmit", WAYS)
def test_a_device_that_is_gone_is_a_failure(cabled: tuple[Host, Host], transmit: str) -> None:
    left, _ = cabled

    async def test(system: System) -> None:
        with NativeEngine(EngineConfig()) as engine:
            sender = await sending(engine, system, left, transmit)
            left.ip("link", "del", "eth0")
            sender.send([frame(1)])
            stats = engine.port_stats(sender.port)
            assert not stats.up
            assert errno.errorcode[stats.error] in ("ENXIO", "ENODEV")
            assert stats.tx_packets == 0
            sender.check_books()

    with_ports(test)


def test_frames_that_a_device_refuses_are_counted(lab: Lab) -> None:
    """A TAP that nobody reads takes as many as its queue has room for (NET_XMIT_DROP)."""
    host = lab.host("tap")

    async def test(system: System) -> None:
        tap = await open_port(section(name="eth0", type="tap", netns=host.name, offload=False), system)
        host.ip("link", "set", "eth0", "txqueuelen", "100")
        with NativeEngine(EngineConfig()) as engine:
            sender = await sending(engine, system, host, "xdp")
            sender.send([frame(number) for number in range(250)])
            stats = engine.port_stats(sender.port)
            assert (stats.tx_packets, stats.tx_dropped) == (100, 150)
            assert sender.drops() == {"tx_error": 150}
            await tap.close()

    with_ports(test)


def test_a_queue_that_somebody_has_is_said(cabled: tuple[Host, Host]) -> None:
    left, _ = cabled

    async def test(system: System) -> None:
        with NativeEngine(EngineConfig()) as engine:
            first = await sending(engine, system, left, "xdp")
            keys = section(name="p1", type="raw", netns=left.name, interface="eth0", transmit="xdp")
            again = await open_port(keys, system)
            with pytest.raises(OSError) as failure:
                engine.add_port(again.config)
            assert str(refused(keys, failure.value)) == (
                'port p1: eth0 takes no `transmit = "xdp"`: another AF_XDP socket has a queue of it: '
                "end who has it, or leave `transmit` out"
            )
            await again.close()
            await first.opened.close()

    with_ports(test)


def test_an_mtu_that_af_xdp_has_no_room_for_is_said(cabled: tuple[Host, Host]) -> None:
    left, _ = cabled
    left.ip("link", "set", "eth0", "mtu", "9000")

    async def test(system: System) -> None:
        keys = section(name="p0", type="raw", netns=left.name, interface="eth0", transmit="xdp")
        port = await open_port(keys, system)
        with NativeEngine(EngineConfig()) as engine, pytest.raises(OSError) as failure:
            engine.add_port(port.config)
        assert "set `mtu` to 4074 or less" in str(refused(keys, failure.value))

    with_ports(test)


def test_workers_beyond_the_devices_queues_send_through_the_stack(cabled: tuple[Host, Host]) -> None:
    left, right = cabled

    async def test(system: System) -> None:
        keys = section(name="p0", type="raw", netns=left.name, interface="eth0", transmit="xdp", queues=2)
        port = await open_port(keys, system)
        with NativeEngine(EngineConfig(workers=2)) as engine, listener(right) as heard:
            number = engine.add_port(port.config)
            source = engine.add_port(PortConfig("source", PortType.MEMORY))
            for worker in range(2):
                engine.execute(worker, source, frame(worker), [Output(number)])
                assert heard.recv(100) == frame(worker)

    with_ports(test)
