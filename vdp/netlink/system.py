"""All namespaces that a dataplane touches: one `Netlink` each, and which of them are its own.

The wiring makes one `System` and hands it to whoever opens ports.  A namespace that
vdp had to make goes when the last one who claimed it lets go; one that was there stays.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from vdp.netlink import namespaces
from vdp.netlink.events import Event
from vdp.netlink.netlink import Netlink


class System:
    def __init__(self) -> None:
        self._netlinks: dict[str | None, Netlink] = {}
        self._claims: dict[str, int] = {}
        self._owned: set[str] = set()
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
        if netns not in self._claims and not namespaces.exists(netns):
            namespaces.create(netns)
            self._owned.add(netns)
        self._claims[netns] = self._claims.get(netns, 0) + 1

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
        if netns in self._owned:
            self._owned.discard(netns)
            with contextlib.suppress(FileNotFoundError):
                namespaces.remove(netns)

    async def close(self) -> None:
        """Close every Netlink and remove the namespaces that are vdp's own."""
        for netlink in list(self._netlinks.values()):
            await netlink.close()
        self._netlinks.clear()
        self._claims.clear()
        for netns in list(self._owned):
            self._owned.discard(netns)
            with contextlib.suppress(FileNotFoundError):
                namespaces.remove(netns)

    def _publish(self, netns: str | None, event: Event) -> None:
        for callback in list(self._subscribers):
            callback(netns, event)
