"""ERSPAN: mirrored Ethernet frames in GRE, types I, II and III (draft-foschiano-erspan).

Linux `erspan_rcv`, `erspan_xmit` and include/net/erspan.h; `ip link add … type erspan`.
GRE protocol 0x88BE without the S bit is type I: the frame follows the GRE header.  Else
a header follows, and its version nibble says which, whatever the GRE protocol is:

    0                   1                   2                   3
    |  Ver  |         VLAN          | COS |En/BSO|T|   Session ID    |  II (1) and III (2)
    |       Reserved        |                Index                   |  II
    |                           Timestamp                            |  III
    |              SGT              |P|   FT    |   HwID    |D|Gra|O|  III
    |                  platform specific, 8 bytes                    |  III, with O

A link is looked up by the session, which is its key; type I belongs to a keyless link.
What is received takes along for later handlers and rules (`reg0`, `reg1`), types II and III:

    register 0   the first word: version 4, VLAN 12, CoS 3, En/BSO 2, truncated 1, session 10 bits
    register 1   II: index (20 bits); III: its third word: …, hardware 6, direction 1, … bits

On purpose other than in Linux: 0x22EB without S is judged by its version too (Linux takes
it for type I); a GRE key is not ERSPAN; unknown versions and frame types but Ethernet are
refused.  Sent: no frame is cut to the MTU (T is 0, too long ones are dropped), the CoS
of tagged frames is the tag's, BSO and the timestamp are 0 (the engine writes no time).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from vdp.api import (
    Bits,
    Datapath,
    Ethernet,
    EtherType,
    FillCopy,
    FillSequence,
    GreBase,
    GreFlag,
    GreSequence,
    Header,
    IpTunnel,
    IpTunnelKind,
    IPv4,
    IPv6,
    LinkKind,
    Packet,
    PacketType,
    TunnelInfo,
    TunnelParameters,
    Verdict,
    Vlan,
    hookimpl,
)

vdp_api = 1

#: Before gretap (200) and gre (300), which would take the protocol type for a payload's.
PRIORITY = 150
BASE_REGISTER, DETAIL_REGISTER = 0, 1
TYPE_I, TYPE_II, TYPE_III = 0, 1, 2  # erspan_ver
SESSION_MOST = 0x3FF
#: VLAN tag preserved in the frame (enum erspan_encap_type).
IN_FRAME = 3
#: Frame type of Ethernet, the only one that a link can take.
ETHERNET_FRAME = 0
SUBHEADER_SIZE = 8


class Base(Header):
    """struct erspan_base_hdr."""

    version = Bits(4)
    vlan = Bits(12)
    cos = Bits(3)
    encapsulation = Bits(2)  # II: En, III: BSO
    truncated = Bits(1)
    session = Bits(10)


class Index(Header):
    """What follows in type II."""

    reserved = Bits(12)
    index = Bits(20)


class Detail(Header):
    """What follows in type III: struct erspan_md2."""

    timestamp = Bits(32)
    security_group = Bits(16)
    is_ethernet = Bits(1)  # P: the frame is one, with FT 0
    frame_type = Bits(5)
    hardware = Bits(6)
    direction = Bits(1)
    granularity = Bits(2)
    optional = Bits(1)


SIZES = {TYPE_II: Base.SIZE + Index.SIZE, TYPE_III: Base.SIZE + Detail.SIZE}


class ErspanParameters(TunnelParameters):
    """Options of kind erspan; `key` is the session (10 bits).  Names as in ip-link(8)."""

    erspan_ver: Literal[0, 1, 2] = Field(1, description="type I, II or III of what is sent")
    erspan: Annotated[int, Field(ge=0, le=0xFFFFF)] = Field(0, description="index; type II")
    erspan_dir: Literal["ingress", "egress"] = Field("ingress", description="mirrored direction; type III")
    erspan_hwid: Annotated[int, Field(ge=0, le=63)] = Field(0, description="hardware id; type III")

    @model_validator(mode="after")
    def _is_erspan(self) -> Self:
        """erspan_validate."""
        flags = self.input_flags | self.output_flags
        if self.erspan_ver == TYPE_I:
            if flags:
                raise ValueError("erspan_ver 0 has no key, no sequence numbers and no checksum")
        elif flags != GreFlag.SEQ | GreFlag.KEY:
            raise ValueError("erspan_ver 1 and 2 need key and seq, and have no checksum")
        if max(self.input_key or 0, self.output_key or 0) > SESSION_MOST:
            raise ValueError(f"the key is a session of 10 bits: {SESSION_MOST} at most")
        return self


class ErspanTunnel(IpTunnel):
    """A link of kind erspan."""

    parameters: ErspanParameters

    @property
    def header_size(self) -> int:
        version = self.parameters.erspan_ver
        return GreBase.SIZE + (GreSequence.SIZE + SIZES[version] if version else 0)

    def push_header(self, packet: Packet, protocol: int) -> None:
        """erspan_build_header(_v2), and the GRE header with its sequence number."""
        version = self.parameters.erspan_ver
        if version == TYPE_I:
            GreBase.push(packet, protocol=EtherType.ERSPAN)
            return
        ether_type = packet.header(Ethernet).type
        is_tagged = ether_type == EtherType.VLAN and packet.has(Ethernet.SIZE + Vlan.SIZE)
        is_ipv4 = ether_type == EtherType.IPV4 and packet.has(Ethernet.SIZE + IPv4.SIZE)
        is_ipv6 = ether_type == EtherType.IPV6 and packet.has(Ethernet.SIZE + IPv6.SIZE)
        cos = packet.header(IPv6, Ethernet.SIZE).dscp >> 3 if is_ipv6 else 0
        if version == TYPE_II:
            Index.push(packet, index=self.parameters.erspan)
        else:
            direction, hardware = self.parameters.erspan_dir == "egress", self.parameters.erspan_hwid
            Detail.push(packet, is_ethernet=1, hardware=hardware, direction=direction)
        Base.push(
            packet,
            version=version,
            cos=cos,
            encapsulation=IN_FRAME if is_tagged and version == TYPE_II else 0,
            session=self.parameters.output_key or 0,
        )
        # Bits that stand alike in both places are copied, so that a flow has any of their values.
        inner = SIZES[version] + Ethernet.SIZE
        if is_tagged:
            packet.fill(0, FillCopy(inner, 0x0F))
            packet.fill(1, FillCopy(inner + 1))
            packet.fill(2, FillCopy(inner, 0xE0))
        elif is_ipv4:
            packet.fill(2, FillCopy(inner + IPv4.dscp.offset, 0xE0))  # tos_to_cos
        GreSequence.push(packet, sequence=FillSequence(self.output_sequence))
        GreBase.push(packet, seq=1, protocol=EtherType.ERSPAN if version == TYPE_II else EtherType.ERSPAN2)

    def fill_info(self) -> dict[str, Any]:
        parameters = self.parameters
        own: dict[str, Any] = {"erspan_ver": parameters.erspan_ver}
        if parameters.erspan_ver == TYPE_II:
            own["erspan"] = parameters.erspan
        elif parameters.erspan_ver == TYPE_III:
            own |= {"erspan_dir": parameters.erspan_dir, "erspan_hwid": parameters.erspan_hwid}
        return super().fill_info() | own


class ErspanKind(IpTunnelKind):
    """`kind = "erspan"`: ARPHRD_ETHER."""

    name = "erspan"
    packet_type = PacketType.L2
    parameters = ErspanParameters
    tunnel = ErspanTunnel

    def receive(self, packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        """erspan_rcv."""
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


def _reaches(packet: Packet, size: int) -> bool:
    """pskb_may_pull: this packet has `size` bytes, and so must each one of its flow (behind a trim)."""
    if not packet.has(size):
        return False
    packet.require_length(size, packet.otherwise("plugin_erspan_short"))
    return True


@hookimpl
def vdp_link_kinds() -> Iterable[LinkKind]:
    return [ErspanKind()]


@hookimpl
def vdp_drop_reasons() -> Mapping[str, str]:
    return {
        "short": "the packet ends before its ERSPAN header does",
        "version": "an ERSPAN version that is none: 1 is type II, 2 is type III",
        "frame_type": "an ERSPAN type III frame that is not Ethernet",
    }


@hookimpl
def vdp_register(datapath: Datapath) -> None:
    kind = datapath.kind(ErspanKind)
    datapath.registry.list("gre_cisco").add(
        kind.receive, priority=PRIORITY, name="erspan_rcv", owner="erspan"
    )
