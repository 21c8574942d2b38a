"""What a packet port carries is changed while it is open: its sockets stay; a change that fails is none."""

from __future__ import annotations

import errno
import socket

import pytest

from tests.lab import Host, Lab
from tests.ports.test_ingress import listening
from tests.ports.test_open import section, with_ports
from vdp.engine.interface import Feature
from vdp.netlink import System, namespaces
from vdp.ports import Carried, OpenedPort, PortError, open_port
from vdp.ports.carried import PacketUnderlay

pytestmark = pytest.mark.root

GRE, TUNNEL = 47, 4754


@pytest.fixture
def cabled(lab: Lab) -> tuple[Host, Host]:
    left, right = lab.host("left"), lab.host("right")
    lab.cable(left, "192.0.2.1/24", right, "192.0.2.2/24")
    return left, right


async def opened(system: System, host: Host, carried: Carried) -> tuple[OpenedPort, PacketUnderlay]:
    one = section(name="p0", type="raw", netns=host.name, interface="eth0")
    port = await open_port(one, system, carried)
    assert port.underlay is not None
    return port, port.underlay


def is_taken(host: Host, port: int) -> bool:
    """Whether somebody has that UDP port."""
    one = namespaces.run_in(host.name, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    try:
        one.bind(("", port))
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    finally:
        one.close()
    return False


def test_ports_protocols_and_membership_come_and_go(cabled: tuple[Host, Host]) -> None:
    left, _ = cabled

    def promiscuity() -> str:
        return left.ip("-d", "link", "show", "eth0").partition("promiscuity ")[2].split()[0]

    async def test(system: System) -> None:
        port, underlay = await opened(system, left, Carried())
        fds = [one.fileno() for one in port.sockets]
        assert Feature.GRE_TSO not in underlay.features
        for _ in range(2):
            underlay.carry(Carried.by([GRE], [GRE], [TUNNEL], promiscuous=True), exclusive=True)
            assert is_taken(left, TUNNEL)
            assert promiscuity() == "1"
            assert Feature.GRE_TSO in underlay.features  # what the kernel here can do
            underlay.carry(Carried.by([GRE], only=True), exclusive=True)
            assert not is_taken(left, TUNNEL)
            assert promiscuity() == "0"
        assert [one.fileno() for one in port.sockets] == fds
        await port.close()

    with_ports(test)


def test_what_comes_to_be_carried_is_kept_from_the_host(cabled: tuple[Host, Host]) -> None:
    left, _ = cabled

    async def test(system: System) -> None:
        port, underlay = await opened(system, left, Carried())
        with listening(cabled) as listener:
            assert listener.hears("192.0.2.1")
            underlay.carry(Carried.by([GRE]), exclusive=True)
            assert not listener.hears("192.0.2.1")
            underlay.carry(Carried.by([GRE]), exclusive=False)
            assert listener.hears("192.0.2.1")
            underlay.carry(Carried.by([GRE], udp=[TUNNEL]), exclusive=True)
            assert not listener.hears("192.0.2.1")
            underlay.carry(Carried.by(udp=[TUNNEL]), exclusive=True)
            assert listener.hears("192.0.2.1")
        await port.close()

    with_ports(test)


def test_a_change_that_fails_leaves_it_as_it_was(cabled: tuple[Host, Host]) -> None:
    left, _ = cabled

    async def test(system: System) -> None:
        before = Carried.by([GRE], only=True)
        port, underlay = await opened(system, left, before)
        taken = namespaces.run_in(left.name, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with listening(cabled) as listener, taken:
            taken.bind(("", TUNNEL))
            wanted = Carried.by([GRE], udp=[TUNNEL - 1, TUNNEL], promiscuous=True)
            with pytest.raises(PortError, match="UDP port 4754, on which its tunnels listen, is in use"):
                underlay.carry(wanted, exclusive=True)
            assert underlay.carried == before
            assert not is_taken(left, TUNNEL - 1)
            assert "promiscuity 0" in left.ip("-d", "link", "show", "eth0")
            assert not listener.hears("192.0.2.1")
        underlay.carry(wanted, exclusive=True)
        assert is_taken(left, TUNNEL)
        await port.close()
        assert not is_taken(left, TUNNEL)

    with_ports(test)
