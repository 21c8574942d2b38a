"""GRE tunnels that carry Ethernet frames: the `gretap` half of Linux net/ipv4/ip_gre.c."""

from __future__ import annotations

from collections.abc import Iterable

from vdp.api import (
    Datapath,
    EtherType,
    IcmpError,
    IpTunnelKind,
    IPv4,
    LinkKind,
    Packet,
    PacketType,
    TapParameters,
    TunnelInfo,
    Verdict,
    hookimpl,
)

vdp_api = 1

PRIORITY = 200


class GretapKind(IpTunnelKind):
    """`kind = "gretap"`: ARPHRD_ETHER, frames behind protocol type 0x6558 (TEB)."""

    name = "gretap"
    packet_type = PacketType.L2
    parameters = TapParameters

    def receive(self, packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        """ipgre_rcv for Ethernet frames: they look in a table of their own (gre_tap_net_id)."""
        if info.protocol != EtherType.TEB:
            return Verdict.REJECT
        tunnel = self.table.lookup(packet, ip.source, ip.destination, info.key)
        if tunnel is None:
            return Verdict.REJECT
        return tunnel.receive(packet, ip, info, info.protocol)

    def error(self, packet: Packet, ip: IPv4, info: TunnelInfo, icmp: IcmpError) -> Verdict:
        """ipgre_err for Ethernet frames."""
        if info.protocol != EtherType.TEB:
            return Verdict.REJECT
        return self.report(packet, ip, info.key, icmp)


@hookimpl
def vdp_link_kinds() -> Iterable[LinkKind]:
    return [GretapKind()]


@hookimpl
def vdp_register(datapath: Datapath) -> None:
    kind = datapath.kind(GretapKind)
    datapath.registry.list("gre_cisco").add(
        kind.receive, priority=PRIORITY, name="gretap_rcv", owner="gretap", error=kind.error
    )
