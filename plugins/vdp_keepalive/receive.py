"""Answers to our probes are counted; probes of the peer are sent back."""

from __future__ import annotations

from vdp.api import (
    Datapath,
    EtherType,
    GreBase,
    GreTunnel,
    IPProtocol,
    IPv4,
    IPv6,
    Packet,
    PacketType,
    TunnelInfo,
    Verdict,
)
from vdp_keepalive.watch import KEEPALIVE, Key, Watches

HUAWEI = 0x0004


class Receiver:
    """The handlers of all lists."""

    def __init__(self, datapath: Datapath, watches: Watches) -> None:
        self._datapath = datapath
        self._watches = watches

    def answer(self, packet: Packet, ip: IPv4) -> Verdict:
        """Of "gre_before": the front is the frame's, and nothing has been checked."""
        at = ip.payload
        if not packet.has(at + GreBase.SIZE):
            return Verdict.REJECT
        gre = packet.header(GreBase, at)
        if gre.protocol != KEEPALIVE or not _is_plain(gre):
            return Verdict.REJECT
        found = [(watch, link) for watch, link in self._watches.between(packet, ip) if watch.options.send]
        at += GreBase.SIZE
        if not found or (gre.key and not packet.has(at + Key.SIZE)):
            return Verdict.REJECT
        key = packet.header(Key, at).value if gre.key else None
        for watch, link in found:
            if link.parameters.input_key == key:
                packet.count(watch.counter)
                return packet.drop("plugin_keepalive_answer")
        return Verdict.REJECT

    def probe(self, packet: Packet, ip: IPv4 | IPv6, info: TunnelInfo) -> Verdict:
        """Of "gre_cisco" and "ip6gre": the front is the GRE header."""
        protocols = (EtherType.IPV4, HUAWEI) if isinstance(ip, IPv4) else (EtherType.IPV6,)
        if info.protocol not in protocols:
            return Verdict.REJECT
        for watch, link in self._watches.between(packet, ip):
            if watch.options.respond and link.parameters.input_key == info.key:
                if not _is_probe(packet, info.header_size, ip):
                    return Verdict.REJECT
                return self._send_back(packet, info.header_size, link)
        return Verdict.REJECT

    def _send_back(self, packet: Packet, at: int, link: GreTunnel) -> Verdict:
        """What ip_forward and ip6_forward do with the packet inside, out of the underlay."""
        packet.count(link.counters.rx)
        packet.pull(at)
        too_short = packet.otherwise("parse_bad_length")
        if link.ether_type == EtherType.IPV4:
            packet.require_checksum(0, packet.header(IPv4).payload, packet.otherwise("ip_checksum"))
            packet.trim(IPv4.total_length.offset, 0, too_short)
            packet.decrement_ttl(4, 0, packet.otherwise("ttl_expired"))
        else:
            packet.trim(IPv6.payload_length.offset, IPv6.SIZE, too_short)
            packet.decrement_ttl(6, 0, packet.otherwise("ttl_expired"))
        packet.set_type(PacketType.L3, link.ether_type)
        path = self._datapath.paths.lookup(packet, link.underlay, link.remote, link.local, tos=0)
        if path is None:
            return packet.drop("no_route", link.counters.tx_carrier_errors, link.counters.tx_errors)
        self._datapath.pipeline.transmit(packet, link.underlay.via(path))
        return Verdict.RECEIVED


def _is_plain(gre: GreBase) -> bool:
    """A key at most: keepalives have neither checksum nor number."""
    return not (gre.version or gre.csum or gre.routing or gre.seq)


def _is_probe(packet: Packet, at: int, outer: IPv4 | IPv6) -> bool:
    """Whether what is at `at` would come back to the outer packet's sender as a keepalive."""
    kind = type(outer)
    if not packet.has(at + kind.SIZE):
        return False
    inner = packet.header(kind, at)
    protocol = inner.protocol if isinstance(inner, IPv4) else inner.next_header
    if protocol != IPProtocol.GRE or inner.version != (4 if isinstance(inner, IPv4) else 6):
        return False
    start = inner.payload
    if start - at < kind.SIZE or not packet.has(start + GreBase.SIZE):
        return False
    if (inner.source, inner.destination) != (outer.destination, outer.source):
        return False
    gre = packet.header(GreBase, start)
    return _is_plain(gre) and (gre.protocol == KEEPALIVE or _is_mikrotik(inner, start - at, gre))


def _is_mikrotik(inner: IPv4 | IPv6, start: int, gre: GreBase) -> bool:
    """Protocol IPv6, and nothing that it could be of."""
    if gre.protocol != EtherType.IPV6:
        return False
    size = GreBase.SIZE + (Key.SIZE if gre.key else 0)
    if isinstance(inner, IPv4):
        return inner.total_length == start + size
    return inner.payload_length == size
