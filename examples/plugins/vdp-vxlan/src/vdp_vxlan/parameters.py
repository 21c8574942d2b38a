"""What may be configured of a VXLAN link, in the words of ip-link(8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator
from vdp.api import Address, Address6, Endpoint6Parameters, EndpointParameters, FrameParameters, Mac

from vdp_vxlan.header import VXLAN_PORT, VxlanHeader

VNI_MOST = 0xFFFFFF
UdpPort = Annotated[int, Field(ge=1, le=65535)]


class VxlanOptions(FrameParameters):
    """What a link has over either IP version."""

    if TYPE_CHECKING:
        udpcsum: bool

        @property
        def vteps(self) -> Sequence[IPv4Address | IPv6Address]: ...
        @property
        def stations(self) -> Mapping[str, IPv4Address | IPv6Address]: ...

    vni: Annotated[int, Field(ge=0, le=VNI_MOST)] = Field(
        description="VXLAN network identifier: `id` of ip-link(8)"
    )
    dstport: UdpPort = Field(VXLAN_PORT, description="UDP port that is sent to, and listened on")
    srcport: UdpPort | Literal["auto"] = Field(
        "auto", description="UDP source port; auto: 49152 to 65535, by the flow inside"
    )
    ttl: Annotated[int, Field(ge=1, le=255)] | Literal["inherit"] = Field(
        64, description="TTL or hop limit of the outer header; inherit: the inner packet's"
    )
    learning: bool = Field(True, description="learn where MAC addresses are from what is received")
    ageing: Annotated[int, Field(ge=1)] = Field(
        300, description="seconds for which a learned address that is not heard of stays known"
    )
    maxaddress: Annotated[int, Field(ge=1)] = Field(65536, description="addresses that are learned at most")

    has_fallback = False

    @property
    def is_pair(self) -> bool:
        """One other end and no more: only what comes from there is taken, and nothing is learned."""
        remote = self.remote
        is_one = not remote.is_unspecified and not remote.is_multicast
        return is_one and not self.vteps and not self.stations

    @property
    def input_key(self) -> int:
        return self.vni

    @property
    def sent_key(self) -> int:
        return self.vni

    @property
    def header_size(self) -> int:
        return VxlanHeader.SIZE

    @property
    def encap_port(self) -> int:
        return self.dstport

    @property
    def encap_source(self) -> int | None:
        return None if self.srcport == "auto" else self.srcport

    @property
    def udp_checksum(self) -> bool:
        return self.udpcsum

    @model_validator(mode="after")
    def _flood_is_unicast(self) -> Self:
        if any(vtep.is_multicast or vtep.is_unspecified for vtep in (*self.vteps, *self.stations.values())):
            raise ValueError("flood and fdb name VTEPs: unicast addresses; a group is `remote`")
        if self.vteps and (self.remote.is_unspecified or self.remote.is_multicast):
            raise ValueError("flood is beside a unicast remote: make the first of its addresses that")
        return self


class VxlanParameters(VxlanOptions, EndpointParameters):
    """Options of kind vxlan."""

    udpcsum: bool = Field(False, description="UDP checksums in what is sent")
    flood: list[Address] = Field(
        [], description="more VTEPs, beside remote, for frames whose destination is not known, and groups"
    )
    fdb: dict[Mac, Address] = Field({}, description="VTEPs of MAC addresses that are not to be learned")

    @property
    def vteps(self) -> Sequence[IPv4Address]:
        return self.flood

    @property
    def stations(self) -> Mapping[str, IPv4Address]:
        return self.fdb


class Vxlan6Parameters(VxlanOptions, Endpoint6Parameters):
    """Options of kind vxlan6."""

    udpcsum: bool = Field(
        True, description="UDP checksums; false: sent without, and taken without (RFC 6936)"
    )
    # Not looked at by other VXLANs, and headers behind which few network cards find UDP.
    encaplimit: Annotated[int, Field(ge=0, le=255)] | Literal["none"] = Field(
        "none", description="tunnel encapsulation limit (RFC 2473) that is sent along; none: no such option"
    )
    flood: list[Address6] = Field(
        [], description="more VTEPs, beside remote, for frames whose destination is not known, and groups"
    )
    fdb: dict[Mac, Address6] = Field({}, description="VTEPs of MAC addresses that are not to be learned")

    @property
    def vteps(self) -> Sequence[IPv6Address]:
        return self.flood

    @property
    def stations(self) -> Mapping[str, IPv6Address]:
        return self.fdb
