"""A GRE tunnel device over IPv4: Linux net/ipv4/ip_tunnel.c, as a trace.

What both families do alike is in vdp.links.gre_tunnel; here are the outer IPv4 header,
its DF bit, and the path that has to take the packet.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from vdp.header import FillChecksum, FillId, FillLength
from vdp.links.gre_tunnel import GreTunnel, GreTunnelKind
from vdp.links.parameters import MIN_MTU, EndpointParameters, TunnelParameters
from vdp.protocols.ethernet import EtherType
from vdp.protocols.ip import DF, IPv4, IPv6

if TYPE_CHECKING:
    from vdp.netlink.events import IPAddress
    from vdp.netlink.path import Path
    from vdp.packet import Packet


class IpTunnel(GreTunnel):
    """struct ip_tunnel."""

    parameters: EndpointParameters
    ether_type = EtherType.IPV4

    # -- transmit -------------------------------------------------------------------------

    def _next_hop(self, inner: IPv4 | IPv6 | None, next_hop: IPAddress) -> IPAddress | None:
        """rt_nexthop; of an IPv6 packet the neighbour's address where it stands for an IPv4 one."""
        if inner is None:
            return None
        number = int(next_hop) or inner.destination
        if isinstance(inner, IPv6):
            # ipv6_addr_type: IPV6_ADDR_COMPATv4; :: and ::1 mean something else.
            return IPv4Address(number) if 1 < number <= 0xFFFFFFFF else None
        return IPv4Address(number)

    def _fit(self, packet: Packet, inner: IPv4 | IPv6 | None, path: Path, destination: IPAddress) -> None:
        """tnl_update_pmtu: with DF outside, what the path does not take is dropped, and the sender told."""
        mtu = max(MIN_MTU, path.mtu - self.overhead)
        if self._dont_fragment(packet, inner) and mtu < self.mtu:
            too_big = self.datapath.icmp.too_big(packet, mtu, self.counters.tx_errors)
            most = path.mtu - IPv4.SIZE - self.encap_size - self.header_size
            packet.require_length(0, too_big, most, per_segment=True)

    def _dont_fragment(self, packet: Packet, inner: IPv4 | IPv6 | None) -> int:
        """The outer DF flag: path MTU discovery, or else the inner packet's."""
        parameters = self.parameters
        if parameters.pmtudisc:
            return DF
        if parameters.ignore_df or not isinstance(inner, IPv4):
            return 0
        return packet.read_bits(inner.place, IPv4.fragment.start + 1, 1, "IPv4.fragment") * DF

    def _push_outer(
        self, packet: Packet, inner: IPv4 | IPv6 | None, path: Path, destination: IPAddress
    ) -> int:
        """iptunnel_xmit."""
        tos = self._outer_tos(inner)
        source = int(path.source or 0)
        IPv4.push(
            packet,
            version=4,
            ihl=5,
            dscp=tos >> 2,
            ecn=tos & 3,
            total_length=FillLength(),
            identification=FillId(self.datapath.identifications.of(source, int(destination))),
            fragment=self._dont_fragment(packet, inner),
            ttl=self._outer_ttl(inner, IPv4.SIZE),
            protocol=self.outer_protocol,
            checksum=FillChecksum(0, IPv4.SIZE),
            source=source,
            destination=int(destination),
        )
        return IPv4.SIZE

    # -- both -----------------------------------------------------------------------------

    def fill_info(self) -> dict[str, Any]:
        parameters = self.parameters
        return super().fill_info() | {"pmtudisc": parameters.pmtudisc, "ignore_df": parameters.ignore_df}


class IpTunnelKind(GreTunnelKind):
    """What gre, gretap and their like share: one table of tunnels each, on an IPv4 underlay."""

    parameters: ClassVar[type[BaseModel]] = TunnelParameters
    tunnel: ClassVar[type[GreTunnel]] = IpTunnel
