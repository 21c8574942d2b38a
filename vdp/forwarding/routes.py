"""Longest-prefix routing between L3 members (Linux net/ipv4/fib_trie.c, ip_forward)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING

from vdp.engine.interface import PacketType
from vdp.netlink.events import IPAddress
from vdp.protocols.ethernet import EtherType
from vdp.protocols.ip import IPv4, IPv6

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.packet import Packet

Network = IPv4Network | IPv6Network
#: Bits of the destination that are looked at together.  Guards end with the first byte that tells the
#: routes apart, so that a flow covers a large block of addresses for which the answer is the same
#: (OVS: un-wildcarding by trie).  Bit by bit the blocks would be larger, and the masks, of which an
#: in-port has 64, many more.
STRIDE = 8
ANY: dict[int, IPAddress] = {4: IPv4Address(0), 6: IPv6Address(0)}


@dataclass(frozen=True, slots=True)
class Route:
    """Packets to `destination` leave by member `via`; of equals the lower metric wins.

    next_hop: the router on the way, which a multipoint link has to know; None: the destination
    itself is on the link.
    """

    destination: Network
    via: str
    metric: int = 0
    next_hop: IPAddress | None = None


class Node:
    """Routes by the bytes of their prefix (fib_trie, with a stride of 8): all that begin as the way here."""

    __slots__ = ("deeper", "here", "short")

    def __init__(self) -> None:
        #: By the next byte, whole.
        self.deeper: dict[int, Node] = {}
        #: By fewer of the next bits, most first: their count, and the routes by what they are.
        self.short: list[tuple[int, dict[int, list[Route]]]] = []
        #: Those that end here, the best first.
        self.here: list[Route] = []

    def add(self, route: Route, at: int = 0) -> None:
        """Routes come longest first, and of equals the best first."""
        network = route.destination
        left = network.prefixlen - at
        want = int(network.network_address) >> (network.max_prefixlen - at - min(left, STRIDE))
        if left == 0:
            self.here.append(route)
        elif left >= STRIDE:
            self.deeper.setdefault(want & ((1 << STRIDE) - 1), Node()).add(route, at + STRIDE)
        else:
            if not self.short or self.short[-1][0] != left:
                self.short.append((left, {}))
            self.short[-1][1].setdefault(want & ((1 << left) - 1), []).append(route)

    def find(
        self, read: Callable[[int, int], int], serves: Callable[[Route], bool], at: int = 0
    ) -> Route | None:
        """The longest that serves.  `read(at, bits)` tells bits of the destination; few are asked for."""
        if self.deeper:
            node = self.deeper.get(read(at, STRIDE))
            found = node.find(read, serves, at + STRIDE) if node is not None else None
            if found is not None:
                return found
        for bits, routes in self.short:
            for route in routes.get(read(at, bits), ()):
                if serves(route):
                    return route
        return next(filter(serves, self.here), None)


class RouteTable:
    """The routes of a dataplane."""

    def __init__(self, datapath: Datapath, routes: tuple[Route, ...] = ()) -> None:
        self._datapath = datapath
        # Longest first, then by metric: the first that fits is the one.
        self.routes = tuple(sorted(routes, key=lambda r: (-r.destination.prefixlen, r.metric)))
        self._tries = {4: Node(), 6: Node()}
        for route in self.routes:
            self._tries[route.destination.version].add(route)

    def forward(self, packet: Packet) -> None:
        """ip_forward: the route for its destination, one off its TTL."""
        packet.depends(("routes",))
        if packet.packet_type is not PacketType.L3:
            packet.drop("packet_type")
            return
        protocol = packet.protocol
        ip: IPv4 | IPv6
        if protocol == EtherType.IPV4:
            ip, version = packet.header(IPv4), 4
        elif protocol == EtherType.IPV6:
            ip, version = packet.header(IPv6), 6
        else:
            packet.drop("protocol_unsupported")
            return
        if ip.version != version:
            packet.drop("ip_header")
            return
        route = self._lookup(packet, ip, version)
        if route is None:
            packet.drop("no_route")
            return
        packet.decrement_ttl(version, ip.offset, packet.otherwise("ttl_expired"))
        packet.next_hop = route.next_hop or ANY[version]
        self._datapath.transmit(packet, route.via)

    def member_for(self, destination: IPAddress) -> str | None:
        """Where packets to one address go; None where no route takes them."""
        number, width = int(destination), destination.max_prefixlen

        def read(at: int, bits: int) -> int:
            return number >> (width - at - bits) & ((1 << bits) - 1)

        route = self._tries[destination.version].find(read, self._serves)
        return route.via if route is not None else None

    def _lookup(self, packet: Packet, ip: IPv4 | IPv6, version: int) -> Route | None:
        """Longest prefix match that looks at no more bits of the destination than tell the routes apart."""
        start = type(ip).destination.start

        def read(at: int, bits: int) -> int:
            return packet.read_bits(ip.place, start + at, bits, "destination")

        return self._tries[version].find(read, self._serves)

    def _serves(self, route: Route) -> bool:
        """A route through a link that is down does not count (fib_disable_ip)."""
        link = self._datapath.links.get(route.via)
        return link is None or link.up
