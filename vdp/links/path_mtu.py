"""Path MTUs that routers told us of, where the kernel did not hear: its fnhe_pmtu, for our own ways.

The kernel learns from the same errors, if they come to it and it has a socket of the protocol
(raw_err), and then says so when it is asked for the way.  For an address that only a link
has, nobody but us hears them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vdp.netlink.events import IPAddress
    from vdp.netlink.path import Path

NS = 1_000_000_000
#: net.ipv4.route.mtu_expires and net.ipv6.route.mtu_expires.
EXPIRES_S = 600
#: How often at once a destination's MTU may be another; behind that once a second.  A change has
#: flows traced again, and who forges errors must not keep us at that.
CHANGES = 8
#: By IP version: net.ipv4.route.min_pmtu (512 + 20 + 20), and IPv6's least MTU (RFC 8200 5).
LEAST = {4: 552, 6: 1280}

Place = tuple[str, "IPAddress"]  # port, destination


@dataclass(frozen=True, slots=True)
class Learned:
    mtu: int
    until_ns: int


class LearnedMtus:
    """By port and destination.  `clock`: nanoseconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._by_place: dict[Place, Learned] = {}
        self._credit: dict[Place, tuple[int, int]] = {}  # for changes, in ns, and when that was

    def learn(self, port: str, destination: IPAddress, mtu: int) -> bool:
        """update_or_create_fnhe: no less than a sender must be content with; it ages from now on.

        False where that is said too often, and nothing is learned.
        """
        now = self._clock()
        credit, since = self._credit.get((port, destination), (CHANGES * NS, now))
        credit = min(CHANGES * NS, credit + now - since)
        if credit < NS:
            return False
        self._credit[port, destination] = credit - NS, now
        mtu = max(mtu, LEAST[destination.version])
        self._by_place[port, destination] = Learned(mtu, now + EXPIRES_S * NS)
        return True

    def apply(self, port: str, destination: IPAddress, path: Path) -> Path:
        """The kernel's answer as it counts; what the kernel knows itself is its own to age."""
        learned = self._by_place.get((port, destination))
        if learned is None:
            return path
        if path.mtu <= learned.mtu or learned.until_ns <= self._clock():
            del self._by_place[port, destination]
            return path
        return replace(path, mtu=learned.mtu)

    def expired(self) -> set[Place]:
        """Where what was learned counts no longer; it is forgotten as the way is asked for again."""
        now = self._clock()
        return {place for place, learned in self._by_place.items() if learned.until_ns <= now}

    def keep(self, places: set[Place]) -> None:
        """Forget all others: ways that are not in use any more."""
        self._by_place = {place: it for place, it in self._by_place.items() if place in places}
        self._credit = {place: it for place, it in self._credit.items() if place in places}
