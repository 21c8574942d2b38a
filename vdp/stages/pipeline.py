"""The transmit pipeline: stages in order of priority, run for every egress a packet passes.

A packet for a link passes the pipeline twice: once towards the link (mtu, offload, then
the link puts its headers on), and once towards what is under it.  As in the kernel
(dev_queue_xmit), offloads are settled at the exit by what the egress can do itself.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from vdp.engine.interface import Feature, PacketType
from vdp.protocols.ethernet import EtherType

if TYPE_CHECKING:
    from vdp.engine import program as act
    from vdp.packet import Packet

#: Ethernet header, and a VLAN tag: what a bridge lets pass beside the MTU (is_skb_forwardable).
FRAME_OVERHEAD = 18
#: Everything a sender's super-packet can be: with all of it nothing need be settled.
ALL_OFFLOADS = Feature.CSUM | Feature.TSO4 | Feature.TSO6 | Feature.USO
#: Egresses that one packet may pass (the kernel's limit of nested tunnel transmits is 4).
MAX_NESTING = 4


class Egress(Protocol):
    """Where a packet goes out: a port, a link, or a next hop."""

    @property
    def name(self) -> str:
        """Of the port or link; of a next hop, its port's."""

    @property
    def packet_type(self) -> PacketType:
        """What it takes: frames (L2), or layer-3 packets."""

    @property
    def features(self) -> Feature:
        """What need not be settled before it: super-packets, unfinished checksums (netdev_features_t)."""

    @property
    def uncut(self) -> int:
        """A counter of packets that can not be cut, or finished, for it; 0: none."""

    @property
    def mtu(self) -> int:
        """Bytes that a packet may have, from its network header on."""

    def too_big(self, packet: Packet) -> act.Program:
        """The branch of a packet larger than the MTU that can not be made smaller."""

    def encapsulate(self, packet: Packet) -> Egress | None:
        """Put the egress's headers on; returns where it goes on, None when it has ended."""


StageFunction = Callable[["Packet", Egress], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """One step.  It may end the packet (drop it); the rest is then left out."""

    priority: int
    name: str
    owner: str
    apply: StageFunction


class Pipeline:
    """The stages of a dataplane, and the way of a packet through them."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        #: Told when the stages are others: what passed them is to be decided anew.
        self.changed: Callable[[], None] = lambda: None
        #: Told how to take back what was added, should its plugin turn out to fail.
        self.undoable: Callable[[Callable[[], None]], None] = lambda undo: None

    def add(self, apply: StageFunction, *, priority: int, name: str, owner: str) -> None:
        """Register a stage; ValueError where the priority is taken."""
        for stage in self.stages:
            if stage.priority == priority:
                raise ValueError(
                    f"stage priority {priority}, wanted by {name} of {owner}, "
                    f"is taken by {stage.name} of {stage.owner}"
                )
        added = Stage(priority, name, owner, apply)
        insort(self.stages, added, key=lambda stage: stage.priority)
        self.undoable(partial(self._take_out, [added]))
        self.changed()

    def remove_owner(self, owner: str) -> None:
        """Take out every stage of `owner`."""
        self._take_out([stage for stage in self.stages if stage.owner == owner])

    def _take_out(self, stages: list[Stage]) -> None:
        kept = [stage for stage in self.stages if stage not in stages]
        if len(kept) == len(self.stages):
            return
        self.stages = kept
        self.changed()

    def transmit(self, packet: Packet, egress: Egress) -> None:
        """Through the stages towards `egress`, and on to what is under it, until output or drop."""
        packet.depends(("stages",))
        below: Egress | None = egress
        for _ in range(MAX_NESTING + 1):
            if below is None or packet.done:
                return
            if packet.packet_type is not below.packet_type:
                packet.drop("packet_type")
                return
            for stage in self.stages:
                stage.apply(packet, below)
                if packet.done:
                    return
            below = below.encapsulate(packet)
        if below is not None:
            packet.drop("loop_guard")


def check_mtu(packet: Packet, egress: Egress) -> None:
    """No segment larger than the egress's MTU: IPv4 without DF is cut (ip_fragment), the rest is not sent."""
    if egress.packet_type is PacketType.L3 and packet.protocol == EtherType.IPV4:
        packet.fragment(0, egress.mtu, egress.too_big(packet))
        return
    most = egress.mtu + (FRAME_OVERHEAD if egress.packet_type is PacketType.L2 else 0)
    packet.require_length(0, egress.too_big(packet), most, per_segment=True)


def settle_offloads(packet: Packet, egress: Egress) -> None:
    """Cut super-packets and finish checksums, unless the egress does that itself."""
    if packet.plain or ALL_OFFLOADS in egress.features:
        return
    takes = egress.features & ALL_OFFLOADS
    packet.segment(int(takes), failed=egress.uncut)
    packet.plain = not takes


def standard_pipeline() -> Pipeline:
    """The built-in stages: mtu (100), offload (200)."""
    pipeline = Pipeline()
    pipeline.add(check_mtu, priority=100, name="mtu", owner="vdp")
    pipeline.add(settle_offloads, priority=200, name="offload", owner="vdp")
    return pipeline
