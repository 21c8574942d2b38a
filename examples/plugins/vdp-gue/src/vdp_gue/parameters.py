"""What may be configured of links in GUE, in the words of ip-link(8)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from vdp.api import Endpoint6Parameters, EndpointParameters, FrameParameters, UdpParameters

from vdp_gue.header import GUE_PORT, GueHeader

Port = Annotated[int, Field(ge=1, le=65535)]


class GueOptions(UdpParameters):
    """What a link has over either IP version."""

    encap_dport: Port = Field(GUE_PORT, description="UDP port that is sent to, and listened on")
    variant: Literal[0, 1] = Field(
        0, description="of what is sent: 0 has a GUE header, 1 is the packet right behind UDP; both are taken"
    )

    @property
    def header_size(self) -> int:
        return 0 if self.variant else GueHeader.SIZE


class GueParameters(GueOptions, EndpointParameters):
    """Options of kind gue."""


class Gue6Parameters(GueOptions, Endpoint6Parameters):
    """Options of kind gue6."""

    # Other GUEs do not look at it, and few network cards find UDP behind it.
    encaplimit: Annotated[int, Field(ge=0, le=255)] | Literal["none"] = Field(
        "none", description="tunnel encapsulation limit (RFC 2473) that is sent along; none: no such option"
    )


class GuetapParameters(UdpParameters, EndpointParameters, FrameParameters):
    """Options of kind guetap."""

    encap_dport: Port = Field(GUE_PORT, description="UDP port that is sent to, and listened on")
    key: Annotated[int, Field(ge=0, le=0xFFFFFFFF)] | None = Field(
        None, description="GRE key of both directions"
    )

    @property
    def input_key(self) -> int | None:
        return self.key

    @property
    def output_key(self) -> int | None:
        return self.key

    @property
    def header_size(self) -> int:
        return super().header_size + GueHeader.SIZE
