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

Acknowledgments: those that come in are taken note of (a packet of nothing else is
counted as plugin_pptp_ack, its end), but hold nothing back: there is no send window.
None are sent: the engine fills in numbers of its own, and has no action that writes
what another direction last received.  A peer that enforces its window is not served.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from vdp.api import (
    Bits,
    Datapath,
    Egress,
    EndpointParameters,
    EtherType,
    FillLength,
    FillSequence,
    GreBase,
    GreFlag,
    GreSequence,
    Header,
    IpTunnel,
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

#: Slot of table "gre_version" (GREPROTO_PPTP).
VERSION = 1
GRE_PROTO_PPP = 0x880B
#: PPP in HDLC-like framing (RFC 1662): all stations, unnumbered information.
ALL_STATIONS, UNNUMBERED = 0xFF, 0x03
PPP_IP, PPP_IPV6 = 0x0021, 0x0057
ETHER_TYPES: dict[int, EtherType] = {PPP_IP: EtherType.IPV4, PPP_IPV6: EtherType.IPV6}
PPP_PROTOCOLS: dict[int, int] = {ether_type: protocol for protocol, ether_type in ETHER_TYPES.items()}


class Call(Header):
    """What the key is here."""

    payload_length = Bits(16)
    id = Bits(16)


class Ppp(Header):
    """PPP's full header."""

    address = Bits(8)
    control = Bits(8)
    protocol = Bits(16)


class Octet(Header):
    value = Bits(8)


class Protocol(Header):
    value = Bits(16)


CallId = Annotated[int, Field(ge=0, le=0xFFFF)]


class PptpParameters(EndpointParameters):
    """Options of kind pptp."""

    call_id: CallId = Field(description="call ID of what is received")
    peer_call_id: CallId = Field(description="call ID of what is sent: the peer's")
    # As pptp_xmit: the route's TTL, whatever the packet inside has.
    ttl: Annotated[int, Field(ge=1, le=255)] | Literal["inherit"] = Field(
        64, description="TTL of the outer header; inherit: the inner packet's"
    )

    @model_validator(mode="after")
    def _has_a_peer(self) -> Self:
        if not int(self.remote) or self.remote.is_multicast:
            raise ValueError("a PPTP tunnel has one remote: an address of the peer")
        return self

    @property
    def input_key(self) -> int:
        return self.call_id

    @property
    def input_flags(self) -> GreFlag:
        return GreFlag.KEY | GreFlag.SEQ

    @property
    def output_flags(self) -> GreFlag:
        return GreFlag.KEY | GreFlag.SEQ


class PptpTunnel(IpTunnel):
    """A link of kind pptp."""

    parameters: PptpParameters

    @property
    def header_size(self) -> int:
        return GreBase.SIZE + Call.SIZE + GreSequence.SIZE + Ppp.SIZE

    def encapsulate(self, packet: Packet) -> Egress | None:
        if packet.protocol not in PPP_PROTOCOLS:
            packet.drop("protocol_unsupported", self.counters.tx_errors)
            return None
        return super().encapsulate(packet)

    def push_header(self, packet: Packet, protocol: int) -> None:
        """pptp_xmit."""
        Ppp.push(packet, address=ALL_STATIONS, control=UNNUMBERED, protocol=PPP_PROTOCOLS[protocol])
        GreSequence.push(packet, sequence=FillSequence(self.output_sequence))
        payload_length = FillLength(Call.SIZE + GreSequence.SIZE)
        Call.push(packet, payload_length=payload_length, id=self.parameters.peer_call_id)
        GreBase.push(packet, key=1, seq=1, version=VERSION, protocol=GRE_PROTO_PPP)

    def fill_info(self) -> dict[str, Any]:
        parameters = self.parameters
        return super().fill_info() | {
            "call_id": parameters.call_id, "peer_call_id": parameters.peer_call_id
        }  # fmt: skip


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
        frame = _ppp(packet, size)
        if frame is None:
            return packet.drop("plugin_pptp_length", tunnel.counters.rx_errors)
        skip, protocol = frame
        if protocol not in ETHER_TYPES:
            return packet.drop("plugin_pptp_protocol")
        info = TunnelInfo(GreFlag.KEY | GreFlag.SEQ, GRE_PROTO_PPP, None, GreBase.SIZE + Call.SIZE, size)
        return tunnel.receive(packet, ip, info, ETHER_TYPES[protocol], skip=skip)


def _ppp(packet: Packet, at: int) -> tuple[int, int] | None:
    """Size and protocol of the PPP header at `at` (RFC 1661 2, 6.5, RFC 1662 3.1); None: not all there."""
    start = at
    if not _reaches(packet, at + Octet.SIZE):
        return None
    if packet.header(Octet, at).value == ALL_STATIONS:
        if not _reaches(packet, at + 3):
            return None
        if packet.header(Octet, at + 1).value == UNNUMBERED:
            at += 2
    if packet.header(Octet, at).value & 1:  # compressed: the only byte is odd
        return at + Octet.SIZE - start, packet.header(Octet, at).value
    if not _reaches(packet, at + Protocol.SIZE):
        return None
    return at + Protocol.SIZE - start, packet.header(Protocol, at).value


def _reaches(packet: Packet, size: int) -> bool:
    """pskb_may_pull: this packet has `size` bytes, and so must each one of its flow (behind a trim)."""
    if not packet.has(size):
        return False
    packet.require_length(size, packet.otherwise("plugin_pptp_length"))
    return True


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
    datapath.registry.table("gre_version").add(kind.receive, slot=VERSION, name="pptp_rcv", owner="pptp")
