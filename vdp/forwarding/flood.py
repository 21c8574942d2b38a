"""The flood of a large bridge: to each member through an outlet of its own, some at a time.

A flood to a few members is one program, with a clone for each (`Bridge.flood`).  To many it
would be too long, and every flow that is flooded would have to be traced towards each of
them.  So the packet goes to an engine group instead, whose ports are the members' outlets:
cells that only copies of flooded packets enter.  What comes out of one is looked up as
received from there, and traced once for all flows: the way to that member, and nothing else.

    flow at the in-port:  … group br0            ─► outlet of m1, of m2, of m3 …
    flow at an outlet:    … what the way to the member asks for (stages, headers), output
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from vdp.engine.interface import PacketType, PortConfig, PortType

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.packet import Packet

#: Members that a flood reaches by one program: each takes up to some thirty actions of 256.
MOST_CLONES = 6


class Flood:
    """Outlets and group of one bridge; none as long as it has few members."""

    def __init__(self, datapath: Datapath, name: str) -> None:
        self._datapath = datapath
        self._name = name
        self._group: int | None = None
        #: Engine port by member.
        self.outlets: dict[str, int] = {}

    def follow(self, members: tuple[str, ...]) -> None:
        """These are the bridge's members now.

        Whoever says so has the flows of the members traced again; what they no longer name
        goes when that is done.
        """
        wanted = members if len(members) > MOST_CLONES + 1 else ()
        engine, settled = self._datapath.engine, self._datapath.slowpath.when_revalidated
        for member in set(self.outlets) - set(wanted):
            number = self.outlets.pop(member)
            settled(partial(self._remove, number))
        for member in wanted:
            if member not in self.outlets:
                config = PortConfig(member, PortType.CELL, PacketType.L2)  # joins nothing
                self.outlets[member] = number = engine.add_port(config)
                self._datapath.forwarding.outlets[number] = (self._name, member)
        if wanted and self._group is None:
            self._group = engine.new_group(())
        if self._group is not None:
            engine.write_group(self._group, list(self.outlets.values()))
            if not wanted:
                settled(partial(engine.free_group, self._group))
                self._group = None

    def _remove(self, number: int) -> None:
        del self._datapath.forwarding.outlets[number]
        self._datapath.remove_cell(number)

    @property
    def group(self) -> int | None:
        """The engine group of the outlets; None where the bridge has few members."""
        return self._group

    def takes(self, count: int) -> bool:
        """Whether a flood to so many members is the group's."""
        return self._group is not None and count > MOST_CLONES

    def output(self, packet: Packet, member: str) -> None:
        """A copy to every member but that one."""
        assert self._group is not None
        packet.output_to_group(self._group, besides=self.outlets.get(member, 0))
