"""GRE tunnels over IPv6: kinds `ip6gre` and `ip6gretap` of Linux net/ipv6/ip6_gre.c."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from vdp.api import (
    Datapath,
    EtherType,
    FlagPolicy,
    Gre6Demux,
    IcmpError,
    Ip6TunnelKind,
    IPv6,
    LinkKind,
    Packet,
    PacketType,
    Tap6Parameters,
    TunnelInfo,
    Verdict,
    hookimpl,
)

vdp_api = 1

OWNER = "ip6gre"

#: In the list "ip6gre": frames before packets, as gretap and gre in "gre_cisco".
TAP_PRIORITY, PRIORITY = 200, 300


class Ip6greKind(Ip6TunnelKind):
    """`kind = "ip6gre"`: ARPHRD_IP6GRE, no Ethernet header inside."""

    name = "ip6gre"
    packet_type = PacketType.L3

    def receive(self, packet: Packet, ip: IPv6, info: TunnelInfo) -> Verdict:
        """ip6gre_rcv: what is of this kind goes to the tunnel of these addresses."""
        if not self._takes(info):
            return Verdict.REJECT
        tunnel = self.table.lookup(packet, ip.source, ip.destination, info.key)
        if tunnel is None:
            return Verdict.REJECT
        return tunnel.receive(packet, ip, info, info.protocol)

    def error(self, packet: Packet, ip: IPv6, info: TunnelInfo, icmp: IcmpError) -> Verdict:
        """ip6gre_err: of what is of this kind, to the tunnel that sent it."""
        return self.report(packet, ip, info.key, icmp) if self._takes(info) else Verdict.REJECT

    def _takes(self, info: TunnelInfo) -> bool:
        return (info.protocol == EtherType.TEB) is (self.packet_type is PacketType.L2)


class Ip6gretapKind(Ip6greKind):
    """`kind = "ip6gretap"`: ARPHRD_ETHER, frames behind protocol type 0x6558 (TEB)."""

    name = "ip6gretap"
    packet_type = PacketType.L2
    parameters = Tap6Parameters


class Settings(BaseModel):
    """The table [plugin.ip6gre]."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    flags: Literal["linux", "rfc2784", "strict"] = Field(
        "linux", description="what is made of flag bits beside C, K and S: as Linux, RFC 2784 2.3, or refused"
    )


vdp_settings = Settings


@hookimpl
def vdp_link_kinds() -> Iterable[LinkKind]:
    return [Ip6greKind(), Ip6gretapKind()]


@hookimpl
def vdp_register(datapath: Datapath) -> None:
    demux = Gre6Demux(datapath.registry, datapath.icmp, OWNER)
    demux.policy = FlagPolicy(datapath.settings("ip6gre", Settings).flags)
    frames, packets = datapath.kind(Ip6gretapKind), datapath.kind(Ip6greKind, "ip6gre")
    for kind, priority in ((frames, TAP_PRIORITY), (packets, PRIORITY)):
        demux.handlers.add(
            kind.receive, priority=priority, name=f"{kind.name}_rcv", owner=OWNER, error=kind.error
        )
