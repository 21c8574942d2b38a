"""What a link has of the engine, and how another of its name takes it over.

A link's cell, counters and states go back to the engine when it goes.  Where a link of the
same name takes its place at once (its plugin is imported anew), they are left to that one
instead: it counts on where the other ended, and the flows through both are the same flows.

    open ─► dellink: free leaves all to the estate ─► newlink: own claims it ─► settle: the rest goes back
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial


@dataclass(slots=True)
class Owned:
    """A number of the engine's.  what: by which a successor asks for it; give: gives it back."""

    what: str
    number: int
    give: Callable[[int], None]


class Estates:
    """What links have left, by name.  later: does something as soon as no flow rests on what changed."""

    def __init__(self, later: Callable[[Callable[[], None]], None]) -> None:
        self._later = later
        self._left: dict[str, list[Owned]] = {}

    def __contains__(self, name: str) -> bool:
        """Whether what a link of that name frees is kept for a successor."""
        return name in self._left

    def open(self, name: str) -> None:
        """From now on it is."""
        self._left.setdefault(name, [])

    def leave(self, name: str, owned: list[Owned]) -> None:
        """All that a link had, in the order in which it took it."""
        self._left[name] = owned

    def claim(self, name: str, what: str) -> Owned | None:
        """The first that is left of what is asked for."""
        left = self._left.get(name, [])
        found = next((item for item in left if what and item.what == what), None)
        if found is not None:
            left.remove(found)
        return found

    def settle(self, name: str) -> None:
        """Nobody comes any more: what is left goes back to the engine, the last taken first."""
        for item in reversed(self._left.pop(name, [])):
            self._later(partial(item.give, item.number))
