"""What opening a port gives: the engine's configuration, and all that has to be undone."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from vdp.engine.interface import PortConfig, PortType
from vdp.netlink import Netlink
from vdp.ports.carried import PacketUnderlay

_SOL_PACKET = 263
_IP_PKTINFO = 8  # linux/in.h
_PACKET_STATISTICS = 6
_SO_MEMINFO = 55
_SK_MEMINFO_DROPS = 8


@dataclass(slots=True, eq=False)
class OpenedPort:
    """A port ready for `Engine.add_port(config)`; after `remove_port`, `close` it.

    device, ifindex, mac: of the TAP or TUN, or of the interface under a packet socket;
    None, 0 and None where there is none.  The fds in config stay this object's.
    """

    config: PortConfig
    device: str | None = None
    ifindex: int = 0
    netns: str | None = None
    mac: bytes | None = None
    sockets: Sequence[socket.socket] = ()
    netlink: Netlink | None = None
    #: Of a packet port: what is done in the kernel for what it carries.
    underlay: PacketUnderlay | None = None
    #: Names of its descriptors in the service manager's store.
    kept: tuple[str, ...] = ()
    #: Which namespace it was opened in (namespaces.identity).
    namespace: int | None = None
    _undo: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    _lost: int = 0

    def on_close(self, undo: Callable[[], Awaitable[None]]) -> None:
        """Have `undo` awaited by close; the last one given goes first."""
        self._undo.append(undo)

    async def close(self) -> None:
        """Undo all that opening did: close fds, so that devices go, and give namespaces back."""
        while self._undo:
            await self._undo.pop()()

    def claim(self, addresses: Sequence[IPv4Address | IPv6Address]) -> None:
        """Only the links over the port have these addresses, not the host."""
        if self.underlay is not None:
            self.underlay.claim(addresses)

    def tell_devices(self) -> None:
        """From here on an IPv4 socket says by which device a packet came; an IPv6 socket always does."""
        if self.config.type is PortType.IP:
            for opened in self.sockets:
                opened.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)

    async def kernel_drops(self) -> int:
        """Packets that the kernel lost since opening for want of room in front of this port."""
        if self.config.type is PortType.PACKET:
            for opened in self.sockets:
                # struct tpacket_stats { packets, drops }; reading it zeroes it.
                statistics = opened.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
                self._lost += struct.unpack("=II", statistics)[1]
            return self._lost
        if self.config.type in (PortType.IP, PortType.IP6):
            return sum(_socket_drops(opened) for opened in self.sockets)
        if self.netlink is not None and self.ifindex:
            with contextlib.suppress(OSError):
                # What the device transmits is what this port receives.
                self._lost = (await self.netlink.link_drops(self.ifindex))[1]
            return self._lost
        return 0


def _socket_drops(opened: socket.socket) -> int:
    words = struct.unpack("=9I", opened.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36))
    return int(words[_SK_MEMINFO_DROPS])
