"""The second socket of a raw IP port: ICMP errors about its protocol come in by it, and nothing else."""

from __future__ import annotations

import asyncio
import os
import select
import socket

import pytest

from tests.datapath.test_two_vdp_ip6 import host6
from tests.lab import Host, Lab
from vdp.config.model import PortSection
from vdp.engine.interface import PortType
from vdp.netlink import System, namespaces
from vdp.ports import open_port
from vdp.testing import builders

pytestmark = [pytest.mark.root, pytest.mark.conformance("I")]

HERE, THERE = {4: "127.0.0.1", 6: "::1"}, {4: "127.0.0.2", 6: "2001:db8::2"}


def message(version: int, kind: int, protocol: int) -> bytes:
    """An ICMP message that quotes a packet of the protocol."""
    if version == 4:
        return builders.icmp(kind, 1, 0, builders.ipv4(HERE[4], THERE[4], bytes(8), protocol=protocol))
    return builders.icmp6(kind, 0, 0, builders.ipv6(HERE[6], THERE[6], bytes(8), next_header=protocol)).data


def send(host: Host, version: int, messages: list[bytes]) -> None:
    """To the host's own loopback address; the kernel writes ICMPv6's checksums."""
    family, protocol = (
        (socket.AF_INET, socket.IPPROTO_ICMP) if version == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    )
    with namespaces.run_in(host.name, lambda: socket.socket(family, socket.SOCK_RAW, protocol)) as sender:
        for each in messages:
            sender.sendto(each, (HERE[version], 0))


@pytest.mark.parametrize("version", [4, 6])
def test_errors_about_the_protocol_come_in_and_nothing_else(lab: Lab, version: int) -> None:
    host = host6(lab, "errors") if version == 6 else lab.host("errors")
    family = "ipv6" if version == 6 else "ipv4"
    raw = PortSection.model_validate(
        {"name": "underlay", "type": "raw", "protocol": "gre", "family": family, "netns": host.name}
    )
    error, echo = (3, 0) if version == 4 else (1, 129)
    wanted = message(version, error, 47)
    messages = [message(version, error, 17), message(version, echo, 47), wanted]

    async def test() -> None:
        system = System()
        port = await open_port(raw, system)
        try:
            assert port.config.type is (PortType.IP6 if version == 6 else PortType.IP)
            packets, errors = port.config.fds
            send(host, version, messages)
            assert select.select([errors], [], [], 5)[0]
            got = os.read(errors, 2000)
            # Of IPv4 the packet, of IPv6 what is behind its header; and the checksum is the kernel's.
            got = got[20:] if version == 4 else got
            assert got[:2] + got[4:] == wanted[:2] + wanted[4:]
            assert not select.select([packets, errors], [], [], 0)[0], "no other one is there"
            assert await port.kernel_drops() == 0
        finally:
            await port.close()
            await system.close()

    asyncio.run(asyncio.wait_for(test(), 20))
