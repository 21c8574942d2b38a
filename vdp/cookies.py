"""What upcalls of programs stand for: a number in an action, a function here.

`packet.upcall(number)` has the engine send copies up; the function that the number was given out
for gets them, one by one.  One that can say beforehand what it would send has a `Foretell`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from vdp.called import Called
from vdp.engine.interface import PacketType, Upcall

Act = Callable[[Upcall], None]


class Answer(NamedTuple):
    """A packet that would be sent for an upcall: to a member, as `Datapath.send` takes it.

    withheld: why it would not be, right now; empty where it would.
    """

    member: str
    data: bytes
    packet_type: PacketType
    protocol: int
    withheld: str


Foretell = Callable[[Upcall], "Answer | None"]


class Cookies:
    """The functions, by number; a number is given out once."""

    def __init__(self) -> None:
        self._acts: dict[int, tuple[Called, Foretell | None]] = {}
        self._next = itertools.count()

    def __len__(self) -> int:
        return len(self._acts)

    def __iter__(self) -> Iterator[Called]:
        return (called for called, _ in self._acts.values())

    def add(self, act: Act, owner: str, foretell: Foretell | None = None) -> int:
        """A number for `act`; `foretell` says what it would send, and changes nothing."""
        number = next(self._next)
        self._acts[number] = Called("upcall", act, owner), foretell
        return number

    def remove(self, number: int) -> None:
        """Copies for that number are nobody's from now on."""
        del self._acts[number]

    def called(self, number: int) -> Called | None:
        """The function, and how it went; None where its plugin is gone."""
        found = self._acts.get(number)
        return found[0] if found else None

    def foretell(self, number: int) -> Foretell | None:
        """What says beforehand what that function would send; None where nobody can say."""
        found = self._acts.get(number)
        return found[1] if found else None
