"""WCCP-redirected packets: GRE protocol 0x883E, with version 2's redirect header or without.

draft-forster-wrec-wccp-v1; draft-wilson-wccp-v2 4.12 and 4.13; Linux parse_gre_header.

       0                   1                   2                   3
      |D|A|  Reserved | Service ID    | Alt Bucket    | Primary Bucket |

A redirected packet belongs to the `wccp` link of the outer addresses, or, as in Linux
(`ip tunnel add wccp0 mode gre remote ROUTER local CACHE`), to the keyless `gre` link.  Over
IPv6 (plugin `ip6gre`) it belongs to the keyless `ip6gre` link, and has an IPv6 packet inside.
The redirect header goes with it in register 0 (`reg0` of a rule), so that a cache that
declines can return the packet with the header it came with: send it out of a `wccp` link.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from vdp.api import (
    Bits,
    Datapath,
    Egress,
    EndpointParameters,
    EtherType,
    GreBase,
    GreTunnel,
    Header,
    IcmpError,
    Ip6TunnelKind,
    IpTunnel,
    IpTunnelKind,
    IPv4,
    IPv6,
    LinkKind,
    Packet,
    PacketType,
    TunnelInfo,
    TunnelTable,
    Verdict,
    hookimpl,
)

vdp_api = 1

#: Before gretap (200) and gre (300), which would take it as a packet of protocol 0x883E.
PRIORITY = 100
#: Holds the redirect header of a version 2 packet, for later handlers, rules, and the return.
REGISTER = 0
#: The least and the most that the first byte of an IPv4 header can be: header length 5 to 15.
IPV4_LEAST, IPV4_MOST = 0x45, 0x4F


class Settings(BaseModel):
    """The table [plugin.wccp]."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    detect: Literal["full", "linux"] = Field(
        "full",
        description="how versions are told apart. linux: a first nibble of 4 is version 1; full: the whole "
        "first byte must be an IPv4 header's, and what follows must be one, with a good checksum "
        "(over IPv6: an IPv6 header's, which has none)",
    )


vdp_settings = Settings


class Redirect(Header):
    """The redirect header of WCCP version 2."""

    dynamic = Bits(1)
    alternate = Bits(1)
    reserved = Bits(6)
    service = Bits(8)
    alternate_bucket = Bits(8)
    primary_bucket = Bits(8)


class FirstByte(Header):
    """Of an IPv4 header, version and header length; of a redirect header, its flags."""

    value = Bits(8)


class WccpParameters(EndpointParameters):
    """Options of kind wccp."""

    version: Annotated[int, Field(ge=1, le=2)] = Field(
        2, description="of what is sent: 2 has a redirect header"
    )
    role: Literal["cache", "router"] = Field(
        "cache",
        description="cache: returns packets with the header that they came with; "
        "router: redirects, but never what came from a cache",
    )
    service: Annotated[int, Field(ge=0, le=255)] = Field(0, description="service that a router redirects for")
    dynamic: bool = Field(False, description="that service is a dynamic one")

    @property
    def header_size(self) -> int:
        return GreBase.SIZE + (Redirect.SIZE if self.version == 2 else 0)


class WccpTunnel(IpTunnel):
    """A way to redirect packets to a cache, or to return them to a router."""

    parameters: WccpParameters

    def encapsulate(self, packet: Packet) -> Egress | None:
        """As any tunnel; a router sends nothing to a cache that came from one (WCCP v2 4.13)."""
        came_by = self.datapath.port_by_number(packet.in_port)
        if self.parameters.role == "router" and isinstance(came_by, WccpTunnel):
            packet.drop("plugin_wccp_returned", self.counters.tx_dropped)
            return None
        return super().encapsulate(packet)

    def push_header(self, packet: Packet, protocol: int) -> None:
        """GRE of protocol 0x883E; for version 2 the redirect header, the packet's own when returning."""
        if self.parameters.version == 2:
            if self.parameters.role == "cache":
                packet.push(packet.register(REGISTER).to_bytes(Redirect.SIZE, "big"))
            else:
                Redirect.push(packet, dynamic=self.parameters.dynamic, service=self.parameters.service)
        GreBase.push(packet, protocol=EtherType.WCCP)


class WccpKind(IpTunnelKind):
    """`kind = "wccp"`: IPv4 packets behind GRE protocol 0x883E."""

    name = "wccp"
    packet_type = PacketType.L3
    parameters = WccpParameters
    tunnel = WccpTunnel

    def error(self, packet: Packet, ip: IPv4, info: TunnelInfo, icmp: IcmpError) -> Verdict:
        """ipgre_err for what its links sent."""
        if info.protocol != EtherType.WCCP or info.flags:
            return Verdict.REJECT
        return self.report(packet, ip, None, icmp)


class Wccp:
    """The handler; `tables` hold the links that redirected packets may belong to, in order."""

    def __init__(self, tables: Iterable[TunnelTable], settings: Settings) -> None:
        self._tables = tuple(tables)
        self._full = settings.detect == "full"

    #: EtherType of what is redirected.
    inner: ClassVar[int] = EtherType.IPV4

    def receive(self, packet: Packet, ip: IPv4 | IPv6, info: TunnelInfo) -> Verdict:
        """The WCCP rule of parse_gre_header, then ipgre_rcv's lookup."""
        if info.protocol != EtherType.WCCP or info.flags:
            return Verdict.REJECT
        gre = packet.header(GreBase)
        if gre.strict or gre.recursion or gre.ack or gre.reserved:
            return Verdict.REJECT  # the rule asks for all flags to be zero
        tunnel = self._tunnel(packet, ip)
        if tunnel is None:
            return Verdict.REJECT
        size = info.header_size
        if self._is_version_1(packet, size):
            return self._deliver(packet, ip, info, tunnel, 0)
        if not packet.has(size + Redirect.SIZE):
            return packet.drop("wccp_short")
        packet.require_length(size + Redirect.SIZE, packet.otherwise("wccp_short"))
        packet.load_register(REGISTER, size)
        return self._deliver(packet, ip, info, tunnel, Redirect.SIZE)

    def _tunnel(self, packet: Packet, ip: IPv4 | IPv6) -> GreTunnel | None:
        found = (table.lookup(packet, ip.source, ip.destination, None) for table in self._tables)
        return next((tunnel for tunnel in found if tunnel is not None), None)

    def _is_version_1(self, packet: Packet, at: int) -> bool:
        """Whether the payload begins at once, with an IPv4 header.

        Linux looks at one nibble, and takes a redirect header with A set and D clear
        (first byte 0x40) for IPv4.  A header length below 5 tells it: no IPv4 header has one.
        """
        first = packet.header(FirstByte, at).value
        return self._header_size(first) > 0 if self._full else first >> 4 == 4

    def _deliver(
        self, packet: Packet, ip: IPv4 | IPv6, info: TunnelInfo, tunnel: GreTunnel, skip: int
    ) -> Verdict:
        at = info.header_size + skip
        if self._full:
            size = self._header_size(packet.header(FirstByte, at).value) if packet.has(at + 1) else 0
            if not size or not packet.has(at + size):
                return packet.drop("plugin_wccp_inner")
            packet.require_length(at + size, packet.otherwise("plugin_wccp_inner"))
            self._require_sound(packet, at, size)
        return tunnel.receive(packet, ip, info, self.inner, skip=skip)

    def _header_size(self, first: int) -> int:
        """Of the IP header that begins with this byte; 0: none does."""
        return (first & 15) * 4 if IPV4_LEAST <= first <= IPV4_MOST else 0

    def _require_sound(self, packet: Packet, at: int, size: int) -> None:
        packet.require_checksum(at, size, packet.otherwise("plugin_wccp_inner"))


class Wccp6(Wccp):
    """The same over IPv6: ip6gre_rcv gives every redirected packet the protocol IPv6.

    Linux asks for an IPv4 packet's first nibble here, too, and so takes the first four bytes of an
    IPv6 packet that follows at once for a redirect header.
    """

    inner = EtherType.IPV6

    def _header_size(self, first: int) -> int:
        return IPv6.SIZE if first >> 4 == 6 else 0

    def _require_sound(self, packet: Packet, at: int, size: int) -> None:
        """An IPv6 header has no checksum."""


@hookimpl
def vdp_link_kinds() -> Iterable[LinkKind]:
    return [WccpKind()]


@hookimpl
def vdp_drop_reasons() -> dict[str, str]:
    return {
        "inner": "what is redirected is not a packet of the outer one's IP version",
        "returned": "it came from a cache, and is not redirected again",
    }


@hookimpl
def vdp_register(datapath: Datapath) -> None:
    settings = datapath.settings("wccp", Settings)
    tables = [datapath.kind(IpTunnelKind, name).table for name in ("wccp", "gre") if datapath.has_kind(name)]
    wccp = Wccp(tables, settings)
    datapath.registry.list("gre_cisco").add(
        wccp.receive, priority=PRIORITY, name="wccp_rcv", owner="wccp", error=datapath.kind(WccpKind).error
    )
    if datapath.has_kind("ip6gre"):
        wccp6 = Wccp6([datapath.kind(Ip6TunnelKind, "ip6gre").table], settings)
        datapath.registry.list("ip6gre").add(wccp6.receive, priority=PRIORITY, name="wccp6_rcv", owner="wccp")
