"""Which addresses are ours, on an underlay port: the links', and the host's.

Asked with every trace, so it is worked out once for each change (`forget`, or another
answer of `Datapath.host_addresses`), whatever the number of links.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vdp.links.link import Link
    from vdp.netlink.events import IPAddress
    from vdp.ports.port import Port

_ADDRESS: dict[int, type[IPv4Address] | type[IPv6Address]] = {4: IPv4Address, 6: IPv6Address}


@dataclass(frozen=True, slots=True)
class Ours:
    """Addresses of one IP version, as numbers.

    local: destinations of what is for us, groups among them.  answered: those of them that
    the host has not, so that vdp answers ARP and ND for them.  sources: what nobody else can
    send from.
    """

    host: frozenset[int]
    local: frozenset[int]
    answered: frozenset[int]
    sources: frozenset[int]


class Addresses:
    """What is ours, by port and IP version."""

    def __init__(
        self,
        links_over: Callable[[Port], Iterable[Link]],
        host_addresses: Callable[[Port], frozenset[IPAddress]],
    ) -> None:
        self._links_over = links_over
        self._host_addresses = host_addresses
        self._known: dict[tuple[str, int], Ours] = {}

    def forget(self, port: str) -> None:
        """A link over the port came, went or changed, or an address of the host."""
        for version in _ADDRESS:
            self._known.pop((port, version), None)

    def of(self, port: Port, version: int = 4) -> Ours:
        """What is ours on an underlay port."""
        host = frozenset(int(item) for item in self._host_addresses(port) if item.version == version)
        known = self._known.get((port.name, version))
        if known is None or known.host != host:
            known = self._known[port.name, version] = self._work_out(port, version, host)
        return known

    def _work_out(self, port: Port, version: int, host: frozenset[int]) -> Ours:
        links = [link for link in self._links_over(port) if link.kind.ip_version == version]
        named = {address for link in links for address in link.addresses()}
        local = frozenset((named | host if 0 in named else named) - {0})
        single = frozenset(number for number in local if not _ADDRESS[version](number).is_multicast)
        # What a link names as its other end is out there, though it be ours, too.
        peers = {address for link in links for address in link.peers()}
        return Ours(host, local, single - host, (single | host) - peers)
