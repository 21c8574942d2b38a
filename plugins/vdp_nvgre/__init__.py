"""NVGRE: Ethernet of virtual subnets in GRE (RFC 7637).

A gretap whose key is a virtual subnet (VSID, 24 bits) and a number of the flow (FlowID, 8):

    0                   1                   2                   3
    |0| |1|0|   Reserved0     | Ver |   Protocol Type 0x6558        |
    |               Virtual Subnet ID (VSID)        |    FlowID     |

Received is what has a key, no checksum and no sequence number; the link is that of the
addresses and the VSID, whatever the FlowID, which goes into register 0 for later handlers
and rules (`reg0`).  Sent frames have the FlowID that the link has, 0 if not said otherwise;
with `entropy` one that differs between flows, so that routers on the way can spread them
(section 4.1): bits of both ports of inner TCP and UDP, copied by the engine, so that it
costs no megaflow more.  A frame in NVGRE has no VLAN tag: a single one is removed before
sending, what is tagged more than once or comes in tagged is dropped (section 3.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field

from vdp.api import (
    Bits,
    Datapath,
    Egress,
    EndpointParameters,
    Ethernet,
    EtherType,
    FillCopy,
    FrameParameters,
    GreBase,
    GreFlag,
    Header,
    IcmpError,
    IPProtocol,
    IpTunnel,
    IpTunnelKind,
    IPv4,
    IPv6,
    LinkKind,
    Packet,
    PacketType,
    TunnelInfo,
    Verdict,
    Vlan,
    hookimpl,
)

vdp_api = 1

#: Before gretap (200), which would take VSID and FlowID for one key.
PRIORITY = 180
FLOW_REGISTER = 0
#: Section 3.4: below and above are reserved.
VSID_LEAST, VSID_MOST = 0x1000, 0xFFFFFE
TAGS = (EtherType.VLAN, EtherType.QINQ)
#: More fragments, or not the first one: no ports, or not in all of a datagram's packets.
FRAGMENT = 0x3FFF


class NvgreKey(Header):
    """The GRE key."""

    vsid = Bits(24)
    flow = Bits(8)


class NvgreParameters(EndpointParameters, FrameParameters):
    """Options of kind nvgre."""

    vsid: Annotated[int, Field(ge=VSID_LEAST, le=VSID_MOST)] = Field(description="virtual subnet")
    flow_id: Annotated[int, Field(ge=0, le=255)] = Field(0, description="FlowID of what is sent")
    entropy: bool = Field(False, description="FlowID by flow, where the frame carries TCP or UDP")

    has_fallback = False

    @property
    def input_key(self) -> int:
        return self.vsid

    @property
    def output_key(self) -> int:
        return self.vsid << 8 | self.flow_id

    @property
    def sent_key(self) -> int:
        return self.vsid


class NvgreTunnel(IpTunnel):
    """A link of kind nvgre."""

    parameters: NvgreParameters

    def encapsulate(self, packet: Packet) -> Egress | None:
        """Without its tag; then as for every tunnel."""
        if packet.header(Ethernet).type in TAGS:
            if not packet.has(Ethernet.SIZE + Vlan.SIZE) or packet.header(Vlan, Ethernet.SIZE).type in TAGS:
                packet.drop("plugin_nvgre_tagged", self.counters.tx_errors)
                return None
            for at in reversed(range(Ethernet.type.offset)):  # both addresses, over the tag
                packet.fill(at + Vlan.SIZE, FillCopy(at))
            packet.pull(Vlan.SIZE)
        return super().encapsulate(packet)

    @property
    def has_plain_header(self) -> bool:
        return True

    def push_header(self, packet: Packet, protocol: int) -> None:
        ports = _ports(packet) if self.parameters.entropy else None
        NvgreKey.push(packet, vsid=self.parameters.vsid, flow=self.parameters.flow_id)
        if ports:
            # The low bytes; client ports tell flows apart by their upper half best.
            at = NvgreKey.SIZE + ports
            packet.fill(NvgreKey.flow.offset, FillCopy(at + 1, 0xF0))
            packet.fill(NvgreKey.flow.offset, FillCopy(at + 3, 0x0F))
        GreBase.push(packet, key=1, protocol=protocol)

    def fill_info(self) -> dict[str, Any]:
        parameters = self.parameters
        return super().fill_info() | {
            "vsid": parameters.vsid, "flow_id": parameters.flow_id, "entropy": parameters.entropy
        }  # fmt: skip


def _ports(packet: Packet) -> int | None:
    """Where the ports of inner TCP or UDP are; None where there are none to be sure of."""
    at = Ethernet.SIZE
    kind = packet.header(Ethernet).type
    if kind == EtherType.IPV4 and packet.has(at + IPv4.SIZE):
        ip = packet.header(IPv4, at)
        at += ip.ihl * 4
        protocol = 0 if ip.fragment & FRAGMENT else ip.protocol
    elif kind == EtherType.IPV6 and packet.has(at + IPv6.SIZE):
        protocol = packet.header(IPv6, at).next_header
        at += IPv6.SIZE
    else:
        return None
    return at if protocol in (IPProtocol.TCP, IPProtocol.UDP) and packet.has(at + 4) else None


class NvgreKind(IpTunnelKind):
    """`kind = "nvgre"`."""

    name = "nvgre"
    packet_type = PacketType.L2
    parameters = NvgreParameters
    tunnel = NvgreTunnel

    def receive(self, packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        """Section 3.2; the link is found by 24 bits of the key, and no others are looked at."""
        if info.protocol != EtherType.TEB or info.flags != GreFlag.KEY:
            return Verdict.REJECT
        key = packet.header(NvgreKey, info.key_offset)
        tunnel = self.table.lookup(packet, ip.source, ip.destination, key.vsid)
        if tunnel is None:
            return Verdict.REJECT
        inner = info.header_size
        if packet.has(inner + Ethernet.SIZE):
            packet.require_length(inner + Ethernet.SIZE, packet.otherwise("tunnel_inner_short"))
            if packet.header(Ethernet, inner).type in TAGS:
                return packet.drop("plugin_nvgre_tagged", tunnel.counters.rx_errors)
        packet.load_register(FLOW_REGISTER, info.key_offset, (1 << NvgreKey.flow.width) - 1)
        return tunnel.receive(packet, ip, info, info.protocol)

    def error(self, packet: Packet, ip: IPv4, info: TunnelInfo, icmp: IcmpError) -> Verdict:
        """ipgre_err for NVGRE."""
        if info.protocol != EtherType.TEB or info.flags != GreFlag.KEY:
            return Verdict.REJECT
        return self.report(packet, ip, packet.header(NvgreKey, info.key_offset).vsid, icmp)


@hookimpl
def vdp_link_kinds() -> Iterable[LinkKind]:
    return [NvgreKind()]


@hookimpl
def vdp_drop_reasons() -> Mapping[str, str]:
    return {"tagged": "a VLAN tag in NVGRE (RFC 7637 section 3.3), or two of them to be sent in it"}


@hookimpl
def vdp_register(datapath: Datapath) -> None:
    kind = datapath.kind(NvgreKind)
    datapath.registry.list("gre_cisco").add(
        kind.receive, priority=PRIORITY, name="nvgre_rcv", owner="nvgre", error=kind.error
    )
