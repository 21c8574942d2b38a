"""Packet bytes for tests: one function a header, payload last, checksums right.

A packet is written from the outside in, as it is on the wire:

    ethernet(ipv4(A, B, tcp(1000, 80, b"hello"), ttl=3))

The network functions finish the transport checksum of what they carry, because it covers
their addresses: `tcp`, `udp` and `icmp6` answer a `Transport`, whose checksum field is
still zero.  Every field that a builder computes (lengths, checksums) can be given, to
build packets that are wrong on purpose.  Sources: RFC 791, 768, 9293, 8200, 2784, 2890;
IEEE 802.1Q.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from vdp.testing.reference.checksum import fold, internet_checksum, ones_sum

ETH_IPV4, ETH_ARP, ETH_VLAN, ETH_IPV6, ETH_TEB, ETH_WCCP = 0x0800, 0x0806, 0x8100, 0x86DD, 0x6558, 0x883E
IP_ICMP, IP_TCP, IP_UDP, IP_GRE, IP_ICMP6 = 1, 6, 17, 47, 58
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80
GRE_CSUM, GRE_KEY, GRE_SEQ = 0x8000, 0x2000, 0x1000


@dataclass(frozen=True, slots=True)
class Transport:
    """A transport header and its payload; `checksum_at` is where the network layer finishes it."""

    data: bytes
    protocol: int
    checksum_at: int


Payload = bytes | Transport


def mac(text: str) -> bytes:
    """Six bytes of "02:00:00:00:00:01"."""
    return bytes.fromhex(text.replace(":", ""))


def ethernet(
    payload: bytes,
    *,
    to: str = "02:00:00:00:00:02",
    origin: str = "02:00:00:00:00:01",
    ethertype: int | None = None,
) -> bytes:
    """An Ethernet II frame without FCS; the EtherType follows the payload's first nibble unless given."""
    if ethertype is None:
        ethertype = ETH_IPV6 if payload[:1] and payload[0] >> 4 == 6 else ETH_IPV4
    return mac(to) + mac(origin) + struct.pack("!H", ethertype) + payload


def vlan(frame: bytes, vid: int, *, priority: int = 0, tpid: int = ETH_VLAN) -> bytes:
    """`frame` with an IEEE 802.1Q tag behind its addresses."""
    return frame[:12] + struct.pack("!HH", tpid, priority << 13 | vid) + frame[12:]


def ipv4(
    source: str,
    destination: str,
    payload: Payload,
    *,
    protocol: int | None = None,
    ttl: int = 64,
    tos: int = 0,
    id: int = 0,
    flags: int = 2,
    fragment: int = 0,
    options: bytes = b"",
    total_length: int | None = None,
    checksum: int | None = None,
) -> bytes:
    """An IPv4 packet.  flags: 2 DF, 1 MF; fragment in units of 8 bytes; options are padded to 4 bytes."""
    ends = socket.inet_aton(source), socket.inet_aton(destination)
    data, protocol = _finish(payload, protocol, b"".join(ends))
    options += bytes(-len(options) % 4)
    size = 20 + len(options)
    head = bytearray(
        struct.pack(
            "!BBHHHBBH4s4s",
            0x40 | size // 4,
            tos,
            size + len(data) if total_length is None else total_length,
            id,
            flags << 13 | fragment,
            ttl,
            protocol,
            0,
            *ends,
        )
        + options
    )
    struct.pack_into("!H", head, 10, internet_checksum(head) if checksum is None else checksum)
    return bytes(head) + data


def ipv6(
    source: str,
    destination: str,
    payload: Payload,
    *,
    next_header: int | None = None,
    hop_limit: int = 64,
    traffic_class: int = 0,
    flow_label: int = 0,
    extensions: bytes = b"",
    payload_length: int | None = None,
) -> bytes:
    """An IPv6 packet.  With `extensions` (whole headers, the last naming the payload's protocol),
    next_header is the first one's number and must be given."""
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, destination)
    data, protocol = _finish(payload, None if extensions else next_header, ends)
    if extensions:
        if next_header is None:
            raise ValueError("extensions need next_header")
        protocol = next_header
    length = len(extensions) + len(data) if payload_length is None else payload_length
    head = struct.pack("!IHBB", 6 << 28 | traffic_class << 20 | flow_label, length, protocol, hop_limit)
    return head + ends + extensions + data


def udp(
    source: int,
    destination: int,
    payload: bytes = b"",
    *,
    length: int | None = None,
) -> Transport:
    """A UDP datagram."""
    size = 8 + len(payload) if length is None else length
    return Transport(struct.pack("!HHHH", source, destination, size, 0) + payload, IP_UDP, 6)


def tcp(
    source: int,
    destination: int,
    payload: bytes = b"",
    *,
    seq: int = 0,
    ack: int = 0,
    flags: int = ACK,
    window: int = 65535,
    options: bytes = b"",
    urgent: int = 0,
) -> Transport:
    """A TCP segment; options are padded to 4 bytes with end-of-list."""
    options += bytes(-len(options) % 4)
    offset = (20 + len(options)) // 4
    head = struct.pack(
        "!HHIIBBHHH",
        source,
        destination,
        seq & 0xFFFFFFFF,
        ack & 0xFFFFFFFF,
        offset << 4,
        flags,
        window,
        0,
        urgent,
    )
    return Transport(head + options + payload, IP_TCP, 16)


def tcp_timestamp(value: int, echo: int) -> bytes:
    """The TCP timestamp option as Linux sends it: two NOPs in front (RFC 7323, appendix A)."""
    return struct.pack("!BBBBII", 1, 1, 8, 10, value, echo)


def icmp(kind: int, code: int = 0, rest: int = 0, payload: bytes = b"") -> bytes:
    """An ICMP message, checksum right; give ipv4(protocol=IP_ICMP)."""
    data = bytearray(struct.pack("!BBHI", kind, code, 0, rest) + payload)
    struct.pack_into("!H", data, 2, internet_checksum(data))
    return bytes(data)


def icmp6(kind: int, code: int = 0, rest: int = 0, payload: bytes = b"") -> Transport:
    """An ICMPv6 message."""
    return Transport(struct.pack("!BBHI", kind, code, 0, rest) + payload, IP_ICMP6, 2)


def arp(operation: int, sender_mac: str, sender: str, target_mac: str, target: str) -> bytes:
    """An ARP packet for Ethernet and IPv4 (RFC 826); give ethernet(ethertype=ETH_ARP)."""
    return (
        struct.pack("!HHBBH", 1, ETH_IPV4, 6, 4, operation)
        + mac(sender_mac)
        + socket.inet_aton(sender)
        + mac(target_mac)
        + socket.inet_aton(target)
    )


def gre(
    payload: bytes,
    protocol: int = ETH_IPV4,
    *,
    key: int | None = None,
    sequence: int | None = None,
    csum: bool = False,
    checksum: int | None = None,
    flags: int = 0,
) -> bytes:
    """A GRE packet (RFC 2784, 2890): checksum, key and sequence when asked for; `flags` are or'ed in."""
    flags |= (
        (GRE_CSUM if csum or checksum is not None else 0)
        | (GRE_KEY if key is not None else 0)
        | (GRE_SEQ if sequence is not None else 0)
    )
    data = bytearray(struct.pack("!HH", flags, protocol))
    if flags & GRE_CSUM:
        data += bytes(4)
    if key is not None:
        data += struct.pack("!I", key)
    if sequence is not None:
        data += struct.pack("!I", sequence & 0xFFFFFFFF)
    data += payload
    if flags & GRE_CSUM:
        struct.pack_into("!H", data, 4, internet_checksum(data) if checksum is None else checksum)
    return bytes(data)


def pseudo_sum(ends: bytes, protocol: int, size: int) -> int:
    """The folded sum of the TCP/UDP pseudo header; `ends` are both addresses, of either family.

    What an unfinished checksum field holds (CHECKSUM_PARTIAL, VIRTIO_NET_HDR_F_NEEDS_CSUM)."""
    return fold(ones_sum(ends) + protocol + (size >> 16) + (size & 0xFFFF))


def unfinished(packet: bytes, transport: int, checksum_offset: int, ends: bytes, protocol: int) -> bytes:
    """`packet` with its transport checksum left unfinished: the pseudo header's sum in its field."""
    data = bytearray(packet)
    size = len(packet) - transport
    struct.pack_into("!H", data, transport + checksum_offset, pseudo_sum(ends, protocol, size))
    return bytes(data)


def _finish(payload: Payload, protocol: int | None, ends: bytes) -> tuple[bytes, int]:
    """Payload bytes with their checksum, and the protocol number."""
    if not isinstance(payload, Transport):
        if protocol is None:
            raise ValueError("a payload of bytes needs its protocol")
        return payload, protocol
    data = bytearray(payload.data)
    total = pseudo_sum(ends, payload.protocol, len(data)) + ones_sum(data)
    value = ~fold(total) & 0xFFFF
    if payload.protocol == IP_UDP and value == 0:
        value = 0xFFFF  # RFC 768: zero means none
    struct.pack_into("!H", data, payload.checksum_at, value)
    return bytes(data), payload.protocol if protocol is None else protocol
