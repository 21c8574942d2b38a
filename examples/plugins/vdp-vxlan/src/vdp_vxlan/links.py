"""Links of kinds vxlan and vxlan6, and their kinds: Linux drivers/net/vxlan/vxlan_core.c, as a trace."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

from vdp.api import (
    Datapath,
    Egress,
    Ethernet,
    EtherType,
    GreTunnel,
    GreTunnelKind,
    IcmpError,
    Ip6Tunnel,
    Ip6TunnelKind,
    IpTunnel,
    IpTunnelKind,
    IPv4,
    IPv6,
    Packet,
    PacketType,
    PathPending,
    Udp,
    UdpReceiver,
    Verdict,
)

from vdp_vxlan.fdb import Fdb
from vdp_vxlan.header import VxlanHeader
from vdp_vxlan.parameters import Vxlan6Parameters, VxlanOptions, VxlanParameters
from vdp_vxlan.table import VxlanTable


class VxlanLink(GreTunnel):
    """struct vxlan_dev, over either IP version."""

    parameters: VxlanOptions

    def configure(self, parameters: Any) -> None:
        super().configure(parameters)
        static = {
            bytes.fromhex(mac.replace(":", "").replace("-", "")): int(vtep)
            for mac, vtep in parameters.stations.items()
        }
        self.fdb = Fdb(self.datapath, self.name, static, parameters.ageing, parameters.maxaddress)

    @property
    def uncounted_front(self) -> int:
        """vxlan_rcv counts after eth_type_trans: frames without their Ethernet header, as in what is sent."""
        return self.frame_size

    # -- receive --------------------------------------------------------------------------

    def accept(self, packet: Packet, ip: IPv4 | IPv6, at: int) -> Verdict:
        """vxlan_rcv: the frame begins `at`."""
        if self.parameters.learning and not self.parameters.is_pair and packet.has(at + Ethernet.SIZE):
            packet.depends(self.tag)
            packet.require_length(at + Ethernet.SIZE, packet.otherwise("tunnel_inner_short"))
            if not self.fdb.hear(packet, packet.header(Ethernet, at).source, ip.source):
                return packet.drop("plugin_vxlan_source", self.counters.rx_errors)
        return self.decapsulate(packet, ip, at, EtherType.TEB)

    # -- transmit -------------------------------------------------------------------------

    def encapsulate(self, packet: Packet) -> Egress | None:
        """vxlan_xmit: to the VTEP of the destination, or all that there are."""
        packet.depends(self.tag)
        vteps = self._vteps(packet)
        if not vteps:
            packet.drop("plugin_vxlan_no_remote", self.counters.tx_dropped)
            return None
        for vtep in vteps[1:]:
            self._send_copy(packet.clone(), vtep)
        packet.next_hop = vteps[0]
        return super().encapsulate(packet)

    def _vteps(self, packet: Packet) -> list[IPv4Address | IPv6Address]:
        if self.parameters.is_pair:
            return [self.remote]
        known = self.fdb.vtep_of(packet, packet.header(Ethernet).destination)
        if known is not None:
            return [type(self.remote)(known)]
        return [vtep for vtep in (self.remote, *self.parameters.vteps) if int(vtep)]

    def _send_copy(self, copy: Packet, vtep: IPv4Address | IPv6Address) -> None:
        """To one VTEP more; one whose next hop is not known yet is left out until it is."""
        state = copy.checkpoint()
        try:
            copy.next_hop = vtep
            below = super().encapsulate(copy)
            if below is not None:
                self.datapath.pipeline.transmit(copy, below)
        except PathPending:
            copy.restore(state)
            copy.drop("neighbour_failed")

    def destination(self, packet: Packet, inner: IPv4 | IPv6 | None) -> IPv4Address | IPv6Address | None:
        return packet.next_hop

    def push_header(self, packet: Packet, protocol: int) -> None:
        """vxlan_build_skb."""
        VxlanHeader.push(packet, valid=1, vni=self.parameters.vni)

    # -- both -----------------------------------------------------------------------------

    def header_info(self) -> dict[str, Any]:
        """vxlan_fill_info."""
        parameters = self.parameters
        return {
            "vni": parameters.vni,
            "dstport": parameters.dstport,
            "srcport": parameters.srcport,
            "udpcsum": parameters.udpcsum,
            "learning": parameters.learning,
            "ageing": parameters.ageing,
            "flood": [str(vtep) for vtep in parameters.vteps],
            "stations": len(self.fdb.entries),
        }


class VxlanTunnel(VxlanLink, IpTunnel):
    """A link of kind vxlan."""

    parameters: VxlanParameters


class Vxlan6Tunnel(VxlanLink, Ip6Tunnel):
    """A link of kind vxlan6."""

    parameters: Vxlan6Parameters


class _Kind(GreTunnelKind):
    """What both kinds are."""

    packet_type = PacketType.L2

    def udp_receiver(self, datapath: Datapath) -> UdpReceiver:
        return UdpReceiver(f"{self.name}_rcv", "vxlan", self.receive, self.error)

    def receive(self, packet: Packet, ip: IPv4 | IPv6, udp: Udp) -> Verdict:
        """vxlan_rcv: nobody else has the port, so what no link takes is dropped."""
        header = packet.header(VxlanHeader, ip.payload)
        if not header.valid:
            return packet.drop("plugin_vxlan_flags")
        tunnel = self.table.lookup(packet, ip.source, ip.destination, header.vni)
        if tunnel is None:
            return packet.drop("plugin_vxlan_vni")
        assert isinstance(tunnel, VxlanLink)
        return tunnel.accept(packet, ip, ip.payload + VxlanHeader.SIZE)

    def error(self, packet: Packet, ip: IPv4 | IPv6, udp: Udp, icmp: IcmpError) -> Verdict:
        """vxlan_err_lookup: an error that quotes enough to show the VNI."""
        header = packet.header(VxlanHeader, ip.payload)
        return self.report(packet, ip, header.vni, icmp) if header.valid else Verdict.REJECT


class VxlanKind(_Kind, IpTunnelKind):
    """`kind = "vxlan"`."""

    name = "vxlan"
    parameters = VxlanParameters
    tunnel = VxlanTunnel
    table_type = VxlanTable


class Vxlan6Kind(_Kind, Ip6TunnelKind):
    """`kind = "vxlan6"`."""

    name = "vxlan6"
    parameters = Vxlan6Parameters
    tunnel = Vxlan6Tunnel
    table_type = VxlanTable
