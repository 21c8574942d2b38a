"""Devices under ports that go, come again, or change; each port goes on by itself.

A port whose device is gone stays, with its number, counters, flows and links: it is detached from
the engine, its descriptors are closed, and it is attached again when there is a device of that
name, in the namespace of that name: at once for a TAP or TUN, which is made anew; as soon as it
is there for an interface of the host, or a namespace that vdp did not make.  A TAP that somebody
moved to another namespace is left to him, and attached again when it comes back.

`lose` and `follow` are told by netlink's events; `wait`, then `look`, again and again.  What is wrong
is said in the log once, and stands in `Port.trouble` until it is right.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vdp.engine.interface import PortType
from vdp.netlink import namespaces
from vdp.ports import kept, open_port
from vdp.ports.errors import PortError
from vdp.ports.open import set_up

if TYPE_CHECKING:
    from vdp.config.model import PortSection
    from vdp.netlink import System
    from vdp.netlink.events import Link
    from vdp.ports import OpenedPort
    from vdp.ports.port import Port
    from vdp.running import Running

log = logging.getLogger("vdp")

#: How often namespaces, and ports that wait for a device, are looked at.
LOOK_S = 0.1
#: Pauses between attempts to open what is there and refuses.
FIRST_PAUSE_S, MOST_PAUSE_S = 0.1, 10.0


@dataclass(slots=True)
class Lost:
    """A port without a device.

    opened: of one that was moved away, and may come back.  mac: what its neighbours know it by.
    """

    port: Port
    at: float
    opened: OpenedPort | None = None
    #: vdp made the namespace that it was in.
    is_own: bool = False
    mac: bytes | None = None
    pause_s: float = FIRST_PAUSE_S
    try_at: float = 0.0


class Devices:
    """Of one daemon.  changed: told when a port was attached again, for ways and addresses."""

    def __init__(self, running: Running, system: System, changed: Callable[[Port], None]) -> None:
        self._running = running
        self._system = system
        self._changed = changed
        self._lost: dict[str, Lost] = {}
        self._closing: list[OpenedPort] = []
        self._wake = asyncio.Event()

    # -- what netlink says ------------------------------------------------------------------------

    def lose(self, port: Port, what: str, *, for_good: bool = False) -> None:
        """Its device is gone: `what` says so.  for_good: also one that was moved does not come back."""
        if port.name in self._lost or port.opened is None:
            return
        datapath = self._running.datapath
        opened: OpenedPort = port.opened
        is_tuntap = port.type in (PortType.TAP, PortType.TUN)
        is_moved = is_tuntap and not for_good and not kept.is_gone(opened.config.fds[0])
        is_own = port.netns is not None and self._system.is_own(port.netns)
        now = asyncio.get_running_loop().time()
        self._lost[port.name] = Lost(port, now, opened if is_moved else None, is_own, opened.mac)
        datapath.engine.detach_port(port.number)
        if not is_moved:
            port.opened = None
            self._closing.append(opened)
        end = "it was moved away, and goes on when it is back" if is_moved else "it is waited for"
        port.trouble = f"{what}: {end}"
        datapath.invalidate(port.tag)
        log.error("port %s: %s; what should leave by it is dropped", port.name, port.trouble)
        self._wake.set()

    def expect(self, port: Port, why: str) -> None:
        """It could not be opened when vdp was started again: it is as if its device was lost."""
        port.trouble = f"it can not be opened: {why}: it is waited for"
        log.error("port %s: %s", port.name, port.trouble)
        self._lost[port.name] = Lost(port, asyncio.get_running_loop().time(), is_own=True)

    def follow(self, port: Port, device: Link) -> None:
        """Its device has another name, or a master, or no more."""
        section = self._running.ports.get(port.name)
        if section is None or port.name in self._lost:
            return
        wanted = section.interface or section.name
        trouble = ""
        if port.device is not None and device.name != wanted:
            trouble = f"its device {wanted} is called {device.name} now: that is used until vdp is restarted"
        elif device.master:
            trouble = f"its device {device.name} has a master: the kernel forwards its frames as well"
        port.device = device.name if port.device is not None else None
        if trouble and trouble != port.trouble:
            log.warning("port %s: %s", port.name, trouble)
        elif port.trouble and not trouble:
            log.info("port %s: its device is as configured again", port.name)
        port.trouble = trouble

    # -- again and again --------------------------------------------------------------------------

    async def wait(self) -> None:
        """Until it is time to look, or something is lost."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._wake.wait()
        self._wake.clear()

    async def look(self) -> None:
        """See what is gone, and what is there again."""
        self._look_at_namespaces()
        while self._closing:
            await self._closing.pop().close()
        for name, lost in list(self._lost.items()):
            if self._running.datapath.ports.get(name) is not lost.port:
                del self._lost[name]  # a reload has closed it
            elif asyncio.get_running_loop().time() >= lost.try_at:
                await self._try(name, lost)

    def _look_at_namespaces(self) -> None:
        now: dict[str, int | None] = {}
        for port in self._running.datapath.ports.values():
            if port.netns is None or port.opened is None or port.name in self._lost:
                continue
            if port.netns not in now:
                now[port.netns] = namespaces.identity(port.netns)
            if now[port.netns] != port.opened.namespace:  # what is in the old one is nobody's
                self.lose(port, f"its network namespace {port.netns} is gone", for_good=True)

    async def _try(self, name: str, lost: Lost) -> None:
        section = self._running.ports[name]
        try:
            if lost.opened is not None:
                attached = await self._return(section, lost)
            else:
                attached = await self._open(section, lost)
        except (OSError, PortError) as error:
            now = asyncio.get_running_loop().time()
            lost.try_at, lost.pause_s = now + lost.pause_s, min(2 * lost.pause_s, MOST_PAUSE_S)
            why = error.sentence if isinstance(error, PortError) else error.strerror or str(error)
            trouble = f"its device can not be opened: {why}"
            if trouble != lost.port.trouble:
                log.error("port %s: %s; it is tried again", name, trouble)
            lost.port.trouble = trouble
            return
        if not attached:
            return
        del self._lost[name]
        lost.port.trouble = ""
        took = asyncio.get_running_loop().time() - lost.at
        log.info("port %s: attached again after %.1f s", name, took)
        self._changed(lost.port)

    async def _return(self, section: PortSection, lost: Lost) -> bool:
        """A TAP or TUN that was moved away: whether it is back."""
        opened = lost.opened
        assert opened is not None
        assert opened.netlink is not None
        if kept.is_gone(opened.config.fds[0]):
            self._closing.append(opened)
            lost.opened = lost.port.opened = None
            return False  # next time it is made anew
        if not kept.is_there(section, opened.config.fds[0]):
            return False
        link = await opened.netlink.find_link(section.name)
        if link is None:
            return False
        opened.ifindex = link.index
        await set_up(section, opened.netlink, link.index)  # a move sets it down, without addresses
        self._running.attach_port(lost.port, opened)
        return True

    async def _open(self, section: PortSection, lost: Lost) -> bool:
        """Whether there is something to open; OSError where that fails."""
        netns = section.netns
        if netns is not None and not lost.is_own and not namespaces.exists(netns):
            return False
        if section.interface is not None:
            netlink = await self._system.netlink(netns)
            if netlink.link(section.interface) is None:
                return False
        opened = await open_port(section, self._system, self._running.carries(section.name))
        try:
            if section.type == "tap" and section.mac is None and lost.mac is not None:
                assert opened.netlink is not None
                opened.mac = (await opened.netlink.set_link(opened.ifindex, mac=lost.mac)).mac
            self._running.attach_port(lost.port, opened)
        except BaseException:
            await opened.close()
            raise
        return True
