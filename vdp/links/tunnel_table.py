"""Which tunnel a received packet belongs to: ip_tunnel_lookup, in constant time.

Linux walks hash chains; here each pass of its lookup is a dictionary access, whatever
the number of tunnels.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from vdp.links.link import LinkError

if TYPE_CHECKING:
    from vdp.links.gre_tunnel import GreTunnel
    from vdp.links.parameters import OuterParameters
    from vdp.netlink.events import IPAddress
    from vdp.packet import Packet

#: Underlay, and the UDP port of what comes in UDP (0: does not).  A link takes one or the other.
Way = tuple[int, int]
Key = tuple[Way, int, int, int | None]  # way, local, remote, key (None: keyless)


class TunnelTable:
    """All tunnels of one kind (struct ip_tunnel_net)."""

    #: Of candidates with both addresses the first made is taken, not the last, as in all later passes.
    takes_oldest: ClassVar[bool] = True

    def __init__(self, kind: str) -> None:
        self.kind = kind
        # Under one key are those that differ in the device that they are bound to: newest first.
        self._tunnels: dict[Key, list[GreTunnel]] = {}
        self._groups: dict[Key, list[GreTunnel]] = {}  # those with a multicast remote, local left out
        self._wild: dict[Key, list[GreTunnel]] = {}  # those without addresses, no key as key 0
        self._fallbacks: dict[Way, GreTunnel] = {}  # fb_tunnel_dev
        self._senders: dict[Key, list[GreTunnel]] = {}  # by the key that they send

    @property
    def tag(self) -> tuple[str, str]:
        """What a trace depends on that asked this table."""
        return ("tunnels", self.kind)

    def __iter__(self) -> Iterator[GreTunnel]:
        return (tunnel for tunnels in self._tunnels.values() for tunnel in tunnels)

    def refuse_duplicate(self, name: str, underlay: int, parameters: OuterParameters) -> None:
        """LinkError EEXIST where one has the same addresses, underlay, key and device (ip_tunnel_find)."""
        for other in self._tunnels.get(self._key(underlay, parameters), ()):
            if other.parameters.link == parameters.link:
                what = "is the fallback link, which has" if other.parameters.fallback else "has"
                shared = "local, remote, key, device" if parameters.link else "local, remote, key"
                raise LinkError(errno.EEXIST, name, f"{other.name} {what} the same {shared} and underlay")

    def add(self, tunnel: GreTunnel) -> None:
        """Have packets find it.  LinkError EEXIST as above."""
        underlay = tunnel.underlay.number
        self.refuse_duplicate(tunnel.name, underlay, tunnel.parameters)
        tunnel.listen()
        key = self._key(underlay, tunnel.parameters)
        self._tunnels.setdefault(key, []).insert(0, tunnel)
        if tunnel.remote.is_multicast:
            self._groups.setdefault(_group(key), []).insert(0, tunnel)
        if tunnel.parameters.fallback:
            self._fallbacks[key[0]] = tunnel
        elif not int(tunnel.local) and not int(tunnel.remote):
            self._wild.setdefault(_wild(key), []).insert(0, tunnel)
        self._senders.setdefault(self._sent(underlay, tunnel.parameters), []).append(tunnel)

    def remove(self, tunnel: GreTunnel) -> None:
        """Have no packet find it any more."""
        underlay = tunnel.underlay.number
        key = self._key(underlay, tunnel.parameters)
        tunnel.leave()
        _take_out(self._tunnels, key, tunnel)
        _take_out(self._groups, _group(key), tunnel)
        _take_out(self._wild, _wild(key), tunnel)
        _take_out(self._senders, self._sent(underlay, tunnel.parameters), tunnel)
        if self._fallbacks.get(key[0]) is tunnel:
            del self._fallbacks[key[0]]

    def lookup(self, packet: Packet, source: int, destination: int, key: int | None) -> GreTunnel | None:
        """The tunnel for the outer addresses, as received, and the packet's key (None: keyless).

        ip_tunnel_lookup's passes: both addresses; any local; any remote, or a multicast
        destination that is the tunnel's remote; neither.  Key and absence of a key must
        agree, but in the last pass absence counts as key 0.  One that is bound to the device
        that the packet came in by is taken at once; others, bound elsewhere or not at all, are
        candidates, of which that of the earliest pass is taken when no pass finds better; and
        when there is none, the fallback.  A tunnel that is down, or on another underlay, never
        matches.
        """
        packet.depends(self.tag)
        way = (packet.in_port, packet.encap_port)
        both, *others = (
            [tunnel for tunnel in tunnels if tunnel.up]
            for tunnels in self._passes(way, source, destination, key)
        )
        later = [tunnel for tunnels in others for tunnel in tunnels]
        bound = [tunnel for tunnel in (*both, *later) if tunnel.device is not None]
        if bound:
            # All are on the port that it came in by, which knows the device.
            device = bound[0].underlay.device_of(packet)
            for tunnel in bound:
                if tunnel.device is not None and tunnel.device.index == device:
                    return tunnel
        if both:
            return both[-1] if self.takes_oldest else both[0]
        if later:
            return later[0]
        fallback = self._fallbacks.get(way)
        return fallback if fallback is not None and fallback.up else None

    def lookup_sent(self, packet: Packet, source: int, destination: int, key: int | None) -> GreTunnel | None:
        """The tunnel that sent a packet with these outer addresses and key, which an ICMP error quotes.

        As `lookup` with the addresses swapped, which is how ipgre_err asks, but by the key that is
        sent: where ikey and okey differ, Linux finds nobody, or somebody else.
        """
        ends = ((source, destination), (0, destination), (source, 0), (0, 0))
        found = (
            tunnel
            for local, remote in ends
            for tunnel in self._senders.get(((packet.in_port, packet.encap_port), local, remote, key), ())
        )
        return next((tunnel for tunnel in found if tunnel.up), None)

    def _passes(
        self, way: Way, source: int, destination: int, key: int | None
    ) -> Iterator[Sequence[GreTunnel]]:
        tunnels, none = self._tunnels, ()
        yield tunnels.get((way, destination, source, key), none)
        yield tunnels.get((way, 0, source, key), none)
        yield tunnels.get((way, destination, 0, key), none)
        yield self._groups.get((way, 0, destination, key), none)
        yield self._wild.get((way, 0, 0, key or 0), none)

    @staticmethod
    def _key(underlay: int, parameters: OuterParameters) -> Key:
        return (
            (underlay, parameters.encap_port),
            int(parameters.local),
            int(parameters.remote),
            parameters.input_key,
        )

    @staticmethod
    def _sent(underlay: int, parameters: OuterParameters) -> Key:
        return (
            (underlay, parameters.encap_port),
            int(parameters.local),
            int(parameters.remote),
            parameters.sent_key,
        )


class Ip6TunnelTable(TunnelTable):
    """All tunnels of a kind on IPv6: ip6gre_tunnel_lookup, where no key and key 0 are the same.

    Frames and packets look in tables of their own; Linux has one, in which a frame that no
    ip6gretap takes would go to an ip6gre device, as a packet of an unknown protocol.
    """

    takes_oldest = False

    def lookup(self, packet: Packet, source: int, destination: int, key: int | None) -> GreTunnel | None:
        """The tunnel for the outer addresses, as received, and the packet's key."""
        return super().lookup(packet, source, destination, key or 0)

    @staticmethod
    def _key(underlay: int, parameters: OuterParameters) -> Key:
        return (*TunnelTable._key(underlay, parameters)[:3], parameters.input_key or 0)

    def lookup_sent(self, packet: Packet, source: int, destination: int, key: int | None) -> GreTunnel | None:
        """The tunnel that sent a packet with these outer addresses and key."""
        return super().lookup_sent(packet, source, destination, key or 0)

    @staticmethod
    def _sent(underlay: int, parameters: OuterParameters) -> Key:
        return (*TunnelTable._sent(underlay, parameters)[:3], parameters.sent_key or 0)


def _take_out(tunnels: dict[Key, list[GreTunnel]], key: Key, tunnel: GreTunnel) -> None:
    found = tunnels.get(key, [])
    if tunnel in found:
        found.remove(tunnel)
    if not found:
        tunnels.pop(key, None)


def _group(key: Key) -> Key:
    return (key[0], 0, key[2], key[3])


def _wild(key: Key) -> Key:
    return (key[0], 0, 0, key[3] or 0)


def show(address: IPAddress) -> str:
    """An address as `ip link` prints it: any, or its text."""
    return "any" if address.is_unspecified else str(address)
