"""What the kernel has, and what changed in it: links, addresses, neighbours, routes.

Frozen values that `Netlink` keeps and hands to its subscribers.  Addresses are
`ipaddress` objects, MAC addresses six bytes, indices those of the namespace.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network

# linux/if_arp.h: link types whose frames start with an Ethernet header.
ARPHRD_ETHER = 1
ARPHRD_LOOPBACK = 772
ETHERNET_TYPES = frozenset({ARPHRD_ETHER, ARPHRD_LOOPBACK})
ETHERNET_HEADER_SIZE = 14

# linux/neighbour.h
NUD_INCOMPLETE = 0x01
NUD_REACHABLE = 0x02
NUD_STALE = 0x04
NUD_DELAY = 0x08
NUD_PROBE = 0x10
NUD_FAILED = 0x20
NUD_NOARP = 0x40
NUD_PERMANENT = 0x80
NUD_VALID = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY


@dataclass(frozen=True, slots=True)
class Link:
    """A network device.  up: set up (IFF_UP); carrier: its other end is there (IFF_LOWER_UP).

    txqueuelen: dev->tx_queue_len; of a TAP or TUN so many packets wait in each queue for who reads it.
    """

    index: int
    name: str
    mtu: int
    mac: bytes
    up: bool
    carrier: bool
    noarp: bool
    type: int
    kind: str
    master: int
    txqueuelen: int = 0

    @property
    def is_ethernet(self) -> bool:
        return self.type in ETHERNET_TYPES

    @property
    def hard_header_len(self) -> int:
        """Bytes of link header in front of an IP packet (the kernel's dev->hard_header_len)."""
        return ETHERNET_HEADER_SIZE if self.is_ethernet else 0


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a link, with its prefix length."""

    ifindex: int
    interface: IPInterface


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry of the neighbour table.  mac: None while there is none."""

    ifindex: int
    address: IPAddress
    mac: bytes | None
    state: int

    @property
    def is_resolved(self) -> bool:
        """May packets be sent to it?  The kernel's NUD_VALID: it knows an address, however stale."""
        return bool(self.state & NUD_VALID) and self.mac is not None

    @property
    def has_failed(self) -> bool:
        return bool(self.state & NUD_FAILED)

    @property
    def is_static(self) -> bool:
        """Is it valid for good, without any probe (an operator's entry, or none is needed)?"""
        return bool(self.state & (NUD_PERMANENT | NUD_NOARP))


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """old None: it came; new None: it went."""

    old: Link | None
    new: Link | None


@dataclass(frozen=True, slots=True)
class AddressChanged:
    address: Address
    is_present: bool


@dataclass(frozen=True, slots=True)
class NeighbourChanged:
    """A neighbour came, went, or is resolved otherwise: old None, new None, or both."""

    old: Neighbour | None
    new: Neighbour | None


@dataclass(frozen=True, slots=True)
class RouteChanged:
    """A route or a policy rule came, changed or went.  destination None: any may have."""

    destination: IPNetwork | None = None


Event = LinkChanged | AddressChanged | NeighbourChanged | RouteChanged
