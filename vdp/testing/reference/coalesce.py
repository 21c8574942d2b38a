"""A GRO cell: waiting packets, segments or datagrams of one flow joined as Linux joins them.

The rules are those of inet_gro_receive, ipv6_gro_receive, tcp_gro_receive and
udp_gro_receive_segment; which sorts of packets are joined, its features say.  The order
is that of arrival: a packet joins the last waiting packet of its flow or goes to the end
of the line, so no packet of a flow overtakes another one of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vdp.engine.interface import Feature
from vdp.testing.reference.checksum import fold, internet_checksum, ones_sum
from vdp.testing.reference.offload import (
    CHECKSUM_AT,
    GSO_ECN,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    TCP,
    UDP,
    Headers,
    leave_checksum,
    locate,
    pseudo_sum,
)
from vdp.testing.reference.packet import Packet

FIN, SYN, RST, PSH, URG, CWR = 0x01, 0x02, 0x04, 0x08, 0x20, 0x80
SEGMENTS_MOST = 64
OPEN_FLOWS = 8  # MAX_GRO_SKBS
LENGTH_MOST = 65535
DF = 0x4000


@dataclass(slots=True, eq=False)
class Waiting:
    """A packet in the cell that others may still join."""

    packet: Packet
    flow: bytes
    headers: Headers
    size: int  # payload of its first segment
    joined: int = 1
    fixed_id: bool = False


class Cell:
    """What waits behind a link, oldest first, at most `limit` packets."""

    def __init__(self, limit: int, features: Feature) -> None:
        self.limit = limit
        self.features = features
        self.waiting: list[Packet] = []
        self.open: list[Waiting | None] = [None] * OPEN_FLOWS
        self.turn = 0

    def offer(self, packet: Packet) -> str:
        """Take the packet: "merged" into another one, "queued", or "full" (not taken)."""
        headers = locate(packet)
        if headers is None or headers.fragment or not self._is_joined(headers):
            if headers is not None and headers.fragment:
                self.open = [None] * OPEN_FLOWS  # of which flow it is cannot be told
            return self._append(packet)
        flow = flow_of(packet, headers)
        held = next((entry for entry in self.open if entry and entry.flow == flow), None)
        joinable = is_candidate(packet, headers)
        if held and joinable and self._joins(held, packet, headers):
            self._join(held, packet, headers)
            return "merged"
        if held:
            self._close(held)
        if joinable and not ends_flow(packet, headers) and len(self.waiting) < self.limit:
            self._open(Waiting(packet, flow, headers, headers.end - headers.payload))
        return self._append(packet)

    def _is_joined(self, headers: Headers) -> bool:
        """Whether it joins packets of that sort."""
        tcp = Feature.TSO4 if headers.version == 4 else Feature.TSO6
        sorts = {TCP: tcp, UDP: Feature.USO}
        return bool(sorts.get(headers.protocol, Feature.NONE) & self.features)

    def _append(self, packet: Packet) -> str:
        if len(self.waiting) >= self.limit:
            return "full"
        self.waiting.append(packet)
        return "queued"

    def _close(self, entry: Waiting) -> None:
        self.open[self.open.index(entry)] = None

    def _open(self, entry: Waiting) -> None:
        """Into the first free place; when there is none, each place in turn is given up."""
        if None in self.open:
            place = self.open.index(None)
        else:
            place = self.turn % OPEN_FLOWS
            self.turn += 1
        self.open[place] = entry

    def flush(self) -> list[Packet]:
        """Everything that waits, in order, super-packets with their marks."""
        packets, self.waiting = self.waiting, []
        self.open = [None] * OPEN_FLOWS
        return packets

    def _joins(self, held: Waiting, packet: Packet, headers: Headers) -> bool:
        first = held.headers
        payload = headers.end - headers.payload
        return (
            headers.transport == first.transport
            and payload <= held.size
            and held.joined < SEGMENTS_MOST
            and len(held.packet.data) - first.network + payload <= LENGTH_MOST
            and same_headers(held.packet, packet, headers)
            and _follows(held, packet, headers)
        )

    def _join(self, held: Waiting, packet: Packet, headers: Headers) -> None:
        """Append the payload; make the whole a super-packet as tcp_gro_complete does."""
        whole, first = held.packet, held.headers
        if headers.version == 4 and held.joined == 1:
            held.fixed_id = _id(packet, headers) == _id(whole, first)
        whole.data += packet.data[headers.payload : headers.end]
        flags = _flags(packet, headers)
        if first.protocol == TCP:
            whole.data[first.transport + 13] |= flags & (FIN | PSH)
        held.joined += 1
        length = len(whole.data) - first.network
        if first.version == 4:
            whole.store16(first.network + 2, length)
            whole.store16(first.network + 10, 0)
            checksum = internet_checksum(whole.data[first.network : first.network + 20])
            whole.store16(first.network + 10, checksum)
        else:
            whole.store16(first.network + 4, length - 40)
        whole.gso_type = GSO_TCPV4 if first.version == 4 else GSO_TCPV6
        if _flags(whole, first) & CWR:
            whole.gso_type |= GSO_ECN
        if first.protocol == UDP:
            whole.gso_type = GSO_UDP_L4
            whole.store16(first.transport + 4, len(whole.data) - first.transport)
        whole.gso_size, whole.segments = held.size, held.joined
        held.headers = replace(first, end=len(whole.data))
        leave_checksum(whole, held.headers)
        whole.depth = max(whole.depth, packet.depth)
        whole.waited = whole.waited or packet.waited
        short = headers.end - headers.payload < held.size
        if short or ends_flow(packet, headers):
            self._close(held)


def flow_of(packet: Packet, headers: Headers) -> bytes:
    """What packets of one flow have in common: frame header, metadata, protocol, addresses, ports."""
    data, at = packet.data, headers.network
    addresses = data[at + 12 : at + 20] if headers.version == 4 else data[at + 8 : at + 40]
    ports = data[headers.transport : headers.transport + 4]
    sort = bytes([headers.version, headers.protocol])
    return bytes(packet.meta + data[:at] + sort + addresses + ports)


def is_candidate(packet: Packet, headers: Headers) -> bool:
    """May it be part of a super-packet at all?"""
    data, at = packet.data, headers.network
    if packet.gso_type or headers.end != len(data) or headers.end == headers.payload:
        return False
    own = headers.transport, CHECKSUM_AT[headers.protocol]
    if packet.needs_csum and (packet.csum_start, packet.csum_offset) != own:
        return False
    if headers.version == 4:
        plain = data[at] == 0x45 and packet.load16(at + 6) & ~DF == 0
        if not plain or fold(ones_sum(data[at : at + 20])) != 0xFFFF:
            return False
    if headers.protocol == UDP:
        length, checksum = packet.load16(headers.transport + 4), packet.load16(headers.transport + 6)
        if length != headers.end - headers.transport or not checksum:
            return False  # one that is cut gets a checksum
    if _flags(packet, headers) & (SYN | RST | URG):
        return False
    return _checksum_good(packet, headers)


def _flags(packet: Packet, headers: Headers) -> int:
    """Of TCP; a datagram has none."""
    return packet.data[headers.transport + 13] if headers.protocol == TCP else 0


def _checksum_good(packet: Packet, headers: Headers) -> bool:
    total = pseudo_sum(packet, headers, headers.end - headers.transport)
    if packet.needs_csum:  # what crosses no wire is right once it is finished (skb_gro_checksum_validate)
        return packet.load16(headers.transport + packet.csum_offset) == total
    return fold(total + ones_sum(packet.data[headers.transport : headers.end])) == 0xFFFF


def ends_flow(packet: Packet, headers: Headers) -> bool:
    """Nothing is joined behind a packet with one of these flags."""
    return _flags(packet, headers) & (FIN | PSH | SYN | RST | URG) != 0


def same_headers(whole: Packet, packet: Packet, headers: Headers) -> bool:
    """Are both headers the same but for length, id, sequence, checksums, and CWR, FIN, PSH?"""
    a, b = bytearray(whole.data[: headers.payload]), bytearray(packet.data[: headers.payload])
    network, transport = headers.network, headers.transport
    for data in (a, b):
        if headers.version == 4:
            data[network + 2 : network + 6] = bytes(4)  # total length, id
            data[network + 10 : network + 12] = bytes(2)
        else:
            data[network + 4 : network + 6] = bytes(2)
        data[transport + 4 : transport + 8] = bytes(4)  # sequence; UDP: length and checksum
        if headers.protocol == UDP:
            continue
        data[transport + 13] &= ~(CWR | FIN | PSH) & 0xFF
        data[transport + 16 : transport + 18] = bytes(2)
    return a == b


def _follows(held: Waiting, packet: Packet, headers: Headers) -> bool:
    """Is it the next one, by TCP sequence and by IPv4 identification?"""
    first, whole = held.headers, held.packet
    if _flags(packet, headers) & CWR:
        return False
    expected = whole.load32(first.transport + 4) + len(whole.data) - first.payload
    if headers.protocol == TCP and packet.load32(headers.transport + 4) != expected & 0xFFFFFFFF:
        return False
    if headers.version == 6:
        return True
    step = (_id(packet, headers) - _id(whole, first)) & 0xFFFF
    if held.joined == 1 and packet.load16(headers.network + 6) & DF and step == 0:
        return True
    return step == 0 if held.fixed_id else step == held.joined


def _id(packet: Packet, headers: Headers) -> int:
    return packet.load16(headers.network + 4)
