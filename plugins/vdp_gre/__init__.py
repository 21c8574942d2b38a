"""GRE tunnels that carry layer-3 packets: the `gre` half of Linux net/ipv4/ip_gre.c."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from vdp.api import (
    Datapath,
    EtherType,
    FlagPolicy,
    IcmpError,
    IpTunnelKind,
    IPv4,
    LinkKind,
    Packet,
    PacketType,
    TunnelInfo,
    Verdict,
    hookimpl,
)

vdp_api = 1

#: Asked after decoders that know a payload better (wccp 100, gretap 200).
PRIORITY = 300


class GreKind(IpTunnelKind):
    """`kind = "gre"`: ARPHRD_IPGRE, no Ethernet header inside."""

    name = "gre"
    packet_type = PacketType.L3

    def receive(self, packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        """ipgre_rcv for everything but Ethernet frames: the tunnel of these addresses takes it."""
        if info.protocol == EtherType.TEB:
            return Verdict.REJECT
        tunnel = self.table.lookup(packet, ip.source, ip.destination, info.key)
        if tunnel is None:
            return Verdict.REJECT
        return tunnel.receive(packet, ip, info, info.protocol)

    def error(self, packet: Packet, ip: IPv4, info: TunnelInfo, icmp: IcmpError) -> Verdict:
        """ipgre_err for everything but Ethernet frames."""
        if info.protocol == EtherType.TEB:
            return Verdict.REJECT
        return self.report(packet, ip, info.key, icmp)


class Settings(BaseModel):
    """The table [plugin.gre]."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    flags: Literal["linux", "rfc2784", "strict"] = Field(
        "linux", description="what is made of flag bits beside C, K and S: as Linux, RFC 2784 2.3, or refused"
    )


vdp_settings = Settings


@hookimpl
def vdp_link_kinds() -> Iterable[LinkKind]:
    return [GreKind()]


@hookimpl
def vdp_register(datapath: Datapath) -> None:
    datapath.gre.policy = FlagPolicy(datapath.settings("gre", Settings).flags)
    kind = datapath.kind(GreKind)
    datapath.registry.list("gre_cisco").add(
        kind.receive, priority=PRIORITY, name="ipgre_rcv", owner="gre", error=kind.error
    )
