"""ERSPAN: mirrored Ethernet frames in GRE, types I, II and III (draft-foschiano-erspan).

Linux `erspan_rcv`, `erspan_xmit`, over IPv6 `ip6erspan_rcv`, `ip6erspan_tunnel_xmit`; `ip link add …
type erspan`, or `ip6erspan`, for which the plugin `ip6gre` must be loaded: it takes GRE over IPv6.
GRE protocol 0x88BE without the S bit is type I: the frame follows the GRE header.  Else
a header follows, and its version nibble says which, whatever the GRE protocol is:

    0                   1                   2                   3
    |  Ver  |         VLAN          | COS |En/BSO|T|   Session ID    |  II (1) and III (2)
    |       Reserved        |                Index                   |  II
    |                           Timestamp                            |  III
    |              SGT              |P|   FT    |   HwID    |D|Gra|O|  III
    |                  platform specific, 8 bytes                    |  III, with O

A link is looked up by the session, which is its key; type I belongs to a keyless link.
Types II and III need `key` and `seq = true`, as in Linux, and have no checksum.
What is received takes along for later handlers and rules (`reg0`, `reg1`), types II and III:

    register 0   the first word: version 4, VLAN 12, CoS 3, En/BSO 2, truncated 1, session 10 bits
    register 1   II: index (20 bits); III: its third word: …, hardware 6, direction 1, … bits

On purpose other than in Linux: 0x22EB without S is judged by its version too (Linux takes
it for type I); a GRE key is not ERSPAN; unknown versions and frame types but Ethernet are
refused.  Sent: no frame is cut to the MTU (T is 0, too long ones are dropped), the CoS
of tagged frames is the tag's, BSO and the timestamp are 0 (the engine writes no time).
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from typing import Any

from vdp.api import (
    Datapath,
    EtherType,
    GreFlag,
    GreTunnel,
    GreTunnelKind,
    IcmpError,
    Ip6TunnelKind,
    IPProtocol,
    IpTunnelKind,
    IPv4,
    IPv6,
    LinkError,
    LinkKind,
    Packet,
    PacketType,
    TunnelInfo,
    Verdict,
    hookimpl,
)
from vdp_erspan.headers import ETHERNET_FRAME, SIZES, SUBHEADER_SIZE, TYPE_II, Base, Detail, Index
from vdp_erspan.tunnel import ErspanParameters, Ip4ErspanTunnel, Ip6erspanParameters, Ip6ErspanTunnel

vdp_api = 1

#: Before gretap (200) and gre (300), which would take the protocol type for a payload's.
PRIORITY = 150
BASE_REGISTER, DETAIL_REGISTER = 0, 1


class ErspanReceiver(GreTunnelKind):
    """What both kinds take, and find a link for."""

    packet_type = PacketType.L2

    def receive(self, packet: Packet, ip: IPv4 | IPv6, info: TunnelInfo) -> Verdict:
        """erspan_rcv, ip6erspan_rcv."""
        if info.protocol not in (EtherType.ERSPAN, EtherType.ERSPAN2) or info.flags & GreFlag.KEY:
            return Verdict.REJECT
        if info.protocol == EtherType.ERSPAN and not info.flags & GreFlag.SEQ:
            tunnel = self.table.lookup(packet, ip.source, ip.destination, None)
            return Verdict.REJECT if tunnel is None else tunnel.receive(packet, ip, info, EtherType.TEB)
        start = info.header_size
        if not _reaches(packet, start + Base.SIZE):
            return packet.drop("plugin_erspan_short")
        base = packet.header(Base, start)
        tunnel = self.table.lookup(packet, ip.source, ip.destination, base.session)
        if tunnel is None:
            return Verdict.REJECT
        if base.version not in SIZES:
            return packet.drop("plugin_erspan_version")
        size = SIZES[base.version]
        if not _reaches(packet, start + size):
            return packet.drop("plugin_erspan_short")
        packet.load_register(BASE_REGISTER, start)
        if base.version == TYPE_II:
            packet.load_register(DETAIL_REGISTER, start + Base.SIZE, (1 << Index.index.width) - 1)
            return tunnel.receive(packet, ip, info, EtherType.TEB, skip=size)
        detail = packet.header(Detail, start + Base.SIZE)
        if detail.frame_type != ETHERNET_FRAME:
            return packet.drop("plugin_erspan_frame_type")
        packet.load_register(DETAIL_REGISTER, start + Base.SIZE + Detail.security_group.offset)
        if detail.optional:
            size += SUBHEADER_SIZE
            if not _reaches(packet, start + size):
                return packet.drop("plugin_erspan_short")
        return tunnel.receive(packet, ip, info, EtherType.TEB, skip=size)

    def error(self, packet: Packet, ip: IPv4 | IPv6, info: TunnelInfo, icmp: IcmpError) -> Verdict:
        """ipgre_err, ip6gre_err; of types II and III the session must be quoted, 12 bytes into GRE."""
        if info.protocol not in (EtherType.ERSPAN, EtherType.ERSPAN2) or info.flags & GreFlag.KEY:
            return Verdict.REJECT
        is_plain = info.protocol == EtherType.ERSPAN and not info.flags & GreFlag.SEQ
        session = None if is_plain else packet.header(Base, info.header_size).session
        return self.report(packet, ip, session, icmp)


class ErspanKind(ErspanReceiver, IpTunnelKind):
    """`kind = "erspan"`: ARPHRD_ETHER."""

    name = "erspan"
    parameters = ErspanParameters
    tunnel = Ip4ErspanTunnel


class Ip6erspanKind(ErspanReceiver, Ip6TunnelKind):
    """`kind = "ip6erspan"`: the same on an IPv6 underlay."""

    name = "ip6erspan"
    parameters = Ip6erspanParameters
    tunnel = Ip6ErspanTunnel

    async def newlink(self, datapath: Datapath, name: str, underlay: str, parameters: Any) -> GreTunnel:
        """LinkError EPROTONOSUPPORT where nobody takes GRE over IPv6."""
        if IPProtocol.GRE not in datapath.registry.table("ip6_protocol"):
            raise LinkError(errno.EPROTONOSUPPORT, name, "kind ip6erspan needs the plugin ip6gre")
        return await super().newlink(datapath, name, underlay, parameters)


def _reaches(packet: Packet, size: int) -> bool:
    """pskb_may_pull: this packet has `size` bytes, and so must each one of its flow (behind a trim)."""
    if not packet.has(size):
        return False
    packet.require_length(size, packet.otherwise("plugin_erspan_short"))
    return True


@hookimpl
def vdp_link_kinds() -> Iterable[LinkKind]:
    return [ErspanKind(), Ip6erspanKind()]


@hookimpl
def vdp_drop_reasons() -> Mapping[str, str]:
    return {
        "short": "the packet ends before its ERSPAN header does",
        "version": "an ERSPAN version that is none: 1 is type II, 2 is type III",
        "frame_type": "an ERSPAN type III frame that is not Ethernet",
    }


@hookimpl
def vdp_register(datapath: Datapath) -> None:
    kinds: dict[str, ErspanReceiver] = {
        "gre_cisco": datapath.kind(ErspanKind),
        "ip6gre": datapath.kind(Ip6erspanKind),
    }
    for handlers, kind in kinds.items():
        datapath.registry.list(handlers).add(
            kind.receive, priority=PRIORITY, name=f"{kind.name}_rcv", owner="erspan", error=kind.error
        )
