"""UDP around a tunnel's packets: vdp/engine/udp.c, readably."""

from __future__ import annotations

from vdp.testing.reference.checksum import fold, ones_sum
from vdp.testing.reference.gre import local_udp
from vdp.testing.reference.offload import GSO_UDP_L4, UDP, Headers, finish_checksum, pseudo_sum
from vdp.testing.reference.packet import Lost, Packet

UDP_SIZE, CHECKSUM = 8, 6
MULTIPLIER = 0x9E3779B1  # 2^32 divided by the golden ratio, odd


def leave_checksum(packet: Packet, version: int, network: int, transport: int) -> None:
    """UDP_CHECKSUM: the pseudo header's sum goes into the field, the rest is left to whoever sends it."""
    _need(packet, version, network, transport)
    if packet.gso_type:
        _leave_to_segments(packet, version, network, transport)
        return
    finish_checksum(packet)
    packet.csum_start, packet.csum_offset = transport, CHECKSUM
    packet.needs_csum, packet.csum_valid = True, False
    packet.store16(transport + CHECKSUM, fold(_pseudo(packet, version, network, transport)))


def _leave_to_segments(packet: Packet, version: int, network: int, transport: int) -> None:
    """Of a TCP super-packet in UDP: the checksum that each segment of full size will have."""
    if packet.gso_type == GSO_UDP_L4 or packet.csum_start < transport + UDP_SIZE:
        raise Lost("gso_unsupported")
    packet.store16(transport + CHECKSUM, 0)
    packet.store16(transport + CHECKSUM, local_udp(packet, version, network, transport) or 0xFFFF)


def is_good(packet: Packet, version: int, network: int, transport: int, zero: bool) -> bool:
    """REQUIRE_UDP: a good checksum, one that is not finished yet or, if `zero`, none."""
    _need(packet, version, network, transport)
    if packet.needs_csum and (packet.csum_start, packet.csum_offset) == (transport, CHECKSUM):
        return True
    if packet.gso_type and packet.csum_start < transport + UDP_SIZE:
        raise Lost("gso_unsupported")
    if not packet.load16(transport + CHECKSUM):
        return zero
    if packet.csum_valid or packet.gso_type:
        return True
    finish_checksum(packet)
    total = _pseudo(packet, version, network, transport) + ones_sum(packet.data[transport:])
    return fold(total) == 0xFFFF


def hash_of(data: bytes | bytearray) -> int:
    """HASH: 16 bits that are the same for the same bytes, big-endian words of 32 bits."""
    number = 0
    for at in range(0, len(data), 4):
        number = (number ^ int.from_bytes(data[at : at + 4], "big")) * MULTIPLIER & 0xFFFFFFFF
        number ^= number >> 15
    return (number ^ number >> 16) & 0xFFFF


def _need(packet: Packet, version: int, network: int, transport: int) -> None:
    packet.need(network, 20 if version == 4 else 40)
    packet.need(transport, UDP_SIZE)


def _pseudo(packet: Packet, version: int, network: int, transport: int) -> int:
    end = len(packet.data)
    headers = Headers(version, UDP, False, network, transport, transport + UDP_SIZE, end)
    return pseudo_sum(packet, headers, end - transport)
