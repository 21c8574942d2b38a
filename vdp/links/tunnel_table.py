"""Which tunnel a received packet belongs to: ip_tunnel_lookup, in constant time.

Linux walks hash chains; here each pass of its lookup is a dictionary access, whatever
the number of tunnels.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vdp.links.link import LinkError

if TYPE_CHECKING:
    from vdp.links.gre_tunnel import GreTunnel
    from vdp.netlink.events import IPAddress
    from vdp.packet import Packet

Key = tuple[int, int, int, int | None]  # underlay, local, remote, key (None: keyless)


class TunnelTable:
    """All tunnels of one kind (struct ip_tunnel_net)."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._tunnels: dict[Key, GreTunnel] = {}
        self._groups: dict[Key, list[GreTunnel]] = {}  # those with a multicast remote, local left out

    @property
    def tag(self) -> tuple[str, str]:
        """What a trace depends on that asked this table."""
        return ("tunnels", self.kind)

    def __iter__(self) -> Iterator[GreTunnel]:
        return iter(self._tunnels.values())

    def add(self, tunnel: GreTunnel) -> None:
        """LinkError EEXIST where one has the same addresses, underlay and key (ip_tunnel_find)."""
        key = self._key(tunnel)
        other = self._tunnels.get(key)
        if other is not None:
            raise LinkError(
                errno.EEXIST, tunnel.name, f"{other.name} has the same local, remote, key and underlay"
            )
        self._tunnels[key] = tunnel
        if tunnel.remote.is_multicast:
            self._groups.setdefault(_group(key), []).append(tunnel)

    def remove(self, tunnel: GreTunnel) -> None:
        key = self._key(tunnel)
        if self._tunnels.get(key) is tunnel:
            del self._tunnels[key]
            if tunnel.remote.is_multicast:
                self._groups[_group(key)].remove(tunnel)

    def lookup(self, packet: Packet, source: int, destination: int, key: int | None) -> GreTunnel | None:
        """The tunnel for the outer addresses, as received, and the packet's key (None: keyless).

        ip_tunnel_lookup's passes: both addresses; any local; any remote, or a multicast
        destination that is the tunnel's remote; neither.  Key and absence of a key must
        agree, but in the last pass absence counts as key 0.  A tunnel that is down, or on
        another underlay, never matches.
        """
        packet.depends(self.tag)
        underlay = packet.in_port
        passes = [
            self._tunnels.get((underlay, destination, source, key)),
            self._tunnels.get((underlay, 0, source, key)),
            self._tunnels.get((underlay, destination, 0, key)),
            *self._groups.get((underlay, 0, destination, key), ()),
            self._tunnels.get((underlay, 0, 0, key)),
        ]
        if not key:
            passes.append(self._tunnels.get((underlay, 0, 0, 0 if key is None else None)))
        return next((tunnel for tunnel in passes if tunnel is not None and tunnel.up), None)

    @staticmethod
    def _key(tunnel: GreTunnel) -> Key:
        return (tunnel.underlay.number, int(tunnel.local), int(tunnel.remote), tunnel.parameters.input_key)


class Ip6TunnelTable(TunnelTable):
    """All tunnels of a kind on IPv6: ip6gre_tunnel_lookup, where no key and key 0 are the same.

    Frames and packets look in tables of their own; Linux has one, in which a frame that no
    ip6gretap takes would go to an ip6gre device, as a packet of an unknown protocol.
    """

    def lookup(self, packet: Packet, source: int, destination: int, key: int | None) -> GreTunnel | None:
        """The tunnel for the outer addresses, as received, and the packet's key."""
        return super().lookup(packet, source, destination, key or 0)

    @staticmethod
    def _key(tunnel: GreTunnel) -> Key:
        underlay, local, remote, key = TunnelTable._key(tunnel)
        return (underlay, local, remote, key or 0)


def _group(key: Key) -> Key:
    return (key[0], 0, key[2], key[3])


def show(address: IPAddress) -> str:
    """An address as `ip link` prints it: any, or its text."""
    return "any" if address.is_unspecified else str(address)
