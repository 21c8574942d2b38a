"""Which bytes of a packet are which header, for those who look at it; nothing is decided by this."""

from __future__ import annotations

from typing import NamedTuple

from vdp.engine.interface import PacketType
from vdp.protocols.ethernet import ETH_P_802_3_MIN
from vdp.protocols.gre import OPTIONS, header_size

VLANS = {0x8100, 0x88A8, 0x9100}
EXTENSIONS = {0: "hop-by-hop", 43: "routing", 60: "destination-options", 44: "fragment"}
#: Headers named at most: what carries itself again and again is payload from there on.
MOST = 24


class Span(NamedTuple):
    """Bytes `start` to `end` of a packet."""

    name: str
    start: int
    end: int


def spans(data: bytes, packet_type: PacketType, protocol: int) -> list[Span]:
    """The headers from the front, and what is behind them, as "payload"; they cover every byte."""
    found: list[Span] = []
    step = ("eth", 0) if packet_type is PacketType.L2 else _by_ethertype(protocol)
    at = 0
    while step is not None and at < len(data) and len(found) < MOST:
        name, size, following = _header(step, data, at)
        if size == 0:
            break
        end = min(at + size, len(data))
        found.append(Span(name, at, end))
        at, step = end, following
    if at < len(data):
        found.append(Span("payload", at, len(data)))
    return found


Step = tuple[str, int] | None  # what comes next, and a number that belongs to it


def _by_ethertype(number: int) -> Step:
    if number in VLANS:
        return "vlan", 0
    return {0x0800: ("ip", 0), 0x86DD: ("ip6", 0), 0x0806: ("arp", 0), 0x6558: ("eth", 0)}.get(number)


def _by_protocol(number: int) -> Step:
    if number in EXTENSIONS:
        return EXTENSIONS[number], number
    names = {1: "icmp", 4: "ip", 6: "tcp", 17: "udp", 41: "ip6", 47: "gre", 58: "icmp6"}
    return (names[number], 0) if number in names else None


def _header(step: tuple[str, int], data: bytes, at: int) -> tuple[str, int, Step]:
    """Name and size of the header at an offset, and what follows it; size 0: it is none."""
    name = step[0]
    rest = len(data) - at

    def number(offset: int, size: int = 2) -> int:
        return int.from_bytes(data[at + offset : at + offset + size], "big")

    match name:
        case "eth":
            kind = number(12)
            return name, 14, _by_ethertype(kind) if kind >= ETH_P_802_3_MIN and rest >= 14 else None
        case "vlan":
            return name, 4, _by_ethertype(number(2)) if rest >= 4 else None
        case "arp":
            return name, 28, None
        case "ip":
            size = (number(0, 1) & 15) * 4
            if rest < 20 or number(0, 1) >> 4 != 4 or size < 20:
                return name, 0, None
            return name, size, None if number(6) & 0x1FFF else _by_protocol(number(9, 1))
        case "ip6":
            if rest < 40 or number(0, 1) >> 4 != 6:
                return name, 0, None
            return name, 40, _by_protocol(number(6, 1))
        case "tcp":
            return name, max(20, (number(12, 1) >> 4) * 4), None
        case "udp" | "icmp" | "icmp6":
            return name, 8, _inside_udp(number(2)) if name == "udp" else None
        case "gre":
            flags = number(0)
            if flags & 7:
                return name, 8, None
            return name, header_size(flags & OPTIONS), _by_ethertype(number(2))
    size = 8 if step[1] == 44 else (number(1, 1) + 1) * 8
    return name, size, _by_protocol(number(0, 1))


def _inside_udp(port: int) -> Step:
    return ("gre", 0) if port == 4754 else None  # RFC 8086
