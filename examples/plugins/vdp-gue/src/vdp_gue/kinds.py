"""Links of kinds gue, gue6 and guetap: Linux's ipip, sit, ip6tnl and gretap with `encap gue`."""

from __future__ import annotations

from typing import Any

from vdp.api import (
    Datapath,
    Egress,
    EtherType,
    GreTunnel,
    GreTunnelKind,
    IcmpError,
    Ip6Tunnel,
    Ip6TunnelKind,
    IPProtocol,
    IpTunnel,
    IpTunnelKind,
    IPv4,
    Packet,
    PacketType,
    TunnelInfo,
    UdpReceiver,
    Verdict,
)

from vdp_gue.decoder import Gue
from vdp_gue.header import CARRIED, GueHeader
from vdp_gue.parameters import Gue6Parameters, GueOptions, GueParameters, GuetapParameters

#: IP protocol of what is carried, by EtherType.
PROTO = {int(ethertype): proto for proto, ethertype in CARRIED.items()}


class GueLink(GreTunnel):
    """IPv4 and IPv6 in GUE, over either."""

    parameters: GueOptions

    def encapsulate(self, packet: Packet) -> Egress | None:
        if packet.protocol not in PROTO:
            packet.drop("plugin_gue_proto", self.counters.tx_errors)
            return None
        return super().encapsulate(packet)

    def push_header(self, packet: Packet, protocol: int) -> None:
        """gue_build_header."""
        if self.parameters.variant == 0:
            GueHeader.push(packet, proto=PROTO[protocol])

    def header_info(self) -> dict[str, Any]:
        parameters = self.parameters
        return {
            "encap": "gue",
            "encap_dport": parameters.encap_dport,
            "encap_sport": parameters.encap_sport,
            "encap_csum": parameters.encap_csum,
            "variant": parameters.variant,
        }


class GueTunnel(GueLink, IpTunnel):
    """A link of kind gue."""

    parameters: GueParameters


class Gue6Tunnel(GueLink, Ip6Tunnel):
    """A link of kind gue6."""

    parameters: Gue6Parameters


class GuetapTunnel(IpTunnel):
    """A link of kind guetap: frames in GRE in GUE."""

    parameters: GuetapParameters

    def push_header(self, packet: Packet, protocol: int) -> None:
        super().push_header(packet, protocol)
        GueHeader.push(packet, proto=IPProtocol.GRE)

    def header_info(self) -> dict[str, Any]:
        return super().header_info() | {"encap": "gue"}


class Encapsulated(GreTunnelKind):
    """What all these kinds are: links whose ports the decoder has."""

    decoder: Gue

    def udp_receiver(self, datapath: Datapath) -> UdpReceiver:
        return UdpReceiver("gue_udp_recv", "gue", self.decoder.receive, self.decoder.error)


class GueKind(Encapsulated, IpTunnelKind):
    """`kind = "gue"`."""

    name = "gue"
    packet_type = PacketType.L3
    parameters = GueParameters
    tunnel = GueTunnel


class Gue6Kind(Encapsulated, Ip6TunnelKind):
    """`kind = "gue6"`."""

    name = "gue6"
    packet_type = PacketType.L3
    parameters = Gue6Parameters
    tunnel = Gue6Tunnel


class GuetapKind(Encapsulated, IpTunnelKind):
    """`kind = "guetap"`, a handler of GRE."""

    name = "guetap"
    packet_type = PacketType.L2
    parameters = GuetapParameters
    tunnel = GuetapTunnel

    def receive(self, packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        """ipgre_rcv for frames that came in GUE."""
        if info.protocol != EtherType.TEB:
            return Verdict.REJECT
        packet.encap_port = self.decoder.port
        tunnel = self.table.lookup(packet, ip.source, ip.destination, info.key)
        if tunnel is None:
            return Verdict.REJECT
        return tunnel.receive(packet, ip, info, info.protocol)

    def error(self, packet: Packet, ip: IPv4, info: TunnelInfo, icmp: IcmpError) -> Verdict:
        """ipgre_err for the same."""
        if info.protocol != EtherType.TEB:
            return Verdict.REJECT
        packet.encap_port = self.decoder.port
        return self.report(packet, ip, info.key, icmp)
