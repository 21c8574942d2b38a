"""GRE version 1 and PPP, as bytes: the headers, and where PPP's ends."""

from __future__ import annotations

from vdp.api import Bits, EtherType, Header, Packet

#: Slot of table "gre_version" (GREPROTO_PPTP).
VERSION = 1
GRE_PROTO_PPP = 0x880B
#: PPP in HDLC-like framing (RFC 1662): all stations, unnumbered information.
ALL_STATIONS, UNNUMBERED = 0xFF, 0x03
PPP_IP, PPP_IPV6 = 0x0021, 0x0057
ETHER_TYPES: dict[int, EtherType] = {PPP_IP: EtherType.IPV4, PPP_IPV6: EtherType.IPV6}
PPP_PROTOCOLS: dict[int, int] = {ether_type: protocol for protocol, ether_type in ETHER_TYPES.items()}


class Call(Header):
    """What the key is here."""

    payload_length = Bits(16)
    id = Bits(16)


class Acknowledgment(Header):
    number = Bits(32)


class Ppp(Header):
    """PPP's full header."""

    address = Bits(8)
    control = Bits(8)
    protocol = Bits(16)


class Octet(Header):
    value = Bits(8)


class Protocol(Header):
    value = Bits(16)


def ppp(packet: Packet, at: int) -> tuple[int, int] | None:
    """Size and protocol of the PPP header at `at` (RFC 1661 2, 6.5, RFC 1662 3.1); None: not all there."""
    start = at
    if not _reaches(packet, at + Octet.SIZE):
        return None
    if packet.header(Octet, at).value == ALL_STATIONS:
        if not _reaches(packet, at + 3):
            return None
        if packet.header(Octet, at + 1).value == UNNUMBERED:
            at += 2
    if packet.header(Octet, at).value & 1:  # compressed: the only byte is odd
        return at + Octet.SIZE - start, packet.header(Octet, at).value
    if not _reaches(packet, at + Protocol.SIZE):
        return None
    return at + Protocol.SIZE - start, packet.header(Protocol, at).value


def _reaches(packet: Packet, size: int) -> bool:
    """pskb_may_pull: this packet has `size` bytes, and so must each one of its flow (behind a trim)."""
    if not packet.has(size):
        return False
    packet.require_length(size, packet.otherwise("plugin_pptp_length"))
    return True
