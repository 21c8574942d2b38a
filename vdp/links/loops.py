"""Tunnels whose way leads back into them: tdev == dev in ip_tunnel_xmit, for links of vdp.

The kernel's devices and vdp's links are apart, so the way of a link never leads to a link,
but it may lead to a TAP or TUN of the same dataplane (or the underlay is a cell), and from
there into the link again, also by way of others.  As far as bridges, connects and routes
say so it is found here.  What rules do with a packet is not known before it is there: that
ends by the engine's limit of passages (loop_guard), or by the MTU.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from vdp.engine.interface import PortType
from vdp.netlink.path import next_hop_tag

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.links.paths import Way
    from vdp.netlink.events import IPAddress
    from vdp.netlink.path import Path
    from vdp.packet import Packet
    from vdp.ports.port import Port

log = logging.getLogger(__name__)

#: Ports whose packets come in again: what is sent to their devices, or to themselves.
DEVICES = (PortType.TAP, PortType.TUN, PortType.MEMORY)


@runtime_checkable
class Tunnel(Protocol):
    """A link with one way to its remote; path: as last heard, None while there is none."""

    name: str
    datapath: Datapath
    underlay: Port
    remote: IPAddress
    path: Path | None
    way: Way | None


def port_on_the_way(datapath: Datapath, underlay: Port, path: Path) -> Port | None:
    """The port of this dataplane by which what leaves on that way comes in again; None: none."""
    if underlay.type is PortType.CELL:
        return underlay
    for port in datapath.ports.values():
        if port.type in DEVICES and port.netns == underlay.netns and port.device == path.interface:
            return port
    return None


def leads_back(packet: Packet, link: Tunnel, path: Path, destination: IPAddress) -> bool:
    """Whether what `link` sends to there on that way would be sent by it once more."""
    datapath = link.datapath
    passed: set[str] = set()
    here, way = link, path
    while (port := port_on_the_way(datapath, here.underlay, way)) is not None:
        packet.depends(next_hop_tag(way))
        found = datapath.forwarding.leads_to(packet, port.name, destination, way.destination_mac)
        if found == link.name:
            return True
        after = datapath.links.get(found) if found is not None else None
        if after is None or after.name in passed:
            return False
        packet.depends(after.tag)
        if not isinstance(after, Tunnel):
            return False
        packet.depends(("path", after.way))
        if after.path is None:
            return False
        passed.add(after.name)
        here, way, destination = after, after.path, after.remote
    return False


def warn(link: Tunnel, path: Path | None) -> None:
    """Say so where the way leads through a device of this very dataplane: it may be meant, or a loop."""
    port = port_on_the_way(link.datapath, link.underlay, path) if path is not None else None
    if port is not None and port is not link.underlay:
        log.warning(
            "link %s: the way to %s leads through port %s of this dataplane; "
            "what is forwarded from there to %s is dropped as tunnel_loop",
            link.name, link.remote, port.name, link.name,
        )  # fmt: skip
