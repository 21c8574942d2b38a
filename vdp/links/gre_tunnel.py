"""A GRE tunnel device, whichever IP is under it: what ip_tunnel.c and ip6_tunnel.c have in common.

`receive` is ip_tunnel_rcv and __ip6_tnl_rcv, `encapsulate` is ip_tunnel_xmit and
ip6_tnl_xmit with gre_build_header, and `bind` is ip_tunnel_bind_dev.  What depends on each
packet (checksums, sequence numbers, lengths) is an action; what depends on the flow is
decided here, once.  The outer header is the family's: vdp.links.ip_tunnel, ip6_tunnel.
"""

from __future__ import annotations

import abc
import errno
from typing import TYPE_CHECKING, Any, ClassVar

from vdp.engine.interface import PacketType
from vdp.header import FillChecksum, FillCopy, FillSequence
from vdp.links import ecn
from vdp.links.link import Link, LinkError, LinkKind
from vdp.links.tunnel_table import TunnelTable, show
from vdp.protocols.ethernet import Ethernet, EtherType
from vdp.protocols.gre import GreBase, GreChecksum, GreFlag, GreKey, GreSequence, TunnelInfo, header_size
from vdp.protocols.ip import IPv4, IPv6
from vdp.verdict import Verdict

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.links.parameters import OuterParameters
    from vdp.links.paths import Way
    from vdp.netlink.events import IPAddress
    from vdp.netlink.path import Path
    from vdp.packet import Packet
    from vdp.ports.port import Port
    from vdp.stages.pipeline import Egress

ETHERNET_SIZE = 14
ETH_DATA_LEN = 1500
#: Of an IPv4 packet (IPV4_MIN_MTU), and so of anything that a link must take.
MIN_MTU = 68
#: ttl inherit, and the payload has none to inherit (ip4_dst_hoplimit: net.ipv4.ip_default_ttl).
DEFAULT_TTL = 64
INNER: dict[int, type[IPv4 | IPv6]] = {EtherType.IPV4: IPv4, EtherType.IPV6: IPv6}


class GreTunnel(Link):
    """struct ip_tunnel and struct ip6_tnl."""

    parameters: OuterParameters
    local: IPAddress
    remote: IPAddress
    #: The least MTU that binding to a way gives.
    least_mtu: ClassVar[int] = MIN_MTU
    #: EtherType of what is sent.
    ether_type: ClassVar[int]

    def __init__(
        self,
        datapath: Datapath,
        name: str,
        kind: LinkKind,
        parameters: OuterParameters,
        underlay: Port,
        table: TunnelTable,
    ) -> None:
        super().__init__(datapath, name, kind, parameters)
        self.underlay = underlay
        self.table = table
        self.configure(parameters)
        engine = datapath.engine
        self.input_sequence = engine.new_state()
        # The first number is 1: __gre_xmit counts before it sends (o_seqno++); since 5.18 it is 0.
        self.output_sequence = engine.new_state(1)

    def configure(self, parameters: OuterParameters) -> None:
        """Take parameters over; the table and the way are the kind's to see to."""
        self.parameters = parameters
        self.local = parameters.local
        self.remote = parameters.remote
        self.up = parameters.up

    @property
    @abc.abstractmethod
    def outer_size(self) -> int:
        """Bytes of the outer IP header, with what follows it in front of GRE."""

    @property
    def header_size(self) -> int:
        """hlen of struct ip_tunnel: what `push_header` puts between outer IP header and payload."""
        return header_size(self.parameters.output_flags)

    @property
    def overhead(self) -> int:
        """t_hlen: outer IP and GRE header (and, for frames, what they carry: Ethernet)."""
        return self.outer_size + self.header_size + self.frame_size

    @property
    def frame_size(self) -> int:
        """Bytes in front of the inner network header: Ethernet's, or none."""
        return ETHERNET_SIZE if self.packet_type is PacketType.L2 else 0

    async def bind(self) -> None:
        """ip_tunnel_bind_dev: ask for the way to the remote, which the MTU depends on."""
        path = None
        if int(self.remote):
            paths = self.datapath.paths
            path = await paths.find(self.underlay, self.remote, self.local, tos=self._fixed_tos())
        self._bind_to(path)

    def path_changed(self, way: Way, path: Path | None) -> None:
        mine = (self.underlay.name, self.remote, self.local, self._fixed_tos())
        if (way.port, way.destination, way.source, way.tos) == mine:
            self._bind_to(path)

    def _bind_to(self, path: Path | None) -> None:
        """The MTU is what the way leaves, but not too little; without one 1500 less the headers."""
        mtu = ETH_DATA_LEN if path is None else path.mtu
        self.mtu = self.parameters.mtu or max(self.least_mtu, mtu - self.overhead)

    def addresses(self) -> set[int]:
        local, remote = int(self.local), int(self.remote)
        return {local, remote} if self.remote.is_multicast else {local}

    # -- receive --------------------------------------------------------------------------

    def receive(
        self, packet: Packet, ip: IPv4 | IPv6, info: TunnelInfo, protocol: int, skip: int = 0
    ) -> Verdict:
        """ip_tunnel_rcv: the packet's front is the GRE header; `skip` bytes follow it that are not payload.

        `protocol` is the payload's, as an EtherType (it differs from the header's for WCCP).
        """
        packet.depends(self.tag)
        counters = self.counters
        if ip.to_group:
            packet.count(counters.multicast)
        wanted = self.parameters.input_flags
        if (info.flags ^ wanted) & GreFlag.CSUM:
            return packet.drop("tunnel_checksum_policy", counters.rx_crc_errors, counters.rx_errors)
        if wanted & GreFlag.SEQ:
            if info.sequence_offset is None:
                return packet.drop("tunnel_sequence", counters.rx_fifo_errors, counters.rx_errors)
            packet.require_sequence(
                info.sequence_offset,
                self.input_sequence,
                packet.otherwise("tunnel_sequence", counters.rx_fifo_errors, counters.rx_errors),
            )
        packet.pull(info.header_size + skip)
        if self.packet_type is PacketType.L2:
            if not packet.has(ETHERNET_SIZE):
                return packet.drop("tunnel_inner_short")
            packet.require_length(ETHERNET_SIZE, packet.otherwise("tunnel_inner_short"))
            protocol = packet.header(Ethernet).type
        if not self._ecn_decapsulate(packet, ip, protocol):
            return packet.drop("tunnel_ecn", counters.rx_frame_errors, counters.rx_errors)
        packet.count(counters.rx)
        packet.set_type(self.packet_type, 0 if self.packet_type is PacketType.L2 else protocol)
        return self.into_cell(packet)

    def _ecn_decapsulate(self, packet: Packet, ip: IPv4 | IPv6, protocol: int) -> bool:
        """IP_ECN_decapsulate; False where the packet must go."""
        inner = self._inner_ip(packet, protocol)
        if inner is None:
            return True
        before = inner.ecn
        after, notable = ecn.decapsulate(ip.ecn, before)
        if notable:
            self.datapath.note_ecn(packet, self, ip)
        if after is None:
            return False
        if after != before:
            inner.set(ecn=after)
        return True

    # -- transmit -------------------------------------------------------------------------

    def encapsulate(self, packet: Packet) -> Egress | None:
        """ndo_start_xmit.  PathPending where the way is not known yet."""
        packet.depends(self.tag)
        protocol = self._payload_protocol(packet)
        inner = self._inner_ip(packet, protocol)
        if not int(self.remote):
            # NBMA: no header_ops gave an address, and the inner route is not ours to ask.
            packet.drop("no_route", self.counters.tx_fifo_errors, self.counters.tx_errors)
            return None
        paths = self.datapath.paths
        path = paths.lookup(packet, self.underlay, self.remote, self.local, tos=self._fixed_tos())
        if path is None:
            packet.drop("no_route", self.counters.tx_carrier_errors, self.counters.tx_errors)
            return None
        self._fit(packet, inner, path)
        if packet.done:
            return None
        # iptunnel_xmit counts from the inner network header on: frames without their Ethernet header.
        packet.count((self.counters.tx, -self.frame_size))
        self.push_header(packet, EtherType.TEB if self.packet_type is PacketType.L2 else protocol)
        self._push_outer(packet, inner, path)
        packet.set_type(PacketType.L3, self.ether_type)
        return self.underlay.via(path)

    @abc.abstractmethod
    def _fit(self, packet: Packet, inner: IPv4 | IPv6 | None, path: Path) -> None:
        """Drop what may not be sent, or does not fit the path.  `inner` is the payload's IP header."""

    @abc.abstractmethod
    def _push_outer(self, packet: Packet, inner: IPv4 | IPv6 | None, path: Path) -> None:
        """Put the outer IP header in front of the GRE header."""

    def push_header(self, packet: Packet, protocol: int) -> None:
        """gre_build_header: options from the end, the checksum over everything, at last.

        A kind with a header of its own in front of the payload overrides it, and `header_size` with it.
        """
        flags = self.parameters.output_flags
        if flags & GreFlag.SEQ:
            GreSequence.push(packet, sequence=FillSequence(self.output_sequence))
        if flags & GreFlag.KEY:
            GreKey.push(packet, key=self.parameters.output_key or 0)
        if flags & GreFlag.CSUM:
            GreChecksum.push(packet)
        GreBase.push(
            packet,
            csum=bool(flags & GreFlag.CSUM),
            key=bool(flags & GreFlag.KEY),
            seq=bool(flags & GreFlag.SEQ),
            protocol=protocol,
        )
        if flags & GreFlag.CSUM:
            packet.fill(GreBase.SIZE, FillChecksum())

    def _outer_tos(self, inner: IPv4 | IPv6 | None) -> int:
        """TOS or traffic class of the outer header, with its ECN field (RFC 6040 4.1)."""
        tos = inner.dscp << 2 if self.parameters.tos == "inherit" and inner else self._fixed_tos()
        return tos & ~3 | (ecn.encapsulate(inner.ecn) if inner else 0)

    def _outer_ttl(self, inner: IPv4 | IPv6 | None, outer_size: int) -> int | FillCopy:
        """TTL or hop limit of the outer header, of that size, which is about to be pushed."""
        ttl = self.parameters.ttl
        if ttl not in ("inherit", 0):
            return int(ttl)
        if inner is None:
            return DEFAULT_TTL
        field = IPv4.ttl if isinstance(inner, IPv4) else IPv6.hop_limit
        return FillCopy(outer_size + inner.offset + field.offset)

    # -- both -----------------------------------------------------------------------------

    def _payload_protocol(self, packet: Packet) -> int:
        """skb->protocol: the EtherType of the frame or of the packet."""
        if self.packet_type is PacketType.L3:
            return packet.protocol
        return packet.header(Ethernet).type

    def _inner_ip(self, packet: Packet, protocol: int) -> IPv4 | IPv6 | None:
        """The payload's IP header, where it is IP and all there."""
        kind = INNER.get(protocol)
        if kind is None or not packet.has(self.frame_size + kind.SIZE):
            return None
        return packet.header(kind, self.frame_size)

    def _fixed_tos(self) -> int:
        return 0 if self.parameters.tos == "inherit" else self.parameters.tos

    def fill_info(self) -> dict[str, Any]:
        parameters = self.parameters
        return {
            "local": show(self.local),
            "remote": show(self.remote),
            "class": device_class(parameters) if self.packet_type is PacketType.L3 else "ethernet",
            "underlay": self.underlay.name,
            "ikey": parameters.input_key,
            "okey": parameters.output_key,
            "iflags": [flag.name.lower() for flag in parameters.input_flags if flag.name],
            "oflags": [flag.name.lower() for flag in parameters.output_flags if flag.name],
            "ttl": parameters.ttl,
            "tos": parameters.tos,
        }

    def free(self) -> None:
        super().free()
        for state in (self.input_sequence, self.output_sequence):
            self.datapath.engine.free_state(state)


def device_class(parameters: OuterParameters) -> str:
    """IFF_POINTOPOINT, IFF_BROADCAST or neither, as an L3 device's flags say after its remote."""
    if parameters.remote.is_multicast:
        return "broadcast"
    return "multipoint" if parameters.remote.is_unspecified else "point-to-point"


class GreTunnelKind(LinkKind):
    """What tunnel kinds share: one table of tunnels each."""

    #: What its links are, and the table that they are found in.
    tunnel: ClassVar[type[GreTunnel]]
    table_type: ClassVar[type[TunnelTable]] = TunnelTable

    def __init__(self) -> None:
        self.table = self.table_type(self.name)

    async def newlink(self, datapath: Datapath, name: str, underlay: str, parameters: Any) -> GreTunnel:
        """ip_tunnel_newlink: LinkError EEXIST for a duplicate; nothing is left of a failed one."""
        tunnel = self.tunnel(datapath, name, self, parameters, datapath.ports[underlay], self.table)
        try:
            await tunnel.bind()
            self.table.add(tunnel)
        except Exception:
            tunnel.free()
            raise
        datapath.invalidate(self.table.tag)
        return tunnel

    async def changelink(self, link: Link, parameters: Any) -> None:
        """ip_tunnel_changelink: other ends, keys and options for a link that goes on forwarding.

        LinkError: EEXIST where another tunnel has these, EINVAL where it would become
        another class of device (point-to-point, broadcast, neither).
        """
        assert isinstance(link, GreTunnel)
        before = link.parameters
        if self.packet_type is PacketType.L3 and device_class(parameters) != device_class(before):
            raise LinkError(
                errno.EINVAL,
                link.name,
                f"a {device_class(before)} device can not become a {device_class(parameters)} one",
            )
        self.table.remove(link)
        link.configure(parameters)
        try:
            self.table.add(link)
        except LinkError:
            link.configure(before)
            self.table.add(link)
            raise
        await link.bind()
        link.datapath.invalidate(self.table.tag, link.tag, ("addresses", link.underlay.name))

    async def dellink(self, link: Link) -> None:
        """ip_tunnel_dellink."""
        assert isinstance(link, GreTunnel)
        self.table.remove(link)
        link.datapath.invalidate(self.table.tag, link.tag)
        link.datapath.revalidate()  # no flow counts for it, or outputs to it, when its numbers are free again
        link.free()
