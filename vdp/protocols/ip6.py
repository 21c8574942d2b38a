"""IPv6 extension headers (RFC 8200 section 4, RFC 2473 4.1.1) and neighbour discovery (RFC 4861).

    0                   1                   2                   3
    |  Next Header  |  Size         |  options, 4 bytes of them or more …   hop-by-hop, destination
    |  Next Header  |  Size         |  Type         | Segments Left |  …    routing
    |  Next Header  |  Reserved     |     Offset              |Res|M|       fragment
    |                         Identification                        |

Size counts units of 8 bytes beyond the first 8.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vdp.header import Bits, Header, Octets
from vdp.protocols.ip import IPProtocol, IPv6

if TYPE_CHECKING:
    from vdp.packet import Packet

HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
UNIT = 8
PAD1, PADN, ENCAPSULATION_LIMIT = 0, 1, 4


class Extension(Header):
    """What the headers with a size have in common, and the two bytes of a routing header after that."""

    next_header = Bits(8)
    size = Bits(8)
    routing_type = Bits(8)
    segments_left = Bits(8)


class Fragment(Header):
    next_header = Bits(8)
    reserved = Bits(8)
    offset_units = Bits(13)
    reserved2 = Bits(2)
    more = Bits(1)
    identification = Bits(32)


class Option(Header):
    """Of hop-by-hop and destination options: what every one but Pad1 starts with."""

    type = Bits(8)
    size = Bits(8)


class Pad(Header):
    type = Bits(8)


class EncapsulationLimit(Header):
    """A destination options header of nothing but a tunnel encapsulation limit (init_tel_txopt)."""

    next_header = Bits(8)
    header_size = Bits(8)
    type = Bits(8)
    size = Bits(8)
    limit = Bits(8)
    pad_type = Bits(8)
    pad_size = Bits(8)
    pad = Bits(8)


@dataclass(frozen=True, slots=True)
class Found:
    """An extension header: its number, where it begins (from the packet's front), its size in bytes."""

    kind: int
    at: int
    size: int


def walk(packet: Packet, ip: IPv6) -> tuple[list[Found], int | None]:
    """The extension headers behind `ip`, and the protocol behind them; None where they are cut short.

    Ends at a fragment header that is not the whole packet: what follows is a part of something.
    `ip.payload` then is where that protocol, or what the fragment has of it, begins.
    """
    found: list[Found] = []
    kind, at = ip.next_header, ip.offset + IPv6.SIZE
    ip.extension_size = 0
    while kind in (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION):
        if not packet.has(at + UNIT):
            return found, None
        size = UNIT if kind == FRAGMENT else UNIT * (1 + packet.header(Extension, at).size)
        if not packet.has(at + size):
            return found, None
        found.append(Found(kind, at, size))
        is_part = kind == FRAGMENT and is_fragment(packet.header(Fragment, at))
        kind = packet.header(Extension, at).next_header
        at += size
        ip.extension_size += size
        if is_part:
            break
    return found, kind


def is_fragment(header: Fragment) -> bool:
    """Not an atomic fragment (RFC 6946), which is all there."""
    return bool(header.more or header.offset_units)


def options(packet: Packet, header: Found, *, strict: bool = False) -> Iterator[tuple[int, int]]:
    """Type and place of each option in a hop-by-hop or destination options header, padding left out.

    Ends where an option would reach beyond its header: with type -1.  strict: also where there is
    more padding than to the next 8 bytes, or padding that is not zero (ip6_parse_tlv since 3.8).
    """
    at, end, padding = header.at + 2, header.at + header.size, 0
    while at < end:
        kind, size = packet.header(Pad, at).type, 1
        if kind != PAD1:
            size = Option.SIZE + packet.header(Option, at).size if at + Option.SIZE <= end else UNIT * 256
        if at + size > end:
            yield -1, at
            return
        padding = padding + size if kind in (PAD1, PADN) else 0
        if strict and (padding >= UNIT or (kind == PADN and _is_filled(packet, at, size))):
            yield -1, at
            return
        if kind not in (PAD1, PADN):
            yield kind, at
        at += size


def _is_filled(packet: Packet, at: int, size: int) -> bool:
    """Whether there is something in a PadN of that size."""
    return size > Option.SIZE and any(packet.read(at + Option.SIZE, size - Option.SIZE))


def ports_at(packet: Packet, ip: IPv6) -> int | None:
    """Where the ports of TCP or UDP right behind `ip` are; None where there are none."""
    at = ip.offset + IPv6.SIZE
    is_transport = ip.next_header in (IPProtocol.TCP, IPProtocol.UDP)
    return at if is_transport and packet.has(at + 4) else None


SOLICITATION, ADVERTISEMENT = 135, 136
SOURCE_ADDRESS, TARGET_ADDRESS = 1, 2
#: ND packets that a router could have passed on are not believed (RFC 4861 7.1.1).
HOP_LIMIT = 255
#: Where an answer goes when the asker has no address yet, as Ethernet has it.
ALL_NODES = 0xFF02 << 112 | 1
ALL_NODES_MAC = b"\x33\x33\0\0\0\1"


class Neighbour(Header):
    """A neighbour solicitation or advertisement."""

    type = Bits(8)
    code = Bits(8)
    checksum = Bits(16)
    router = Bits(1)
    solicited = Bits(1)
    override = Bits(1)
    reserved = Bits(29)
    target = Bits(128)


class LinkAddress(Header):
    """Option: the Ethernet address of the source or target."""

    type = Bits(8)
    size = Bits(8)
    mac = Octets(6)


def solicited_node(address: int) -> int:
    """The group that solicitations for the address go to: ff02::1:ff00:0/104 (RFC 4291 2.7.1)."""
    return 0xFF02 << 112 | 0x1FF << 24 | address & 0xFFFFFF
