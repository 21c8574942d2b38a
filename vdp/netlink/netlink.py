"""The kernel's view of one network namespace, over pyroute2's asyncio API.

Two sockets: one asks and sets, one hears events.  The tables are filled by a dump once
the event socket listens, and kept in step by events.  When the kernel had to drop
events (ENOBUFS, which also ends pyroute2's reader for good) the event socket is opened
anew, everything is dumped again, and subscribers get the difference.

All methods are to be called on the event loop that called `start`.  Errors are OSError:
NoRoute, KernelRefused.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_interface
from typing import Any, TypeVar

from vdp.netlink import decode, namespaces
from vdp.netlink.events import (
    Address,
    Event,
    IPAddress,
    IPInterface,
    Link,
    Neighbour,
    NeighbourChanged,
    RouteChanged,
)
from vdp.netlink.library import AsyncIPRoute, NetlinkError, discard_unread
from vdp.netlink.path import ZERO_MAC, KernelRefused, NoRoute, Path, multicast_mac
from vdp.netlink.tables import NeighbourKey, Tables

log = logging.getLogger(__name__)

# linux/rtnetlink.h, RTMGRP_*: link, neigh, and address, route, rule of both families.
_GROUPS = 0x1 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << 18
_EVENT_BUFFER_SIZE = 8 << 20
_NETLINK_ROUTE = 0
_SOL_NETLINK = 270
_NETLINK_EXT_ACK = 11
_SO_RCVBUFFORCE = 33
_NTF_USE = 0x01
_RTN_LOCAL = 2
_RTAX_MTU = "RTAX_MTU"

T = TypeVar("T")
#: Events that are lost again within this time are no other loss for the log.
_SAID_AGAIN_S = 60.0


class Netlink:
    """Links, addresses, routes and neighbours of the namespace `netns` (None: the process's own)."""

    def __init__(self, netns: str | None = None, event_buffer_size: int = _EVENT_BUFFER_SIZE) -> None:
        self.netns = netns
        self.events_received = 0
        self.overruns = 0
        #: When events were last lost, by the monotonic clock; None: never.
        self.lost_at: float | None = None
        #: The tables are the kernel's; false: they are being read.
        self.in_step = False
        self._event_buffer_size = event_buffer_size
        self._tables = Tables()
        self._subscribers: list[Callable[[Event], None]] = []
        self._waiting: dict[NeighbourKey, set[asyncio.Future[bytes | None]]] = {}
        self._requests: AsyncIPRoute | None = None
        self._request_socket: socket.socket | None = None
        self._listener: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the sockets and fill the tables.  FileNotFoundError when there is no such namespace."""
        self._request_socket = self._open_socket(groups=0)
        self._requests = AsyncIPRoute(use_socket=self._request_socket)
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._listener = asyncio.create_task(self._listen(ready), name=f"netlink-{self.netns or ''}")
        await asyncio.wait((self._listener, ready), return_when=asyncio.FIRST_COMPLETED)
        if self._listener.done():
            await self._listener  # raises what stopped it

    async def close(self) -> None:
        """Close the sockets; whoever waits for a neighbour gets None.  May be called twice."""
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener
            self._listener = None
        for key in list(self._waiting):
            self._answer(key, None)
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        if self._request_socket is not None:
            self._request_socket.close()
            self._request_socket = None

    # What is there.

    @property
    def links(self) -> Mapping[int, Link]:
        return self._tables.links

    @property
    def addresses(self) -> frozenset[Address]:
        return self._tables.addresses

    @property
    def neighbours(self) -> Mapping[NeighbourKey, Neighbour]:
        return self._tables.neighbours

    def link(self, name: str) -> Link | None:
        """The link of that name, as last heard of."""
        return next((link for link in self._tables.links.values() if link.name == name), None)

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Have `callback` called for each change, on the event loop; the answer takes it back."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            with contextlib.suppress(ValueError):
                self._subscribers.remove(callback)

        return unsubscribe

    # Routes and neighbours.

    async def path(
        self,
        destination: IPAddress | str,
        source: IPAddress | str | None = None,
        interface: str | None = None,
        tos: int = 0,
        mark: int | None = None,
    ) -> Path:
        """How a packet to `destination` leaves; NoRoute when it does not.

        source: must be an address of this host.  interface: as bound to that device.
        tos: its DSCP takes part in policy routing; the ECN bits do not.
        """
        target = ip_address(destination)
        query: dict[str, Any] = {"dst": str(target)}
        if source is not None and not ip_address(source).is_unspecified:
            query["src"] = str(source)
        if interface is not None:
            query["oif"] = (await self._require_link(interface, target)).index
        if tos & 0xFC:
            query["tos"] = tos & 0xFC
        if mark is not None:
            query["mark"] = mark
        try:
            answers = await self._api.route("get", **query)
        except NetlinkError as refused:
            raise NoRoute(target, refused.code, _sentence(refused), query.get("src")) from None
        return await self._path_from(answers[0], target)

    async def resolve(self, next_hop: IPAddress | str, ifindex: int, timeout: float = 3.0) -> bytes | None:
        """The neighbour's MAC address, asking the network when need be; None when it does not answer.

        The kernel asks (ARP, ND) and this waits for its event.  timeout: in seconds;
        the kernel itself gives up after about three.
        """
        key = (ifindex, ip_address(next_hop))
        known = self._mac_of(key)
        if known is not None:
            return known
        waiting: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, set()).add(waiting)
        try:
            await self.touch(key[1], ifindex)
            async with asyncio.timeout(timeout):
                return await waiting
        except TimeoutError:
            return None
        finally:
            if key in self._waiting:
                self._waiting[key].discard(waiting)
                if not self._waiting[key]:
                    del self._waiting[key]

    async def touch(self, next_hop: IPAddress | str, ifindex: int) -> None:
        """Say that the neighbour is in use, as sending to it would: a stale entry is probed anew.

        Without it the kernel, which sees none of vdp's packets, lets the entry age away.  One that is
        permanent it would make an ordinary one, and ask the network for it (__neigh_update).
        """
        known = self._tables.neighbours.get((ifindex, ip_address(next_hop)))
        if known is not None and known.is_static:
            return
        await self._ask(
            f"neighbour {next_hop}",
            self._api.neigh("replace", dst=str(next_hop), ifindex=ifindex, flags=_NTF_USE, state=0),
        )

    # Changes to links, read back: pyroute2 drops arguments that it does not know.

    async def refresh_link(self, ifindex: int) -> Link:
        """The link as it is now, taken into the tables."""
        for message in await self._ask(f"link {ifindex}", self._api.link("get", index=ifindex)):
            if decode.message_type(message) == decode.RTM_NEWLINK:
                self._apply(message)
                return decode.link(message)
        raise KernelRefused(f"link {ifindex}", errno.ENODEV, os.strerror(errno.ENODEV))

    async def find_link(self, name: str) -> Link | None:
        """The link of that name, asked for now and taken into the tables."""
        try:
            answers = await self._api.link("get", ifname=name)
        except NetlinkError as refused:
            if refused.code == errno.ENODEV:
                return None
            raise KernelRefused(f"link {name}", refused.code, _sentence(refused)) from None
        self._apply(answers[0])
        return decode.link(answers[0])

    async def set_link(
        self,
        ifindex: int,
        *,
        mtu: int | None = None,
        mac: bytes | None = None,
        txqueuelen: int | None = None,
        up: bool | None = None,
    ) -> Link:
        """Set what is given; the link as it is after.  KernelRefused, also when it did not take."""
        wanted: dict[str, Any] = {}
        if mtu is not None:
            wanted["mtu"] = mtu
        if mac is not None:
            wanted["address"] = mac.hex(":")
        if txqueuelen is not None:
            wanted["txqlen"] = txqueuelen
        if up is not None:
            wanted["state"] = "up" if up else "down"
        what = f"{self._name(ifindex)}: set " + ", ".join(f"{k} {v}" for k, v in wanted.items())
        await self._ask(what, self._api.link("set", index=ifindex, **wanted))
        link = await self.refresh_link(ifindex)
        for name, asked, found in (
            ("mtu", mtu, link.mtu),
            ("mac", mac, link.mac),
            ("txqlen", txqueuelen, link.txqueuelen),
            ("up", up, link.up),
        ):
            if asked is not None and asked != found:
                raise KernelRefused(what, errno.EINVAL, f"{name} is {found!r} after setting it to {asked!r}")
        return link

    async def add_address(self, ifindex: int, address: IPInterface | str) -> None:
        """Give the link an address.  KernelRefused: EEXIST when it has it."""
        wanted = ip_interface(address)
        what = f"{self._name(ifindex)}: add address {wanted}"
        await self._ask(
            what,
            self._api.addr("add", index=ifindex, address=str(wanted.ip), prefixlen=wanted.network.prefixlen),
        )
        async for message in await self._api.get_addr(index=ifindex):
            self._apply(message)
        if Address(ifindex, wanted) not in self._tables.addresses:
            raise KernelRefused(what, errno.EINVAL, "it is not there after adding it")

    async def remove_address(self, ifindex: int, address: IPInterface | str) -> None:
        """Take an address from the link.  KernelRefused: EADDRNOTAVAIL when it has it not."""
        gone = ip_interface(address)
        await self._ask(
            f"{self._name(ifindex)}: remove address {gone}",
            self._api.addr("del", index=ifindex, address=str(gone.ip), prefixlen=gone.network.prefixlen),
        )

    async def link_drops(self, ifindex: int) -> tuple[int, int]:
        """What the device itself dropped: received, transmitted, as in `ip -s link`."""
        for message in await self._ask(f"link {ifindex}", self._api.link("get", index=ifindex)):
            stats = message.get_attr("IFLA_STATS64")
            if stats is not None:
                return int(stats["rx_dropped"]), int(stats["tx_dropped"])
        return 0, 0

    # Inside.

    @property
    def _api(self) -> AsyncIPRoute:
        if self._requests is None:
            raise RuntimeError("Netlink is not started")
        discard_unread(self._requests)
        return self._requests

    def _name(self, ifindex: int) -> str:
        link = self._tables.links.get(ifindex)
        return link.name if link is not None else f"link {ifindex}"

    async def _ask(self, what: str, request: Any) -> list[Any]:
        try:
            return list(await request)
        except NetlinkError as refused:
            raise KernelRefused(what, refused.code, _sentence(refused)) from None

    async def _require_link(self, name: str, target: IPAddress) -> Link:
        link = self.link(name)
        if link is None:
            raise NoRoute(target, errno.ENODEV, f"there is no interface {name}")
        return link

    async def _path_from(self, message: Any, target: IPAddress) -> Path:
        ifindex = int(message.get_attr("RTA_OIF") or 0)
        link = self._tables.links.get(ifindex) or await self.refresh_link(ifindex)
        via = message.get_attr("RTA_VIA")
        gateway = message.get_attr("RTA_GATEWAY") or (via["addr"] if via is not None else None)
        next_hop = ip_address(gateway) if gateway else target
        preferred = message.get_attr("RTA_PREFSRC") or message.get_attr("RTA_SRC")
        metrics = message.get_attr("RTA_METRICS")
        route_mtu = int(metrics.get_attr(_RTAX_MTU) or 0) if metrics is not None else 0
        return Path(
            interface=link.name,
            ifindex=ifindex,
            mtu=route_mtu or link.mtu,
            hard_header_len=link.hard_header_len,
            source=ip_address(preferred) if preferred else None,
            next_hop=next_hop,
            source_mac=link.mac if link.is_ethernet else ZERO_MAC,
            destination_mac=self._destination_mac(link, next_hop),
            local=int(message["type"]) == _RTN_LOCAL,
        )

    def _destination_mac(self, link: Link, next_hop: IPAddress) -> bytes | None:
        if link.noarp or link.type != 1:  # ARPHRD_ETHER; loopback and TUN have no neighbours
            return ZERO_MAC
        if next_hop.is_multicast:
            return multicast_mac(next_hop)
        if any(
            a.ifindex == link.index and next_hop == a.interface.network.broadcast_address
            for a in self._tables.addresses
            if a.interface.version == 4 and a.interface.network.prefixlen < 31
        ):
            return b"\xff" * 6
        return self._mac_of((link.index, next_hop))

    def _mac_of(self, key: NeighbourKey) -> bytes | None:
        neighbour = self._tables.neighbours.get(key)
        return neighbour.mac if neighbour is not None and neighbour.is_resolved else None

    def _open_socket(self, groups: int) -> socket.socket:
        """A NETLINK_ROUTE socket of the namespace, non-blocking, bound to the groups."""

        def make() -> socket.socket:
            return socket.socket(
                socket.AF_NETLINK,
                socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
                _NETLINK_ROUTE,
            )

        opened = namespaces.run_in(self.netns, make)
        opened.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        try:
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, self._event_buffer_size)
        except PermissionError:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._event_buffer_size)
        opened.bind((0, groups))
        return opened

    async def _listen(self, ready: asyncio.Future[None]) -> None:
        """Dump, then hear events; once more from the start whenever some were lost."""
        while True:
            try:
                with self._open_socket(_GROUPS) as heard:
                    events = AsyncIPRoute(use_socket=heard)
                    try:
                        await self._synchronize()
                        self.in_step = True
                        if not ready.done():
                            ready.set_result(None)
                        while True:
                            async for message in events.get():
                                self.events_received += 1
                                self._apply(message)
                    finally:
                        events.close()
            except Exception as lost:  # whatever the library makes of a message that it can not read
                if not ready.done():
                    raise
                await self._lose(lost)

    async def _lose(self, lost: Exception) -> None:
        """Events are lost: whoever looks is told, until the tables are the kernel's again."""
        before, self.lost_at = self.lost_at, time.monotonic()
        self.in_step = False
        self.overruns += 1
        code = getattr(lost, "code", None) or getattr(lost, "errno", None)
        if code != errno.ENOBUFS:
            log.warning("netlink events of %s: %s; starting again", self.netns or "vdp", lost)
            await asyncio.sleep(0.1)
        elif before is None or self.lost_at - before > _SAID_AGAIN_S:
            what = self.netns or "vdp"
            log.warning("netlink events of %s came too fast and were lost: all is asked for again", what)

    async def _synchronize(self) -> None:
        found = [m async for m in await self._api.get_links() if _read(decode.is_link, m)]
        links = [_read(decode.link, m) for m in found]
        addresses = [_read(decode.address, m) async for m in await self._api.get_addr()]
        neighbours = [_read(decode.neighbour, m) async for m in await self._api.get_neighbours()]
        changes = self._tables.replace(_known(links), _known(addresses), _known(neighbours))
        if self.overruns:
            changes.append(RouteChanged(None))
        self._publish(changes)

    def _apply(self, message: Any) -> None:
        """Take in one message, and tell what it changed; what can not be read changes nothing."""
        self._publish(_read(self._tables.apply, message) or [])

    def _publish(self, changes: list[Event]) -> None:
        for event in changes:
            if isinstance(event, NeighbourChanged) and event.new is not None:
                key = (event.new.ifindex, event.new.address)
                if event.new.is_resolved:
                    self._answer(key, event.new.mac)
                elif event.new.has_failed:
                    self._answer(key, None)
            for callback in list(self._subscribers):
                try:
                    callback(event)
                except Exception:
                    log.exception("a subscriber failed on %r", event)

    def _answer(self, key: NeighbourKey, mac: bytes | None) -> None:
        for waiting in self._waiting.pop(key, set()):
            if not waiting.done():
                waiting.set_result(mac)


def _read(decoder: Callable[[Any], T], message: Any) -> T | None:
    """What the message says; None, and a line in the log, where it can not be read."""
    try:
        return decoder(message)
    except decode.Unreadable as unreadable:
        log.warning("netlink: %s; it is passed over", unreadable)
        return None


def _known(found: Iterable[T | None]) -> Iterator[T]:
    return (each for each in found if each is not None)


def _sentence(refused: NetlinkError) -> str:
    """The kernel's own sentence (extended ACK) where it sent one, else the errno's."""
    said = refused.args[1] if len(refused.args) > 1 else None
    return str(said) if said else os.strerror(abs(refused.code))
