"""The kernel's links, addresses and neighbours, kept in step from messages.

No I/O here: `Netlink` feeds messages in the order the kernel sent them, and gets the
changes back.  A message that says what is known already changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from vdp.netlink import decode
from vdp.netlink.events import (
    Address,
    AddressChanged,
    Event,
    IPAddress,
    Link,
    LinkChanged,
    Neighbour,
    NeighbourChanged,
    RouteChanged,
)

NeighbourKey = tuple[int, IPAddress]


class Tables:
    """What is known of one namespace."""

    def __init__(self) -> None:
        self._links: dict[int, Link] = {}
        self._addresses: set[Address] = set()
        self._neighbours: dict[NeighbourKey, Neighbour] = {}

    @property
    def links(self) -> Mapping[int, Link]:
        return MappingProxyType(self._links)

    @property
    def addresses(self) -> frozenset[Address]:
        return frozenset(self._addresses)

    @property
    def neighbours(self) -> Mapping[NeighbourKey, Neighbour]:
        return MappingProxyType(self._neighbours)

    def apply(self, message: Any) -> list[Event]:
        """Take in one message; what it changed."""
        kind = decode.message_type(message)
        if kind in (decode.RTM_NEWLINK, decode.RTM_DELLINK):
            if not decode.is_link(message):
                return []
            link = decode.link(message)
            return self._set_link(link.index, link if kind == decode.RTM_NEWLINK else None)
        if kind in (decode.RTM_NEWADDR, decode.RTM_DELADDR):
            address = decode.address(message)
            return [] if address is None else self._set_address(address, kind == decode.RTM_NEWADDR)
        if kind in (decode.RTM_NEWNEIGH, decode.RTM_DELNEIGH):
            neighbour = decode.neighbour(message)
            if neighbour is None:
                return []
            key = (neighbour.ifindex, neighbour.address)
            return self._set_neighbour(key, neighbour if kind == decode.RTM_NEWNEIGH else None)
        if kind in (decode.RTM_NEWROUTE, decode.RTM_DELROUTE):
            return [RouteChanged(decode.route(message))]
        if kind in (decode.RTM_NEWRULE, decode.RTM_DELRULE):
            return [RouteChanged(None)]
        return []

    def replace(
        self, links: Iterable[Link], addresses: Iterable[Address], neighbours: Iterable[Neighbour]
    ) -> list[Event]:
        """Take a full dump; the difference to what was known."""
        new_links = {link.index: link for link in links}
        new_addresses = set(addresses)
        new_neighbours = {(n.ifindex, n.address): n for n in neighbours}
        events: list[Event] = []
        for key in self._neighbours.keys() - new_neighbours.keys():
            events += self._set_neighbour(key, None)
        for gone in self._addresses - new_addresses:
            events += self._set_address(gone, False)
        for index in self._links.keys() - new_links.keys():
            events += self._set_link(index, None)
        for index, link in new_links.items():
            events += self._set_link(index, link)
        for address in new_addresses:
            events += self._set_address(address, True)
        for key, neighbour in new_neighbours.items():
            events += self._set_neighbour(key, neighbour)
        return events

    def _set_link(self, index: int, new: Link | None) -> list[Event]:
        old = self._links.pop(index, None)
        events: list[Event] = []
        if new is not None:
            self._links[index] = new
        else:
            # What hung on it goes with it; the kernel says so for some of it only.
            for address in [a for a in self._addresses if a.ifindex == index]:
                events += self._set_address(address, False)
            for key in [k for k in self._neighbours if k[0] == index]:
                events += self._set_neighbour(key, None)
        return events if old == new else [*events, LinkChanged(old, new)]

    def _set_address(self, address: Address, is_present: bool) -> list[Event]:
        if is_present == (address in self._addresses):
            return []
        if is_present:
            self._addresses.add(address)
        else:
            self._addresses.discard(address)
        return [AddressChanged(address, is_present)]

    def _set_neighbour(self, key: NeighbourKey, new: Neighbour | None) -> list[Event]:
        old = self._neighbours.pop(key, None)
        if new is not None:
            self._neighbours[key] = new
        return [] if old == new else [NeighbourChanged(old, new)]
