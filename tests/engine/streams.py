"""TCP streams as packets, for tests of cells and segmentation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from vdp.engine.interface import MemoryPacket, Offload
from vdp.testing import builders
from vdp.testing.builders import ACK, ipv4, ipv6, tcp

IP_FIELDS = {"id", "ttl", "tos", "fragment", "hop_limit", "traffic_class", "flow_label"}
IP_FIELDS |= {"next_header", "extensions", "total_length", "checksum"}


def segment4(payload: bytes, seq: int = 0, *, sport: int = 1000, **fields: Any) -> bytes:
    """An IPv4 TCP segment; fields of either header by name, IP's flags and options with ip_ in front."""
    network = {name: fields.pop(name) for name in list(fields) if name in IP_FIELDS}
    for name in ("flags", "options"):
        if f"ip_{name}" in fields:
            network[name] = fields.pop(f"ip_{name}")
    header = tcp(sport, 80, payload, seq=seq, **{"flags": ACK, **fields})
    return ipv4("10.0.0.1", "10.0.0.2", header, **network)


def segment6(payload: bytes, seq: int = 0, *, sport: int = 1000, **fields: Any) -> bytes:
    """An IPv6 TCP segment."""
    network = {name: fields.pop(name) for name in list(fields) if name in IP_FIELDS}
    header = tcp(sport, 80, payload, seq=seq, **{"flags": ACK, **fields})
    return ipv6("2001:db8::1", "2001:db8::2", header, **network)


def stream4(sizes: Iterable[int], seq: int = 0, id: int = 1, **fields: Any) -> list[bytes]:
    """Consecutive IPv4 segments with these payload sizes and ids that count up."""
    packets = []
    for n, size in enumerate(sizes):
        payload = bytes((seq + i) * 7 & 0xFF for i in range(size))
        packets.append(segment4(payload, seq, id=(id + n) & 0xFFFF, **fields))
        seq += size
    return packets


def stream6(sizes: Iterable[int], seq: int = 0, **fields: Any) -> list[bytes]:
    packets = []
    for size in sizes:
        payload = bytes((seq + i) * 7 & 0xFF for i in range(size))
        packets.append(segment6(payload, seq, **fields))
        seq += size
    return packets


def super_packet(data: bytes, size: int, *, ecn: bool = False) -> MemoryPacket:
    """A layer-3 packet as a super-packet with segments of `size` payload bytes."""
    version = data[0] >> 4
    if version == 4:
        start, protocol, kind = (data[0] & 15) * 4, data[9], 1
    else:
        start, protocol, kind = 40, data[6], 4
    if protocol == 17:
        return MemoryPacket(data, offload=Offload(True, start, 6, 5, size))
    return MemoryPacket(data, offload=Offload(True, start, 16, kind | (0x80 if ecn else 0), size))


def layer(data: bytes) -> Any:
    return (IP if data[0] >> 4 == 4 else IPv6)(data)


def payload(data: bytes) -> bytes:
    """A TCP packet's payload."""
    return bytes(layer(data)[TCP].payload)


def assert_sound(data: bytes) -> None:
    """The packet's lengths and checksums are what scapy computes for it."""
    packet = layer(data)
    fields = {
        IP: ("len", "chksum"),
        IPv6: ("plen",),
        TCP: ("chksum",),
        UDP: ("chksum", "len"),
    }
    for kind, names in fields.items():
        if kind in packet:
            for name in names:
                packet[kind].delfieldval(name)
    assert bytes(packet) == data


def finished(packet: MemoryPacket) -> bytes:
    """The packet with its unfinished checksum computed as a receiver would (by scapy)."""
    scapy = layer(packet.data)
    for kind in (TCP, UDP):
        if kind in scapy:
            scapy[kind].delfieldval("chksum")
    return bytes(scapy)


def unfinished(data: bytes) -> MemoryPacket:
    """A TCP or UDP packet as a local sender leaves it (CHECKSUM_PARTIAL), without IP extension headers."""
    is_ip4 = data[0] >> 4 == 4
    start, protocol = ((data[0] & 15) * 4, data[9]) if is_ip4 else (40, data[6])
    ends, offset = data[12:20] if is_ip4 else data[8:40], {6: 16, 17: 6}[protocol]
    marked = builders.unfinished(data, start, offset, ends, protocol)
    return MemoryPacket(marked, offload=Offload(True, start, offset))
