"""Super-packets inside GRE that a packet socket sends: cut right, or handed on whole."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.engine.streams import segment4, segment6
from tests.lab import Host, Lab
from tests.ports.test_open import section, with_ports
from vdp.engine.interface import Feature, PortType
from vdp.netlink import System, namespaces
from vdp.ports import Carried, bpf, egress, open_port
from vdp.ports.raw import packet_sockets
from vdp.testing.builders import ACK, FIN, PSH, ethernet, gre, ipv4, ipv6

pytestmark = pytest.mark.root

GRE, ETH_IPV4, ETH_IPV6, TEB = 47, 0x0800, 0x86DD, 0x6558
KEY = 0xDECAFBAD
SIZES = (1300, 1300, 1300, 700)
FIRST_ID, FIRST_INNER_ID = 0xFFFE, 77
TAIL = b"behind it all, plain"
VNET = struct.Struct("=BBHHHH")  # flags, gso_type, hdr_len, gso_size, csum_start, csum_offset
LEFT, RIGHT = "02:00:00:00:00:01", "02:00:00:00:00:02"
LIMIT = bytes((GRE, 0, 4, 1, 4, 1, 1, 0))  # a tunnel encapsulation limit of 4
OUTER = {"ipv4": ETH_IPV4, "ipv6": ETH_IPV6, "ipv6 with a limit": ETH_IPV6}


def eth(ethertype: int, packet: bytes) -> bytes:
    return ethernet(packet, to=RIGHT, origin=LEFT, ethertype=ethertype)


def payload(start: int, size: int) -> bytes:
    return bytes((start + i) * 7 & 0xFF for i in range(size))


def inner(version: int, start: int, size: int, number: int, flags: int) -> bytes:
    """An IP packet of the stream, its checksums complete."""
    if version == 4:
        return segment4(payload(start, size), 1000 + start, id=FIRST_INNER_ID + number, flags=flags)
    return segment6(payload(start, size), 1000 + start, flags=flags)


def encapsulated(
    outer: str,
    packet: bytes,
    is_frame: bool,
    key: int | None,
    number: int,
    *,
    csum: bool = False,
    checksum: int | None = None,
) -> bytes:
    """The whole frame; the outer id counts up with `number`."""
    protocol = ETH_IPV4 if packet[0] >> 4 == 4 else ETH_IPV6
    carried = eth(protocol, packet) if is_frame else packet
    inside = gre(carried, TEB if is_frame else protocol, key=key, csum=csum, checksum=checksum)
    if outer == "ipv4":
        ip = ipv4("192.0.2.1", "192.0.2.2", inside, protocol=GRE, id=FIRST_ID + number & 0xFFFF, flags=2)
    elif outer == "ipv6":
        ip = ipv6("2001:db8::1", "2001:db8::2", inside, next_header=GRE)
    else:
        ip = ipv6("2001:db8::1", "2001:db8::2", LIMIT + inside, next_header=60)
    return eth(OUTER[outer], ip)


def as_super_packet(frame: bytes, packet: bytes) -> bytes:
    """The frame as a packet socket takes it: virtio_net_hdr, and the inner checksum unfinished."""
    version = packet[0] >> 4
    start = len(frame) - len(packet) + (20 if version == 4 else 40)
    ends = packet[12:20] if version == 4 else packet[8:40]
    words = struct.unpack(f"!{len(ends) // 2}H", ends)
    total = sum(words) + 6 + len(frame) - start
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    header = VNET.pack(1, 1 if version == 4 else 4, start + 20, SIZES[0], start, 16)
    return header + frame[: start + 16] + total.to_bytes(2, "big") + frame[start + 18 :]


@contextmanager
def hearing(host: Host) -> Iterator[socket.socket]:
    """What comes in by a host's eth0: virtio_net_hdr and frame."""
    made = namespaces.run_in(host.name, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    with made:
        made.setsockopt(263, 15, 1)
        made.settimeout(10)
        made.bind(("eth0", 3))
        yield made


def next_frame(heard: socket.socket) -> tuple[int, bytes]:
    """GSO type and bytes of the next one of ours."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        data = heard.recv(70000)
        frame = data[VNET.size :]
        if frame[:12] == bytes.fromhex((RIGHT + LEFT).replace(":", "")):
            return data[1], frame
    raise AssertionError("nothing came")


@pytest.fixture
def cabled(lab: Lab) -> tuple[Host, Host]:
    left, right = lab.host("left"), lab.host("right")
    lab.cable(left, "192.0.2.1/24", right, "192.0.2.2/24")
    return left, right


@contextmanager
def sending(host: Host, *, with_program: bool = True) -> Iterator[socket.socket]:
    index = int(host.run("cat", "/sys/class/net/eth0/ifindex"))
    opened = packet_sockets("eth0", index, host.name, queues=2)
    program = egress.GreSuperPackets(index, host.name, opened) if with_program else None
    try:
        yield opened[1]
    finally:
        if program:
            program.close()
        for one in opened:
            one.close()


CASES = [
    (outer, version, is_frame, key)
    for outer in OUTER
    for version in (4, 6)
    for is_frame in (False, True)
    for key in (None, KEY)
]


def cut_by_hand(
    outer: str,
    version: int,
    is_frame: bool,
    key: int | None,
    sizes: Sequence[int] = SIZES,
    csum: bool = False,
) -> list[bytes]:
    frames, start = [], 0
    for number, size in enumerate(sizes):
        flags = ACK | (PSH | FIN if number + 1 == len(sizes) else 0)
        one = inner(version, start, size, number, flags)
        frames.append(encapsulated(outer, one, is_frame, key, number, csum=csum))
        start += size
    return frames


@pytest.mark.parametrize("cutter", ["gre", "tso"])
def test_the_kernel_cuts_it_into_what_it_should_be(cabled: tuple[Host, Host], cutter: str) -> None:
    left, right = cabled
    off = ("tx-gre-segmentation", "off") if cutter == "gre" else ("tso", "off", "gso", "off")
    left.run("ethtool", "-K", "eth0", *off)
    left.run("ethtool", "-K", "eth0", "tx", "off")
    with hearing(right) as heard, sending(left) as sender:
        for case in CASES:
            outer, version, is_frame, key = case
            whole = inner(version, 0, sum(SIZES), 0, ACK | PSH | FIN)
            sender.send(as_super_packet(encapsulated(outer, whole, is_frame, key, 0), whole))
            for number, expected in enumerate(cut_by_hand(*case)):
                gso, frame = next_frame(heard)
                assert (gso, frame.hex()) == (0, expected.hex()), f"segment {number} of {case}"


def test_one_checksum_of_gre_is_right_for_all_segments(cabled: tuple[Host, Host]) -> None:
    """The kernel repeats it, and is not told to make it anew: segments of one size have the same."""
    left, right = cabled
    left.run("ethtool", "-K", "eth0", "tx", "off")
    with hearing(right) as heard, sending(left) as sender:
        for case in CASES:
            outer, version, is_frame, key = case
            expected = cut_by_hand(*case, SIZES[:3], csum=True)
            whole = inner(version, 0, sum(SIZES[:3]), 0, ACK | PSH | FIN)
            at = 14 + {"ipv4": 20, "ipv6": 40}.get(outer, 48) + 4
            checksum = int.from_bytes(expected[0][at : at + 2], "big")
            sender.send(
                as_super_packet(encapsulated(outer, whole, is_frame, key, 0, checksum=checksum), whole)
            )
            for number, one in enumerate(expected):
                assert next_frame(heard) == (0, one), f"segment {number} of {case}"


def test_a_veth_hands_it_on_whole(cabled: tuple[Host, Host]) -> None:
    left, right = cabled
    with hearing(right) as heard, sending(left) as sender:
        for outer, version, is_frame, key in CASES:
            whole = inner(version, 0, sum(SIZES), 0, ACK | PSH | FIN)
            sent = as_super_packet(encapsulated(outer, whole, is_frame, key, 0), whole)
            sender.send(sent)
            gso, frame = next_frame(heard)
            assert (gso, frame.hex()) == (1 if version == 4 else 4, sent[VNET.size :].hex())


def test_what_is_not_the_ports_own_is_left_alone(cabled: tuple[Host, Host]) -> None:
    """The program goes by the socket: from another one the same frame is none that can be cut."""
    left, _ = cabled
    whole = inner(4, 0, sum(SIZES), 0, ACK)
    sent = as_super_packet(encapsulated("ipv4", whole, True, None, 0), whole)
    with sending(left) as ours, sending(left, with_program=False) as stranger:
        assert ours.send(sent) == len(sent)
        with pytest.raises(OSError, match="Cannot allocate memory"):
            stranger.send(sent)


def test_plain_super_packets_pass(cabled: tuple[Host, Host]) -> None:
    left, right = cabled
    packet = inner(4, 0, sum(SIZES), 0, ACK)
    sent = as_super_packet(eth(ETH_IPV4, packet), packet)
    with hearing(right) as heard, sending(left) as sender:
        sender.send(sent)
        assert next_frame(heard) == (1, sent[VNET.size :])


def test_a_header_that_it_does_not_know_does_not_go_out(cabled: tuple[Host, Host]) -> None:
    left, right = cabled
    whole = inner(4, 0, sum(SIZES), 0, ACK)
    strange = bytearray(as_super_packet(encapsulated("ipv4", whole, True, None, 0), whole))
    strange[VNET.size + 34] |= 0x10  # GRE: a sequence number
    with hearing(right) as heard, sending(left) as sender:
        with contextlib.suppress(OSError):  # ENOBUFS: dropped on egress
            sender.send(strange)
        sender.send(bytes(VNET.size) + eth(0x88B5, TAIL))
        assert next_frame(heard)[1].endswith(TAIL)


def test_a_port_has_the_feature_where_the_program_is_attached(
    cabled: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(program: int, ifindex: int) -> int:
        raise OSError(22, "Invalid argument")

    async def features(system: System, **keys: object) -> Feature:
        one = section(name="p0", type="raw", netns=cabled[0].name, interface="eth0", **keys)
        opened = await open_port(one, system, Carried.by([GRE]))
        assert opened.config.type is PortType.PACKET
        await opened.close()
        return opened.config.features

    async def test(system: System) -> None:
        assert Feature.GRE_TSO in await features(system)
        assert Feature.GRE_TSO not in await features(system, offload=False)
        with monkeypatch.context() as patched:
            patched.setattr(bpf, "attach_egress", refuse)
            without = await features(system)
        assert Feature.TSO4 in without
        assert Feature.GRE_TSO not in without

    with_ports(test)
