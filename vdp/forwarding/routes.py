"""Longest-prefix routing between L3 members (Linux net/ipv4/fib_trie.c, ip_forward)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

from vdp.engine.interface import PacketType
from vdp.protocols.ethernet import EtherType
from vdp.protocols.ip import IPv4, IPv6

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.packet import Packet

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Route:
    """Packets to `destination` leave by member `via`; of equals the lower metric wins."""

    destination: Network
    via: str
    metric: int = 0


class RouteTable:
    """The routes of a dataplane."""

    def __init__(self, datapath: Datapath, routes: tuple[Route, ...] = ()) -> None:
        self._datapath = datapath
        # Longest first, then by metric: the first that fits is the one.
        self.routes = tuple(sorted(routes, key=lambda r: (-r.destination.prefixlen, r.metric)))

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
        self._datapath.transmit(packet, route.via)

    def _lookup(self, packet: Packet, ip: IPv4 | IPv6, version: int) -> Route | None:
        """Longest prefix match that looks at no more bits of the destination than tell the routes apart.

        A route through a link that is down does not count (fib_disable_ip).
        """
        start, width = type(ip).destination.start, type(ip).destination.width
        for route in self.routes:
            link = self._datapath.links.get(route.via)
            if route.destination.version != version or (link is not None and not link.up):
                continue
            wanted = int(route.destination.network_address)
            if _matches(packet, ip, start, width, wanted, route.destination.prefixlen):
                return route
        return None


def _matches(packet: Packet, ip: IPv4 | IPv6, start: int, width: int, wanted: int, prefix: int) -> bool:
    """Whether the address at bit `start` has the prefix: byte by byte, as far as it agrees.

    Guards end with the first byte that differs, so that a flow covers a large block of
    addresses for which the answer is the same (OVS: un-wildcarding by trie).  Bit by bit
    the blocks would be larger, and the masks, of which an in-port has 64, many more.
    """
    agreed = 0
    step = 8
    while agreed < prefix:
        bits = min(step, prefix - agreed)
        want = wanted >> (width - agreed - bits) & ((1 << bits) - 1)
        if packet.read_bits(ip.place, start + agreed, bits, "destination") != want:
            return False
        agreed += bits
    return True
