"""Cutting a super-packet: what GSO does in Linux (inet_gso_segment, tcp_gso_segment, UDP_L4)."""

from __future__ import annotations

from dataclasses import replace

from vdp.engine.interface import Feature
from vdp.testing.reference.checksum import internet_checksum
from vdp.testing.reference.gre import fits_gre
from vdp.testing.reference.offload import (
    SEGMENT_LEAST,
    SEGMENTS_MOST,
    TCP,
    UDP,
    Headers,
    check,
    clear,
    covered,
    finish_checksum,
    leave_checksum,
)
from vdp.testing.reference.packet import Lost, Packet

FIN_PSH, CWR = 0x09, 0x80


def segment(
    packet: Packet,
    features: Feature,
    most: int,
    longest: int = 0,
    longest_segment: int = 0,
    equal: bool = False,
) -> list[Packet]:
    """The packet as an output with `features` takes it: itself, or its segments in order.

    `most`: bytes that a segment may have, headers included;
    0: as gso_size says.  An output that cuts by itself is told a smaller gso_size.  An
    unfinished checksum is finished unless Feature.CSUM is there; segments then have one.
    With Feature.GRE_TSO, what is about to be put into GRE and fits stays whole, but for a
    shorter last segment if all are to be equal."""
    taken = covered(packet, features)
    if not packet.gso_type:
        if not taken:
            finish_checksum(packet)
        return [packet]
    if taken and not most:
        return [packet]
    if Feature.GRE_TSO in features and fits_gre(packet, longest, longest_segment):
        return _evenly(packet) if equal else [packet]
    headers = check(packet)
    size = packet.gso_size
    if most and headers.payload + size > most:
        if headers.protocol == UDP:
            raise Lost("mtu_exceeded")  # a datagram's size is the sender's choice
        if most < headers.payload + SEGMENT_LEAST:
            raise Lost("gso_invalid")
        size = most - headers.payload
    payload = packet.data[headers.payload :]
    count = -(-len(payload) // size)
    if not 0 < count <= SEGMENTS_MOST:
        raise Lost("gso_invalid")
    if taken:
        packet.gso_size, packet.segments = size, count
        return [packet]
    chunks = [payload[at : at + size] for at in range(0, len(payload), size)]
    parts = [_one(packet, headers, chunk, i, i * size, i + 1 == count) for i, chunk in enumerate(chunks)]
    if not features & Feature.CSUM:
        for part in parts:
            _finish(part, headers)
    return parts


def _finish(part: Packet, headers: Headers) -> None:
    """A segment's checksum.  Zero is one of TCP's (gso_make_checksum); of UDP it would mean: none."""
    value = internet_checksum(part.data[headers.transport :])
    part.store16(
        part.csum_start + part.csum_offset, 0xFFFF if value == 0 and headers.protocol == UDP else value
    )
    part.needs_csum, part.csum_valid = False, True


def _evenly(packet: Packet) -> list[Packet]:
    """The super-packet with equal segments, and the rest."""
    headers = check(packet)
    payload = packet.data[headers.payload :]
    rest = len(payload) % packet.gso_size
    if rest in (0, len(payload)):
        return [packet]
    even = len(payload) - rest
    full = even // packet.gso_size  # counted anew: a program may have made the headers longer
    head = _one(packet, headers, payload[:even], 0, 0, False)
    last = _one(packet, headers, payload[even:], full, even, True)
    if full > 1:
        head.gso_type, head.gso_size, head.segments = packet.gso_type, packet.gso_size, full
    else:
        _finish(head, headers)
    _finish(last, headers)
    return [head, last]


def _one(packet: Packet, headers: Headers, chunk: bytearray, index: int, offset: int, last: bool) -> Packet:
    """Segment number `index`, whose payload begins `offset` bytes into the super-packet's."""
    part = packet.copy()
    part.data = packet.data[: headers.payload] + chunk
    clear(part)
    length = len(part.data) - headers.network
    if headers.version == 4:
        _number_ipv4(part, headers.network, length, index)
    else:
        part.store16(headers.network + 4, length - 40)
    if headers.protocol == TCP:
        part.store32(headers.transport + 4, part.load32(headers.transport + 4) + offset)
        flags = headers.transport + 13
        if index:
            part.data[flags] &= ~CWR & 0xFF  # the congestion window was reduced once
        if not last:
            part.data[flags] &= ~FIN_PSH & 0xFF
    else:
        part.store16(headers.transport + 4, len(part.data) - headers.transport)
    leave_checksum(part, replace(headers, end=len(part.data)))
    return part


def _number_ipv4(part: Packet, network: int, length: int, index: int) -> None:
    """Total length, identification + index, header checksum."""
    part.store16(network + 2, length)
    part.store16(network + 4, part.load16(network + 4) + index)
    part.store16(network + 10, 0)
    size = (part.data[network] & 15) * 4
    part.store16(network + 10, internet_checksum(part.data[network : network + size]))
