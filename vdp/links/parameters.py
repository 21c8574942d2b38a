"""What may be configured of an IP tunnel: struct ip_tunnel_parm, in the words of `ip link`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, model_validator

from vdp.config.values import Kind, refuse
from vdp.protocols.gre import GreFlag

ANY = IPv4Address(0)
ANY6 = IPv6Address(0)


def _address(value: Any) -> IPv4Address:
    if isinstance(value, IPv4Address):
        return value
    try:
        return ANY if value == "any" else IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        raise refuse('an IPv4 address, such as "192.0.2.1", or "any"') from None


def _address6(value: Any) -> IPv6Address:
    if isinstance(value, IPv6Address):
        return value
    try:
        address = ANY6 if value == "any" else IPv6Address(value if isinstance(value, str) else "")
    except ValueError:
        raise refuse('an IPv6 address, such as "2001:db8::1", or "any"') from None
    if address.scope_id is not None:
        raise refuse("an IPv6 address without a zone: the underlay says which link it is on")
    return address


def _key(value: Any) -> int:
    """A number, or dotted as `ip` takes it: "0.0.0.42"."""
    try:
        number = int(IPv4Address(value)) if isinstance(value, str) else value
    except ValueError:
        number = None
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= 0xFFFFFFFF:
        raise refuse('a key: 0 to 4294967295, or dotted, such as "0.0.0.42"')
    return number


Address = Annotated[IPv4Address, PlainValidator(_address), Kind("an IPv4 address")]
Address6 = Annotated[IPv6Address, PlainValidator(_address6), Kind("an IPv6 address")]
Key = Annotated[int, PlainValidator(_key), Kind("a key")]
Octet = Annotated[int, Field(ge=0, le=255)]


class OuterParameters(BaseModel):
    """What a tunnel has on either family; its ends, `local` and `remote`, are the family's."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    if TYPE_CHECKING:
        local: IPv4Address | IPv6Address
        remote: IPv4Address | IPv6Address

    ttl: Octet | Literal["inherit"] = Field(
        "inherit", description="TTL of the outer header; inherit: the inner packet's"
    )
    tos: Octet | Literal["inherit"] = Field(
        0, description="TOS of the outer header; inherit: the inner packet's"
    )
    mtu: Annotated[int, Field(ge=68, le=65535)] | None = Field(
        None, description="MTU of the link; else what the way to the remote leaves"
    )
    up: bool = Field(True, description="administratively up")

    @property
    def input_key(self) -> int | None:
        """What tells tunnels with the same addresses apart; None: keyless."""
        return None

    @property
    def output_key(self) -> int | None:
        return None

    @property
    def input_flags(self) -> GreFlag:
        """i_flags of struct ip_tunnel_parm."""
        return _flags(False, self.input_key is not None, False)

    @property
    def output_flags(self) -> GreFlag:
        """o_flags of struct ip_tunnel_parm."""
        return _flags(False, self.output_key is not None, False)


class EndpointParameters(OuterParameters):
    """What every IPv4 tunnel has: its ends, and the outer IP header.  Kinds add to it."""

    local: Address = Field(ANY, description="source of what is sent, destination of what is received; any")
    remote: Address = Field(ANY, description="the other end; any for a multipoint (NBMA) tunnel")
    pmtudisc: bool = Field(True, description="set DF on the outer header")
    ignore_df: bool = Field(False, description="do not take DF over from the inner header")

    @model_validator(mode="after")
    def _endpoints_agree(self) -> Self:
        if self.remote.is_multicast and self.local == ANY:
            raise ValueError("a multicast remote needs a local address")
        if self.ignore_df and self.pmtudisc:
            # ipgre_netlink_parms: -EINVAL.
            raise ValueError("ignore_df contradicts pmtudisc: set pmtudisc = false with it")
        return self


class Endpoint6Parameters(OuterParameters):
    """What every IPv6 tunnel has (struct __ip6_tnl_parm): its ends, and the outer IPv6 header."""

    local: Address6 = Field(ANY6, description="source of what is sent, destination of what is received; any")
    remote: Address6 = Field(ANY6, description="the other end; any: nothing can be sent")
    # iproute2, DEFAULT_TNL_HOP_LIMIT.
    ttl: Octet | Literal["inherit"] = Field(
        64, description="hop limit of the outer header; inherit: the inner packet's"
    )
    tos: Octet | Literal["inherit"] = Field(
        0, description="traffic class of the outer header; inherit: the inner packet's"
    )
    flowlabel: Annotated[int, Field(ge=0, le=0xFFFFF)] | Literal["auto", "inherit"] = Field(
        "auto",
        description="flow label of the outer header; auto: one that differs between inner flows "
        "(RFC 6438); inherit: an inner IPv6 packet's, else as auto",
    )
    encaplimit: Octet | Literal["none"] = Field(
        4, description="tunnel encapsulation limit (RFC 2473) that is sent along; none: no such option"
    )

    @model_validator(mode="after")
    def _endpoints_agree(self) -> Self:
        if self.remote.is_multicast and self.local == ANY6:
            raise ValueError("a multicast remote needs a local address")
        if self.local.is_multicast:
            raise ValueError("a multicast address can not be local: nothing can be sent from it")
        return self


class GreParameters(OuterParameters):
    """Options of a GRE header.  `key`, `csum` and `seq` set both directions."""

    key: Key | None = Field(None, description="key of both directions: a number or dotted quad")
    ikey: Key | None = Field(None, description="key that received packets must have")
    okey: Key | None = Field(None, description="key of sent packets")
    csum: bool = Field(False, description="checksums in both directions")
    icsum: bool = Field(False, description="received packets must have a checksum")
    ocsum: bool = Field(False, description="sent packets have a checksum")
    seq: bool = Field(False, description="sequence numbers in both directions")
    iseq: bool = Field(False, description="received packets must be in sequence")
    oseq: bool = Field(False, description="sent packets are numbered")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for both in ("key", "csum", "seq"):
            doubled = {f"i{both}", f"o{both}"} & self.model_fields_set
            if both in self.model_fields_set and doubled:
                raise ValueError(f"{both} sets both directions: leave out {' and '.join(sorted(doubled))}")
        return self

    @property
    def input_key(self) -> int | None:
        return self.key if self.key is not None else self.ikey

    @property
    def output_key(self) -> int | None:
        return self.key if self.key is not None else self.okey

    @property
    def input_flags(self) -> GreFlag:
        """i_flags of struct ip_tunnel_parm."""
        return _flags(self.csum or self.icsum, self.input_key is not None, self.seq or self.iseq)

    @property
    def output_flags(self) -> GreFlag:
        """o_flags of struct ip_tunnel_parm."""
        return _flags(self.csum or self.ocsum, self.output_key is not None, self.seq or self.oseq)


class TunnelParameters(EndpointParameters, GreParameters):
    """Options of kinds gre and gretap."""


class Tunnel6Parameters(Endpoint6Parameters, GreParameters):
    """Options of kinds ip6gre and ip6gretap."""


def _flags(csum: bool, key: bool, seq: bool) -> GreFlag:
    return (
        (GreFlag.CSUM if csum else GreFlag.NONE)
        | (GreFlag.KEY if key else GreFlag.NONE)
        | (GreFlag.SEQ if seq else GreFlag.NONE)
    )
