"""A GRE tunnel device over IPv4: Linux net/ipv4/ip_tunnel.c, as a trace.

What both families do alike is in vdp.links.gre_tunnel; here are the outer IPv4 header,
its DF bit, and the path that has to take the packet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from vdp.header import FillChecksum, FillId, FillLength
from vdp.links.gre_tunnel import MIN_MTU, GreTunnel, GreTunnelKind
from vdp.links.link import LinkKind
from vdp.links.parameters import EndpointParameters, TunnelParameters
from vdp.links.tunnel_table import TunnelTable
from vdp.protocols.ethernet import EtherType
from vdp.protocols.ip import DF, IPProtocol, IPv4, IPv6

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.netlink.path import Path
    from vdp.packet import Packet
    from vdp.ports.port import Port


class IpTunnel(GreTunnel):
    """struct ip_tunnel."""

    parameters: EndpointParameters
    ether_type = EtherType.IPV4

    def __init__(
        self,
        datapath: Datapath,
        name: str,
        kind: LinkKind,
        parameters: EndpointParameters,
        underlay: Port,
        table: TunnelTable,
    ) -> None:
        super().__init__(datapath, name, kind, parameters, underlay, table)
        self.identification = datapath.engine.new_state(1)

    @property
    def outer_size(self) -> int:
        return IPv4.SIZE

    # -- transmit -------------------------------------------------------------------------

    def _fit(self, packet: Packet, inner: IPv4 | IPv6 | None, path: Path) -> None:
        """tnl_update_pmtu: with DF outside, what the path does not take is dropped, and the sender told."""
        mtu = max(MIN_MTU, path.mtu - self.overhead)
        if self._dont_fragment(packet, inner) and mtu < self.mtu:
            too_big = self.datapath.icmp.too_big(packet, mtu, self.counters.tx_errors)
            packet.require_length(0, too_big, path.mtu - IPv4.SIZE - self.header_size, per_segment=True)

    def _dont_fragment(self, packet: Packet, inner: IPv4 | IPv6 | None) -> int:
        """The outer DF flag: path MTU discovery, or else the inner packet's."""
        parameters = self.parameters
        if parameters.pmtudisc:
            return DF
        if parameters.ignore_df or not isinstance(inner, IPv4):
            return 0
        return packet.read_bits(inner.place, IPv4.fragment.start + 1, 1, "IPv4.fragment") * DF

    def _push_outer(self, packet: Packet, inner: IPv4 | IPv6 | None, path: Path) -> None:
        """iptunnel_xmit."""
        tos = self._outer_tos(inner)
        IPv4.push(
            packet,
            version=4,
            ihl=5,
            dscp=tos >> 2,
            ecn=tos & 3,
            total_length=FillLength(),
            identification=FillId(self.identification),
            fragment=self._dont_fragment(packet, inner),
            ttl=self._outer_ttl(inner, IPv4.SIZE),
            protocol=IPProtocol.GRE,
            checksum=FillChecksum(0, IPv4.SIZE),
            source=int(path.source or 0),
            destination=int(self.remote),
        )

    # -- both -----------------------------------------------------------------------------

    def fill_info(self) -> dict[str, Any]:
        parameters = self.parameters
        return super().fill_info() | {"pmtudisc": parameters.pmtudisc, "ignore_df": parameters.ignore_df}

    def free(self) -> None:
        super().free()
        self.datapath.engine.free_state(self.identification)


class IpTunnelKind(GreTunnelKind):
    """What gre, gretap and their like share: one table of tunnels each, on an IPv4 underlay."""

    parameters: ClassVar[type[BaseModel]] = TunnelParameters
    tunnel: ClassVar[type[GreTunnel]] = IpTunnel
