"""What a link is to the rest of the dataplane, and what a link kind gives (rtnl_link_ops)."""

from __future__ import annotations

import abc
import errno
import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from vdp.engine.interface import Feature, PacketType
from vdp.protocols.ip import IPProtocol
from vdp.verdict import Verdict

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.engine import program as act
    from vdp.links.paths import Way
    from vdp.netlink.path import Path
    from vdp.packet import Packet
    from vdp.stages.pipeline import Egress


class LinkError(OSError):
    """A link that can not be made or changed so: errno as the kernel's, and a sentence."""

    def __init__(self, number: int, name: str, sentence: str) -> None:
        super().__init__(number, f"{name}: {sentence} ({os.strerror(number)})")


@dataclass(frozen=True, slots=True)
class LinkCounters:
    """Engine counters of a link, named as in struct rtnl_link_stats64."""

    rx: int  # rx_packets and rx_bytes
    tx: int  # tx_packets and tx_bytes
    multicast: int
    rx_errors: int
    rx_crc_errors: int
    rx_fifo_errors: int
    rx_frame_errors: int
    tx_errors: int
    tx_dropped: int
    tx_carrier_errors: int
    tx_aborted_errors: int
    tx_fifo_errors: int
    collisions: int

    @classmethod
    def names(cls) -> list[str]:
        return [item.name for item in fields(cls)]


class Link(abc.ABC):
    """A tunnel device.  Its GRO cell is the engine port `number`: what it receives comes in by that."""

    #: A super-packet is cut and its checksums are finished before headers go on it.
    features: ClassVar[Feature] = Feature.NONE

    def __init__(self, datapath: Datapath, name: str, kind: LinkKind, parameters: BaseModel) -> None:
        self.datapath = datapath
        self.name = name
        self.kind = kind
        self.parameters = parameters
        self.mtu = 1500
        self.up = True
        self.number = datapath.add_cell(name, kind.packet_type)
        self.counters = LinkCounters(*(datapath.engine.new_counter() for _ in LinkCounters.names()))

    @property
    def packet_type(self) -> PacketType:
        return self.kind.packet_type

    @property
    def tag(self) -> tuple[str, str]:
        """What a trace depends on that looked at this link."""
        return ("link", self.name)

    @abc.abstractmethod
    def encapsulate(self, packet: Packet) -> Egress | None:
        """ndo_start_xmit: put the headers on; returns where it goes on, None when it was dropped."""

    @abc.abstractmethod
    def fill_info(self) -> dict[str, Any]:
        """The link's parameters as they are in force, in the configuration's words."""

    def addresses(self) -> set[int]:
        """Outer destinations, of the kind's IP version, of packets for it; 0: any of the host's own."""
        return set()

    def path_changed(self, way: Way, path: Path | None) -> None:
        """A way out of this host is another now; None: there is none any more."""
        return

    def too_big(self, packet: Packet) -> act.Program:
        """What becomes of a packet larger than the MTU: its sender is told, if it asked to be (DF)."""
        return self.datapath.icmp.too_big(packet, self.mtu)

    def into_cell(self, packet: Packet) -> Verdict:
        """gro_cells_receive: coalesce, then go on as received from this link."""
        return packet.output(self.number)

    def stats(self) -> dict[str, int]:
        """The counters by the kernel's names; rx_dropped is what the GRO cell lost."""
        engine = self.datapath.engine
        result = {}
        for name in LinkCounters.names():
            count = engine.read_counter(getattr(self.counters, name))
            if name in ("rx", "tx"):
                result[f"{name}_packets"], result[f"{name}_bytes"] = count.packets, count.bytes
            else:
                result[name] = count.packets
        result["rx_dropped"] = engine.port_stats(self.number).tx_dropped
        return result

    def free(self) -> None:
        """Give the cell and the counters back to the engine."""
        self.datapath.remove_cell(self.number)
        for name in LinkCounters.names():
            self.datapath.engine.free_counter(getattr(self.counters, name))


class LinkKind(abc.ABC):
    """A kind of link, given by a plugin: name, parameters, and the making of one."""

    name: ClassVar[str]
    packet_type: ClassVar[PacketType]
    parameters: ClassVar[type[BaseModel]]
    #: IP protocol of what its links send and receive on their underlay.
    ip_protocol: ClassVar[int] = IPProtocol.GRE
    #: IP version of their underlay: 4 or 6.
    ip_version: ClassVar[int] = 4

    @abc.abstractmethod
    async def newlink(self, datapath: Datapath, name: str, underlay: str, parameters: Any) -> Link:
        """setup, newlink, init, open.  LinkError: EEXIST for a duplicate, EADDRNOTAVAIL, EINVAL."""

    async def changelink(self, link: Link, parameters: Any) -> None:
        """Other parameters for a link that goes on forwarding.

        LinkError: EEXIST, EINVAL; EOPNOTSUPP for a kind whose links can not be changed.
        """
        raise LinkError(errno.EOPNOTSUPP, link.name, f"links of kind {self.name} can not be changed")

    @abc.abstractmethod
    async def dellink(self, link: Link) -> None:
        """Take it out of the kind's tables, and give back what it has."""
