"""Where a packet's headers are, and its offload marks: what a NIC's offload engine knows.

The marks are those of struct virtio_net_hdr (virtio 1.2, 5.1.6).  They come from outside
and are checked in `load`; from then on a super-packet has whole IP and TCP or UDP headers
that end where the packet ends, and a pseudo header's sum in its checksum field.
"""

from __future__ import annotations

from dataclasses import dataclass

from vdp.engine.interface import META_PROTOCOL, META_TYPE, Feature, Offload, PacketType
from vdp.testing.reference.checksum import fold, internet_checksum, ones_sum
from vdp.testing.reference.packet import Lost, Packet

GSO_TCPV4, GSO_UDP, GSO_TCPV6, GSO_UDP_L4, GSO_ECN = 1, 3, 4, 5, 0x80
TCP, UDP, FRAGMENT_HEADER = 6, 17, 44
STEPPED_OVER = {0, 43, 60}  # hop-by-hop, routing, destination options
VLANS = {0x8100, 0x88A8, 0x9100}
CHECKSUM_AT = {TCP: 16, UDP: 6}
GSO_KINDS = {GSO_TCPV4, GSO_TCPV4 | GSO_ECN, GSO_TCPV6, GSO_TCPV6 | GSO_ECN, GSO_UDP_L4}
VLAN_TAGS = 8  # VLAN_MAX_DEPTH of Linux
SUPER_HEADERS = 512  # in front of a super-packet's payload
SEGMENT_LEAST = 48  # TCP_MIN_SND_MSS of Linux: with less, at most SEGMENTS_TINY
SEGMENTS_TINY, SEGMENTS_MOST = 64, 65536 // 48 + 1


@dataclass(frozen=True, slots=True)
class Headers:
    """Offsets from the front; `end` is where the IP packet ends, padding may follow."""

    version: int
    protocol: int
    fragment: bool
    network: int
    transport: int
    payload: int
    end: int


def version_ethertype(data: bytearray) -> int:
    """The EtherType that a layer-3 packet's version nibble says; 0: none."""
    return {4: 0x0800, 6: 0x86DD}.get(data[0] >> 4, 0) if data else 0


def locate(packet: Packet) -> Headers | None:
    """The headers, or None: not IP, cut short, or a length that contradicts another."""
    return locate_ip(packet, *find_network(packet))


def find_network(packet: Packet) -> tuple[int, int]:
    """The EtherType of the network header, 0: none; and where that begins."""
    data = packet.data
    if packet.word(META_TYPE) == PacketType.L3:
        return packet.word(META_PROTOCOL) or version_ethertype(data), 0
    network = 14
    if len(data) < network:
        return 0, network
    ethertype = packet.load16(12)
    while ethertype in VLANS:
        if len(data) < network + 4 or network >= 14 + 4 * VLAN_TAGS:
            return 0, network
        ethertype = packet.load16(network + 2)
        network += 4
    return ethertype, network


def locate_ip(packet: Packet, ethertype: int, network: int) -> Headers | None:
    """The same for an IP packet at an offset."""
    if ethertype == 0x0800:
        return _locate_ipv4(packet, network)
    if ethertype == 0x86DD:
        return _locate_ipv6(packet, network)
    return None


def _locate_ipv4(packet: Packet, network: int) -> Headers | None:
    data = packet.data
    if len(data) < network + 20 or data[network] >> 4 != 4:
        return None
    size, total = (data[network] & 15) * 4, packet.load16(network + 2)
    if size < 20 or total < size or network + total > len(data):
        return None
    fragment = packet.load16(network + 6) & 0x3FFF != 0  # more fragments, or an offset
    return _locate_transport(data, 4, data[network + 9], fragment, network, network + size, network + total)


def _locate_ipv6(packet: Packet, network: int) -> Headers | None:
    data = packet.data
    if len(data) < network + 40 or data[network] >> 4 != 6:
        return None
    at, following = network + 40, data[network + 6]
    end = at + packet.load16(network + 4)
    if end > len(data):
        return None
    while following in STEPPED_OVER:
        if end - at < 8:
            return None
        size = (data[at + 1] + 1) * 8
        # A routing header with segments left: the checksum covers another destination.
        if size > end - at or (following == 43 and data[at + 3] != 0):
            return None
        following = data[at]
        at += size
    return _locate_transport(data, 6, following, following == FRAGMENT_HEADER, network, at, end)


def _locate_transport(
    data: bytearray, version: int, protocol: int, fragment: bool, network: int, at: int, end: int
) -> Headers | None:
    size: int | None = 0
    if not fragment and protocol in CHECKSUM_AT:
        size = transport_size(data, protocol, at, end)
    if size is None:
        return None
    return Headers(version, protocol, fragment, network, at, at + size, end)


def transport_size(data: bytearray, protocol: int, at: int, end: int) -> int | None:
    """Bytes of the TCP or UDP header at `at`; None: it does not fit in front of `end`."""
    size = 8
    if protocol == TCP:
        if end - at < 20:
            return None
        size = (data[at + 12] >> 4) * 4
        if size < 20:
            return None
    return size if size <= end - at else None


def pseudo_sum(packet: Packet, headers: Headers, size: int) -> int:
    """Sum of the pseudo header for `size` bytes of transport, folded."""
    first, count = (12, 8) if headers.version == 4 else (8, 32)
    addresses = packet.data[headers.network + first : headers.network + first + count]
    return fold(ones_sum(addresses) + headers.protocol + (size >> 16) + (size & 0xFFFF))


def clear(packet: Packet) -> None:
    """A plain packet, which is one segment."""
    packet.needs_csum = packet.csum_valid = False
    packet.csum_start = packet.csum_offset = packet.gso_type = packet.gso_size = 0
    packet.segments = 1


def leave_checksum(packet: Packet, headers: Headers) -> None:
    """Make the transport checksum an unfinished one."""
    packet.needs_csum = True
    packet.csum_start = headers.transport
    packet.csum_offset = CHECKSUM_AT[headers.protocol]
    total = pseudo_sum(packet, headers, headers.end - headers.transport)
    packet.store16(headers.transport + packet.csum_offset, total)


def fits(packet: Packet, headers: Headers, gso_type: int) -> bool:
    """Is this a whole packet of the kind that `gso_type` says?"""
    if headers.fragment or headers.end != len(packet.data):
        return False
    kinds = {GSO_TCPV4: (4, TCP), GSO_TCPV6: (6, TCP)}
    if gso_type == GSO_UDP_L4:
        return headers.protocol == UDP
    return kinds.get(gso_type & ~GSO_ECN) == (headers.version, headers.protocol)


def load(packet: Packet, offload: Offload) -> None:
    """Take marks over from outside.  Raises Lost when they contradict the packet."""
    clear(packet)
    if offload.needs_csum:
        at = offload.csum_start + offload.csum_offset
        if offload.csum_offset > 0xFFFF or at + 2 > len(packet.data):
            raise Lost("gso_invalid" if offload.gso_type else "vnet_hdr_invalid")
        packet.needs_csum = True
        packet.csum_start, packet.csum_offset = offload.csum_start, offload.csum_offset
    if offload.gso_type:
        _load_gso(packet, offload)
    else:
        check_checksum(packet)


def check_checksum(packet: Packet) -> None:
    """Raise Lost when the unfinished checksum, once finished, would change what was decided by."""
    if not packet.needs_csum:
        return
    headers = locate(packet)
    if headers is None:
        ethertype, network = find_network(packet)
        fits = packet.csum_start >= network + {0x0800: 20, 0x86DD: 40}.get(ethertype, 0)
    else:
        own = headers.transport, CHECKSUM_AT.get(headers.protocol)
        fits = (packet.csum_start, packet.csum_offset) == own or is_carried(headers, packet.csum_start)
    if not fits:
        raise Lost("vnet_hdr_invalid")


def leads_to_own(packet: Packet, headers: Headers) -> bool:
    """Do these headers lead to TCP or UDP, right or wrong, rather than to what a tunnel carries?"""
    return headers.protocol in CHECKSUM_AT and not is_carried(headers, packet.csum_start)


def is_carried(headers: Headers, start: int) -> bool:
    """Does a checksum that starts there belong to what a tunnel carries behind these headers?"""
    if headers.fragment or headers.protocol == TCP:
        return False
    return start >= headers.transport + (8 if headers.protocol == UDP else 0)


def _load_gso(packet: Packet, offload: Offload) -> None:
    if offload.gso_type == GSO_UDP:
        raise Lost("gso_unsupported")  # UFO: fragments, not datagrams
    if offload.gso_type not in GSO_KINDS:
        raise Lost("gso_invalid")
    if not 0 < offload.gso_size <= 0xFFFF or offload.header_size > len(packet.data):
        raise Lost("gso_invalid")
    payload = _payload(packet, offload)
    if payload > SUPER_HEADERS:
        raise Lost("gso_invalid")
    size = len(packet.data) - payload
    if size <= offload.gso_size:
        return  # one segment: "not really a GSO packet", says Linux
    segments = -(-size // offload.gso_size)
    if segments > SEGMENTS_MOST or (offload.gso_size < SEGMENT_LEAST and segments > SEGMENTS_TINY):
        raise Lost("gso_invalid")
    packet.gso_type, packet.gso_size, packet.segments = offload.gso_type, offload.gso_size, segments


def _payload(packet: Packet, offload: Offload) -> int:
    """Where a super-packet's payload begins: by its own headers or, when those are a tunnel's
    that the engine does not know, by csum_start."""
    headers = locate(packet)
    protocol = UDP if offload.gso_type == GSO_UDP_L4 else TCP
    if headers is None or (offload.needs_csum and offload.csum_offset != CHECKSUM_AT[protocol]):
        raise Lost("gso_invalid")
    if not offload.needs_csum or offload.csum_start == headers.transport:
        if not fits(packet, headers, offload.gso_type):
            raise Lost("gso_invalid")
        leave_checksum(packet, headers)
        return headers.payload
    size = transport_size(packet.data, protocol, offload.csum_start, len(packet.data))
    inside = is_carried(headers, offload.csum_start) and headers.end == len(packet.data)
    if not inside or size is None:
        raise Lost("gso_invalid")
    return offload.csum_start + size


def check(packet: Packet) -> Headers:
    """The headers of a super-packet, which must be those of its type.  Raises Lost."""
    headers = locate(packet)
    if headers is None:
        raise Lost("gso_unsupported")
    return check_headers(packet, headers)


def check_headers(packet: Packet, headers: Headers) -> Headers:
    """The same of headers that were found."""
    if not leads_to_own(packet, headers):
        raise Lost("gso_unsupported")
    if not fits(packet, headers, packet.gso_type) or packet.csum_start != headers.transport:
        raise Lost("gso_invalid")
    return headers


def store(packet: Packet, headers: Headers | None) -> Offload:
    """The marks as told to an output, of a super-packet with those headers.  Raises Lost when they no
    longer describe the packet."""
    if packet.needs_csum and not _field_inside(packet):
        raise Lost("vnet_hdr_invalid")
    return Offload(
        packet.needs_csum,
        packet.csum_start if packet.needs_csum else 0,
        packet.csum_offset if packet.needs_csum else 0,
        packet.gso_type,
        packet.gso_size,
        headers.payload if headers else 0,
    )


def _field_inside(packet: Packet) -> bool:
    return packet.csum_start >= 0 and packet.csum_start + packet.csum_offset + 2 <= len(packet.data)


def finish_checksum(packet: Packet) -> None:
    """Compute an unfinished checksum, from csum_start to the end (skb_checksum_help).

    One whose header has been pulled off is nobody's concern any more."""
    if packet.needs_csum and packet.csum_start >= 0:
        if not _field_inside(packet):
            raise Lost("vnet_hdr_invalid")
        # The field holds the pseudo header's sum, and so belongs to what is summed.
        value = internet_checksum(packet.data[packet.csum_start :])
        packet.store16(packet.csum_start + packet.csum_offset, value or 0xFFFF)
        packet.csum_valid = True
    packet.needs_csum = False


def covered(packet: Packet, features: Feature) -> bool:
    """Does an output with these features take the packet as it is?"""
    needed = Feature.CSUM if packet.needs_csum else Feature.NONE
    if packet.gso_type:
        kind = packet.gso_type & ~GSO_ECN
        needed |= {GSO_TCPV4: Feature.TSO4, GSO_TCPV6: Feature.TSO6}.get(kind, Feature.USO)
    return needed & ~features == 0


def segment_length(packet: Packet) -> int:
    """How long the packet is, or, of a super-packet, its longest segment with all its headers."""
    if not packet.gso_type or packet.csum_start < 0:
        return len(packet.data)
    protocol = UDP if packet.gso_type == GSO_UDP_L4 else TCP
    size = transport_size(packet.data, protocol, packet.csum_start, len(packet.data))
    return len(packet.data) if size is None else packet.csum_start + size + packet.gso_size
