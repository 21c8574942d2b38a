"""What a link is to the rest of the dataplane, and what a link kind gives (rtnl_link_ops)."""

from __future__ import annotations

import abc
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from vdp.engine.interface import Feature, PacketType
from vdp.links.estate import Owned
from vdp.links.inner import InnerSources
from vdp.protocols.ip import IPProtocol
from vdp.verdict import Verdict

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.engine import program as act
    from vdp.links.paths import Device, Way
    from vdp.links.tunnel_errors import TunnelErrors
    from vdp.netlink.path import Path
    from vdp.packet import Packet
    from vdp.stages.pipeline import Egress


class LinkError(OSError):
    """A link that can not be made or changed so: errno as the kernel's, and a sentence."""

    def __init__(self, number: int, name: str, sentence: str) -> None:
        super().__init__(number, f"{name}: {sentence} ({os.strerror(number)})")
        self.sentence = sentence

    def __str__(self) -> str:
        return f"link {self.strerror}"


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

    #: The way that it is told of (`Datapath.follow`).
    way: Way | None = None
    #: What came of ICMP errors about its packets; None for a kind that does not look at them.
    errors: TunnelErrors | None = None
    #: What the way to its remote takes, as the kernel knows it; None: there is none, or no fixed remote.
    path_mtu: int | None = None

    def __init__(self, datapath: Datapath, name: str, kind: LinkKind, parameters: BaseModel) -> None:
        self.datapath = datapath
        self.name = name
        self.kind = kind
        self.parameters = parameters
        self.mtu = 1500
        self.up = True
        self.gro = True
        #: Which sources what comes out of it may have.
        self.inner = InnerSources()
        self._owned: list[Owned] = []
        datapath.half_made[name] = self  # until newlink has ended
        add_cell = partial(datapath.add_cell, name, kind.packet_type)
        self.number = self.own(add_cell, datapath.remove_cell, f"{kind.packet_type.name} cell")
        self.counters = LinkCounters(*(self.new_counter() for _ in LinkCounters.names()))

    def own(self, take: Callable[[], int], give: Callable[[int], None], what: str = "") -> int:
        """Take something of the engine, which `free` gives back, the last taken first (ip_tunnel_init).

        A link that takes another's place (vdp.links.estate) gets what that one had: the first
        that is of the same sort, `what`, or else has the same `give`.
        """
        what = what or getattr(give, "__name__", "")
        owned = self.datapath.estates.claim(self.name, what) or Owned(what, take(), give)
        self._owned.append(owned)
        return owned.number

    def own_anew(self, what: str, take: Callable[[], int], new: str) -> int:
        """Take something in place of `what`, which goes back as soon as no flow names it."""
        owned = next(item for item in self._owned if item.what == what)
        self.datapath.slowpath.when_revalidated(partial(owned.give, owned.number))
        owned.what, owned.number = new, take()
        return owned.number

    def new_counter(self) -> int:
        """An engine counter that goes with the link."""
        return self.own(self.datapath.engine.new_counter, self.datapath.engine.free_counter)

    def new_state(self, initial: int = 0) -> int:
        """An engine state that goes with the link."""
        return self.own(partial(self.datapath.engine.new_state, initial), self.datapath.engine.free_state)

    @property
    def uncut(self) -> int:
        """gre_handle_offloads: an error is tx_dropped."""
        return self.counters.tx_dropped

    @property
    def features(self) -> Feature:
        """What need not be settled before headers go on: nothing; all is cut, and checksums are finished."""
        return Feature.NONE

    @property
    def packet_type(self) -> PacketType:
        """What it carries, as its kind says."""
        return self.kind.packet_type

    @property
    def is_permanent(self) -> bool:
        """Whether it goes with the dataplane only."""
        return False

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

    def peers(self) -> set[int]:
        """Outer sources of packets for it: taken even if they are addresses of this host; 0: any."""
        return set()

    def open(self) -> None:
        """ndo_open: it is being set up.  LinkError EADDRNOTAVAIL."""
        return

    def close(self) -> None:
        """ndo_stop: it is being set down, or taken away."""
        return

    def listen(self) -> None:
        """Take the UDP ports that it receives by, if any, for its kind's receiver.  LinkError EBUSY."""
        return

    def leave(self) -> None:
        """What `listen` did is over: it goes, or its plugin registers anew.  May be called twice."""
        return

    def path_changed(self, way: Way, path: Path | None) -> None:
        """The way that it follows (`Datapath.follow`) is another now; None: there is none any more."""
        return

    def device_changed(self, port: str, name: str, device: Device | None) -> None:
        """A device that some link over `port` is bound to is another now; None: it is gone."""
        return

    def change_mtu(self, mtu: int) -> None:
        """ndo_change_mtu; LinkError EINVAL where that is no MTU for it."""
        self.mtu = mtu

    def change_gro(self, gro: bool) -> None:
        """NETIF_F_GRO: whether its cell joins what it receives."""
        self.gro = gro
        features = self.datapath.joined if gro else Feature.NONE
        self.datapath.engine.set_port_features(self.number, features)

    def change_inner(self, inner: InnerSources) -> None:
        """Other sources from now on, for packets of flows that there are, too."""
        if inner != self.inner:
            self.inner = inner
            self.datapath.invalidate(self.tag)

    def configuration(self) -> dict[str, Any]:
        """What a `[[link]]` table must say to make it again: fill_info, in a configuration's words."""
        said = self.parameters.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        if "up" in type(self.parameters).model_fields:
            said.pop("up", None)
            said |= {} if self.up else {"up": False}
        return said

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
        """Give all that it took back to the engine (ip_tunnel_dev_free).  May be called twice."""
        self.datapath.follow(self, None)
        if self._owned and self.name in self.datapath.estates:
            self.datapath.estates.leave(self.name, self._owned)
            self._owned = []
        while self._owned:
            owned = self._owned.pop()
            owned.give(owned.number)


class LinkKind(abc.ABC):
    """A kind of link, given by a plugin: name, parameters, and the making of one."""

    name: ClassVar[str]
    packet_type: ClassVar[PacketType]
    parameters: ClassVar[type[BaseModel]]
    #: IP protocol of what its links send and receive on their underlay.
    ip_protocol: ClassVar[int] = IPProtocol.GRE
    #: IP version of their underlay: 4 or 6.
    ip_version: ClassVar[int] = 4

    def udp_ports(self, parameters: Any) -> frozenset[int]:
        """UDP ports that such a link receives by, in place of its IP protocol; none: by that.

        Its underlay is shown those ports' packets and no other UDP, and the host is kept from
        refusing them.
        """
        return frozenset()

    @abc.abstractmethod
    async def newlink(self, datapath: Datapath, name: str, underlay: str, parameters: Any) -> Link:
        """setup, newlink, init, open.  LinkError: EEXIST for a duplicate, EADDRNOTAVAIL, EINVAL."""

    async def changelink(self, link: Link, parameters: Any) -> None:
        """Other parameters for a link that goes on forwarding.

        LinkError: EEXIST, EINVAL; EOPNOTSUPP for a kind whose links can not be changed.
        """
        LinkKind.check_change(self, link, parameters)

    def check_change(self, link: Link, parameters: Any) -> None:
        """LinkError EINVAL or EOPNOTSUPP where `changelink` would refuse these; touches nothing.

        What it refuses, a reload of the configuration removes and makes anew.
        """
        if type(self).changelink is LinkKind.changelink:
            raise LinkError(errno.EOPNOTSUPP, link.name, f"links of kind {self.name} can not be changed")

    @abc.abstractmethod
    async def dellink(self, link: Link) -> None:
        """Take it out of the kind's tables, and give back what it has."""
