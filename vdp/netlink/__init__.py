"""The kernel's view, over netlink: links, addresses, routes, neighbours, namespaces, events.

`System` holds one `Netlink` for each namespace; `Netlink.path` answers how a packet
leaves, `Netlink.subscribe` says when that may have changed.
"""

from vdp.netlink.events import (
    Address,
    AddressChanged,
    Event,
    IPAddress,
    IPInterface,
    IPNetwork,
    Link,
    LinkChanged,
    Neighbour,
    NeighbourChanged,
    RouteChanged,
)
from vdp.netlink.netlink import Netlink
from vdp.netlink.path import ZERO_MAC, KernelRefused, NoRoute, Path
from vdp.netlink.system import System

__all__ = [
    "ZERO_MAC",
    "Address",
    "AddressChanged",
    "Event",
    "IPAddress",
    "IPInterface",
    "IPNetwork",
    "KernelRefused",
    "Link",
    "LinkChanged",
    "Neighbour",
    "NeighbourChanged",
    "Netlink",
    "NoRoute",
    "Path",
    "RouteChanged",
    "System",
]
