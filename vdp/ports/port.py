"""A port as the datapath sees it, and the next hop behind an Ethernet one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vdp.engine.interface import LEAVE_BY, META_DEVICE, Feature, PacketType, PortConfig, PortType
from vdp.netlink.path import ZERO_MAC
from vdp.protocols.ethernet import Ethernet

if TYPE_CHECKING:
    from vdp.engine import program as act
    from vdp.netlink.path import Path
    from vdp.packet import Packet
    from vdp.stages.pipeline import Egress

#: Destination and source, in front of an Ethernet header.
MACS_SIZE = 12


@dataclass(slots=True, eq=False)
class Port:
    """Where packets enter and leave.  `number` is the engine's."""

    name: str
    number: int
    type: PortType
    packet_type: PacketType
    features: Feature = Feature.NONE
    mtu: int = 1500
    device: str | None = None
    netns: str | None = None
    #: MAC of the interface under a raw port; frames for others are not ours.
    mac: bytes | None = None
    #: What vdp.ports.open_port gave, to be closed with the port; None for memory ports and cells.
    opened: Any = None
    up: bool = True
    queues: int = 1
    #: Packets know which device they came in by.
    tells_devices: bool = False
    #: What is wrong with its device, in a sentence; "" when nothing is.
    trouble: str = ""
    #: Frames that the kernel lost in front of it for want of room, as last asked.
    kernel_drops: int = 0
    #: What the kernel refuses in truth (vdp.refusals); it is not among the features then.
    refused: Feature = Feature.NONE

    @property
    def tag(self) -> tuple[str, str]:
        """What a trace depends on that looked at this port."""
        return ("port", self.name)

    @property
    def uncut(self) -> int:
        """No counter of its own: the port that a packet came in by counts it as dropped."""
        return 0

    def encapsulate(self, packet: Packet) -> Egress | None:
        """A port adds nothing: the packet leaves by it."""
        packet.depends(self.tag)
        packet.output(self.number)
        return None

    def via(self, path: Path, *, is_bound: bool = False) -> Egress:
        """Where an IP packet for `path` goes on; bound: by no other device than the path's."""
        return NextHop(self, path, is_bound)

    def device_of(self, packet: Packet) -> int:
        """Index of the device that a packet came in by (skb->dev->ifindex); 0 where it is not known."""
        if self.type is PortType.PACKET:
            return self.opened.ifindex if self.opened is not None else 0
        return packet.meta(META_DEVICE)

    def tell_devices(self) -> None:
        """From here on packets know which device they came in by, if the port can know that."""
        self.tells_devices = True
        if self.opened is not None:
            self.opened.tell_devices()

    def too_big(self, packet: Packet) -> act.Program:
        """What becomes of a packet larger than the MTU."""
        return packet.otherwise("mtu_exceeded")


def taken_whole(config: PortConfig) -> Feature:
    """What needs not be cut for it: a cell takes everything, whatever it joins itself."""
    whole = Feature.CSUM | Feature.TSO4 | Feature.TSO6 | Feature.USO
    return config.features | whole if config.type is PortType.CELL else config.features


@dataclass(frozen=True, slots=True)
class NextHop:
    """The first hop of a path: takes IP packets; an Ethernet port gets them as frames for the neighbour."""

    port: Port
    path: Path
    is_bound: bool = False
    packet_type = PacketType.L3

    @property
    def name(self) -> str:
        return self.port.name

    @property
    def mtu(self) -> int:
        return min(self.path.mtu, self.port.mtu)

    @property
    def features(self) -> Feature:
        return self.port.features

    @property
    def uncut(self) -> int:
        return self.port.uncut

    def encapsulate(self, packet: Packet) -> Egress | None:
        """dev_hard_header; a path is only used once its neighbour is resolved."""
        if self.port.packet_type is PacketType.L2:
            assert self.path.destination_mac is not None
            to, origin = self.path.destination_mac, self.path.source_mac
            if self.path.header:
                to = origin = ZERO_MAC
            Ethernet.push(packet, destination=to, source=origin, type=packet.protocol)
            if self.path.header:
                packet.write_header(0, MACS_SIZE, self.path.header)
            packet.set_type(PacketType.L2)
        elif self.is_bound:
            packet.set_meta(META_DEVICE, LEAVE_BY | self.path.ifindex)
        return self.port.encapsulate(packet)

    def too_big(self, packet: Packet) -> act.Program:
        """As the port: the tunnel has told the sender before, if it was to be told."""
        return self.port.too_big(packet)
