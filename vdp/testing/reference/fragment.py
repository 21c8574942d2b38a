"""Cutting an IPv4 packet into fragments: RFC 791 section 3.2, Linux ip_do_fragment."""

from __future__ import annotations

from vdp.testing.reference.checksum import internet_checksum
from vdp.testing.reference.offload import clear, finish_checksum, segment_length
from vdp.testing.reference.packet import Lost, Packet

DONT_FRAGMENT, MORE_FRAGMENTS, OFFSET = 0x4000, 0x2000, 0x1FFF
END, NOP, COPIED = 0, 1, 0x80  # IP options


def fragment(packet: Packet, network: int, most: int) -> list[Packet] | None:
    """The packet in pieces of at most `most` bytes from `network` on, where its IPv4 header is.

    None: it is too long and may not be cut (DF, or a super-packet).  Padding behind the IP
    packet goes when the whole is too long.  Raises Lost for a header that contradicts itself."""
    if segment_length(packet) <= network + most:
        return [packet]
    if packet.gso_type:
        return None
    end = _end(packet, network)
    if end - network <= most:
        del packet.data[end:]
        return [packet]
    front, field = network + (packet.data[network] & 15) * 4, packet.load16(network + 6)
    if field & DONT_FRAGMENT:
        return None
    room = most - (front - network)
    if (field & OFFSET) * 8 + end - front > 0xFFFF:
        raise Lost("ip_header")  # no offset can say where the last byte is
    if room < 8:
        raise Lost("mtu_exceeded")
    del packet.data[end:]
    finish_checksum(packet)
    payload, pieces = packet.data[front:], []
    while payload:
        size = len(payload) if len(payload) <= room else room // 8 * 8
        pieces.append(payload[:size])
        payload = payload[size:]
    return [
        _one(packet, network, front, piece, index * (room // 8), index == len(pieces) - 1)
        for index, piece in enumerate(pieces)
    ]


def _end(packet: Packet, network: int) -> int:
    """Where the IP packet ends, by its own length."""
    packet.need(network, 20)
    size, total = (packet.data[network] & 15) * 4, packet.load16(network + 2)
    if packet.data[network] >> 4 != 4 or size < 20:
        raise Lost("ip_header")
    if network + total > len(packet.data):
        raise Lost("parse_bad_length")
    if total < size:
        raise Lost("ip_header")
    return network + total


def _one(packet: Packet, network: int, front: int, piece: bytearray, offset: int, last: bool) -> Packet:
    """The fragment whose payload begins `offset` units of eight bytes behind the packet's."""
    part = packet.copy()
    clear(part)
    part.data = packet.data[:front] + piece
    field = packet.load16(network + 6) & (MORE_FRAGMENTS | OFFSET)  # not the reserved bit
    if offset and not field & OFFSET:
        part.data[network + 20 : front] = later_options(packet.data[network + 20 : front])
    part.store16(network + 2, len(part.data) - network)
    part.store16(network + 6, field + offset | (0 if last else MORE_FRAGMENTS))
    part.store16(network + 10, 0)
    part.store16(network + 10, internet_checksum(part.data[network:front]))
    return part


def later_options(options: bytearray) -> bytearray:
    """The options of all fragments but the first: those that are not copied become NOPs."""
    blanked, at = bytearray(options), 0
    while at < len(options) and options[at] != END:
        size = 1
        if options[at] != NOP:
            size = options[at + 1] if at + 1 < len(options) else 0
            if not 2 <= size <= len(options) - at:
                break  # malformed: left as it is
            if not options[at] & COPIED:
                blanked[at : at + size] = bytes([NOP]) * size
        at += size
    return blanked
