"""Who may have sent what comes out of a link: source addresses inside the tunnel.

Whoever can send to a tunnel's end writes any source into the packet inside (VU#199397), so a
link may say which there are behind its other end (`inner_allowed`); and sources that nobody
has out there are dropped as ip_route_input_slow, fib_validate_source and ip6_forward do where
Linux routes (`inner_martians`).  A connect and a bridge are wires: who is at their other end, such
as the host behind a TUN, looks itself; here it is done where the configuration asks for it.

    L3, routed      | 0/8, 127/8, groups, broadcast, ::, ::1, addresses of ours, fe80::/10
    L3, of a connect| if asked for: the same, but for fe80::/10, which may be for the other end
    L2              | if asked for: without 0/8 and :: (DHCP, RFC 4862) and fe80::/10

Of a source only the bits that decide are looked at, and so are guards; ARP's is the sender's
address.  What is not IP, or ARP, is nobody's in particular and passes; behind two VLAN tags
nothing is looked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any, Literal

from vdp.engine.interface import PacketType
from vdp.header import Header
from vdp.protocols.arp import Arp
from vdp.protocols.ethernet import Ethernet, EtherType, Vlan
from vdp.protocols.ip import IPv4, IPv6

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.links.addresses import Ours
    from vdp.links.link import Link
    from vdp.packet import Packet

Network = IPv4Network | IPv6Network

TAGS = (EtherType.VLAN, EtherType.QINQ)
MOST_TAGS = 2
#: By EtherType the header, and at which of its bytes the source is.
SOURCES: dict[int, tuple[type[Header], int]] = {
    EtherType.IPV4: (IPv4, 12),
    EtherType.IPV6: (IPv6, 8),
    EtherType.ARP: (Arp, 14),
}
NOBODY = tuple(map(ip_network, ("127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::1/128", "ff00::/8")))
NONE = tuple(map(ip_network, ("0.0.0.0/8", "::/128")))
LINK_LOCAL = (ip_network("fe80::/10"),)


class Prefixes:
    """A set of prefixes of one IP version, asked with as few bits as tell: a tree, a byte a level."""

    __slots__ = ("_ends", "_longer", "_mask")

    def __init__(self) -> None:
        self._ends: list[tuple[int, int]] = []  # mask and value of those that end in this byte
        self._longer: dict[int, Prefixes] = {}
        self._mask = 0

    def add(self, address: bytes, size: int) -> None:
        """One of `size` bits."""
        node = self
        while size > 8:
            node._mask = 0xFF
            node = node._longer.setdefault(address[0], Prefixes())
            address, size = address[1:], size - 8
        mask = 0xFF << 8 - size & 0xFF
        node._mask |= mask
        node._ends.append((mask, address[0] & mask))

    def has(self, packet: Packet, at: int) -> bool:
        """Whether the address at that offset of the packet is in one of them."""
        node: Prefixes | None = self
        while node is not None:
            byte = packet.read_masked(at, bytes([node._mask]))[0] if node._mask else 0
            if any(byte & mask == value for mask, value in node._ends):
                return True
            node, at = node._longer.get(byte), at + 1
        return False


@dataclass(frozen=True, slots=True)
class InnerSources:
    """What a link's configuration says.  allowed: none is any; martians None: dropped where it is routed."""

    allowed: tuple[Network, ...] = ()
    martians: Literal["drop", "pass"] | None = None

    def said(self) -> dict[str, Any]:
        """The same in a configuration's words."""
        said: dict[str, Any] = {}
        if self.allowed:
            said["inner_allowed"] = [str(network) for network in self.allowed]
        if self.martians:
            said["inner_martians"] = self.martians
        return said

    def admit(self, packet: Packet, link: Link) -> bool:
        """Whether what came out of the link may go on; else it is dropped."""
        drops = self.martians == "drop" or (self.martians is None and _is_routed(packet, link))
        if not drops and not self.allowed:
            return True
        protocol, front = _network(packet, link)
        if protocol not in SOURCES:
            return True
        header, offset = SOURCES[protocol]
        if not packet.has(front + header.SIZE):
            if self.allowed:
                packet.drop("inner_source")
            return not self.allowed
        version = 6 if protocol == EtherType.IPV6 else 4
        at = front + offset
        if drops and protocol != EtherType.ARP and self._is_martian(packet, link, at, version):
            packet.drop("inner_martian")
            return False
        if self.allowed and not _tree(self.allowed, version).has(packet, at):
            packet.drop("inner_source")
            return False
        return True

    @staticmethod
    def _is_martian(packet: Packet, link: Link, at: int, version: int) -> bool:
        datapath, networks = link.datapath, NOBODY
        if link.packet_type is PacketType.L3:
            networks += NONE + LINK_LOCAL if _is_routed(packet, link) else NONE
        ours = tuple(_ours(packet, datapath, version))
        return _martians(networks, ours, version).has(packet, at)


def _is_routed(packet: Packet, link: Link) -> bool:
    """Whether what comes out of it is for more than one other member to have."""
    if link.packet_type is not PacketType.L3:
        return False
    packet.depends(("member", link.name))
    return not link.datapath.forwarding.is_connected(link.name)


def _ours(packet: Packet, datapath: Datapath, version: int) -> Iterator[Ours]:
    """Addresses of the host's and the links', wherever tunnels run."""
    for name in datapath.underlays:
        packet.depends(("addresses", name))
        yield datapath.addresses.of(datapath.ports[name], version)


def _network(packet: Packet, link: Link) -> tuple[int, int]:
    """EtherType of what came out, and where its network header is; 0: there is none."""
    if link.packet_type is PacketType.L3:
        return packet.protocol, 0
    if not packet.has(Ethernet.SIZE):
        return 0, 0
    protocol, front = packet.header(Ethernet).type, Ethernet.SIZE
    for _ in range(MOST_TAGS):
        if protocol not in TAGS or not packet.has(front + Vlan.SIZE):
            break
        protocol, front = packet.header(Vlan, front).type, front + Vlan.SIZE
    return protocol, front


@lru_cache(maxsize=256)
def _tree(networks: tuple[Network, ...], version: int) -> Prefixes:
    return _prefixes(networks, (), version)


@lru_cache(maxsize=64)
def _martians(networks: tuple[Network, ...], ours: tuple[Ours, ...], version: int) -> Prefixes:
    return _prefixes(networks, (address for each in ours for address in each.sources), version)


def _prefixes(networks: Iterable[Network], addresses: Iterable[int], version: int) -> Prefixes:
    found = Prefixes()
    for network in networks:
        if network.version == version:
            found.add(network.network_address.packed, network.prefixlen)
    size = 4 if version == 4 else 16
    for address in addresses:
        found.add(address.to_bytes(size, "big"), size * 8)
    return found
