"""Super-packets in GRE in UDP that a packet socket sends: cut right, or handed on whole."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest

from tests.engine.streams import segment4
from tests.lab import Host
from tests.ports.test_egress import (
    ETH_IPV4,
    ETH_IPV6,
    FIRST_ID,
    KEY,
    SIZES,
    TEB,
    VNET,
    as_super_packet,
    cabled,
    eth,
    hearing,
    inner,
    next_frame,
    sending,
)
from vdp.testing.builders import ACK, FIN, PSH, gre, ipv4, ipv6, udp, unfinished

__all__ = ["cabled"]
pytestmark = [pytest.mark.root, pytest.mark.conformance("L13", "H1", "H8")]

PORT = 4754
LIMIT = bytes((17, 0, 4, 1, 4, 1, 1, 0))  # a tunnel encapsulation limit of 4
CASES = [
    (outer, version, is_frame, key)
    for outer in ("ipv4", "ipv6", "ipv6 with a limit")
    for version in (4, 6)
    for is_frame in (False, True)
    for key in (None, KEY)
]
Case = tuple[str, int, bool, int | None]


def encapsulated(
    case: Case, packet: bytes, number: int, *, csum: bool, checksum: bytes | None = None
) -> bytes:
    """The whole frame; csum: of GRE; checksum: UDP's, else what it should be."""
    outer, version, is_frame, key = case
    protocol = {4: ETH_IPV4, 6: ETH_IPV6}[version]
    inside = gre(
        eth(protocol, packet) if is_frame else packet, TEB if is_frame else protocol, key=key, csum=csum
    )
    datagram = udp(50000, PORT, inside)
    if outer == "ipv4":
        ip = ipv4("192.0.2.1", "192.0.2.2", datagram, id=FIRST_ID + number & 0xFFFF, flags=2)
        at = 20
    else:
        ip = ipv6("2001:db8::1", "2001:db8::2", datagram)
        at = 40
    if checksum is not None:
        ip = ip[: at + 6] + checksum + ip[at + 8 :]
    if outer == "ipv6 with a limit":
        size = struct.pack("!H", len(ip) - 40 + len(LIMIT))
        ip = ip[:4] + size + b"\x3c" + ip[7:40] + LIMIT + ip[40:]
    return eth(ETH_IPV4 if outer == "ipv4" else ETH_IPV6, ip)


def udp_at(case: Case) -> int:
    return 14 + {"ipv4": 20, "ipv6": 40}.get(case[0], 48)


def cut_by_hand(case: Case, sizes: Sequence[int], *, csum: bool, has_checksum: bool) -> list[bytes]:
    frames, start = [], 0
    for number, size in enumerate(sizes):
        flags = ACK | (PSH | FIN if number + 1 == len(sizes) else 0)
        one = inner(case[1], start, size, number, flags)
        frames.append(encapsulated(case, one, number, csum=csum, checksum=None if has_checksum else b"\0\0"))
        start += size
    return frames


def whole_of(case: Case, sizes: Sequence[int], frames: list[bytes], *, csum: bool) -> bytes:
    """As the engine hands it over: the checksums of UDP and GRE are those of a segment."""
    whole = inner(case[1], 0, sum(sizes), 0, ACK | PSH | FIN)
    at = udp_at(case)
    frame = bytearray(encapsulated(case, whole, 0, csum=csum))
    frame[at + 6 : at + 8] = frames[0][at + 6 : at + 8]
    if csum:
        frame[at + 12 : at + 14] = frames[0][at + 12 : at + 14]
    return as_super_packet(bytes(frame), whole)


@pytest.mark.parametrize("csum", [False, True])
@pytest.mark.parametrize("has_checksum", [False, True])
def test_the_kernel_cuts_it_into_what_it_should_be(
    cabled: tuple[Host, Host], csum: bool, has_checksum: bool
) -> None:
    left, right = cabled
    left.run("ethtool", "-K", "eth0", "tx", "off", "tx-udp_tnl-segmentation", "off")
    sizes = SIZES[:3] if csum or has_checksum else SIZES
    with hearing(right) as heard, sending(left) as sender:
        for case in CASES:
            expected = cut_by_hand(case, sizes, csum=csum, has_checksum=has_checksum)
            sender.send(whole_of(case, sizes, expected, csum=csum))
            for number, one in enumerate(expected):
                gso, frame = next_frame(heard)
                assert (gso, frame.hex()) == (0, one.hex()), f"segment {number} of {case}"


def test_a_veth_hands_it_on_whole(cabled: tuple[Host, Host]) -> None:
    left, right = cabled
    with hearing(right) as heard, sending(left) as sender:
        for case in CASES:
            frames = cut_by_hand(case, SIZES[:3], csum=False, has_checksum=True)
            sent = whole_of(case, SIZES[:3], frames, csum=False)
            sender.send(sent)
            gso, frame = next_frame(heard)
            assert (gso, frame.hex()) == (1 if case[1] == 4 else 4, sent[VNET.size :].hex())


@pytest.mark.parametrize("lab_cuts", [False, True])
def test_datagrams_in_one_write_are_left_as_they_are(cabled: tuple[Host, Host], lab_cuts: bool) -> None:
    """A train has the same headers, and a super-packet's marks: each datagram keeps its GRE."""
    left, right = cabled
    if lab_cuts:
        left.run("ethtool", "-K", "eth0", "tx", "off", "tx-udp-segmentation", "off")
    parts = [segment4(bytes([n]) * 500, 500 * n, id=n) for n in range(4)]
    for is_frame in (False, True):
        inside = [
            gre(eth(ETH_IPV4, part) if is_frame else part, TEB if is_frame else ETH_IPV4) for part in parts
        ]
        packet = ipv4("192.0.2.1", "192.0.2.2", udp(50000, PORT, b"".join(inside)), id=7, flags=2)
        frame = eth(ETH_IPV4, unfinished(packet, 20, 6, packet[12:20], 17))
        header = VNET.pack(1, 5, 42, len(inside[0]), 34, 6)
        with hearing(right) as heard, sending(left) as sender:
            sender.send(header + frame)
            if lab_cuts:
                got = [next_frame(heard) for _ in parts]
                assert [one for _, one in got] == [
                    eth(ETH_IPV4, ipv4("192.0.2.1", "192.0.2.2", udp(50000, PORT, one), id=7 + n, flags=2))
                    for n, one in enumerate(inside)
                ]
            else:
                assert next_frame(heard) == (5, frame)
