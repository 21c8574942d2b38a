"""A GRE tunnel device over IPv6: Linux net/ipv6/ip6_gre.c and ip6_tunnel.c, as a trace.

What both families do alike is in vdp.links.gre_tunnel; here are the outer IPv6 header with
its flow label, the tunnel encapsulation limit (RFC 2473), and the path that has to take
the packet.  No outer packet is fragmented: an IPv4 packet inside is, unless it has DF, and
of what else the path does not take the sender is told.

Other than Linux: the ECN field outside is always made from the one inside (RFC 6040; ip6_gre
leaves it as `tos` says), and the automatic flow label is made of bits of the inner
addresses and ports, copied by the engine, so that it costs no megaflow more.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from vdp.header import FillCopy, FillLength
from vdp.links.gre_tunnel import GreTunnel, GreTunnelKind
from vdp.links.parameters import MIN_MTU, Endpoint6Parameters, Tunnel6Parameters
from vdp.links.tunnel_table import Ip6TunnelTable, TunnelTable
from vdp.protocols import ip6
from vdp.protocols.ethernet import EtherType, Vlan
from vdp.protocols.ip import IPv4, IPv6, ports_at
from vdp.protocols.ip6 import (
    DESTINATION,
    ENCAPSULATION_LIMIT,
    PADN,
    EncapsulationLimit,
    options,
    walk,
)

if TYPE_CHECKING:
    from vdp.netlink.events import IPAddress
    from vdp.netlink.path import Path
    from vdp.packet import Packet

IPV6_MIN_MTU = 1280
#: Where the three bytes of the flow label are in an IPv6 header, and which of their bits are.
LABEL = ((1, 0x0F), (2, 0xFF), (3, 0xFF))


class Ip6Tunnel(GreTunnel):
    """struct ip6_tnl."""

    parameters: Endpoint6Parameters
    ether_type = EtherType.IPV6
    least_mtu = IPV6_MIN_MTU

    @property
    def tag_room(self) -> int:
        """Bytes by which a frame may be larger than the MTU says: the stage before lets a VLAN tag pass."""
        return Vlan.SIZE if self.frame_size else 0

    @property
    def most_outer_size(self) -> int:
        return _outer_size(0)

    @property
    def failure_counters(self) -> tuple[int, ...]:
        """ip6gre_tunnel_xmit: tx_err counts both."""
        return (self.counters.tx_errors, self.counters.tx_dropped)

    @property
    def unaddressed_counters(self) -> tuple[int, ...]:
        """ip6_tnl_xmit_ctl says no before a route is looked at."""
        return ()

    @property
    def uncounted_front(self) -> int:
        """__ip6_tnl_rcv counts after eth_type_trans: frames without their Ethernet header."""
        return self.frame_size

    # -- transmit -------------------------------------------------------------------------

    def _next_hop(self, inner: IPv4 | IPv6 | None, next_hop: IPAddress) -> IPAddress | None:
        """ip6_tnl_xmit: the neighbour's address, of an IPv6 packet only."""
        if not isinstance(inner, IPv6):
            return None
        return IPv6Address(int(next_hop) or inner.destination)

    def _fit(self, packet: Packet, inner: IPv4 | IPv6 | None, path: Path, destination: IPAddress) -> None:
        """ip6gre_xmit_ipv6 and ip6_tnl_xmit: no loop, a limit that allows it, and the path's MTU."""
        errors = self.failure_counters
        if isinstance(inner, IPv6) and _is_address(packet, inner, int(destination)):
            packet.drop("loop_guard", *errors)  # it would come back to where it was sent from
            return
        limit, at = self._limit(packet, inner)
        if limit is not None and limit < 0:
            self.datapath.icmp.parameter_problem(packet, at + 2 - self.frame_size, "loop_guard", *errors)
            return
        headers = _outer_size(limit) + self.encap_size + self.header_size
        floor = IPV6_MIN_MTU if isinstance(inner, IPv6) else MIN_MTU
        mtu = max(floor, path.mtu - headers - self.frame_size)
        if mtu < self.mtu + self.tag_room:
            too_big = self.datapath.icmp.too_big(packet, mtu, *errors)
            if isinstance(inner, IPv4) and not self.frame_size:
                packet.fragment(0, mtu, too_big)
            else:
                packet.require_length(0, too_big, mtu + self.frame_size, per_segment=True)

    def _limit(self, packet: Packet, inner: IPv4 | IPv6 | None) -> tuple[int | None, int]:
        """The encapsulation limit to send, None for none, below zero when there may be no more tunnels.

        A limit in the packet inside counts more than the configured one (RFC 2473 4.1.1); the
        second number is then where it stands.
        """
        configured = None if self.parameters.encaplimit == "none" else self.parameters.encaplimit
        if not isinstance(inner, IPv6):
            return configured, 0
        headers, _ = walk(packet, inner)
        for header in headers:
            if header.kind != DESTINATION:
                continue
            for kind, at in options(packet, header):
                if kind == ENCAPSULATION_LIMIT:
                    return packet.read(at + 2, 1)[0] - 1, at
        return configured, 0

    def _lost_counters(self) -> tuple[int, int]:
        """ip6tunnel_xmit."""
        return (self.counters.tx_errors, self.counters.tx_aborted_errors)

    def _push_outer(
        self, packet: Packet, inner: IPv4 | IPv6 | None, path: Path, destination: IPAddress
    ) -> int:
        limit, _ = self._limit(packet, inner)
        size = _outer_size(limit)
        tos, ttl = self._outer_tos(inner), self._outer_ttl(inner, size)
        label = self._label_source(packet, inner)
        if limit is not None:
            EncapsulationLimit.push(
                packet, next_header=self.outer_protocol, type=ENCAPSULATION_LIMIT, size=1, limit=limit,
                pad_type=PADN, pad_size=1,
            )  # fmt: skip
        flowlabel = self.parameters.flowlabel
        IPv6.push(
            packet,
            version=6,
            dscp=tos >> 2,
            ecn=tos & 3,
            flow_label=flowlabel if isinstance(flowlabel, int) else 0,
            payload_length=FillLength(IPv6.SIZE),
            next_header=self.outer_protocol if limit is None else DESTINATION,
            hop_limit=ttl,
            source=int(path.source or 0),
            destination=int(destination),
        )
        for (at, mask), byte in zip(LABEL, label, strict=False):
            packet.fill(at, FillCopy(size + byte, mask))
        return size

    def _label_source(self, packet: Packet, inner: IPv4 | IPv6 | None) -> tuple[int, ...]:
        """Where the bytes are that the flow label is copied from; none for one that is fixed."""
        flowlabel = self.parameters.flowlabel
        if isinstance(flowlabel, int) or inner is None:
            return ()
        if flowlabel == "inherit" and isinstance(inner, IPv6):
            return tuple(inner.offset + at for at, _ in LABEL)
        source = inner.offset + (IPv4.source if isinstance(inner, IPv4) else IPv6.source).offset
        size = 4 if isinstance(inner, IPv4) else 16
        ports = ports_at(packet, inner) if isinstance(inner, IPv4) else ip6.ports_at(packet, inner)
        if ports is None:
            return (source + size - 1, source + size - 1, source + 2 * size - 1)
        return (source + size - 1, ports + 1, ports + 3)

    # -- both -----------------------------------------------------------------------------

    def fill_info(self) -> dict[str, Any]:
        parameters = self.parameters
        return super().fill_info() | {"flowlabel": parameters.flowlabel, "encaplimit": parameters.encaplimit}


def _outer_size(limit: int | None) -> int:
    return IPv6.SIZE + (0 if limit is None else EncapsulationLimit.SIZE)


def _is_address(packet: Packet, ip: IPv6, address: int) -> bool:
    """Whether that is the source of `ip`; looks at no more of it than the first byte that differs."""
    return all(
        packet.read_bits(ip.place, IPv6.source.start + 8 * at, 8, "IPv6.source") == byte
        for at, byte in enumerate(address.to_bytes(16, "big"))
    )


class Ip6TunnelKind(GreTunnelKind):
    """What ip6gre and ip6gretap share: one table of tunnels each, on an IPv6 underlay."""

    ip_version = 6
    parameters: ClassVar[type[BaseModel]] = Tunnel6Parameters
    tunnel: ClassVar[type[GreTunnel]] = Ip6Tunnel
    table_type: ClassVar[type[TunnelTable]] = Ip6TunnelTable
