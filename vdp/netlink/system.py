"""All namespaces that a dataplane touches: one `Netlink` each, and which of them are its own.

The wiring makes one `System` and hands it to whoever opens ports.  A namespace that
vdp had to make goes when the last one who claimed it lets go; one that was there stays.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from vdp.netlink import namespaces
from vdp.netlink.events import Event
from vdp.netlink.netlink import Netlink
from vdp.service import FdStore


class System:
    def __init__(self, store: FdStore | None = None) -> None:
        #: What outlives the process, where a service manager keeps it.
        self.store = store or FdStore()
        self._netlinks: dict[str | None, Netlink] = {}
        self._claims: dict[str, int] = {}
        #: Those that vdp made, as they are told from others that get the name later.
        self._owned: dict[str, int | None] = {}
        self._subscribers: list[Callable[[str | None, Event], None]] = []

    async def netlink(self, netns: str | None = None) -> Netlink:
        """The kernel's view of that namespace, started when first asked for."""
        known = self._netlinks.get(netns)
        if known is not None:
            return known
        fresh = Netlink(netns)
        self._netlinks[netns] = fresh
        try:
            await fresh.start()
        except OSError:
            del self._netlinks[netns]
            await fresh.close()
            raise
        fresh.subscribe(lambda event: self._publish(netns, event))
        return fresh

    @property
    def netlinks(self) -> tuple[Netlink, ...]:
        return tuple(self._netlinks.values())

    def subscribe(self, callback: Callable[[str | None, Event], None]) -> Callable[[], None]:
        """Have `callback(netns, event)` called for changes in any namespace; the answer takes it back."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            with contextlib.suppress(ValueError):
                self._subscribers.remove(callback)

        return unsubscribe

    def claim(self, netns: str | None) -> None:
        """Be sure of a namespace until `release`: it is made when missing, and then is vdp's own."""
        if netns is None:
            return
        if netns not in self._claims:
            self._make(netns)
        self._claims[netns] = self._claims.get(netns, 0) + 1

    def is_own(self, netns: str) -> bool:
        """Whether vdp made that namespace."""
        return netns in self._owned

    def _make(self, netns: str) -> None:
        """Where there is none: the one that the last process made, if that is kept, else a new one."""
        kept = self.store.take(_kept(netns))
        try:
            if namespaces.exists(netns):
                if kept is not None and os.fstat(kept).st_ino == namespaces.identity(netns):
                    self._owned[netns] = namespaces.identity(netns)
                return
            if kept is not None:
                namespaces.restore(netns, kept)
            else:
                namespaces.create(netns)
            self._owned[netns] = namespaces.identity(netns)
        finally:
            if kept is not None:
                os.close(kept)
        if kept is None and self.store.is_there:
            handle = os.open(namespaces.path(netns), os.O_RDONLY | os.O_CLOEXEC)
            self.store.put(_kept(netns), handle)
            os.close(handle)

    async def release(self, netns: str | None) -> None:
        """Give a claim back; the last one removes what vdp made."""
        if netns is None or netns not in self._claims:
            return
        self._claims[netns] -= 1
        if self._claims[netns]:
            return
        del self._claims[netns]
        netlink = self._netlinks.pop(netns, None)
        if netlink is not None:
            await netlink.close()
        self._remove(netns)

    async def close(self) -> None:
        """Close every Netlink and remove the namespaces that are vdp's own."""
        for netlink in list(self._netlinks.values()):
            await netlink.close()
        self._netlinks.clear()
        self._claims.clear()
        for netns in list(self._owned):
            self._remove(netns)

    def _remove(self, netns: str) -> None:
        """If vdp made it, and the name is not another's by now."""
        if netns not in self._owned:
            return
        self.store.remove(_kept(netns))
        if self._owned.pop(netns) == namespaces.identity(netns):
            with contextlib.suppress(FileNotFoundError):
                namespaces.remove(netns)

    def _publish(self, netns: str | None, event: Event) -> None:
        for callback in list(self._subscribers):
            callback(netns, event)


def _kept(netns: str) -> str:
    """The name under which a namespace of vdp's own is in the store."""
    return f"namespace {netns}"
