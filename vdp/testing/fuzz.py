"""Packets to try a plugin's handlers on: what they should take, and what nobody should send.

A fuzzer begins with samples, and makes one packet of another by changing mostly what a trace
looked at (its guards name the bytes), to values that the plugin's code names (its constants)
or that lie at an edge.  A packet whose trace looks elsewhere, or does something else, than
those before it is a sample from then on.  So it finds its way behind a chain of ifs without
knowing the protocol; the same seed gives the same packets.
"""

from __future__ import annotations

import enum
import random
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vdp.trace import Guard, Trace

#: Samples that are kept; when there are more, one goes for each that comes.
MOST_SAMPLES = 512
MOST_PACKET, MOST_LONGER = 2048, 64
#: Share of packets that are made of those that reached what is under test.
NEAR = 0.8


@dataclass(frozen=True, slots=True)
class Origin:
    """A packet that others are made of: the port or link it comes in by, and what was looked at in it."""

    member: str
    data: bytes
    guards: tuple[Guard, ...] = ()


class Fuzzer:
    """An endless source of packets, which learns from what became of them."""

    def __init__(
        self, samples: Iterable[tuple[str, bytes]], constants: Iterable[int] = (), seed: int = 1
    ) -> None:
        self._origins = [Origin(member, data) for member, data in samples]
        if not self._origins:
            raise ValueError("a fuzzer needs at least one packet to begin with")
        self._constants = sorted(set(constants)) or [0]
        self._chance = random.Random(seed)
        self._near: list[Origin] = []  # those that reached what is under test
        self._known: set[object] = set()
        self._ways: list[Callable[[Origin], bytes]] = [
            *[self._other_value] * 5, self._flipped, self._overwritten, self._cut, self._longer, self._spliced
        ]  # fmt: skip

    def packet(self) -> tuple[str, bytes]:
        """The next packet, and the port or link that it comes in by."""
        chance = self._chance
        # Far from it are packets that others drop; they are tried, but not most of the time.
        origin = chance.choice(self._near if self._near and chance.random() < NEAR else self._origins)
        data = origin.data
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            data = chance.choice(self._ways)(Origin(origin.member, data, origin.guards))
        return origin.member, data[:MOST_PACKET]

    def learn(self, member: str, data: bytes, trace: Trace, actions: Iterable[str], is_near: bool) -> bool:
        """Take note of what a packet's trace came to; whether that was news.

        is_near: it reached what is under test, and others are rather made of it.
        """
        looks = tuple((guard.space, guard.offset, guard.mask) for guard in trace.guards)
        way = (member, looks, tuple(actions), tuple(trace.asked))
        if way in self._known:
            return False
        self._known.add(way)
        origin = Origin(member, data, tuple(guard for guard in trace.guards if guard.space == "packet"))
        for kept in (self._origins, self._near) if is_near else (self._origins,):
            if len(kept) < MOST_SAMPLES:
                kept.append(origin)
            else:
                kept[self._chance.randrange(len(kept))] = origin
        return True

    @property
    def news(self) -> int:
        """How many packets were."""
        return len(self._known)

    # -- one packet of another ------------------------------------------------------------

    def _other_value(self, origin: Origin) -> bytes:
        """Something that was looked at has another value."""
        if not origin.guards:
            return self._flipped(origin)
        # The later it was looked at, the further in it is.
        guard = max(self._chance.choices(range(len(origin.guards)), k=2))
        return self._changed(origin.data, origin.guards[guard])

    def _changed(self, data: bytes, guard: Guard) -> bytes:
        size = len(guard.mask)
        before = int.from_bytes(data[guard.offset : guard.offset + size].ljust(size, b"\0"), "big")
        mask = int.from_bytes(guard.mask, "big")
        shift = (mask & -mask).bit_length() - 1
        most = mask >> shift
        now = (before & mask) >> shift
        value = self._chance.choice(
            (0, 1, most, most - 1, now + 1, now - 1, now ^ 1 << self._chance.randrange(most.bit_length()),
             self._chance.choice(self._constants), self._chance.choice(self._constants),
             self._chance.getrandbits(most.bit_length()))
        )  # fmt: skip
        after = before & ~mask | value << shift & mask
        return _written(data, guard.offset, after.to_bytes(size, "big"))

    def _flipped(self, origin: Origin) -> bytes:
        data = bytearray(origin.data)
        for _ in range(self._chance.randint(1, 3) if data else 0):
            data[self._chance.randrange(min(len(data), 96))] ^= 1 << self._chance.randrange(8)
        return bytes(data)

    def _overwritten(self, origin: Origin) -> bytes:
        size = self._chance.choice((1, 2, 4))
        value = self._chance.choice(
            (0, (1 << size * 8) - 1, self._chance.choice(self._constants), self._chance.getrandbits(size * 8))
        )
        at = self._chance.randrange(max(1, min(len(origin.data), 96)))
        return _written(origin.data, at, (value & (1 << size * 8) - 1).to_bytes(size, "big"))

    def _cut(self, origin: Origin) -> bytes:
        return origin.data[: self._chance.randint(0, len(origin.data))]

    def _longer(self, origin: Origin) -> bytes:
        return origin.data + self._chance.randbytes(self._chance.randint(1, MOST_LONGER))

    def _spliced(self, origin: Origin) -> bytes:
        other = self._chance.choice(self._origins).data
        at = self._chance.randint(0, len(origin.data))
        return origin.data[:at] + other[at:]


def _written(data: bytes, at: int, piece: bytes) -> bytes:
    return (data[:at] + piece + data[at + len(piece) :])[: len(data)]


def constants_of(module: types.ModuleType) -> set[int]:
    """Numbers that a plugin's code names: what its ifs compare with."""
    found: set[int] = set()
    for value in vars(module).values():
        if isinstance(value, bool) or getattr(value, "__module__", module.__name__) != module.__name__:
            continue  # what it imports compares with other things
        if isinstance(value, int):
            found.add(int(value))
        elif isinstance(value, types.FunctionType):
            _constants(value.__code__, found)
        elif isinstance(value, type):
            if issubclass(value, enum.Enum):
                found.update(item.value for item in value if isinstance(item.value, int))
            for each in list(vars(value).values()):  # a look at a pydantic model may complete it
                function = getattr(each, "fget", getattr(each, "__func__", each))
                if isinstance(function, types.FunctionType):
                    _constants(function.__code__, found)
    return {number for number in found if number > 1}


def _constants(code: types.CodeType, found: set[int]) -> None:
    for each in code.co_consts:
        if isinstance(each, int) and not isinstance(each, bool):
            found.add(each)
        elif isinstance(each, (tuple, frozenset)):
            found.update(one for one in each if isinstance(one, int) and not isinstance(one, bool))
        elif isinstance(each, types.CodeType):
            _constants(each, found)
