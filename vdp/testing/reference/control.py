"""Which packets are control traffic; see control.c, whose twin this is."""

from __future__ import annotations

from vdp.engine.interface import META_PROTOCOL, META_TYPE, PacketType
from vdp.testing.reference.packet import Packet

ETHERNET, TAG, TAGS_MOST, IPV6 = 14, 4, 2, 40
ETH_IPV4, ETH_ARP, ETH_IPV6, TAGS = 0x0800, 0x0806, 0x86DD, (0x8100, 0x88A8)
HOP_BY_HOP, ICMP, GRE, ICMP6 = 0, 1, 47, 58


def is_control(packet: Packet) -> bool:
    """ARP, ICMP, ICMPv6, GRE keepalives: what a network needs to go on working."""
    data = bytes(packet.data)
    if packet.word(META_TYPE) == PacketType.L3:
        return _is_protocol(packet.word(META_PROTOCOL), data)
    for tags in range(TAGS_MOST + 1):
        frame = data[tags * TAG :]
        if len(frame) < ETHERNET:
            return False
        ethertype = int.from_bytes(frame[12:14], "big")
        if ethertype not in TAGS:
            break
    return _is_protocol(ethertype, frame[ETHERNET:])


def _is_protocol(ethertype: int, data: bytes) -> bool:
    if ethertype == ETH_IPV4:
        protocol, carried = _ipv4(data)
        return protocol == ICMP or (protocol == GRE and _is_keepalive(carried))
    if ethertype == ETH_IPV6:
        next_header = data[6] if len(data) > IPV6 else None
        return next_header == ICMP6 or (next_header == HOP_BY_HOP and data[IPV6] == ICMP6)
    return ethertype == ETH_ARP


def _ipv4(data: bytes) -> tuple[int, bytes]:
    """Protocol of a first fragment, -1 of anything else, and what it carries."""
    if len(data) < 20 or data[0] >> 4 != 4 or int.from_bytes(data[6:8], "big") & 0x1FFF:
        return -1, b""
    return data[9], data[4 * (data[0] & 15) :]


def _gre(data: bytes) -> tuple[int, bytes]:
    if len(data) < 4:
        return -1, b""
    flags = int.from_bytes(data[:2], "big")
    if flags & 0x5FFF:  # numbered: it would overtake others
        return -1, b""
    return int.from_bytes(data[2:4], "big"), data[4 + 4 * (flags & 0xA000).bit_count() :]


def _is_keepalive(data: bytes) -> bool:
    """What is sent to come back, and what comes back: GRE with protocol 0."""
    protocol, carried = _gre(data)
    if protocol != ETH_IPV4:
        return protocol == 0
    inner, answer = _ipv4(carried)
    return inner == GRE and _gre(answer)[0] == 0
