"""Answers to our probes are counted; probes of the peer are sent back."""

from __future__ import annotations

from vdp.api import (
    Datapath,
    EtherType,
    GreBase,
    IPProtocol,
    IpTunnel,
    IPv4,
    Packet,
    PacketType,
    TunnelInfo,
    Verdict,
)
from vdp_keepalive.watch import KEEPALIVE, Key, Watches

HUAWEI = 0x0004


class Receiver:
    """The handlers of both lists."""

    def __init__(self, datapath: Datapath, watches: Watches) -> None:
        self._datapath = datapath
        self._watches = watches

    def answer(self, packet: Packet, ip: IPv4) -> Verdict:
        """Of list "gre_before": the front is the frame's, and nothing has been checked."""
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

    def probe(self, packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        """Of list "gre_cisco": the front is the GRE header."""
        if info.protocol not in (EtherType.IPV4, HUAWEI):
            return Verdict.REJECT
        for watch, link in self._watches.between(packet, ip):
            if watch.options.respond and link.parameters.input_key == info.key:
                if not _is_probe(packet, info.header_size, ip):
                    return Verdict.REJECT
                return self._send_back(packet, info.header_size, link)
        return Verdict.REJECT

    def _send_back(self, packet: Packet, at: int, link: IpTunnel) -> Verdict:
        """What ip_forward does with the packet inside, out of the underlay."""
        packet.count(link.counters.rx)
        packet.pull(at)
        ip = packet.header(IPv4)
        packet.require_checksum(0, ip.ihl * 4, packet.otherwise("ip_checksum"))
        packet.trim(IPv4.total_length.offset, 0, packet.otherwise("parse_bad_length"))
        packet.decrement_ttl(4, 0, packet.otherwise("ttl_expired"))
        packet.set_type(PacketType.L3, EtherType.IPV4)
        path = self._datapath.paths.lookup(packet, link.underlay, link.remote, link.local, tos=0)
        if path is None:
            return packet.drop("no_route", link.counters.tx_carrier_errors, link.counters.tx_errors)
        self._datapath.pipeline.transmit(packet, link.underlay.via(path))
        return Verdict.RECEIVED


def _is_plain(gre: GreBase) -> bool:
    """A key at most: keepalives have neither checksum nor number."""
    return not (gre.version or gre.csum or gre.routing or gre.seq)


def _is_probe(packet: Packet, at: int, outer: IPv4) -> bool:
    """Whether what is at `at` would come back to the outer packet's sender as a keepalive."""
    if not packet.has(at + IPv4.SIZE):
        return False
    inner = packet.header(IPv4, at)
    if inner.protocol != IPProtocol.GRE or inner.version != 4 or inner.ihl * 4 < IPv4.SIZE:
        return False
    if (inner.source, inner.destination) != (outer.destination, outer.source):
        return False
    start = at + inner.ihl * 4
    if not packet.has(start + GreBase.SIZE):
        return False
    gre = packet.header(GreBase, start)
    if not _is_plain(gre):
        return False
    size = GreBase.SIZE + (Key.SIZE if gre.key else 0)
    is_mikrotik = gre.protocol == EtherType.IPV6 and inner.total_length == inner.ihl * 4 + size
    return is_mikrotik or gre.protocol == KEEPALIVE
