"""Links of kinds mpls and mplstap: a label switched path's two ends, each over one GRE tunnel.

What is received is told apart by addresses and label, so that one pair of routers can have
any number of such links.  What is sent gets the labels of `push`.
"""

from __future__ import annotations

from typing import Any

from vdp.api import (
    Datapath,
    Egress,
    Ethernet,
    EtherType,
    FillCopy,
    GreBase,
    IpTunnel,
    IpTunnelKind,
    IPv4,
    IPv6,
    Link,
    Packet,
    PacketType,
    Vlan,
)

from vdp_mpls.headers import EXPLICIT_NULL, MPLS_MULTICAST, MPLS_UNICAST, ControlWord, Reserved, StackEntry
from vdp_mpls.options import LabelParameters, MplsParameters, MplstapParameters, Settings

#: What fill_info says of GRE with keys, and is nothing of MPLS in GRE.
GRE_ONLY = frozenset({"ikey", "okey", "iflags", "oflags", "fallback"})
#: Of the six bits of a DSCP those that a traffic class has room for: the class selector (RFC 2474 4.2.2).
SELECTOR_BITS = 3


class LabelTunnel(IpTunnel):
    """What both kinds of link share."""

    parameters: LabelParameters

    @property
    def settings(self) -> Settings:
        return self.datapath.settings("mpls", Settings)

    @property
    def is_uniform(self) -> bool:
        """Whether its labels and the IP packets behind them share one TTL."""
        return False

    @property
    def below_stack(self) -> bytes:
        """What stands between the labels and what is carried."""
        return b""

    def push_header(self, packet: Packet, protocol: int) -> None:
        """GRE and the stack, as constants; a TTL that is the packet's own is copied for each packet."""
        ip = inner_ip(packet, self.frame_size, protocol if self.packet_type is PacketType.L3 else None)
        tc = self._traffic_class(packet, ip)
        ttl = self.parameters.label_ttl or self.settings.label_ttl
        labels = [self._sent(label, ip) for label in self.parameters.pushed]
        last = len(labels) - 1
        stack = b"".join(
            StackEntry.pack(label=label, tc=tc, bottom=number == last, ttl=ttl)
            for number, label in enumerate(labels)
        )
        sort = MPLS_MULTICAST if self.remote.is_multicast else MPLS_UNICAST
        GreBase.push(packet, stack + self.below_stack, protocol=sort)
        if self.is_uniform and ip is not None:
            own = ip.offset + (IPv4.ttl if isinstance(ip, IPv4) else IPv6.hop_limit).offset
            for number in range(len(labels)):
                at = GreBase.SIZE + number * StackEntry.SIZE + StackEntry.ttl.offset
                packet.fill(at, FillCopy(own))

    @staticmethod
    def _sent(label: int, ip: IPv4 | IPv6 | None) -> int:
        """The label on the wire: of the two explicit nulls the one of the packet's IP version."""
        if label in EXPLICIT_NULL:
            return Reserved.IPV6_EXPLICIT_NULL if isinstance(ip, IPv6) else Reserved.IPV4_EXPLICIT_NULL
        return label

    def _traffic_class(self, packet: Packet, ip: IPv4 | IPv6 | None) -> int:
        """RFC 3270 section 4.3: the packet's behaviour aggregate, as far as three bits can tell it."""
        if self.parameters.tc != "inherit":
            return self.parameters.tc
        if ip is None:
            return 0
        return packet.read_bits(ip.place, type(ip).dscp.start, SELECTOR_BITS, "dscp")

    def fill_info(self) -> dict[str, Any]:
        parameters = self.parameters
        said = {name: value for name, value in super().fill_info().items() if name not in GRE_ONLY}
        return said | {
            "label": parameters.label,
            "push": list(parameters.pushed),
            "tc": parameters.tc,
            "label_ttl": parameters.label_ttl or self.settings.label_ttl,
        }


class MplsTunnel(LabelTunnel):
    """A link of kind mpls: IPv4 and IPv6 packets."""

    parameters: MplsParameters

    @property
    def is_uniform(self) -> bool:
        return (self.parameters.ttl_model or self.settings.ttl_model) == "uniform"

    def encapsulate(self, packet: Packet) -> Egress | None:
        """Nothing but IP: nothing in a label stack says what follows it."""
        if packet.protocol not in (EtherType.IPV4, EtherType.IPV6):
            packet.drop("protocol_unsupported", self.counters.tx_dropped)
            return None
        return super().encapsulate(packet)

    def fill_info(self) -> dict[str, Any]:
        return super().fill_info() | {"ttl_model": "uniform" if self.is_uniform else "pipe"}


class MplstapTunnel(LabelTunnel):
    """A link of kind mplstap: an Ethernet pseudowire (RFC 4448)."""

    parameters: MplstapParameters

    @property
    def below_stack(self) -> bytes:
        return ControlWord.pack() if self.parameters.control_word else b""

    def _traffic_class(self, packet: Packet, ip: IPv4 | IPv6 | None) -> int:
        """Of a frame with a VLAN tag its priority (RFC 4448 section 4.4.1), else as of a packet."""
        if self.parameters.tc == "inherit" and packet.header(Ethernet).type == EtherType.VLAN:
            return packet.header(Vlan, Ethernet.SIZE).priority
        return super()._traffic_class(packet, ip)

    def fill_info(self) -> dict[str, Any]:
        return super().fill_info() | {"control_word": self.parameters.control_word}


def inner_ip(packet: Packet, at: int, protocol: int | None) -> IPv4 | IPv6 | None:
    """The IP header at `at`, where what is there is that EtherType's (None: what the frame says)."""
    if protocol is None:
        protocol = packet.header(Ethernet).type
    kinds: dict[int, type[IPv4 | IPv6]] = {EtherType.IPV4: IPv4, EtherType.IPV6: IPv6}
    kind = kinds.get(protocol)
    return packet.header(kind, at) if kind is not None and packet.has(at + kind.SIZE) else None


class LabelKind(IpTunnelKind):
    """Both kinds: a table each, and no label between two ends that both have."""

    def __init__(self) -> None:
        super().__init__()
        self.other: LabelKind = self

    def _refuse_taken(
        self, datapath: Datapath, name: str, underlay: str, parameters: LabelParameters
    ) -> None:
        """LinkError EEXIST where a link of the other kind has the label."""
        if self.other is not self:
            self.other.table.refuse_duplicate(name, datapath.ports[underlay].number, parameters)

    async def newlink(self, datapath: Datapath, name: str, underlay: str, parameters: Any) -> IpTunnel:
        self._refuse_taken(datapath, name, underlay, parameters)
        made = await super().newlink(datapath, name, underlay, parameters)
        assert isinstance(made, IpTunnel)
        return made

    async def changelink(self, link: Link, parameters: Any) -> None:
        assert isinstance(link, LabelTunnel)
        self._refuse_taken(link.datapath, link.name, link.underlay.name, parameters)
        await super().changelink(link, parameters)


class MplsKind(LabelKind):
    """`kind = "mpls"`."""

    name = "mpls"
    packet_type = PacketType.L3
    parameters = MplsParameters
    tunnel = MplsTunnel


class MplstapKind(LabelKind):
    """`kind = "mplstap"`."""

    name = "mplstap"
    packet_type = PacketType.L2
    parameters = MplstapParameters
    tunnel = MplstapTunnel


def kinds() -> tuple[MplsKind, MplstapKind]:
    """Both, which know each other."""
    packets, frames = MplsKind(), MplstapKind()
    packets.other, frames.other = frames, packets
    return packets, frames
