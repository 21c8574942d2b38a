"""A UDP port whose packets a packet port takes: heard there, neither delivered nor refused by the host."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator

import pytest

from tests.lab import Host, Lab
from tests.ports.test_open import receive, section, with_ports
from vdp.netlink import System, namespaces
from vdp.ports import Carried, PortError, open_port
from vdp.ports.raw import quiet_udp_socket

pytestmark = [pytest.mark.root, pytest.mark.conformance("L13")]

TUNNEL, OTHER = 4754, 4755
DEADLINE_S = 10
ENDS = [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")]


@pytest.fixture
def cabled(lab: Lab) -> tuple[Host, Host]:
    left, right = lab.host("left"), lab.host("right")
    lab.cable(left, "192.0.2.1/24", right, "192.0.2.2/24")
    for host, address in ((left, "2001:db8::1/64"), (right, "2001:db8::2/64")):
        host.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0")
        host.ip("address", "add", address, "dev", "eth0", "nodad")
    return left, right


@contextlib.contextmanager
def opened(host: Host, family: int, kind: int, protocol: int = 0) -> Iterator[socket.socket]:
    with namespaces.run_in(host.name, lambda: socket.socket(family, kind, protocol)) as one:
        one.settimeout(DEADLINE_S)
        yield one


def ports_heard(raw: socket.socket, last: int) -> list[int]:
    """Destination ports that came to a raw socket, up to that one."""
    heard: list[int] = []
    while last not in heard:
        data = raw.recv(2000)
        at = (data[0] & 15) * 4 if raw.family == socket.AF_INET else 0
        heard.append(int.from_bytes(data[at + 2 : at + 4], "big"))
    return heard


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize(("family", "address"), ENDS)
def test_the_port_hears_it_and_the_host_only_what_is_its_own(
    cabled: tuple[Host, Host], family: int, address: str, exclusive: bool
) -> None:
    left, right = cabled
    one = section(name="p0", type="raw", netns=left.name, interface="eth0", exclusive=exclusive)

    async def test(system: System) -> None:
        with (
            opened(left, family, socket.SOCK_RAW, socket.IPPROTO_UDP) as heard,
            opened(right, family, socket.SOCK_DGRAM) as sender,
        ):
            port = await open_port(one, system, Carried.by(udp=[TUNNEL], udp6=[TUNNEL]))
            for number in (TUNNEL, OTHER):
                sender.sendto(b"vdp", (address, number))
            assert ports_heard(heard, OTHER) == ([OTHER] if exclusive else [TUNNEL, OTHER])
            assert receive(port.config.fds[0], lambda frame: frame.endswith(b"vdp")) is not None
            await port.close()
            sender.sendto(b"vdp", (address, TUNNEL))
            assert ports_heard(heard, TUNNEL) == [TUNNEL]

    with_ports(test)


@pytest.mark.parametrize(("family", "address"), ENDS)
def test_nothing_is_refused(cabled: tuple[Host, Host], family: int, address: str) -> None:
    """A connected socket hears of a port unreachable as ECONNREFUSED."""
    left, right = cabled
    one = section(name="p0", type="raw", netns=left.name, interface="eth0", exclusive=False)

    async def test(system: System) -> None:
        port = await open_port(one, system, Carried.by(udp=[TUNNEL], udp6=[TUNNEL]))
        with (
            opened(right, family, socket.SOCK_DGRAM) as tunnel,
            opened(right, family, socket.SOCK_DGRAM) as other,
        ):
            tunnel.connect((address, TUNNEL))
            other.connect((address, OTHER))
            tunnel.send(b"vdp")
            other.send(b"vdp")
            with pytest.raises(ConnectionRefusedError):
                other.recv(1)
            tunnel.setblocking(False)
            with pytest.raises(BlockingIOError):
                tunnel.recv(1)
        await port.close()

    with_ports(test)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_port_that_is_in_use_is_refused(cabled: tuple[Host, Host], family: int) -> None:
    left, _ = cabled
    one = section(name="p0", type="raw", netns=left.name, interface="eth0")

    async def test(system: System) -> None:
        with opened(left, family, socket.SOCK_DGRAM) as taken:
            taken.bind(("", TUNNEL))
            with pytest.raises(PortError, match="UDP port 4754, on which its tunnels listen, is in use"):
                await open_port(one, system, Carried.by(udp=[TUNNEL], udp6=[TUNNEL]))

    with_ports(test)


def test_two_ports_of_a_host_share_the_number_and_nobody_else_does(cabled: tuple[Host, Host]) -> None:
    left, _ = cabled
    with (
        quiet_udp_socket(TUNNEL, left.name),
        quiet_udp_socket(TUNNEL, left.name),
        opened(left, socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        with pytest.raises(OSError) as refused:
            other.bind(("", TUNNEL))
        assert refused.value.errno == errno.EADDRINUSE
