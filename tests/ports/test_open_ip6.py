"""IPv6 under raw ports: the socket for one protocol, and what a packet socket needs for IPv6 tunnels."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.lab import Host, Lab
from vdp.config.model import PortSection
from vdp.engine.interface import Feature, PacketType, PortType
from vdp.netlink import System, namespaces
from vdp.ports import Carried, open_port

pytestmark = pytest.mark.root


def with_system(test: Callable[[System], Awaitable[None]]) -> None:
    async def run() -> None:
        system = System()
        try:
            await asyncio.wait_for(test(system), 20)
        finally:
            await system.close()

    asyncio.run(run())


def section(host: Host, **keys: Any) -> PortSection:
    return PortSection.model_validate({"name": "r0", "type": "raw", "netns": host.name, **keys})


@pytest.fixture
def cabled(lab: Lab) -> tuple[Host, Host]:
    left, right = lab.host("left"), lab.host("right")
    lab.cable(left, "192.0.2.1/24", right, "192.0.2.2/24")
    for host, address in ((left, "2001:db8::1/64"), (right, "2001:db8::2/64")):
        host.run(
            "sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.eth0.disable_ipv6=0"
        )
        host.ip("-6", "address", "add", address, "dev", "eth0", "nodad")
    return left, right


def test_an_ipv6_port_gets_payload_and_what_the_header_said(cabled: tuple[Host, Host]) -> None:
    """The kernel keeps the header; the engine makes it again from what comes beside the payload."""
    left, right = cabled

    async def test(system: System) -> None:
        port = await open_port(section(left, protocol="gre", family="ipv6"), system)
        config = port.config
        assert (config.type, config.packet_type, config.mtu, config.features) == (
            PortType.IP6, PacketType.L3, 65535, Feature.NONE,
        )  # fmt: skip
        with namespaces.run_in(
            right.name, lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, 47)
        ) as peer:
            peer.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 9)
            peer.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0xB8)
            peer.sendto(b"\0\0\x08\0vdp", ("2001:db8::1", 0))
            ours = port.sockets[0]
            ours.settimeout(5)
            data, beside, _, sender = ours.recvmsg(2000, 200)
            assert (data, sender[0]) == (b"\0\0\x08\0vdp", "2001:db8::2")
            found = {kind: value for _, kind, value in beside}
            assert found[socket.IPV6_PKTINFO][:16] == socket.inet_pton(socket.AF_INET6, "2001:db8::1")
            assert int.from_bytes(found[socket.IPV6_TCLASS], "little") == 0xB8
            assert int.from_bytes(found[socket.IPV6_HOPLIMIT], "little") == 9
        assert await port.kernel_drops() == 0
        await port.close()

    with_system(test)


def test_both_families_may_have_a_port(cabled: tuple[Host, Host]) -> None:
    left, _ = cabled

    async def test(system: System) -> None:
        ports = [
            await open_port(section(left, protocol="gre", family=family), system)
            for family in ("ipv4", "ipv6")
        ]
        assert [port.config.type for port in ports] == [PortType.IP, PortType.IP6]
        for port in ports:
            await port.close()

    with_system(test)


@pytest.mark.parametrize("protocols6", [[], [47]])
def test_a_packet_port_hears_all_groups_where_ipv6_tunnels_need_it(
    cabled: tuple[Host, Host], protocols6: list[int]
) -> None:
    """A solicitation for a tunnel's address goes to a group that the host has not joined."""
    left, _ = cabled

    def hears_all() -> bool:
        return "allmulti 1" in left.ip("-d", "link", "show", "eth0")

    async def test(system: System) -> None:
        port = await open_port(section(left, interface="eth0"), system, Carried.by((), protocols6))
        assert hears_all() is bool(protocols6)
        await port.close()
        assert not hears_all()

    with_system(test)


@pytest.mark.parametrize("quiet", [True, False])
def test_the_kernel_does_not_refuse_what_an_ipv6_underlay_carries(
    cabled: tuple[Host, Host], quiet: bool
) -> None:
    left, right = cabled

    async def test(system: System) -> None:
        port = await open_port(section(left, interface="eth0"), system, Carried.by((), [47] if quiet else []))
        with (
            namespaces.run_in(
                right.name, lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58)
            ) as errors,
            namespaces.run_in(right.name, lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, 47)) as gre,
            namespaces.run_in(
                right.name, lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, 99)
            ) as other,
        ):
            errors.settimeout(5)
            gre.sendto(bytes(20), ("2001:db8::1", 0))
            other.sendto(bytes(20), ("2001:db8::1", 0))
            refused = []  # protocols; the one that nobody has is refused last
            while 99 not in refused:
                message = errors.recv(2000)
                if message[:2] == b"\4\1":  # parameter problem, unrecognized next header
                    refused.append(message[8 + 6])
        assert refused == ([99] if quiet else [47, 99])
        await port.close()

    with_system(test)
