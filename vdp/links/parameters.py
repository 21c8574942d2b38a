"""What may be configured of an IP tunnel: struct ip_tunnel_parm, in the words of `ip link`."""

from __future__ import annotations

from abc import abstractmethod
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationInfo, model_validator

from vdp.config.values import DeviceName, Kind, Mac, address_hint, refuse
from vdp.links.sequencing import SequenceParameters, Sequencing
from vdp.protocols.ethernet import Ethernet
from vdp.protocols.gre import GreFlag, header_size
from vdp.protocols.ip import IPv4, IPv6
from vdp.protocols.ip6 import EncapsulationLimit
from vdp.protocols.udp import GRE_UDP_PORT, Udp

ANY = IPv4Address(0)
ANY6 = IPv6Address(0)
#: Of an IPv4 packet (IPV4_MIN_MTU), and so of anything that a link must take.
MIN_MTU = 68
#: Most that may be sent, headers and all (ip_tunnel_change_mtu): whole units of 8 bytes.
MOST_SIZE = 0xFFF8
#: What a fallback link may have.
FALLBACK_KEYS = frozenset({"fallback", "mtu", "mac", "up"})


#: Kinds that there are over IPv6 as well, under the same name behind "ip6".
OVER_BOTH = ("gre", "gretap", "erspan")


def _end_hint(value: object, info: ValidationInfo) -> str:
    """What to write for an end that is none of the kind's family."""
    kind = str((info.context or {}).get("kind", ""))
    other = kind.removeprefix("ip6") if kind.startswith("ip6") else f"ip6{kind}"
    has_other = kind.removeprefix("ip6") in OVER_BOTH
    return address_hint(value, f'write kind = "{other}"' if has_other else "")


def _address(value: Any, info: ValidationInfo) -> IPv4Address:
    if isinstance(value, IPv4Address):
        return value
    try:
        return ANY if value == "any" else IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        expected = 'an IPv4 address, such as "192.0.2.1", or "any"'
        raise refuse(expected, _end_hint(value, info)) from None


def _address6(value: Any, info: ValidationInfo) -> IPv6Address:
    if isinstance(value, IPv6Address):
        return value
    try:
        address = ANY6 if value == "any" else IPv6Address(value if isinstance(value, str) else "")
    except ValueError:
        expected = 'an IPv6 address, such as "2001:db8::1", or "any"'
        raise refuse(expected, _end_hint(value, info)) from None
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
        is_quoted = isinstance(value, str) and len(value) < 10 and value.isdecimal()
        hint = f"write {int(value)}" if is_quoted else ""
        raise refuse('a key: 0 to 4294967295, or dotted, such as "0.0.0.42"', hint)
    return number


Address = Annotated[IPv4Address, PlainValidator(_address), Kind("an IPv4 address")]
Address6 = Annotated[IPv6Address, PlainValidator(_address6), Kind("an IPv6 address")]
Key = Annotated[int, PlainValidator(_key), Kind("a key")]
Octet = Annotated[int, Field(ge=0, le=255)]


class OuterParameters(BaseModel):
    """What a tunnel has on either family; its ends, `local` and `remote`, are the family's."""

    # Deferred: a validator is built for kinds that there are links of.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    if TYPE_CHECKING:
        local: IPv4Address | IPv6Address
        remote: IPv4Address | IPv6Address

    ttl: Octet | Literal["inherit"] = Field(
        "inherit", description="TTL of the outer header; inherit: the inner packet's"
    )
    tos: Octet | Literal["inherit"] = Field(
        0, description="TOS of the outer header; inherit: the inner packet's"
    )
    mtu: Annotated[int, Field(ge=MIN_MTU, le=MOST_SIZE)] | None = Field(
        None, description="MTU of the link, at most 65528 less its headers; else what the way leaves"
    )
    up: bool = Field(True, description="administratively up")
    link: DeviceName | None = Field(
        None,
        description="device that the tunnel is bound to: it sends by that, and of what comes in by it "
        "has the first choice",
    )
    fallback: bool = Field(
        False,
        description="takes what no other link of its kind and underlay does, as gre0 and gretap0 do; "
        "has no other key but `mtu`, `mac` and `up`",
    )

    #: Whether there are fallback links of the kind.
    has_fallback: ClassVar[bool] = True
    #: What a fallback link has in place of the defaults: the kernel's struct is all zeros.
    fallback_values: ClassVar[dict[str, Any]] = {}
    #: Bytes of what is carried in front of its network header.
    frame_size: ClassVar[int] = 0

    @model_validator(mode="before")
    @classmethod
    def _fallback_has_none(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("fallback") is not True:
            return given
        if not cls.has_fallback:
            raise ValueError("links of this kind take what is theirs only: leave out fallback")
        extra = sorted(given.keys() - FALLBACK_KEYS)
        if extra:
            names = " and ".join(filter(None, (", ".join(extra[:-1]), extra[-1])))
            raise ValueError(
                f"a fallback link takes what no other does, from anywhere and with any key: leave out {names}"
            )
        return {**cls.fallback_values, **given}

    @model_validator(mode="after")
    def _mtu_leaves_room(self) -> Self:
        if self.mtu is not None and self.mtu > MOST_SIZE - self.overhead:
            raise ValueError(
                f"mtu is {self.mtu}, expected {MIN_MTU} to {MOST_SIZE - self.overhead}: "
                f"{MOST_SIZE} less {self.overhead} bytes of headers"
            )
        return self

    @property
    def identity(self) -> tuple[object, ...]:
        """What no two links of a kind on one underlay may both have (ip_tunnel_find)."""
        return (self.local, self.remote, self.input_key, self.link, self.encap_port)

    @property
    @abstractmethod
    def outer_size(self) -> int:
        """Bytes of the outer IP header, with what follows it in front of GRE."""

    @property
    def header_size(self) -> int:
        """hlen of struct ip_tunnel: bytes between the outer IP header and what is carried."""
        return header_size(self.output_flags)

    @property
    def encap_port(self) -> int:
        """UDP port that its packets go to, and are taken from; 0: they are not in UDP."""
        return 0

    @property
    def encap_source(self) -> int | None:
        """UDP port that they come from; None: one that the flow inside decides."""
        return None

    @property
    def udp_checksum(self) -> bool:
        """Whether that UDP has a checksum."""
        return True

    @property
    def encap_size(self) -> int:
        """encap_hlen: bytes between the outer IP header and GRE."""
        return Udp.SIZE if self.encap_port else 0

    @property
    def overhead(self) -> int:
        """t_hlen: outer IP and GRE header (and, for frames, what they carry: Ethernet)."""
        return self.outer_size + self.encap_size + self.header_size + self.frame_size

    @property
    def input_key(self) -> int | None:
        """What tells tunnels with the same addresses apart; None: keyless."""
        return None

    @property
    def output_key(self) -> int | None:
        return None

    @property
    def sent_key(self) -> int | None:
        """What tells packets that it sent from others', when an ICMP error quotes one."""
        return self.output_key

    @property
    def input_flags(self) -> GreFlag:
        """i_flags of struct ip_tunnel_parm."""
        return _flags(False, self.input_key is not None, False)

    @property
    def output_flags(self) -> GreFlag:
        """o_flags of struct ip_tunnel_parm."""
        return _flags(False, self.output_key is not None, False)

    @property
    def sequencing(self) -> Sequencing:
        """How sequence numbers are kept, where the header has them."""
        return Sequencing(checked=bool(self.input_flags & GreFlag.SEQ))


class EndpointParameters(OuterParameters):
    """What every IPv4 tunnel has: its ends, and the outer IP header.  Kinds add to it."""

    local: Address = Field(ANY, description="source of what is sent, destination of what is received; any")
    remote: Address = Field(ANY, description="the other end; any for a multipoint (NBMA) tunnel")
    pmtudisc: bool = Field(True, description="set DF on the outer header")
    ignore_df: bool = Field(False, description="do not take DF over from the inner header")

    fallback_values = {"pmtudisc": False}

    @property
    def outer_size(self) -> int:
        return IPv4.SIZE

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

    fallback_values = {"ttl": "inherit", "flowlabel": 0, "encaplimit": 0}

    @property
    def outer_size(self) -> int:
        """With the encapsulation limit that is sent if the packet inside has none."""
        return IPv6.SIZE + (0 if self.encaplimit == "none" else EncapsulationLimit.SIZE)

    @model_validator(mode="after")
    def _endpoints_agree(self) -> Self:
        if self.remote.is_multicast and self.local == ANY6:
            raise ValueError("a multicast remote needs a local address")
        if self.local.is_multicast:
            raise ValueError("a multicast address can not be local: nothing can be sent from it")
        return self


class FrameParameters(OuterParameters):
    """What a tunnel has that carries Ethernet frames; the last of the classes that a kind's are made of."""

    mac: Mac | None = Field(
        None, description="MAC address of the link; else a random one, which it keeps as long as it lives"
    )

    frame_size = Ethernet.SIZE


class UdpParameters(OuterParameters):
    """UDP around what a tunnel sends (struct ip_tunnel_encap); another default port is the kind's to say."""

    encap_dport: Annotated[int, Field(ge=1, le=65535)] = Field(
        GRE_UDP_PORT, description="UDP port that is sent to, and listened on"
    )
    encap_sport: Annotated[int, Field(ge=1, le=65535)] | Literal["auto"] = Field(
        "auto", description="UDP source port; auto: 49152 to 65535, by the flow inside"
    )
    encap_csum: bool = Field(
        True, description="UDP checksums; false: sent without, and over IPv6 taken without (RFC 6936)"
    )

    @property
    def encap_port(self) -> int:
        return self.encap_dport

    @property
    def encap_source(self) -> int | None:
        return None if self.encap_sport == "auto" else self.encap_sport

    @property
    def udp_checksum(self) -> bool:
        return self.encap_csum


class EncapParameters(UdpParameters):
    """What GRE is carried in: IP, or UDP on top of it (RFC 8086)."""

    encap: Literal["none", "udp"] = Field(
        "none", description="udp: GRE-in-UDP (RFC 8086), both ways; other packets are not the link's then"
    )

    @model_validator(mode="after")
    def _encap_agrees(self) -> Self:
        extra = sorted(self.model_fields_set & {"encap_dport", "encap_sport", "encap_csum"})
        if extra and self.encap == "none":
            raise ValueError(f'{extra[0]} without encap = "udp": add that, or leave it out')
        return self

    @property
    def encap_port(self) -> int:
        return self.encap_dport if self.encap == "udp" else 0


class GreParameters(SequenceParameters, EncapParameters):
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
    """Options of kind gre."""


class TapParameters(TunnelParameters, FrameParameters):
    """Options of kind gretap."""


class Tunnel6Parameters(Endpoint6Parameters, GreParameters):
    """Options of kind ip6gre."""


class Tap6Parameters(Tunnel6Parameters, FrameParameters):
    """Options of kind ip6gretap."""


def _flags(csum: bool, key: bool, seq: bool) -> GreFlag:
    return (
        (GreFlag.CSUM if csum else GreFlag.NONE)
        | (GreFlag.KEY if key else GreFlag.NONE)
        | (GreFlag.SEQ if seq else GreFlag.NONE)
    )
