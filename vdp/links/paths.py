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
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from vdp.engine.interface import PacketType
from vdp.links.next_hops import NextHops
from vdp.links.path_mtu import LearnedMtus
from vdp.netlink.events import IPAddress
from vdp.netlink.path import Path, next_hop_tag
from vdp.trace import Undecided

if TYPE_CHECKING:
    from vdp.engine.interface import Engine
    from vdp.packet import Packet
    from vdp.ports.port import Port

log = logging.getLogger(__name__)

#: Seconds between attempts to resolve a next hop that does not answer.
RETRY_S = 1.0
#: Ways known at most beside those that links are bound to: of a multipoint tunnel every packet may ask for
#: another.
MOST_WAYS = 4096


@dataclass(frozen=True, slots=True)
class Way:
    """What is asked: out of which port, to where, from where; `device`: by that one only (RTA_OIF)."""

    port: str
    destination: IPAddress
    source: IPAddress
    tos: int
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """A network device beside a port, as far as a tunnel that is bound to it must know it."""

    index: int
    mtu: int
    hard_header_len: int


class PathPending(Undecided):
    """The way is being asked for; the packet waits."""

    def __init__(self, way: Way) -> None:
        super().__init__(f"{way.port}: the way to {way.destination} is being resolved")
        self.way = way


class PathSource(Protocol):
    """Who knows the ways: the kernel (vdp.netlink), or a table in tests."""

    async def find(
        self,
        port: Port,
        destination: IPAddress,
        source: IPAddress | None,
        tos: int,
        device: str | None = None,
    ) -> Path:
        """The route, by `device` only if one is named; NoRoute where there is none.

        Its destination_mac may be None.
        """

    async def device(self, port: Port, name: str) -> Device | None:
        """The device of that name where the port is; None where there is none."""

    async def resolve(self, port: Port, path: Path) -> bool:
        """Have the next hop of an Ethernet port resolved; whether it answered."""

    async def keep(self, port: Port, path: Path) -> None:
        """The next hop is in use: have its neighbour entry probed before it goes stale for good."""


class Paths:
    """Cache of ways.

    `changed` is told of each one whose answer became another, and what rests on what became another.
    """

    def __init__(
        self,
        source: PathSource,
        changed: Callable[[Way, Path | None, Hashable], None],
        engine: Engine,
    ) -> None:
        self._source = source
        self._changed = changed
        self._known: dict[Way, Path | None] = {}  # None: no route
        self._ports: dict[str, Port] = {}
        self._tasks: dict[Way, asyncio.Task[None]] = {}
        self._asking: dict[Way, asyncio.Task[None]] = {}
        self._learned = LearnedMtus(engine.clock)
        self._next_hops = NextHops(engine)
        self._bound: set[Way] = set()  # those that were asked for by `find`, until `release`
        self._devices: dict[tuple[str, str], Device | None] = {}  # by port and name
        #: Told of each device whose answer became another: port, name, what it is now.
        self.device_changed: Callable[[str, str, Device | None], None] = lambda port, name, device: None

    async def find(
        self,
        port: Port,
        destination: IPAddress,
        source: IPAddress,
        tos: int = 0,
        device: str | None = None,
    ) -> Path | None:
        """Ask now, and remember; None where there is no route."""
        way = self.way(port, destination, source, tos, device)
        self._bound.add(way)
        await self._refresh(way)
        return self._known.get(way)

    def release(self, way: Way) -> None:
        """Nobody is bound to it any more: where it is not in use either, `forget_unused` forgets it."""
        self._bound.discard(way)

    async def device(self, port: Port, name: str) -> Device | None:
        """The device of that name where the port is, asked for now; None where there is none."""
        self._ports[port.name] = port
        self._devices[port.name, name] = found = await self._source.device(port, name)
        return found

    def lookup(
        self,
        packet: Packet,
        port: Port,
        destination: IPAddress,
        source: IPAddress,
        tos: int = 0,
        device: str | None = None,
    ) -> Path | None:
        """The way as far as it is known, None where there is none; PathPending while it is asked for."""
        way = self.way(port, destination, source, tos, device)
        packet.depends(("path", way))
        if way not in self._known:
            if len(self._known) - len(self._bound) + len(self._tasks) < MOST_WAYS:
                self._ask_for(packet, way)
            raise PathPending(way)
        path = self._known[way]
        if path is not None and port.packet_type is PacketType.L2 and path.destination_mac is None:
            self._ask_for(packet, way)
            raise PathPending(way)
        return path

    async def refresh(self) -> None:
        """Something changed in the kernel: ask again for every way that is in use."""
        for (name, device), before in list(self._devices.items()):
            port = self._ports.get(name)
            if port is None:
                continue
            now = await self._source.device(port, device)
            if now != before and self._ports.get(name) is port:
                self._devices[name, device] = now
                self.device_changed(name, device, now)
        for way in list(self._known):
            await self._refresh(way)

    def forget_unused(self, is_used: Callable[[Way], bool]) -> None:
        """Forget the ways that only packets asked for, and no flow rests on any more (NBMA: many)."""
        for way in [way for way in self._known if way not in self._bound and not is_used(way)]:
            del self._known[way]
        self._next_hops.keep((way.port, path) for way, path in self._known.items() if path is not None)

    def learn(self, port: Port, destination: IPAddress, mtu: int) -> None:
        """A router can not pass on more than `mtu` bytes: ask the kernel at once, which should have heard.

        Where it has not, the MTU is kept here, and ages as there (__ip_rt_update_pmtu).
        """
        known = [self._known[way] for way in self._ways(port, destination)]
        if any(path is not None and path.mtu > mtu for path in known) and self._learned.learn(
            port.name, destination, mtu
        ):
            self.ask_again(port, destination)

    def ask_again(self, port: Port, destination: IPAddress) -> None:
        """The way there may be another by now."""
        for way in self._ways(port, destination):
            if way not in self._asking:
                self._asking[way] = asyncio.get_running_loop().create_task(self._ask(way))

    async def _ask(self, way: Way) -> None:
        try:
            await self._refresh(way)
        finally:
            self._asking.pop(way, None)

    def age(self) -> None:
        """Ask again where a path MTU has been believed for long enough."""
        for name, destination in self._learned.expired():
            port = self._ports.get(name)
            if port is not None:
                self.ask_again(port, destination)
        self._learned.keep({(way.port, way.destination) for way in self._known})

    def _ways(self, port: Port, destination: IPAddress) -> list[Way]:
        return [way for way in self._known if (way.port, way.destination) == (port.name, destination)]

    async def keep(self) -> None:
        """Keep the next hops of Ethernet ports alive (the kernel does not see that they are used)."""
        for way, path in list(self._known.items()):
            port = self._ports.get(way.port)
            if port is not None and path is not None and port.packet_type is PacketType.L2:
                with contextlib.suppress(OSError):
                    await self._source.keep(port, path)

    def close(self) -> None:
        for task in (*self._tasks.values(), *self._asking.values()):
            task.cancel()
        self._tasks.clear()
        self._asking.clear()

    def forget(self, port: Port) -> None:
        """The port is gone, and its ways with it."""
        for way in [way for way in self._known if way.port == port.name]:
            del self._known[way]
            self._bound.discard(way)
        for key in [key for key in self._devices if key[0] == port.name]:
            del self._devices[key]
        self._ports.pop(port.name, None)

    def way(self, port: Port, destination: IPAddress, source: IPAddress, tos: int, device: str | None) -> Way:
        """What is asked for by these."""
        self._ports[port.name] = port
        return Way(port.name, destination, source, tos, device)

    def _ask_for(self, packet: Packet, way: Way) -> None:
        """Ask, unless the packet is imaginary."""
        if packet.trace.rehearsal is None:
            self._start(way)

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
            path = await self._source.find(port, way.destination, source, way.tos, way.device)
        except OSError as error:
            why = error.strerror
        if self._ports.get(way.port) is not port:
            return  # it went while the kernel was asked
        if path is not None and path.source is None:
            path = None
        if path is not None:
            path = self._learned.apply(way.port, way.destination, path)
            if port.packet_type is PacketType.L2:
                path = self._next_hops.address(way.port, path)
        before = self._known.get(way)
        is_news = way not in self._known or path != before
        if is_news and path is None:
            log.warning("%s: %s", way.port, why)
        self._known[way] = path
        if is_news:
            self._changed(way, path, self._what_changed(way, before, path))

    @staticmethod
    def _what_changed(way: Way, before: Path | None, path: Path | None) -> Hashable:
        """What is to be traced again: all that goes that way, or only who read a MAC address."""
        if before is None or path is None or not before.header or before.header != path.header:
            return ("path", way)
        addressed = replace(before, source_mac=path.source_mac, destination_mac=path.destination_mac)
        is_same_hop = path.destination_mac is not None and addressed == path
        return next_hop_tag(path) if is_same_hop else ("path", way)
