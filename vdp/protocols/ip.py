"""IPv4 (RFC 791), IPv6 (RFC 8200), ECN code points (RFC 3168), and ICMP (RFC 792)."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from vdp.header import Bits, Header

if TYPE_CHECKING:
    from vdp.packet import Packet

DF = 0x4000  # flags and fragment offset, as one 16-bit field
MF = 0x2000
OFFSET = 0x1FFF
FRAGMENT = MF | OFFSET  # more fragments, or not the first: ip_is_fragment()


class IPProtocol(enum.IntEnum):
    """What an IP packet carries (linux/in.h); any other number will do as well."""

    ICMP = 1
    IPIP = 4
    TCP = 6
    UDP = 17
    IPV6 = 41
    GRE = 47
    ICMPV6 = 58


class Ecn(enum.IntEnum):
    """The two low bits of TOS or traffic class."""

    NOT_ECT = 0
    ECT_1 = 1
    ECT_0 = 2
    CE = 3


class IPv4(Header):
    """struct iphdr (RFC 791), without options.  `set` keeps the checksum right."""

    version = Bits(4)
    ihl = Bits(4)  # header length in 32-bit words
    dscp = Bits(6)
    ecn = Bits(2)
    total_length = Bits(16)
    identification = Bits(16)
    fragment = Bits(16)  # flags and offset
    ttl = Bits(8)
    protocol = Bits(8)
    checksum = Bits(16)
    source = Bits(32)
    destination = Bits(32)

    #: Bytes behind the options that somebody has taken already: a header around what it carries (UDP).
    #: Who adds its own to it can hand the packet to another protocol's handler.
    extension_size = 0

    @property
    def payload(self) -> int:
        """Where the payload begins, from the packet's front: behind the options."""
        return self.offset + self.ihl * 4 + self.extension_size

    @property
    def to_group(self) -> bool:
        """Whether it is sent to a multicast group."""
        return is_multicast(self.destination)


class IPv6(Header):
    """struct ipv6hdr (RFC 8200), without extension headers."""

    version = Bits(4)
    dscp = Bits(6)
    ecn = Bits(2)
    flow_label = Bits(20)
    payload_length = Bits(16)
    next_header = Bits(8)
    hop_limit = Bits(8)
    source = Bits(128)
    destination = Bits(128)

    #: Bytes of extension headers, as far as somebody has walked them (vdp.protocols.ip6.walk).
    extension_size = 0

    @property
    def payload(self) -> int:
        """Where the payload begins, from the packet's front: behind the extension headers walked."""
        return self.offset + self.SIZE + self.extension_size

    @property
    def to_group(self) -> bool:
        """Whether it is sent to a multicast group: ff00::/8 (ipv6_addr_is_multicast)."""
        return self.destination >> 120 == 0xFF


class Icmp(Header):
    """struct icmphdr (RFC 792, RFC 4443): what all messages begin with."""

    type = Bits(8)
    code = Bits(8)
    checksum = Bits(16)
    rest = Bits(32)


class Ports(Header):
    """The first four bytes of TCP and UDP."""

    source = Bits(16)
    destination = Bits(16)


def ports_at(packet: Packet, ip: IPv4) -> int | None:
    """Where the ports of TCP or UDP behind `ip` are; None where there are none, or it may be cut (no DF)."""
    if ip.protocol not in (IPProtocol.TCP, IPProtocol.UDP):
        return None
    may_not_be_cut = packet.read_bits(ip.place, IPv4.fragment.start + 1, 1, "IPv4.fragment")
    return ip.payload if may_not_be_cut and packet.has(ip.payload + Ports.SIZE) else None


def is_multicast(address: int) -> bool:
    """224.0.0.0/4 (ipv4_is_multicast)."""
    return address >> 28 == 0xE


def internet_checksum(data: bytes) -> bytes:
    """RFC 1071, over an even or odd number of bytes; the two bytes to put in the field."""
    padded = data + b"\0" if len(data) % 2 else data
    total = sum(int.from_bytes(padded[at : at + 2], "big") for at in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


def pseudo_header6(source: bytes, destination: bytes, length: int, protocol: int) -> bytes:
    """What an upper-layer checksum over IPv6 covers beside the payload (RFC 8200 8.1)."""
    return source + destination + length.to_bytes(4, "big") + protocol.to_bytes(4, "big")
