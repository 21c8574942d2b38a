"""A learning bridge (IEEE 802.1D 7; Linux net/bridge), as a trace.

Which address is behind which member is learned from every first packet of a flow, and
kept alive by the flows that were traced from it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vdp.forwarding.flood import Flood
from vdp.forwarding.mobility import WINDOW_NS, Mobility
from vdp.links.paths import PathPending
from vdp.protocols.ethernet import Ethernet, format_mac, is_group, is_link_local

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.packet import Packet

NS = 1_000_000_000
#: The bridge group address: forwarded where no spanning tree runs (br_handle_frame).
SPANNING_TREE = b"\x01\x80\xc2\x00\x00\x00"
#: Addresses that a bridge keeps at most (Linux bounds its table only since 6.8).
MOST_ADDRESSES = 65536
#: Moves of an address within ten seconds that are followed (N of RFC 7432 15.1).
MAC_MOVES = 5
TOO_MANY_MOVES = (
    "bridge %s: %s moved more than %d times within %d s, lastly between %s and %s: it is held at %s, "
    "and dropped from elsewhere.  Are two members joined outside (a loop), or is the address there twice?"
)


@dataclass(slots=True)
class Station:
    """A learned address: the member it is behind, and when it was last heard (engine clock, ns)."""

    member: str
    heard_ns: int


class Bridge:
    """MAC learning between L2 members; `members` are names of ports and links."""

    def __init__(
        self,
        datapath: Datapath,
        name: str,
        members: tuple[str, ...],
        ageing_s: int = 300,
        mac_moves: int = MAC_MOVES,
    ) -> None:
        self._datapath = datapath
        self.name = name
        self.members = members
        self.ageing_s = ageing_s
        self.stations: dict[bytes, Station] = {}
        self.mobility = Mobility(mac_moves)
        #: To its many members, if it has many.
        self.large_flood = Flood(datapath, name)

    def forward(self, packet: Packet, member: str) -> None:
        """br_handle_frame: learn the source, forward to where the destination is, else flood."""
        ethernet = packet.header(Ethernet)
        source, destination = ethernet.source, ethernet.destination
        if not is_group(source) and any(source):
            known = self.stations.get(source)
            if known is not None and known.member != member:
                if self.mobility.is_held(source):
                    packet.depends(self._tag(source, known.member))
                    packet.drop("mac_moves")
                    return
                # It moved: nothing is cached before that is learned, nor kept after it moved on.
                packet.uncacheable()
            packet.on_commit(lambda: self._learn_from(packet, source, member, source == destination))
            packet.on_hit(lambda used_ns: self._hear(source, member, used_ns))
            packet.depends(self._tag(source, known.member if known is not None else None))
        if is_link_local(destination) and destination != SPANNING_TREE:
            packet.drop("link_local")
            return
        towards = None if is_group(destination) else self.member_of(packet, destination)
        if towards is None and self.mobility.is_held(source):
            packet.drop("mac_moves")
        elif towards is None:
            self.flood(packet, member)
        elif towards == member:
            packet.drop("same_port")
        else:
            self._datapath.transmit(packet, towards)

    def member_of(self, packet: Packet, mac: bytes) -> str | None:
        """The member that an address is behind, None where that has not been learned."""
        station = self.stations.get(mac)
        member = station.member if station is not None else None
        packet.depends(self._tag(mac, member))
        return member

    def _tag(self, mac: bytes, member: str | None) -> tuple[str, str, bytes, str | None]:
        """What a trace depends on to which an address is behind that member, None: behind no known one."""
        return ("station", self.name, mac, member)

    def flood(self, packet: Packet, member: str) -> None:
        """To every other member; one whose next hop is not known yet is left out until it is.

        Of a large bridge each member's copy waits for its own next hop.
        """
        others = [name for name in self.members if name != member]
        if not others:
            packet.drop("no_forwarding")
            return
        if self.large_flood.takes(len(others)):
            self.large_flood.output(packet, member)
            return
        for other in others[:-1]:
            self._flood_to(packet.clone(), other)
        self._flood_to(packet, others[-1])

    def _flood_to(self, packet: Packet, member: str) -> None:
        state = packet.checkpoint()
        try:
            self._datapath.transmit(packet, member)
        except PathPending:
            packet.restore(state)
            packet.drop("neighbour_failed")

    def age(self, now_ns: int) -> None:
        """Forget who was silent for longer than ageing_s (br_fdb_cleanup); let go who was held for long."""
        horizon = now_ns - self.ageing_s * NS
        self._drop([mac for mac, station in self.stations.items() if station.heard_ns < horizon])
        for mac in self.mobility.end(now_ns):
            self._datapath.invalidate(self._tag(mac, self.stations[mac].member))

    def forget(self, member: str) -> None:
        """A member is gone, and who was behind it."""
        self.mobility.leave(member)
        self._drop([mac for mac, station in self.stations.items() if station.member == member])

    def limit_moves(self, limit: int) -> None:
        """Another number of moves is followed; who is held is let go."""
        if limit == self.mobility.limit:
            return
        self.mobility.limit = limit
        for mac in self.mobility.held():
            self.mobility.forget(mac)
            self._datapath.invalidate(self._tag(mac, self.stations[mac].member))

    def _drop(self, macs: list[bytes]) -> None:
        for mac in macs:
            self.mobility.forget(mac)
            self._datapath.invalidate(self._tag(mac, self.stations.pop(mac).member))

    def _learn_from(self, packet: Packet, mac: bytes, member: str, is_to_itself: bool) -> None:
        """Learn; where only the source was looked up, the flow that taught it is not stale by that."""
        before = self.stations.get(mac)
        tag = self._tag(mac, before.member if before is not None else None)
        self._learn(mac, member)
        after = self.stations.get(mac)
        if after is not None and not is_to_itself:
            packet.depends(self._tag(mac, after.member), instead_of=tag)

    def _learn(self, mac: bytes, member: str) -> None:
        station, before = self.stations.get(mac), None
        if station is None:
            if len(self.stations) >= MOST_ADDRESSES:
                return
            self.stations[mac] = Station(member, self._datapath.engine.clock())
        else:
            station.heard_ns = self._datapath.engine.clock()
            if station.member == member:
                return
            before, station.member = station.member, self._follow(mac, station, member)
        self._datapath.invalidate(self._tag(mac, before))

    def _follow(self, mac: bytes, station: Station, member: str) -> str:
        """Where an address is that was heard elsewhere: there, or held where it was before all its moves."""
        home = self.mobility.move(mac, station.member, station.heard_ns)
        if home is None:
            return member
        what = self.name, format_mac(mac), self.mobility.limit, WINDOW_NS // NS, station.member, member, home
        self._datapath.say(logging.WARNING, ("mac_moves", self.name), TOO_MANY_MOVES, *what)
        return home

    def _hear(self, mac: bytes, member: str, used_ns: int) -> None:
        station = self.stations.get(mac)
        if station is None:
            self._learn(mac, member)
        elif station.member == member:
            station.heard_ns = max(station.heard_ns, used_ns)
