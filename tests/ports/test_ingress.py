"""What a packet port's tunnels carry does not go on into the host's stack; all else does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from typing import Any

import pytest

from tests.lab import Host, Lab
from tests.ports.test_open import receive, section, with_ports
from vdp.netlink import System, namespaces
from vdp.netlink.events import ARPHRD_ETHER, Address, Link
from vdp.ports import Carried, OpenedPort, bpf, open_port
from vdp.ports.ingress import IngressDrop

pytestmark = pytest.mark.root

GRE, MARKER = 47, 99
PAYLOAD = b"\0\0\x08\0vdp"
DEADLINE_S = 10


@pytest.fixture
def cabled(lab: Lab) -> tuple[Host, Host]:
    left, right = lab.host("left"), lab.host("right")
    lab.cable(left, "192.0.2.1/24", right, "192.0.2.2/24")
    for host, address in ((left, "2001:db8::1/64"), (right, "2001:db8::2/64")):
        host.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0")
        host.ip("address", "add", address, "dev", "eth0", "nodad")
    return left, right


class Listener:
    """The host's own stack on the left, and what the right sends to it."""

    def __init__(self, left: Host, right: Host, family: socket.AddressFamily) -> None:
        def raw(host: Host, protocol: int) -> socket.socket:
            made = namespaces.run_in(host.name, lambda: socket.socket(family, socket.SOCK_RAW, protocol))
            made.settimeout(DEADLINE_S)
            return made

        self.family = family
        self.heard, self.marked = raw(left, GRE), raw(left, MARKER)
        self.gre, self.marker = raw(right, GRE), raw(right, MARKER)

    def hears(self, destination: str, marker: str | None = None) -> bool:
        """Does a tunnel packet to that address reach a raw socket?  A packet behind it always does."""
        self.gre.sendto(PAYLOAD, (destination, 0))
        self.marker.sendto(PAYLOAD, (marker or destination, 0))
        self.marked.recv(2000)
        reached = bool(select.select([self.heard], [], [], 0)[0])
        if reached:
            self.heard.recv(2000)
        return reached

    def close(self) -> None:
        for one in (self.heard, self.marked, self.gre, self.marker):
            one.close()


@contextlib.contextmanager
def listening(hosts: tuple[Host, Host], family: socket.AddressFamily = socket.AF_INET) -> Iterator[Listener]:
    with contextlib.closing(Listener(*hosts, family)) as listener:
        yield listener


async def open_underlay(system: System, host: Host, **keys: Any) -> OpenedPort:
    one = section(name="p0", type="raw", netns=host.name, interface="eth0", **keys)
    return await open_port(one, system, Carried.by([GRE], [GRE]))


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline


ENDS = [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")]


@pytest.mark.parametrize(("family", "address"), ENDS)
def test_the_port_hears_its_tunnels_packets_and_the_host_does_not(
    cabled: tuple[Host, Host], family: socket.AddressFamily, address: str
) -> None:
    async def test(system: System) -> None:
        with listening(cabled, family) as listener:
            assert listener.hears(address)
            port = await open_underlay(system, cabled[0])
            assert not listener.hears(address)
            assert receive(port.config.fds[0], lambda frame: frame.endswith(PAYLOAD)) is not None
            await port.close()
            assert listener.hears(address)

    with_ports(test)


def test_an_encapsulation_limit_is_looked_behind(cabled: tuple[Host, Host]) -> None:
    async def test(system: System) -> None:
        with listening(cabled, socket.AF_INET6) as listener:
            limit = bytes((0, 0, 4, 1, 4, 1, 1, 0))  # RFC 2473 5.1, padded
            listener.gre.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, limit)
            assert listener.hears("2001:db8::1")
            await open_underlay(system, cabled[0])
            assert not listener.hears("2001:db8::1")

    with_ports(test)


def test_addresses_of_tunnels_are_claimed(cabled: tuple[Host, Host]) -> None:
    """The host, which has them not, says nothing of packets to them."""
    left, right = cabled
    right.ip("route", "add", "2001:db8:9::1", "via", "2001:db8::1")

    async def test(system: System) -> None:
        port = await open_underlay(system, left)
        with listening(cabled, socket.AF_INET6) as listener, right.capture("eth0", "icmp6") as wire:
            for claimed in ([], [ip_address("2001:db8:9::1")], []):
                port.claim(claimed)
                listener.hears("2001:db8:9::1", marker="2001:db8::1")
            until(lambda: len(unreachable(wire.packets())) >= 2)
        assert len(unreachable(wire.packets())) == 2

    with_ports(test)


def unreachable(packets: Iterable[Any]) -> list[Any]:
    return [packet for packet in packets if packet.haslayer("ICMPv6DestUnreach")]


def test_a_port_that_is_not_exclusive_shares(cabled: tuple[Host, Host]) -> None:
    async def test(system: System) -> None:
        with listening(cabled) as listener:
            port = await open_underlay(system, cabled[0], exclusive=False)
            assert listener.hears("192.0.2.1")
            assert receive(port.config.fds[0], lambda frame: frame.endswith(PAYLOAD)) is not None

    with_ports(test)


def test_addresses_are_followed(cabled: tuple[Host, Host]) -> None:
    left, right = cabled
    right.ip("route", "add", "198.51.100.7", "via", "192.0.2.1")

    async def test(system: System) -> None:
        await open_underlay(system, left)
        with listening(cabled) as listener:
            left.ip("address", "add", "198.51.100.7/32", "dev", "lo")
            for _ in range(1000):  # until the event has been heard
                if not listener.hears("198.51.100.7"):
                    break
                await asyncio.sleep(0.01)
            else:
                pytest.fail("the new address was not learned")

    with_ports(test)


def test_what_is_for_others_is_forwarded(cabled: tuple[Host, Host]) -> None:
    left, right = cabled
    left.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.send_redirects=0")
    left.ip("route", "add", "203.0.113.0/24", "via", "192.0.2.2")
    right.ip("route", "add", "203.0.113.0/24", "via", "192.0.2.1")
    right.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.eth0.rp_filter=0")

    async def test(system: System) -> None:
        await open_underlay(system, left)
        back = namespaces.run_in(
            right.name, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        )
        with back, listening(cabled) as listener:
            listener.gre.sendto(PAYLOAD, ("203.0.113.9", 0))
            back.settimeout(DEADLINE_S)
            while True:
                frame, address = back.recvfrom(2000)
                if address[2] == 0 and frame[23] == GRE:  # PACKET_HOST: it came back
                    break
            assert frame[22] == 63

    with_ports(test)


def test_a_kernel_that_refuses_costs_only_time(
    cabled: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bpf, "_SYSCALLS", {})

    async def test(system: System) -> None:
        with listening(cabled) as listener, caplog.at_level(logging.INFO):
            port = await open_underlay(system, cabled[0])
            assert "port p0: the host sees its tunnels' packets, too" in caplog.text
            assert listener.hears("192.0.2.1")
            assert receive(port.config.fds[0], lambda frame: frame.endswith(PAYLOAD)) is not None

    with_ports(test)


_HOLD = """
import sys
from ipaddress import ip_address
from vdp.ports.ingress import IngressDrop
drop = IngressDrop(int(sys.argv[1]), sys.argv[2], [(2, 47)])
drop.set_addresses([ip_address("192.0.2.1")])
print("attached", flush=True)
sys.stdin.read()
"""


def test_a_process_that_is_killed_leaves_nothing_behind(cabled: tuple[Host, Host]) -> None:
    left, _ = cabled
    index = left.run("cat", "/sys/class/net/eth0/ifindex").strip()
    with listening(cabled) as listener:
        with subprocess.Popen(
            [sys.executable, "-c", _HOLD, index, left.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "attached\n"
            assert not listener.hears("192.0.2.1")
            holder.send_signal(signal.SIGKILL)
        until(lambda: listener.hears("192.0.2.1"))


def test_a_family_that_no_tunnel_has_passes(cabled: tuple[Host, Host]) -> None:
    left, _ = cabled
    index = int(left.run("cat", "/sys/class/net/eth0/ifindex"))
    drop = IngressDrop(index, left.name, [(socket.AF_INET6, GRE)])
    with contextlib.closing(drop), listening(cabled) as listener:
        drop.set_addresses([ip_interface("192.0.2.1/24").ip])
        assert listener.hears("192.0.2.1")  # carried over IPv6 only


class FakeNetlink:
    """What IngressDrop.follow reads of a Netlink."""

    def __init__(self, *links: Link) -> None:
        self.links = {link.index: link for link in links}
        self.addresses = frozenset({Address(2, ip_interface("192.0.2.1/24"))})


def test_a_tunnel_device_of_the_kernel_gets_its_packets(cabled: tuple[Host, Host]) -> None:
    left, _ = cabled
    index = int(left.run("cat", "/sys/class/net/eth0/ifindex"))
    gre0 = Link(9, "gre0", 1476, bytes(4), False, False, True, 778, "gre", 0)
    veth = Link(index, "eth0", 1500, bytes(6), True, True, False, ARPHRD_ETHER, "veth", 0)
    drop = IngressDrop(index, left.name, [(socket.AF_INET, GRE)])
    with contextlib.closing(drop), listening(cabled) as listener:
        drop.follow(FakeNetlink(veth, gre0))  # type: ignore[arg-type]
        assert not listener.hears("192.0.2.1")  # it is there whenever the module is, and down
        drop.follow(FakeNetlink(veth, replace(gre0, up=True)))  # type: ignore[arg-type]
        assert listener.hears("192.0.2.1")
        drop.follow(FakeNetlink(veth))  # type: ignore[arg-type]
        assert not listener.hears("192.0.2.1")
        ppp0 = replace(gre0, name="ppp0", kind="ppp")  # of PPTP perhaps: down until LCP went through GRE
        drop.follow(FakeNetlink(veth, ppp0))  # type: ignore[arg-type]
        assert listener.hears("192.0.2.1")


def test_closing_twice_is_harmless(cabled: tuple[Host, Host]) -> None:
    index = int(cabled[0].run("cat", "/sys/class/net/eth0/ifindex"))
    drop = IngressDrop(index, cabled[0].name, [(socket.AF_INET, GRE)])
    drop.close()
    drop.close()
