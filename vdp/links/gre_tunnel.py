"""A GRE tunnel device, whichever IP is under it: what ip_tunnel.c and ip6_tunnel.c have in common.

`receive` is ip_tunnel_rcv and __ip6_tnl_rcv, `encapsulate` is ip_tunnel_xmit and
ip6_tnl_xmit with gre_build_header, and `bind` is ip_tunnel_bind_dev.  What depends on each
packet (checksums, sequence numbers, lengths) is an action; what depends on the flow is
decided here, once.  The outer header is the family's: vdp.links.ip_tunnel, ip6_tunnel.
"""

from __future__ import annotations

import abc
import errno
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from vdp.engine.interface import Feature, PacketType
from vdp.header import FillChecksum, FillCopy, FillSequence
from vdp.links import ecn, fou, gso
from vdp.links.device import device_class, device_info, random_mac
from vdp.links.link import Link, LinkError, LinkKind
from vdp.links.loops import leads_back, warn
from vdp.links.parameters import MIN_MTU, MOST_SIZE
from vdp.links.sequencing import sequence_info
from vdp.links.tunnel_errors import TunnelErrors
from vdp.links.tunnel_table import TunnelTable, show
from vdp.protocols.ethernet import Ethernet, EtherType, format_mac, parse_mac
from vdp.protocols.gre import GreBase, GreChecksum, GreFlag, GreKey, GreSequence, TunnelInfo
from vdp.protocols.ip import IPProtocol, IPv4, IPv6
from vdp.verdict import Verdict

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.links.icmp_input import IcmpError
    from vdp.links.parameters import OuterParameters
    from vdp.links.paths import Device, Way
    from vdp.links.udp_input import UdpReceiver
    from vdp.netlink.events import IPAddress
    from vdp.netlink.path import Path
    from vdp.packet import Packet
    from vdp.ports.port import Port
    from vdp.stages.pipeline import Egress

ETHERNET_SIZE = 14
ETH_DATA_LEN = 1500
#: ttl inherit, and the payload has none to inherit (ip4_dst_hoplimit: net.ipv4.ip_default_ttl).
DEFAULT_TTL = 64
INNER: dict[int, type[IPv4 | IPv6]] = {EtherType.IPV4: IPv4, EtherType.IPV6: IPv6}


class GreTunnel(Link):
    """struct ip_tunnel and struct ip6_tnl."""

    kind: GreTunnelKind
    parameters: OuterParameters
    errors: TunnelErrors
    local: IPAddress
    remote: IPAddress
    #: It has its UDP port, if it is to have one.
    listens = False
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
        self.path: Path | None = None
        #: What it is bound to: `link`, as it is now.
        self.device: Device | None = None
        self.mac = random_mac() if self.packet_type is PacketType.L2 else None
        self.configure(parameters)
        engine, sequencing = datapath.engine, parameters.sequencing
        what = f"input {sequencing.rule}"
        self.input_sequence = self.own(partial(sequencing.new_input, engine), engine.free_state, what)
        self.output_sequence = self.own(partial(sequencing.new_output, engine), engine.free_state)
        self._sequence_rule = parameters.sequencing.rule
        self.errors = TunnelErrors(self)

    def configure(self, parameters: OuterParameters) -> None:
        """Take parameters over; the table and the way are the kind's to see to."""
        self.parameters = parameters
        self.local = parameters.local
        self.remote = parameters.remote
        self.up = parameters.up
        given = getattr(parameters, "mac", None)
        self.mac = parse_mac(given) if given else self.mac

    def resequence(self) -> None:
        """Parameters changed: by another rule, numbers are received anew, any one first.

        Else they go on, and those sent in any case (i_seqno, o_seqno).
        """
        rule = self.parameters.sequencing.rule
        if rule is not None and rule != self._sequence_rule:
            take = partial(self.parameters.sequencing.new_input, self.datapath.engine)
            self.input_sequence = self.own_anew(f"input {self._sequence_rule}", take, f"input {rule}")
            self._sequence_rule = rule

    @property
    def is_permanent(self) -> bool:
        return self.parameters.fallback

    @property
    def outer_size(self) -> int:
        """Bytes of the outer IP header, with what follows it in front of GRE."""
        return self.parameters.outer_size

    @property
    def header_size(self) -> int:
        """hlen of struct ip_tunnel: what `push_header` puts between outer IP header and payload."""
        return self.parameters.header_size

    @property
    def overhead(self) -> int:
        """t_hlen: outer IP and GRE header (and, for frames, what they carry: Ethernet)."""
        return self.outer_size + self.encap_size + self.header_size + self.frame_size

    @property
    def most_outer_size(self) -> int:
        """`outer_size` of whatever packet."""
        return self.outer_size

    @property
    def has_plain_header(self) -> bool:
        """Whether `push_header` puts nothing but GRE without a sequence number in front of the payload."""
        if type(self).push_header is not GreTunnel.push_header:
            return False
        return not self.parameters.output_flags & GreFlag.SEQ

    @property
    def features(self) -> Feature:
        """NETIF_F_GSO_SOFTWARE, where the underlay cuts behind GRE (__gre_tunnel_init)."""
        return gso.features(self)

    @property
    def encap_size(self) -> int:
        """encap_hlen: bytes between outer IP header and GRE."""
        return self.parameters.encap_size

    @property
    def outer_protocol(self) -> int:
        """IP protocol of what follows the outer IP header: UDP's, or its kind's `ip_protocol`."""
        return IPProtocol.UDP if self.parameters.encap_port else self.kind.ip_protocol

    @property
    def frame_size(self) -> int:
        """Bytes in front of the inner network header: Ethernet's, or none."""
        return ETHERNET_SIZE if self.packet_type is PacketType.L2 else 0

    @property
    def failure_counters(self) -> tuple[int, ...]:
        """What a packet that can not be sent moves, beside what says why (ip_tunnel_xmit: tx_error)."""
        return (self.counters.tx_errors,)

    @property
    def unaddressed_counters(self) -> tuple[int, ...]:
        """What one moves that no route gives an outer destination."""
        return (self.counters.tx_fifo_errors,)

    @property
    def uncounted_front(self) -> int:
        """Bytes of what is received that rx_bytes leaves out: of frames ip_tunnel_rcv counts all."""
        return 0

    async def bind(self) -> None:
        """ip_tunnel_bind_dev: ask for the way to the remote, which the MTU depends on.

        LinkError ENODEV where the device that it is to be bound to is not there.
        """
        paths, bound_to = self.datapath.paths, self.parameters.link
        self.device = None
        if bound_to is not None:
            self.device = await paths.device(self.underlay, bound_to)
            if self.device is None:
                raise LinkError(errno.ENODEV, self.name, f"there is no device {bound_to} to bind it to")
            self.underlay.tell_devices()
        path = way = None
        if int(self.remote):
            tos = self._fixed_tos()
            way = paths.way(self.underlay, self.remote, self.local, tos, bound_to)
            path = await paths.find(self.underlay, self.remote, self.local, tos=tos, device=bound_to)
        self.datapath.follow(self, way)
        self._bind_to(path)

    def path_changed(self, way: Way, path: Path | None) -> None:
        self._bind_to(path)

    def device_changed(self, port: str, name: str, device: Device | None) -> None:
        if (port, name) == (self.underlay.name, self.parameters.link):
            self.device = device
            self._bind_to(self.path)
            self.datapath.invalidate(self.table.tag)

    def _bind_to(self, path: Path | None) -> None:
        """The MTU is what the way leaves, or the device that it is bound to, but not too little.

        Without either it is 1500 less the headers.  What was traced rests on the way (Paths.lookup)
        and on the MTU (Datapath._bind_again), so what comes in by the tunnel is not traced again.
        """
        if path != self.path:
            warn(self, path)
        self.path = path
        self.path_mtu = path.mtu if path else None
        self.datapath.groups.follow(self.name, self.remote, path)
        below = path or self.device
        mtu = (ETH_DATA_LEN if below is None else below.mtu) - self.overhead
        self.mtu = self.parameters.mtu or max(self.least_mtu, min(mtu, self.most_mtu))

    @property
    def most_mtu(self) -> int:
        """What an IP packet has room for behind the headers."""
        return MOST_SIZE - self.overhead

    def change_mtu(self, mtu: int) -> None:
        """ip_tunnel_change_mtu: from now on it is that, whatever the way takes."""
        if not MIN_MTU <= mtu <= self.most_mtu:
            raise LinkError(
                errno.EINVAL,
                self.name,
                f"mtu is {mtu}, expected {MIN_MTU} to {self.most_mtu}: "
                f"{MOST_SIZE} less {self.overhead} bytes of headers",
            )
        self.parameters = self.parameters.model_copy(update={"mtu": mtu})
        self.mtu = mtu

    def open(self) -> None:
        """ipgre_open; Linux has it for gre alone, here a member of its group is whoever has one."""
        if self.remote.is_multicast:
            self.datapath.groups.join(self.name, self.underlay, self.path, self.remote)
        else:
            self.close()

    def close(self) -> None:
        """ipgre_close."""
        self.datapath.groups.leave(self.name)

    def listen(self) -> None:
        if not self.listens:
            fou.listen(self)
            self.listens = True

    def leave(self) -> None:
        if self.listens:
            self.listens = False
            fou.leave(self)

    def addresses(self) -> set[int]:
        local, remote = int(self.local), int(self.remote)
        return {local, remote} if self.remote.is_multicast else {local}

    def peers(self) -> set[int]:
        return {int(self.remote)}

    # -- receive --------------------------------------------------------------------------

    def receive(
        self, packet: Packet, ip: IPv4 | IPv6, info: TunnelInfo, protocol: int, skip: int = 0
    ) -> Verdict:
        """ip_tunnel_rcv: the packet's front is the GRE header; `skip` bytes follow it that are not payload.

        `protocol` is the payload's, as an EtherType (it differs from the header's for WCCP).
        """
        counters = self.counters
        self._note(packet, ip)
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
                explicit=self.parameters.sequencing.explicit,
                late=self.parameters.sequencing.window > 0,
            )
        return self._into_cell(packet, ip, info.header_size + skip, protocol)

    def decapsulate(self, packet: Packet, ip: IPv4 | IPv6, size: int, protocol: int) -> Verdict:
        """The same behind any other header: what is carried begins `size` bytes behind the packet's front.

        `protocol` is its EtherType; of frames it is not looked at.
        """
        self._note(packet, ip)
        return self._into_cell(packet, ip, size, protocol)

    def _note(self, packet: Packet, ip: IPv4 | IPv6) -> None:
        packet.depends(self.tag)
        if ip.to_group:
            packet.count(self.counters.multicast)

    def _into_cell(self, packet: Packet, ip: IPv4 | IPv6, size: int, protocol: int) -> Verdict:
        """__iptunnel_pull_header, IP_ECN_decapsulate, gro_cells_receive."""
        counters = self.counters
        packet.pull(size)
        if self.packet_type is PacketType.L2:
            if not packet.has(ETHERNET_SIZE):
                return packet.drop("tunnel_inner_short")
            packet.require_length(ETHERNET_SIZE, packet.otherwise("tunnel_inner_short"))
            protocol = packet.header(Ethernet).type
        if not self._ecn_decapsulate(packet, ip, protocol):
            return packet.drop("tunnel_ecn", counters.rx_frame_errors, counters.rx_errors)
        packet.count((counters.rx, -self.uncounted_front))
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
        destination = self.destination(packet, inner)
        if destination is None:
            return None
        paths, tos, bound_to = self.datapath.paths, self._fixed_tos(), self.parameters.link
        path = paths.lookup(packet, self.underlay, destination, self.local, tos=tos, device=bound_to)
        if path is None:
            packet.drop("no_route", self.counters.tx_carrier_errors, *self.failure_counters)
            return None
        if leads_back(packet, self, path, destination):
            packet.drop("tunnel_loop", self.counters.collisions, *self.failure_counters)
            return None
        gso.handle_offloads(packet, self, path)
        self._fit(packet, inner, path, destination)
        if packet.done:
            return None
        self.errors.signal(packet)
        # iptunnel_xmit counts from the inner network header on: frames without their Ethernet header.
        packet.account(self.counters.tx, *self._lost_counters(), self.frame_size)
        self.push_header(packet, EtherType.TEB if self.packet_type is PacketType.L2 else protocol)
        encap = self.parameters.encap_port
        if encap:
            fou.push_udp(packet, inner, self.parameters, self.header_size if self.frame_size else None)
        outer_size = self._push_outer(packet, inner, path, destination)
        if encap and self.parameters.udp_checksum:
            packet.udp_checksum(self.kind.ip_version, 0, outer_size)
        packet.set_type(PacketType.L3, self.ether_type)
        packet.next_hop = None  # skb_dst_set: from here on the outer route is the packet's
        # To a group by its way, also where no route leads there but the local address's device does.
        return self.underlay.via(path, is_bound=bound_to is not None or destination.is_multicast)

    def destination(self, packet: Packet, inner: IPv4 | IPv6 | None) -> IPAddress | None:
        """The remote; of a multipoint (NBMA) tunnel the next hop of the packet's route; None: dropped."""
        if int(self.remote):
            return self.remote
        if packet.next_hop is None:
            packet.drop("no_route", *self.unaddressed_counters, *self.failure_counters)
            return None
        found = self._next_hop(inner, packet.next_hop)
        if found is None:
            packet.drop("no_route", *self.failure_counters)
        return found

    @abc.abstractmethod
    def _next_hop(self, inner: IPv4 | IPv6 | None, next_hop: IPAddress) -> IPAddress | None:
        """The outer destination that a route's next hop stands for (any: the packet's own), if one does."""

    @abc.abstractmethod
    def _fit(self, packet: Packet, inner: IPv4 | IPv6 | None, path: Path, destination: IPAddress) -> None:
        """Drop what may not be sent, or does not fit the path.  `inner` is the payload's IP header."""

    def _lost_counters(self) -> tuple[int, int]:
        """What counts for a packet that the underlay does not take (iptunnel_xmit_stats); 0: nothing."""
        return (self.counters.tx_dropped, 0)

    @abc.abstractmethod
    def _push_outer(
        self, packet: Packet, inner: IPv4 | IPv6 | None, path: Path, destination: IPAddress
    ) -> int:
        """Put the outer IP header in front of the GRE header, or of UDP; its size, extensions and all."""

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
            "underlay": self.underlay.name,
            **device_info(self),
            "ttl": parameters.ttl,
            "tos": parameters.tos,
            "fallback": parameters.fallback,
            **self.header_info(),
        }

    def header_info(self) -> dict[str, Any]:
        """The part of fill_info about `push_header`'s header and UDP: a kind's own where it is not GRE's."""
        parameters = self.parameters
        return {
            "ikey": parameters.input_key,
            "okey": parameters.output_key,
            "iflags": [flag.name.lower() for flag in parameters.input_flags if flag.name],
            "oflags": [flag.name.lower() for flag in parameters.output_flags if flag.name],
            **sequence_info(parameters),
            **fou.encap_info(parameters),
        }

    def configuration(self) -> dict[str, Any]:
        said = super().configuration()
        for name in self.parameters.fallback_values if self.parameters.fallback else ():
            said.pop(name, None)
        if self.mac is not None:
            said["mac"] = format_mac(self.mac)
        return {name: said[name] for name in type(self.parameters).model_fields if name in said}


class GreTunnelKind(LinkKind):
    """What tunnel kinds share: one table of tunnels each."""

    #: What its links are, and the table that they are found in.
    tunnel: ClassVar[type[GreTunnel]]
    table_type: ClassVar[type[TunnelTable]] = TunnelTable

    def __init__(self) -> None:
        self.table = self.table_type(self.name)

    def udp_ports(self, parameters: Any) -> frozenset[int]:
        port = parameters.encap_port
        return frozenset((port,) if port else ())

    def udp_receiver(self, datapath: Datapath) -> UdpReceiver:
        """Who gets what comes to those ports: its IP protocol's handlers; of a kind that is not GRE its own.

        It must be the same one each time until its plugin registers anew, since links share ports.
        """
        return datapath.udp[self.ip_version].over(self.ip_protocol)

    def report(self, packet: Packet, ip: IPv4 | IPv6, key: int | None, icmp: IcmpError) -> Verdict:
        """ipgre_err, ip6gre_err: an error about a packet with that outer header and key, if ours sent it."""
        tunnel = self.table.lookup_sent(packet, ip.source, ip.destination, key)
        if tunnel is None:
            return Verdict.REJECT
        tunnel.errors.note(ip, icmp)
        return Verdict.RECEIVED

    async def newlink(self, datapath: Datapath, name: str, underlay: str, parameters: Any) -> GreTunnel:
        """ip_tunnel_newlink, and ip_tunnel_newlink's callers: validate has been, in `parameters`.

        setup and ndo_init, bind, into the table, ndo_open; what was done of that is undone, the
        last first, when a step fails.  LinkError: EEXIST for a duplicate, ENODEV, EADDRNOTAVAIL.
        """
        port = datapath.ports[underlay]
        self.table.refuse_duplicate(name, port.number, parameters)
        with ExitStack() as undo:
            tunnel = self.tunnel(datapath, name, self, parameters, port, self.table)
            undo.callback(tunnel.free)
            await tunnel.bind()
            self.table.add(tunnel)
            undo.callback(self.table.remove, tunnel)
            if tunnel.up:
                undo.callback(tunnel.close)
                tunnel.open()
            undo.pop_all()
        datapath.invalidate(self.table.tag)
        return tunnel

    async def changelink(self, link: Link, parameters: Any) -> None:
        """ip_tunnel_changelink: other ends, keys and options for a link that goes on forwarding.

        LinkError: EEXIST where another tunnel has these, EINVAL where one over IPv4 would become
        another class of device (point-to-point, broadcast, neither), and of a fallback link.
        """
        assert isinstance(link, GreTunnel)
        self.check_change(link, parameters)
        before = link.parameters
        self.table.remove(link)
        link.configure(parameters)
        try:
            self.table.add(link)
            await link.bind()
            link.open() if link.up else link.close()
        except OSError:
            self.table.remove(link)
            link.configure(before)
            self.table.add(link)
            with suppress(OSError):  # what was said first is what is wrong
                await link.bind()
            raise
        link.datapath.invalidate(self.table.tag, link.tag, ("addresses", link.underlay.name))
        link.resequence()

    def check_change(self, link: Link, parameters: Any) -> None:
        before: OuterParameters = link.parameters  # type: ignore[assignment]
        if before.fallback or parameters.fallback:
            raise LinkError(
                errno.EINVAL, link.name, "what is the fallback link, and what it takes, is for good"
            )
        if before.encap_port != parameters.encap_port:
            sentence = "what it is carried in is for good: its underlay listens for that from the start on"
            raise LinkError(errno.EOPNOTSUPP, link.name, sentence)
        is_classed = self.packet_type is PacketType.L3 and self.ip_version == 4
        if is_classed and device_class(parameters) != device_class(before):
            raise LinkError(
                errno.EINVAL,
                link.name,
                f"a {device_class(before)} device can not become a {device_class(parameters)} one",
            )

    async def dellink(self, link: Link) -> None:
        """ip_tunnel_dellink; of a fallback link only as the dataplane ends (ip_tunnel_delete_net)."""
        assert isinstance(link, GreTunnel)
        link.close()
        self.table.remove(link)
        link.datapath.invalidate(self.table.tag, link.tag)
        link.datapath.revalidate()  # no flow counts for it, or outputs to it, when its numbers are free again
        link.free()
