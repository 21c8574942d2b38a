"""The ways out of this host that links use, looked up once and kept fresh.

A trace can not wait.  `lookup` answers from what is known; where a route or a neighbour
still has to be asked for, it starts the asking and raises PathPending: the slow path
keeps the packet, and tries again when the answer is there (dst_cache and the
neighbour's arp_queue, in the kernel's words).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vdp.engine.interface import PacketType
from vdp.netlink.events import IPAddress
from vdp.netlink.path import Path
from vdp.trace import Undecided

if TYPE_CHECKING:
    from vdp.packet import Packet
    from vdp.ports.port import Port

log = logging.getLogger(__name__)

#: Seconds between attempts to resolve a next hop that does not answer.
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Way:
    """What is asked: out of which port, to where, from where."""

    port: str
    destination: IPAddress
    source: IPAddress
    tos: int


class PathPending(Undecided):
    """The way is being asked for; the packet waits."""

    def __init__(self, way: Way) -> None:
        super().__init__(f"{way.port}: the way to {way.destination} is being resolved")
        self.way = way


class PathSource(Protocol):
    """Who knows the ways: the kernel (vdp.netlink), or a table in tests."""

    async def find(self, port: Port, destination: IPAddress, source: IPAddress | None, tos: int) -> Path:
        """The route; NoRoute where there is none.  Its destination_mac may be None."""

    async def resolve(self, port: Port, path: Path) -> bool:
        """Have the next hop of an Ethernet port resolved; whether it answered."""

    async def keep(self, port: Port, path: Path) -> None:
        """The next hop is in use: have its neighbour entry probed before it goes stale for good."""


class Paths:
    """Cache of ways.  `changed` is told of each one whose answer became another."""

    def __init__(self, source: PathSource, changed: Callable[[Way, Path | None], None]) -> None:
        self._source = source
        self._changed = changed
        self._known: dict[Way, Path | None] = {}  # None: no route
        self._ports: dict[str, Port] = {}
        self._tasks: dict[Way, asyncio.Task[None]] = {}

    async def find(self, port: Port, destination: IPAddress, source: IPAddress, tos: int = 0) -> Path | None:
        """Ask now, and remember; None where there is no route."""
        way = self._way(port, destination, source, tos)
        await self._refresh(way)
        return self._known.get(way)

    def lookup(
        self, packet: Packet, port: Port, destination: IPAddress, source: IPAddress, tos: int = 0
    ) -> Path | None:
        """The way as far as it is known, None where there is none; PathPending while it is asked for."""
        way = self._way(port, destination, source, tos)
        packet.depends(("path", way))
        if way not in self._known:
            self._start(way)
            raise PathPending(way)
        path = self._known[way]
        if path is not None and port.packet_type is PacketType.L2 and path.destination_mac is None:
            self._start(way)
            raise PathPending(way)
        return path

    async def refresh(self) -> None:
        """Something changed in the kernel: ask again for every way that is in use."""
        for way in list(self._known):
            await self._refresh(way)

    async def keep(self) -> None:
        """Keep the next hops of Ethernet ports alive (the kernel does not see that they are used)."""
        for way, path in list(self._known.items()):
            port = self._ports.get(way.port)
            if port is not None and path is not None and port.packet_type is PacketType.L2:
                with contextlib.suppress(OSError):
                    await self._source.keep(port, path)

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    def forget(self, port: Port) -> None:
        """The port is gone, and its ways with it."""
        for way in [way for way in self._known if way.port == port.name]:
            del self._known[way]
        self._ports.pop(port.name, None)

    def _way(self, port: Port, destination: IPAddress, source: IPAddress, tos: int) -> Way:
        self._ports[port.name] = port
        return Way(port.name, destination, source, tos)

    def _start(self, way: Way) -> None:
        if way in self._tasks:
            return
        task = asyncio.get_running_loop().create_task(self._resolve(way))
        self._tasks[way] = task
        task.add_done_callback(lambda _: self._tasks.pop(way, None))

    async def _resolve(self, way: Way) -> None:
        await self._refresh(way)
        port = self._ports.get(way.port)
        path = self._known.get(way)
        if port is None or path is None or port.packet_type is PacketType.L3 or path.destination_mac:
            return
        why: str | None = "it does not answer"
        try:
            if await self._source.resolve(port, path):
                await self._refresh(way)
                return
        except OSError as error:
            why = error.strerror
        log.warning("%s: next hop %s: %s", way.port, path.next_hop, why)
        await asyncio.sleep(RETRY_S)

    async def _refresh(self, way: Way) -> None:
        port = self._ports.get(way.port)
        if port is None:
            return
        source = way.source if int(way.source) else None
        path: Path | None = None
        why: str | None = "there is no source address"
        try:
            path = await self._source.find(port, way.destination, source, way.tos)
        except OSError as error:
            why = error.strerror
        if self._ports.get(way.port) is not port:
            return  # it went while the kernel was asked
        if path is not None and path.source is None:
            path = None
        is_news = way not in self._known or path != self._known[way]
        if is_news and path is None:
            log.warning("%s: %s", way.port, why)
        self._known[way] = path
        if is_news:
            self._changed(way, path)
