"""ERSPAN links: their options, and the headers of what they send (erspan_xmit, ip6erspan_tunnel_xmit)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from vdp.api import (
    Ethernet,
    EtherType,
    FillCopy,
    FillSequence,
    FrameParameters,
    GreBase,
    GreFlag,
    GreSequence,
    GreTunnel,
    Ip6Tunnel,
    IpTunnel,
    IPv4,
    IPv6,
    Packet,
    Tap6Parameters,
    TapParameters,
    Vlan,
)
from vdp_erspan.headers import IN_FRAME, SESSION_MOST, SIZES, TYPE_I, TYPE_II, TYPE_III, Base, Detail, Index


class ErspanOptions(FrameParameters):
    """What ERSPAN adds to a tunnel; `key` is the session (10 bits).  Names as in ip-link(8).

    The last of the classes that a kind's parameters are made of, so that the family's defaults count.
    """

    erspan_ver: Literal[0, 1, 2] = Field(1, description="type I, II or III of what is sent")
    erspan: Annotated[int, Field(ge=0, le=0xFFFFF)] = Field(0, description="index; type II")
    erspan_dir: Literal["ingress", "egress"] = Field("ingress", description="mirrored direction; type III")
    erspan_hwid: Annotated[int, Field(ge=0, le=63)] = Field(0, description="hardware id; type III")

    @property
    def header_size(self) -> int:
        version = self.erspan_ver
        return GreBase.SIZE + (GreSequence.SIZE + SIZES[version] if version else 0)

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


class ErspanParameters(TapParameters, ErspanOptions):
    """Options of kind erspan."""


class Ip6erspanParameters(Tap6Parameters, ErspanOptions):
    """Options of kind ip6erspan."""


class ErspanTunnel(GreTunnel):
    """What links of both kinds put in front of a frame."""

    parameters: ErspanParameters | Ip6erspanParameters

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


class Ip4ErspanTunnel(ErspanTunnel, IpTunnel):
    """A link of kind erspan."""

    parameters: ErspanParameters


class Ip6ErspanTunnel(ErspanTunnel, Ip6Tunnel):
    """A link of kind ip6erspan."""

    parameters: Ip6erspanParameters
