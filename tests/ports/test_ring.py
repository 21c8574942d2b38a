"""A packet port in the engine receives through a ring, sheds it when it goes, and counts what it lost."""

from __future__ import annotations

import socket

import pytest

from tests.lab import Host, Lab
from tests.ports.test_open import receive, section, with_ports
from vdp.engine.interface import EngineConfig
from vdp.engine.native import NativeEngine
from vdp.netlink import System, namespaces
from vdp.ports import open_port

pytestmark = pytest.mark.root

FRAMES = 4096


@pytest.fixture
def cabled(lab: Lab) -> tuple[Host, Host]:
    left, right = lab.host("left"), lab.host("right")
    lab.cable(left, "192.0.2.1/24", right, "192.0.2.2/24")
    return left, right


def packet_sender(host: Host) -> socket.socket:
    made = namespaces.run_in(host.name, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    made.bind(("eth0", 0))
    return made


def frame(text: bytes) -> bytes:
    return b"\xff" * 6 + b"\x02" * 6 + b"\x88\xb5" + text


@pytest.mark.parametrize("queues", [1, 2])
def test_a_ring_is_there_as_long_as_the_port(cabled: tuple[Host, Host], queues: int) -> None:
    left, right = cabled

    async def test(system: System) -> None:
        port = await open_port(
            section(name="p0", type="raw", netns=left.name, interface="eth0", queues=queues), system
        )
        with NativeEngine(EngineConfig(workers=queues)) as engine, packet_sender(right) as sender:
            number = engine.add_port(port.config)
            assert engine.port_stats(number).rx_ring == FRAMES
            sender.send(frame(b"by the ring"))
            while engine.port_stats(number).rx_packets == 0:
                engine.poll()
            engine.remove_port(number)
            if queues == 1:  # else it may be the other socket's
                sender.send(frame(b"by a call"))
                assert receive(port.config.fds[0], lambda got: got.endswith(b"by a call")) is not None
        await port.close()

    with_ports(test)


def test_what_finds_the_ring_full_is_counted(cabled: tuple[Host, Host]) -> None:
    left, right = cabled

    async def test(system: System) -> None:
        port = await open_port(section(name="p0", type="raw", netns=left.name, interface="eth0"), system)
        with NativeEngine(EngineConfig()) as engine, packet_sender(right) as sender:
            number = engine.add_port(port.config)
            assert engine.port_stats(number).rx_ring == FRAMES  # which waits for it
            for _ in range(FRAMES + 100):
                sender.send(frame(bytes(64)))
            lost = await port.kernel_drops()
            while engine.poll():
                pass
            assert lost >= 100  # others may have spoken as well
            assert await port.kernel_drops() == lost
            assert engine.port_stats(number).rx_packets == FRAMES
        await port.close()

    with_ports(test)
