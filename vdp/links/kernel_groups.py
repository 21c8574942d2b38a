"""Groups that the kernel joins for vdp: vdp.links.groups.GroupSource by sockets.

One datagram socket a membership (IP_ADD_MEMBERSHIP, IPV6_ADD_MEMBERSHIP) in the namespace of
the underlay.  The kernel then sends IGMP and MLD and has the card let the group's frames in,
for packet ports and raw IP sockets alike; both see them whoever has joined.  The socket
itself has no port and so receives nothing.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vdp.netlink import namespaces

if TYPE_CHECKING:
    from vdp.netlink.events import IPAddress
    from vdp.netlink.path import Path
    from vdp.ports.port import Port


@dataclass(frozen=True, slots=True)
class SocketMembership:
    """It ends with the socket."""

    socket: socket.socket

    def leave(self) -> None:
        self.socket.close()


class KernelGroups:
    """Asks the kernel of the namespace that the port is in."""

    def join(self, port: Port, path: Path, group: IPAddress) -> SocketMembership:
        family = socket.AF_INET if group.version == 4 else socket.AF_INET6

        def make() -> socket.socket:
            return socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

        made = namespaces.run_in(port.netns, make)
        try:
            if group.version == 4:
                # struct ip_mreqn { group, address of a device, ifindex }
                request = group.packed + struct.pack("=4si", b"", path.ifindex)
                made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
            else:
                # struct ipv6_mreq { group, ifindex }
                request = group.packed + struct.pack("=i", path.ifindex)
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
        except OSError:
            made.close()
            raise
        return SocketMembership(made)
