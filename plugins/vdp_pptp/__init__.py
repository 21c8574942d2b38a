"""PPTP's data channel: PPP in GRE version 1 (RFC 2637 section 4; Linux drivers/net/ppp/pptp.c).

    0                   1                   2                   3
    |0|0|1|S|0|0 0 0|A|0 0 0 0| 0 0 1 |   Protocol Type 0x880B    |
    |         Payload Length        |            Call ID            |
    |             Sequence Number (with S: a payload)               |
    |             Acknowledgment Number (with A)                    |

The tunnel is a link between two addresses; both call ids are configured, because the
control channel (TCP port 1723) is not spoken.  Nor is PPP negotiated: IPv4 and IPv6
(protocols 0x0021, 0x0057) are delivered, with or without address and control bytes and
with a long or short protocol field; LCP and all others are dropped as protocol.
Sent are IPv4 and IPv6 in PPP's full form, numbered.

What comes in is acknowledged: with all data that goes out once something came in (Linux:
with data that has something new to acknowledge), and alone when none goes out for
[plugin.pptp] ack_ms (Linux: never).  Numbers are compared over the wrap (RFC 1982), where
pptp_rcv_core stays deaf if the last packet before it was lost.

Acknowledgments that come in are counted, alone as plugin_pptp_ack, and hold nothing back:
as in Linux, there is no send window.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict, Field

from vdp.api import (
    Datapath,
    GreBase,
    GreFlag,
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
from vdp_pptp.frames import ETHER_TYPES, GRE_PROTO_PPP, VERSION, Call, ppp
from vdp_pptp.tunnel import PptpParameters, PptpTunnel

vdp_api = 1


class Settings(BaseModel):
    """The table [plugin.pptp]."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    ack_ms: int = Field(
        100, ge=20, le=60000, description="a packet is acknowledged after so many milliseconds at the latest"
    )


vdp_settings = Settings


class PptpKind(IpTunnelKind):
    """`kind = "pptp"`: ARPHRD_PPP."""

    name = "pptp"
    packet_type = PacketType.L3
    parameters = PptpParameters
    tunnel = PptpTunnel

    def receive(self, packet: Packet, ip: IPv4) -> Verdict:
        """pptp_rcv and pptp_rcv_core.  gre_rcv has seen to 12 bytes; the front is the frame's."""
        at = ip.payload
        gre = packet.header(GreBase, at)
        clear = not (gre.csum or gre.routing or gre.strict or gre.recursion or gre.reserved)
        if gre.protocol != GRE_PROTO_PPP or not gre.key or not clear:
            return packet.drop("plugin_pptp_header")
        call = packet.header(Call, at + GreBase.SIZE)
        tunnel = self.table.lookup(packet, ip.source, ip.destination, call.id)
        if tunnel is None:
            return packet.drop("plugin_pptp_call")
        size = GreBase.SIZE + Call.SIZE + 4 * (gre.seq + gre.ack)
        too_short = packet.otherwise("plugin_pptp_length", tunnel.counters.rx_errors)
        packet.trim(at + GreBase.SIZE + Call.payload_length.offset, at + size, too_short)
        if not gre.seq:
            packet.require_length(at + size, too_short, most=at + size)
            return packet.drop("plugin_pptp_ack" if gre.ack else "plugin_pptp_header")
        packet.pull(at)
        frame = ppp(packet, size)
        if frame is None:
            return packet.drop("plugin_pptp_length", tunnel.counters.rx_errors)
        skip, protocol = frame
        if protocol not in ETHER_TYPES:
            return packet.drop("plugin_pptp_protocol")
        info = TunnelInfo(GreFlag.KEY | GreFlag.SEQ, GRE_PROTO_PPP, None, GreBase.SIZE + Call.SIZE, size)
        return tunnel.receive(packet, ip, info, ETHER_TYPES[protocol], skip=skip)

    def error(self, packet: Packet, ip: IPv4, icmp: IcmpError) -> Verdict:
        """As ipgre_err, which Linux has not here: 8 bytes of GRE are enough for the peer's call ID."""
        gre = packet.header(GreBase, ip.payload)
        if gre.protocol != GRE_PROTO_PPP or not gre.key:
            return Verdict.REJECT
        return self.report(packet, ip, packet.header(Call, ip.payload + GreBase.SIZE).id, icmp)


@hookimpl
def vdp_link_kinds() -> Iterable[LinkKind]:
    return [PptpKind()]


@hookimpl
def vdp_drop_reasons() -> Mapping[str, str]:
    return {
        "header": "a GRE version 1 header that RFC 2637 does not allow, or that has neither S nor A",
        "call": "no PPTP link has these addresses and this call ID",
        "length": "less payload than the PPTP header announces, too little for PPP, or any without S",
        "ack": "not lost: an acknowledgment and nothing else, which ends here",
        "protocol": "a PPP protocol other than IPv4 and IPv6 (LCP and the like): no negotiation is done",
    }


@hookimpl
def vdp_register(datapath: Datapath) -> None:
    kind = datapath.kind(PptpKind)
    datapath.registry.table("gre_version").add(
        kind.receive, slot=VERSION, name="pptp_rcv", owner="pptp", error=kind.error
    )
    # Between two looks at the numbers all may come in: half of the time it waits for the first.
    datapath.every(datapath.settings("pptp", Settings).ack_ms / 2000, lambda: acknowledge(datapath))


def acknowledge(datapath: Datapath) -> None:
    """What no data has acknowledged, on every link."""
    for link in datapath.links.values():
        if isinstance(link, PptpTunnel):
            link.acknowledge()
