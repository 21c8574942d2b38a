"""A packet in a line: the headers that are there, outer ones first, as tcpdump would say them.

Never raises: bytes that are cut short end the line with what was there.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable

L2, L3 = 0, 1
DEPTH_MOST = 8
_ETHERTYPES = {0x88CC: "LLDP", 0x8863: "PPPoE-D", 0x8864: "PPPoE", 0x8847: "MPLS", 0x88BE: "ERSPAN II",
               0x22EB: "ERSPAN III", 0x880B: "PPP"}  # fmt: skip
_VLAN = (0x8100, 0x88A8)
_TCP_FLAGS = (
    (0x02, "S"),
    (0x01, "F"),
    (0x04, "R"),
    (0x08, "P"),
    (0x10, "."),
    (0x20, "U"),
    (0x40, "E"),
    (0x80, "W"),
)
_ICMP = {0: "echo reply", 3: "unreachable", 5: "redirect", 8: "echo request", 11: "time exceeded"}
_ICMP6 = {1: "unreachable", 2: "too big", 3: "time exceeded", 128: "echo request", 129: "echo reply",
          133: "router solicitation", 134: "router advertisement", 135: "neighbour solicitation",
          136: "neighbour advertisement", 143: "MLD report"}  # fmt: skip
#: A header: its words, what follows it and the bytes of that; None: nothing that is known.
Next = tuple[str, object, bytes]


def summary(data: bytes, packet_type: int) -> str:
    """The line.  packet_type: 0 a frame, 1 a bare packet."""
    words: list[str] = []
    kind: object = "ethernet" if packet_type == L2 else _family(data)
    for _ in range(DEPTH_MOST):
        decode = _DECODERS.get(kind)
        if decode is None or not data:
            break
        try:
            said, kind, data = decode(data)
        except (struct.error, IndexError, ValueError):
            words.append(f"[{kind} cut short]")
            break
        words.append(said)
    if kind is not None and kind not in _DECODERS:
        words.append(str(kind))
    return ": ".join(words) if words else "empty"


def _family(data: bytes) -> object:
    version = data[0] >> 4 if data else 0
    return {4: 0x0800, 6: 0x86DD}.get(version, f"data, {len(data)} bytes")


def _ethertype(number: int) -> object:
    return number if number in _DECODERS else _ETHERTYPES.get(number, f"ethertype {number:#06x}")


def _ethernet(data: bytes) -> Next:
    kind = int.from_bytes(data[12:14], "big")
    tags = ""
    rest = data[14:]
    while kind in _VLAN:
        tag, kind = struct.unpack_from("!HH", rest)
        tags, rest = f"{tags} vlan {tag & 0xFFF}", rest[4:]
    if len(data) < 14:
        raise ValueError("cut short")
    return f"{data[6:12].hex(':')} > {data[:6].hex(':')}{tags}", _ethertype(kind), rest


def _arp(data: bytes) -> Next:
    _, _, _, _, operation = struct.unpack_from("!HHBBH", data)
    source, target = (ipaddress.IPv4Address(data[at : at + 4]) for at in (14, 24))
    said = (
        f"ARP who has {target}? tell {source}"
        if operation == 1
        else f"ARP {source} is at {data[8:14].hex(':')}"
    )
    return said, None, b""


def _ipv4(data: bytes) -> Next:
    _, _, total, _, fragment, ttl, protocol = struct.unpack_from("!BBHHHBB", data)
    source, target = (ipaddress.IPv4Address(data[at : at + 4]) for at in (12, 16))
    size = (data[0] & 15) * 4
    said = f"IP {source} > {target}" + (f" ttl {ttl}" if ttl <= 1 else "")
    offset = (fragment & 0x1FFF) * 8
    if offset:
        return said, f"fragment at {offset}", b""
    end = total if size <= total < len(data) else len(data)
    return said, _protocol(protocol), data[size:end]


def _ipv6(data: bytes) -> Next:
    protocol = data[6]
    source, target = (ipaddress.IPv6Address(data[at : at + 16]) for at in (8, 24))
    rest = data[40:]
    while protocol in (0, 43, 60) and len(rest) >= 8:
        protocol, rest = rest[0], rest[(rest[1] + 1) * 8 :]
    if protocol == 44 and len(rest) >= 8:
        offset = int.from_bytes(rest[2:4], "big") & ~7
        if offset:
            return f"IP6 {source} > {target}", f"fragment at {offset}", b""
        protocol, rest = rest[0], rest[8:]
    return f"IP6 {source} > {target}", _protocol(protocol), rest


def _protocol(number: int) -> object:
    key = ("ip", number)
    return key if key in _DECODERS else f"protocol {number}"


def _gre(data: bytes) -> Next:
    flags, kind = struct.unpack_from("!HH", data)
    version, at, words = flags & 7, 4, []
    if flags & 0xC000:  # checksum, or routing, which has the same place
        words.append(f"csum {data[4:6].hex()}")
        at += 4
    if flags & 0x2000:
        words.append(f"key {int.from_bytes(data[at : at + 4], 'big')}")
        at += 4
    if flags & 0x1000:
        words.append(f"seq {int.from_bytes(data[at : at + 4], 'big')}")
        at += 4
    if version:
        return f"GRE version {version}", _ethertype(kind), data[at:]
    if len(data) < at:
        raise ValueError("cut short")
    following: object = "ethernet" if kind == 0x6558 else _ethertype(kind)
    if kind == 0x883E:  # WCCP: plain IP, or four bytes in front of it (version 2)
        inner = data[at:] if data[at : at + 1] and data[at] >> 4 == 4 else data[at + 4 :]
        return " ".join(["GRE WCCP", *words]), 0x0800, inner
    return " ".join(["GRE", *words]), following, data[at:]


def _udp(data: bytes) -> Next:
    source, target, size = struct.unpack_from("!HHH", data)
    return f"UDP {source} > {target}, length {max(0, size - 8)}", None, b""


def _tcp(data: bytes) -> Next:
    source, target, sequence, ack = struct.unpack_from("!HHII", data)
    offset, bits = data[12] >> 4, data[13]
    flags = "".join(letter for bit, letter in _TCP_FLAGS if bits & bit)
    said = f"TCP {source} > {target} [{flags}] seq {sequence}" + (f" ack {ack}" if bits & 0x10 else "")
    return f"{said}, length {max(0, len(data) - offset * 4)}", None, b""


def _icmp(names: dict[int, str], family: str) -> Callable[[bytes], Next]:
    def decode(data: bytes) -> Next:
        kind, code = data[0], data[1]
        return f"{family} {names.get(kind, f'type {kind}')}" + (f" code {code}" if code else ""), None, b""

    return decode


_DECODERS: dict[object, Callable[[bytes], Next]] = {
    "ethernet": _ethernet,
    0x0800: _ipv4,
    0x86DD: _ipv6,
    0x0806: _arp,
    ("ip", 1): _icmp(_ICMP, "ICMP"),
    ("ip", 4): _ipv4,
    ("ip", 6): _tcp,
    ("ip", 17): _udp,
    ("ip", 41): _ipv6,
    ("ip", 47): _gre,
    ("ip", 58): _icmp(_ICMP6, "ICMPv6"),
}
