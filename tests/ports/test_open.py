"""Ports are made as configured, refused with a sentence, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import select
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.lab import Host, Lab
from vdp.config.model import TXQUEUELEN_MOST, PortSection
from vdp.engine.interface import Feature, PacketType, PortType
from vdp.netlink import System, namespaces
from vdp.ports import Carried, OpenedPort, PortError, open_port, tuntap

pytestmark = pytest.mark.root

ALL = Feature.VNET_HDR | Feature.CSUM | Feature.TSO4 | Feature.TSO6 | Feature.USO


@pytest.fixture
def host(lab: Lab) -> Host:
    return lab.host("ports")


def section(**keys: Any) -> PortSection:
    return PortSection.model_validate(keys)


def with_ports(test: Callable[[System], Awaitable[None]]) -> None:
    async def run() -> None:
        system = System()
        try:
            await asyncio.wait_for(test(system), 20)
        finally:
            await system.close()

    asyncio.run(run())


def receive(
    fd: int, wanted: Callable[[bytes], bool], seconds: float = 5.0, seen: list[bytes] | None = None
) -> bytes | None:
    """The first frame read that is wanted; all that were read go into `seen`."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while poll.poll(seconds * 1000):
        frame = os.read(fd, 70000)
        if seen is not None:
            seen.append(frame)
        if wanted(frame):
            return frame
    return None


@pytest.mark.parametrize(("kind", "packet_type"), [("tap", PacketType.L2), ("tun", PacketType.L3)])
def test_a_device_is_made_as_configured(host: Host, kind: str, packet_type: PacketType) -> None:
    mac = {"mac": "02:00:00:00:00:05"} if kind == "tap" else {}

    async def test(system: System) -> None:
        port = await open_port(
            section(name="dev0", type=kind, netns=host.name, address=["10.9.0.1/24"], mtu=1462, **mac), system
        )
        shown = host.ip("-d", "address", "show", "dev0")
        assert "mtu 1462" in shown
        assert "UP" in shown
        assert "inet 10.9.0.1/24" in shown
        assert f"tun type {kind} pi off vnet_hdr on" in shown
        assert port.config.type is PortType[kind.upper()]
        assert (port.config.packet_type, port.config.mtu, port.config.features) == (packet_type, 1462, ALL)
        assert (port.device, port.netns) == ("dev0", host.name)
        assert port.mac == (bytes.fromhex("020000000005") if kind == "tap" else None)
        (fd,) = port.config.fds
        assert not os.get_inheritable(fd)
        assert not os.get_blocking(fd)
        assert struct.unpack("=i", fcntl.ioctl(fd, 0x800454D7, bytes(4)))[0] == 10  # TUNGETVNETHDRSZ
        await port.close()
        assert "dev0" not in host.ip("link")

    with_ports(test)


def test_queues_are_files_of_one_device(host: Host) -> None:
    async def test(system: System) -> None:
        port = await open_port(section(name="dev0", type="tap", netns=host.name, queues=3), system)
        assert len(set(port.config.fds)) == 3
        assert "multi_queue numqueues 3" in host.ip("-d", "link", "show", "dev0")

    with_ports(test)


@pytest.mark.conformance("H8", "H6")
@pytest.mark.parametrize(("kind", "queues"), [("tap", 1), ("tap", 2), ("tun", 1)])
def test_a_queue_holds_as_many_packets_as_it_is_told(host: Host, kind: str, queues: int) -> None:
    async def test(system: System) -> None:
        keys = {"name": "dev0", "type": kind, "netns": host.name, "address": ["10.9.0.1/24"]}
        port = await open_port(section(**keys, queues=queues, txqueuelen=1500), system)
        assert txqueuelen(host, "dev0") == 1500
        if kind == "tap":
            host.ip("neigh", "add", "10.9.0.2", "lladdr", "02:00:00:00:00:02", "dev", "dev0")
        sender = namespaces.run_in(host.name, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with sender:
            for _ in range(2000):
                sender.sendto(b"", ("10.9.0.2", 9))
        assert max(waiting(fd) for fd in port.config.fds) == 1500
        await port.close()

    with_ports(test)


@pytest.mark.parametrize("kind", ["tap", "tun"])
def test_a_queue_that_nobody_sized_is_the_kernels(host: Host, kind: str) -> None:
    async def test(system: System) -> None:
        port = await open_port(section(name="dev0", type=kind, netns=host.name), system)
        assert txqueuelen(host, "dev0") == tuntap.DEFAULT_TXQUEUELEN[kind]
        await port.close()

    with_ports(test)


def test_the_kernel_takes_the_longest_queue_that_is_allowed(host: Host) -> None:
    async def test(system: System) -> None:
        keys = {"name": "dev0", "type": "tap", "netns": host.name, "queues": 2}
        port = await open_port(section(**keys, txqueuelen=TXQUEUELEN_MOST), system)
        assert txqueuelen(host, "dev0") == TXQUEUELEN_MOST
        await port.close()

    with_ports(test)


def txqueuelen(host: Host, device: str) -> int:
    """As ip(8) has it."""
    (link,) = json.loads(host.ip("-j", "link", "show", device))
    return int(link["txqlen"])


def waiting(fd: int) -> int:
    """How many frames wait in a queue; they are taken out."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while os.read(fd, 70000):
            count += 1
    return count


def test_offload_off_takes_and_gives_none(host: Host) -> None:
    async def test(system: System) -> None:
        port = await open_port(section(name="dev0", type="tap", netns=host.name, offload=False), system)
        assert port.config.features == Feature.VNET_HDR
        assert "tcp-segmentation-offload: off" in host.run("ethtool", "-k", "dev0")

    with_ports(test)


def test_down_stays_down(host: Host) -> None:
    async def test(system: System) -> None:
        port = await open_port(section(name="dev0", type="tap", netns=host.name, up=False), system)
        assert "DOWN" in host.ip("-br", "link", "show", "dev0")
        await port.close()

    with_ports(test)


def test_a_name_that_is_taken_is_refused_and_left_alone(host: Host) -> None:
    host.ip("tuntap", "add", "dev0", "mode", "tap")

    async def test(system: System) -> None:
        with pytest.raises(PortError, match=rf"dev0 is taken by a tun device in namespace {host.name}"):
            await open_port(section(name="dev0", type="tap", netns=host.name), system)
        assert "dev0" in host.ip("link")

    with_ports(test)


def test_a_refusal_half_way_leaves_nothing(host: Host) -> None:
    async def test(system: System) -> None:
        with pytest.raises(PortError, match="set mtu 65535: mtu greater than device maximum") as refused:
            await open_port(section(name="dev0", type="tap", netns=host.name, mtu=65535), system)
        assert "dev0" not in host.ip("link")
        assert refused.tb is not None  # its frames hold the device: not the garbage collector's doing

    with_ports(test)


@pytest.fixture
def fresh_name() -> Iterator[str]:
    name = f"vdp-{os.getpid()}-fresh"
    yield name
    if namespaces.exists(name):
        namespaces.remove(name)


def test_a_namespace_that_is_missing_is_made_and_removed(fresh_name: str) -> None:
    async def test(system: System) -> None:
        first = await open_port(section(name="dev0", type="tap", netns=fresh_name), system)
        second = await open_port(section(name="dev1", type="tun", netns=fresh_name), system)
        await first.close()
        assert namespaces.exists(fresh_name)
        await second.close()
        assert not namespaces.exists(fresh_name)

    with_ports(test)


def test_files_left_open_are_the_same_after(host: Host) -> None:
    def files() -> set[str]:
        return set(os.listdir("/proc/self/fd"))

    async def test(system: System) -> None:
        await system.netlink(host.name)
        before = files()
        ports = [
            await open_port(section(name="dev0", type="tap", netns=host.name, queues=2), system),
            await open_port(section(name="r0", type="raw", netns=host.name, protocol="gre"), system),
        ]
        for port in ports:
            await port.close()
        assert files() - before <= {str(max(map(int, files())))}  # listdir's own
        await system.netlink(host.name)

    # A namespace that stays claimed keeps its netlink sockets.
    async def claimed(system: System) -> None:
        system.claim(host.name)
        await test(system)

    with_ports(claimed)


def gre(source: str, destination: str, payload: bytes = b"\0\0\x08\0vdp") -> bytes:
    length = 20 + len(payload)
    return (
        struct.pack(">BBHHHBBH", 0x45, 0, length, 0, 0, 64, 47, 0)
        + socket.inet_aton(source)
        + socket.inet_aton(destination)
        + payload
    )


def test_an_ip_port_carries_packets_of_its_protocol(lab: Lab) -> None:
    left, right = lab.host("left"), lab.host("right")
    lab.cable(left, "192.0.2.1/24", right, "192.0.2.2/24")

    async def test(system: System) -> None:
        one = await open_port(section(name="r0", type="raw", netns=left.name, protocol="gre"), system)
        two = await open_port(section(name="r0", type="raw", netns=right.name, protocol=47), system)
        assert (one.config.type, one.config.packet_type) == (PortType.IP, PacketType.L3)
        one.sockets[0].sendto(gre("192.0.2.1", "192.0.2.2"), ("192.0.2.2", 0))
        got = receive(two.config.fds[0], lambda packet: packet.endswith(b"vdp"))
        assert got is not None
        assert got[9] == 47
        with pytest.raises(OSError, match="too long"):  # EMSGSIZE: never cut behind our back
            one.sockets[0].sendto(gre("192.0.2.1", "192.0.2.2", bytes(1500)), ("192.0.2.2", 0))

    with_ports(test)


async def _packet_port(system: System, host: Host, **keys: Any) -> OpenedPort:
    carried = keys.pop("carried", Carried())
    one = section(name="p0", type="raw", netns=host.name, interface="eth0", **keys)
    return await open_port(one, system, carried)


@pytest.fixture
def cabled(lab: Lab) -> tuple[Host, Host]:
    left, right = lab.host("left"), lab.host("right")
    lab.cable(left, "192.0.2.1/24", right, "192.0.2.2/24")
    return left, right


def test_a_packet_port_sees_what_comes_in_with_its_offload_header(cabled: tuple[Host, Host]) -> None:
    left, right = cabled

    async def test(system: System) -> None:
        port = await _packet_port(system, left)
        assert (port.config.type, port.config.packet_type, port.config.features) == (
            PortType.PACKET,
            PacketType.L2,
            ALL,
        )
        assert (port.device, port.config.mtu) == ("eth0", 1500)
        right.run("bash", "-c", "echo hello >/dev/udp/192.0.2.1/9999")
        frame = receive(port.config.fds[0], lambda f: b"hello" in f)
        assert frame is not None
        assert frame[0] & 1  # VIRTIO_NET_HDR_F_NEEDS_CSUM: veth leaves the checksum open
        assert frame[10:16] == port.mac
        assert await port.kernel_drops() == 0

    with_ports(test)


def test_a_packet_port_does_not_see_what_goes_out(cabled: tuple[Host, Host]) -> None:
    left, right = cabled

    async def test(system: System) -> None:
        port = await _packet_port(system, left)
        left.run("bash", "-c", "echo outwards >/dev/udp/192.0.2.2/9999")
        right.run("bash", "-c", "echo inwards >/dev/udp/192.0.2.1/9999")
        seen: list[bytes] = []
        assert receive(port.config.fds[0], lambda f: b"inwards" in f, seen=seen) is not None
        assert not any(f[10 + 6 : 10 + 12] == port.mac for f in seen)

    with_ports(test)


def test_a_narrowed_port_sees_its_protocols_arp_and_tags(cabled: tuple[Host, Host]) -> None:
    left, right = cabled

    async def test(system: System) -> None:
        port = await _packet_port(system, left)
        sender = namespaces.run_in(right.name, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        broadcast = b"\xff" * 6 + b"\x02" * 6
        frames = {
            "gre": broadcast + b"\x08\x00" + gre("192.0.2.2", "192.0.2.1"),
            "udp": broadcast + b"\x08\x00" + gre("192.0.2.2", "192.0.2.1").replace(b"\x40\x2f", b"\x40\x11"),
            "arp": broadcast + b"\x08\x06" + bytes(28),
            "gre6": broadcast + b"\x86\xdd" + b"\x60\0\0\0\0\x08\x2f\x40" + bytes(40),
            "udp6": broadcast + b"\x86\xdd" + b"\x60\0\0\0\0\x08\x11\x40" + bytes(40),
            "tagged": broadcast + b"\x81\x00\x00\x05\x08\x00" + bytes(40),
            "end": broadcast + b"\x08\x06" + b"end" + bytes(25),
        }

        def seen() -> set[str]:
            for frame in frames.values():
                sender.sendto(frame, ("eth0", 0))
            # The kernel took the outer tag out: compare what is behind it.
            got: list[bytes] = []
            as_seen = {**frames, "tagged": broadcast + frames["tagged"][16:]}
            # Control traffic has a socket of its own, the last one.
            for fd, last in zip(port.config.fds, ("tagged", "end"), strict=True):
                assert receive(fd, lambda f, last=last: f[10:] == as_seen[last], seen=got) is not None  # type: ignore[misc]
            return {name for name, frame in as_seen.items() if bytes(10) + frame in got} - {"end"}

        try:
            assert seen() == {"gre", "udp", "arp", "tagged", "gre6", "udp6"}
            assert port.underlay is not None
            port.underlay.carry(Carried.by([47], [47], only=True), exclusive=False)
            assert seen() == {"gre", "arp", "tagged", "gre6"}
            port.underlay.carry(Carried.by(only=True), exclusive=False)
            assert seen() == {"arp", "tagged"}
            port.underlay.carry(Carried(), exclusive=False)
            assert seen() == {"gre", "udp", "arp", "tagged", "gre6", "udp6"}
        finally:
            sender.close()

    with_ports(test)


@pytest.mark.parametrize("quiet", [True, False])
def test_the_kernel_does_not_refuse_what_an_underlay_carries(cabled: tuple[Host, Host], quiet: bool) -> None:
    left, right = cabled

    async def test(system: System) -> None:
        port = await _packet_port(system, left, carried=Carried.by([47] if quiet else []))
        errors = namespaces.run_in(
            right.name, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        )
        sender = namespaces.run_in(right.name, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 47))
        with errors, sender:
            sender.sendto(b"\0\0\x08\0vdp", ("192.0.2.1", 0))
            # An echo behind it: when its answer is here, so would be the refusal.
            right.ping("192.0.2.1", 1)
            seen: list[bytes] = []
            receive(errors.fileno(), lambda p: p[20] == 0, seen=seen)
            refused = any(p[20:22] == b"\x03\x02" for p in seen)
            assert refused is not quiet
            await port.close()

    with_ports(test)


def test_promiscuous_is_for_bridges(cabled: tuple[Host, Host]) -> None:
    left, _ = cabled

    async def test(system: System) -> None:
        port = await _packet_port(system, left, carried=Carried.by(promiscuous=True))
        assert "promiscuity 1" in left.ip("-d", "link", "show", "eth0")
        await port.close()
        assert "promiscuity 0" in left.ip("-d", "link", "show", "eth0")

    with_ports(test)


def test_queues_of_a_packet_port_share_the_frames(cabled: tuple[Host, Host]) -> None:
    left, right = cabled

    async def test(system: System) -> None:
        port = await _packet_port(system, left, queues=2)
        right.run("bash", "-c", "for i in $(seq 32); do echo hello$i- >/dev/udp/192.0.2.1/$((9000+i)); done")
        poll = select.poll()
        for fd in port.config.fds:
            poll.register(fd, select.POLLIN)
        seen: dict[int, list[bytes]] = {fd: [] for fd in port.config.fds}
        while sum(map(len, seen.values())) < 32 and (ready := poll.poll(5000)):
            for fd, _ in ready:
                seen[fd] += re.findall(rb"hello\d+-", os.read(fd, 2000))
        one, two, control = map(set, seen.values())
        assert not control
        assert one
        assert two
        assert not one & two
        assert len(one | two) == 32

    with_ports(test)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"interface": "nope"}, r"there is no interface nope in namespace .* \(there are: lo, tun7\)"),
        ({"interface": "tun8"}, r'no interface tun8 in .* \(did you mean "tun7"\? there are: lo, tun7\)'),
        ({"interface": "tun7"}, "tun7 carries no Ethernet frames: use `protocol` instead of `interface`"),
    ],
)
def test_an_interface_that_will_not_do_is_refused(host: Host, keys: dict[str, str], sentence: str) -> None:
    host.ip("tuntap", "add", "tun7", "mode", "tun")

    async def test(system: System) -> None:
        with pytest.raises(PortError, match=sentence):
            await open_port(section(name="p0", type="raw", netns=host.name, **keys), system)

    with_ports(test)


@pytest.mark.conformance("F3")
@pytest.mark.parametrize("gro", [True, False])
def test_a_cell_joins_packets_unless_it_is_told_not_to(gro: bool) -> None:
    async def test(system: System) -> None:
        port = await open_port(section(name="c0", type="gro-cell", gro=gro), system)
        assert (Feature.TSO4 in port.config.features) is gro

    with_ports(test)


@pytest.mark.parametrize(
    ("keys", "kind"), [({"type": "memory"}, PortType.MEMORY), ({"type": "gro-cell"}, PortType.CELL)]
)
@pytest.mark.parametrize("packet_type", ["l2", "l3"])
def test_what_lives_in_the_engine_needs_nothing_opened(
    keys: dict[str, str], kind: PortType, packet_type: str
) -> None:
    async def test(system: System) -> None:
        port = await open_port(section(name="m0", packet_type=packet_type, **keys), system)
        assert (port.config.type, port.config.packet_type) == (kind, PacketType[packet_type.upper()])
        assert port.config.fds == ()

    with_ports(test)
