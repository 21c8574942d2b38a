"""Packets that wait for the slow path: a bounded line for each port, taken in turn; rates."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from vdp.engine.interface import Upcall, UpcallReason
from vdp.testing.reference.packet import Packet

SECOND = 1_000_000_000
MOST_DATA = 2048
CONTROL_LINE = 64


class Bucket:
    """Tokens: `rate` a second, at most `burst` at once; a rate of 0 is no bound."""

    def __init__(self, rate: int, burst: int) -> None:
        self.rate = rate
        self.burst = burst * SECOND
        self.tokens = self.burst
        self.filled_ns = 0

    def take(self, now_ns: int) -> bool:
        """One token, if there is one."""
        if self.rate == 0:
            return True
        if now_ns > self.filled_ns:
            self.tokens = min(self.burst, self.tokens + self.rate * (now_ns - self.filled_ns))
        self.filled_ns = now_ns  # also back, when the clock was set
        if self.tokens < SECOND:
            return False
        self.tokens -= SECOND
        return True


@dataclass(slots=True, eq=False)
class Held:
    """A packet in the hands of the slow path, or in line for it."""

    token: int
    packet: Packet
    reason: UpcallReason
    cookie: int = 0
    is_control: bool = False

    @property
    def upcall(self) -> Upcall:
        packet = self.packet
        return Upcall(
            self.token,
            packet.in_port,
            len(packet.data),
            self.reason,
            self.cookie,
            bytes(packet.meta),
            bytes(packet.data[:MOST_DATA]),
            packet.gso_type,
            packet.gso_size,
        )


class Upcalls:
    """One worker's lines, by in-port; the order of the dictionary is whose turn it is.

    A port has two, one behind the other: first control traffic, then all else.  limit: of a
    port's packets; most: of all that are held.
    """

    def __init__(self, limit: int, most: int) -> None:
        self.limit = limit
        self.most = most
        self.lines: OrderedDict[int, deque[Held]] = OrderedDict()
        self.taken: dict[int, Held] = {}
        self.next_token = 1

    def full(self, in_port: int, *, is_control: bool = False) -> bool:
        """No line is longer than what is still free: ports that flood leave room for others."""
        free = self.most - self.held
        length = sum(held.is_control == is_control for held in self.lines.get(in_port, ()))
        if is_control:
            return free <= 0 or length >= CONTROL_LINE
        return length >= min(self.limit, free)

    @property
    def held(self) -> int:
        """All that is held, in line or taken."""
        return len(self.taken) + sum(map(len, self.lines.values()))

    def append(
        self, packet: Packet, reason: UpcallReason, cookie: int = 0, *, is_control: bool = False
    ) -> None:
        """Put the packet at the end of its port's line."""
        self.put_back(Held(self.next_token, packet, reason, cookie, is_control))
        self.next_token += 1

    def put_back(self, held: Held) -> None:
        line = self.lines.setdefault(held.packet.in_port, deque())
        ahead = sum(other.is_control for other in line) if held.is_control else len(line)
        line.insert(ahead, held)

    def take(self, count: int) -> list[Held]:
        """The next ones, round robin over the ports; they stay held until resolved."""
        took: list[Held] = []
        while self.lines and len(took) < count:
            in_port, line = self.lines.popitem(last=False)
            took.append(line.popleft())
            if line:
                self.lines[in_port] = line
        self.taken.update((held.token, held) for held in took)
        return took

    def withdraw(self, in_port: int, takes: Callable[[Packet], bool]) -> list[Held]:
        """Take the misses for which takes(packet) out of a port's line, in order."""
        line = self.lines.get(in_port, deque())
        chosen = [held for held in line if held.reason == UpcallReason.MISS and takes(held.packet)]
        left = deque(held for held in line if held not in chosen)
        if left:
            self.lines[in_port] = left
        else:
            self.lines.pop(in_port, None)
        return chosen

    def clear(self, in_port: int) -> None:
        """The port goes: forget all that is held for it, taken or not."""
        self.taken = {t: held for t, held in self.taken.items() if held.packet.in_port != in_port}
        self.lines.pop(in_port, None)
