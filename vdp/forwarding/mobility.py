"""Addresses that move to and fro between the members of a bridge (RFC 7432 15.1).

One that moves once has moved.  One that moves again and again is there twice, or two members
are joined outside, and what is flooded comes back.  Following it has every frame decided
anew, in Python, and keeps the loop alive.  So it is held for a while where it was before all
that, and frames of it from elsewhere are dropped; from there it is not flooded either, for the loop may
be behind that member.
"""

from __future__ import annotations

from dataclasses import dataclass

NS = 1_000_000_000
#: Moves are counted for that long, and an address is held for as long.
WINDOW_NS = 10 * NS


@dataclass(slots=True)
class _Moves:
    """home: the member that the address was behind before it moved; until_ns: by the engine's clock."""

    home: str
    until_ns: int
    count: int = 0
    is_held: bool = False


class Mobility:
    """The addresses of one bridge that moved lately.  limit: moves within the window; 0: any number."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._moves: dict[bytes, _Moves] = {}

    def is_held(self, mac: bytes) -> bool:
        """Whether it moved too often."""
        moves = self._moves.get(mac)
        return moves is not None and moves.is_held

    def held(self) -> list[bytes]:
        """Those that moved too often."""
        return [mac for mac, moves in self._moves.items() if moves.is_held]

    def move(self, mac: bytes, before: str, now_ns: int) -> str | None:
        """It is heard elsewhere than behind `before`.  The member where it is held, or None: it moves."""
        if not self.limit:
            return None
        moves = self._moves.get(mac)
        if moves is None or (not moves.is_held and moves.until_ns <= now_ns):
            moves = self._moves[mac] = _Moves(before, now_ns + WINDOW_NS)
        moves.count += 1
        if moves.count <= self.limit:
            return None
        if not moves.is_held:
            moves.is_held, moves.until_ns = True, now_ns + WINDOW_NS
        return moves.home

    def forget(self, mac: bytes) -> None:
        """It is no longer known where it is."""
        self._moves.pop(mac, None)

    def leave(self, member: str) -> None:
        """The member is gone: nobody is held there, nor will be."""
        for mac in [mac for mac, moves in self._moves.items() if moves.home == member]:
            del self._moves[mac]

    def end(self, now_ns: int) -> list[bytes]:
        """Those whose time is over count from the beginning; returned are they that were held."""
        over = [mac for mac, moves in self._moves.items() if moves.until_ns <= now_ns]
        return [mac for mac in over if self._moves.pop(mac).is_held]
