"""Super-packets in GRE: which of them a port with Feature.GRE_TSO takes (engine.h)."""

from __future__ import annotations

from vdp.engine.interface import META_TYPE, PacketType
from vdp.testing.reference.checksum import fold, internet_checksum, ones_sum
from vdp.testing.reference.offload import (
    GSO_ECN,
    GSO_TCPV4,
    GSO_UDP_L4,
    TCP,
    UDP,
    Headers,
    check,
    check_headers,
    leads_to_own,
    locate,
    locate_ip,
    pseudo_sum,
)
from vdp.testing.reference.packet import Lost, Packet

GRE, DESTINATION_OPTIONS = 47, 60
TEB = 0x6558
CHECKSUM = 0x8000
#: GRE flags that may be there, and the header's size with them: a checksum, a key.
SIZES = {0x0000: 4, 0x2000: 8, CHECKSUM: 8, CHECKSUM | 0x2000: 12}


def _untagged(packet: Packet) -> int:
    """Where IP starts in a packet without VLAN tags."""
    return 0 if packet.word(META_TYPE) == PacketType.L3 else 14


def _is_plain_outer(packet: Packet, outer: Headers) -> bool:
    size = outer.transport - outer.network
    if outer.protocol not in (GRE, UDP) or outer.fragment or outer.end != len(packet.data):
        return False
    if outer.network != _untagged(packet):
        return False
    if outer.version == 4:
        return size == 20
    return size == 40 or (size == 48 and packet.data[outer.network + 6] == DESTINATION_OPTIONS)


def check_gre(packet: Packet) -> Headers:
    """The inner headers of a super-packet in GRE.  Raises Lost."""
    outer = locate(packet)
    if packet.gso_type == GSO_UDP_L4 or outer is None or not _is_plain_outer(packet, outer):
        raise Lost("gso_unsupported")
    size = len(packet.data)
    at = gre = _behind_udp(packet, outer)
    gre_size = SIZES.get(packet.load16(at)) if at + 4 <= size else None
    if gre_size is None or at + gre_size > size:
        raise Lost("gso_unsupported")
    ethertype = packet.load16(at + 2)
    at += gre_size
    if ethertype == TEB:
        if at + 14 > size:
            raise Lost("gso_unsupported")
        ethertype = packet.load16(at + 12)
        at += 14
    headers = locate_ip(packet, ethertype, at)
    if headers is None:
        raise Lost("gso_unsupported")
    check_headers(packet, headers)
    found = []
    if packet.load16(gre) & CHECKSUM:
        found.append(local_checksum(packet, gre))
    if outer.protocol == UDP and packet.load16(outer.transport + 6):
        found.append(local_udp(packet, outer.version, outer.network, outer.transport))
    even = (size - headers.payload) % packet.gso_size == 0
    if found and not (even and _sums_to_nothing(packet, headers) and not any(found)):
        raise Lost("gso_unsupported")
    return headers


def _behind_udp(packet: Packet, outer: Headers) -> int:
    """Where GRE begins.  Raises Lost where UDP's length is another."""
    if outer.protocol == UDP and packet.load16(outer.transport + 4) != outer.end - outer.transport:
        raise Lost("gso_unsupported")
    return outer.payload


def _sums_to_nothing(packet: Packet, headers: Headers) -> bool:
    """Is an IPv4 header's checksum right?"""
    return headers.version == 6 or internet_checksum(packet.data[headers.network : headers.transport]) == 0


def local_checksum(packet: Packet, start: int) -> int:
    """The checksum from `start` on that each full segment will have: of one, cut off and finished."""
    return ~fold(_local_sum(packet, start)) & 0xFFFF


def local_udp(packet: Packet, version: int, network: int, transport: int) -> int:
    """The same of the UDP header at `transport`; 0 where it has that checksum."""
    less = _shortening(packet)
    size = len(packet.data) - transport - less
    outer = Headers(version, UDP, False, network, transport, transport + 8, transport + size)
    # The header says the whole's length, and will say the segment's.
    total = _local_sum(packet, transport) + (~less & 0xFFFF) + pseudo_sum(packet, outer, size)
    return ~fold(total) & 0xFFFF


def _shortening(packet: Packet) -> int:
    """By how much a full segment is shorter than the whole."""
    at = packet.csum_start
    tcp_size = (packet.data[at + 12] >> 4) * 4
    return max(0, len(packet.data) - at - tcp_size - packet.gso_size)


def _local_sum(packet: Packet, start: int) -> int:
    at = packet.csum_start
    pseudo = packet.load16(at + 16)  # of the whole
    total = ones_sum(packet.data[start:at]) + (~pseudo & 0xFFFF)
    return total + (_shortening(packet) if packet.gso_type & ~GSO_ECN == GSO_TCPV4 else 0)


def fits_gre(packet: Packet, longest: int, longest_segment: int) -> bool:
    """May it stay whole as it is put into GRE?"""
    try:
        headers = check(packet)
    except Lost:
        return False
    return (
        headers.protocol == TCP
        and headers.network == _untagged(packet)
        and _sums_to_nothing(packet, headers)
        and len(packet.data) <= longest
        and headers.payload + packet.gso_size <= longest_segment
    )


def described(packet: Packet) -> Headers | None:
    """The headers that a super-packet is cut behind, its own or in GRE; None of any other.  Raises Lost."""
    if not packet.gso_type:
        return None
    return check(packet) if _has_own(packet) else check_gre(packet)


def takes_headers(packet: Packet, with_gre: bool) -> bool:
    """Does a port take a super-packet with what may stand in front of the headers that it is cut behind?"""
    return with_gre or _has_own(packet)


def _has_own(packet: Packet) -> bool:
    """Are there headers at the front that lead to TCP or UDP, right or wrong?"""
    headers = locate(packet)
    return headers is not None and leads_to_own(packet, headers)
