"""Programs on packets: each action as engine.h ("Actions") says it, straight from its dataclass.

An action that would touch a byte outside the packet drops it as parse_truncated before it
changes a state or counter.  A clone runs to its end before the original goes on, a segment
or fragment before the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vdp.engine.interface import MAX_LENGTH, Feature
from vdp.engine.program import (
    Account,
    Action,
    Checksum,
    Clone,
    Copy,
    Count,
    Drop,
    Fragment,
    Group,
    Hash,
    Id,
    Length,
    Meta,
    MetaLoad,
    Output,
    Pull,
    Push,
    RequireChecksum,
    RequireLength,
    RequireSequence,
    RequireUdp,
    Segment,
    Sequence32,
    Set,
    State32,
    Trim,
    Ttl,
    UdpChecksum,
    Upcall,
    WriteHeader,
)
from vdp.testing.reference import udp
from vdp.testing.reference.checksum import adjusted, fold, internet_checksum, ones_sum
from vdp.testing.reference.fragment import fragment
from vdp.testing.reference.gre import local_checksum
from vdp.testing.reference.offload import GSO_UDP_L4, finish_checksum, segment_length
from vdp.testing.reference.packet import Lost, Packet
from vdp.testing.reference.segment import segment
from vdp.testing.reference.state import Arrival, State


class Surroundings(Protocol):
    """What a program can reach besides its packet.  Every call that takes a packet owns it."""

    def drop(self, packet: Packet, reason: int) -> None: ...
    def output(self, packet: Packet, port: int) -> None: ...
    def group(self, packet: Packet, group: int, besides: int) -> None: ...
    def ask(self, packet: Packet, cookie: int) -> None:
        """An UPCALL action: a copy of the packet, which stays the caller's."""
        ...

    def cloned(self, packet: Packet, count: int) -> None: ...
    def segmented(self, packet: Packet, count: int) -> None: ...
    def count(self, counter: int, size: int) -> None: ...
    def account(self, packet: Packet, is_sent: bool) -> None:
        """Tell the packet's account what became of it."""
        ...

    def state(self, number: int) -> State: ...
    def header(self, number: int) -> bytes: ...
    def arrival(self, packet: Packet) -> Arrival:
        """By whom and when it came in."""
        ...

    def spend(self, number: int) -> bool:
        """Take one from a state's number; False where there is nothing to take."""
        ...


def run(world: Surroundings, packet: Packet, program: Sequence[Action]) -> None:
    """Run `program` on the packet, which is gone afterwards: output or dropped."""
    try:
        _run(world, packet, program)
    except Lost as lost:
        world.drop(packet, lost.reason)


def _run(world: Surroundings, packet: Packet, program: Sequence[Action]) -> None:
    at = 0
    while True:
        action = program[at]
        at += 1
        match action:
            case Drop(reason):
                world.drop(packet, reason)
                return
            case Output(port):
                world.output(packet, port)
                return
            case Group(group, besides):
                world.group(packet, group, besides)
                return
            case Clone(body):
                world.cloned(packet, 1)
                run(world, packet.copy(), body)
            case Segment(features, most, failed, longest, longest_segment, equal):
                try:
                    segments = segment(packet, Feature(features), most, longest, longest_segment, equal)
                except Lost:
                    world.count(failed, len(packet.data))
                    raise
                _run_each(world, packet, segments, program[at:])
                return
            case Fragment(offset, most, otherwise):
                parts = fragment(packet, offset, most)
                if parts is not None:
                    _run_each(world, packet, parts, program[at:])
                    return
                program, at = otherwise, 0
            case Upcall(cookie, state):
                if state is None or world.spend(state):
                    world.ask(packet, cookie)
            case Count(counter, addend):
                world.count(counter, len(packet.data) + addend)
            case Account(sent, lost, lost_too, skip):
                world.account(packet, True)
                packet.account = (sent, lost, lost_too, max(0, len(packet.data) - skip))
            case Trim() | RequireChecksum() | RequireLength() | RequireSequence() | Ttl() | RequireUdp():
                if not _passes(world, packet, action):
                    program, at = action.otherwise, 0
            case Id(offset, state):
                packet.need(offset, 2)
                packet.store16(offset, world.state(state).take(packet.segments))
            case Sequence32(offset, state):
                packet.need(offset, 4)
                packet.store32(offset, world.state(state).take())
            case WriteHeader(offset, header):
                data = world.header(header)
                packet.need(offset, len(data))
                packet.data[offset : offset + len(data)] = data
            case State32(offset, state, addend):
                packet.need(offset, 4)
                packet.store32(offset, world.state(state).number + addend)
            case _:
                edit(packet, action)


def _run_each(world: Surroundings, packet: Packet, parts: Sequence[Packet], rest: Sequence[Action]) -> None:
    """The rest of the program, for each part that the packet was cut into."""
    account = packet.account
    for part in parts:
        part.account = account if part is parts[0] else None
    world.segmented(packet, len(parts) - 1)
    for part in parts:
        run(world, part, rest)


def edit(packet: Packet, action: Action) -> None:
    """The actions that need nothing but the packet."""
    match action:
        case Pull(size):
            packet.need(0, size)
            del packet.data[:size]
            packet.csum_start -= size
            packet.csum_valid = False  # it was said of the header in front
            if packet.needs_csum and packet.csum_start < 0:
                # The header with the unfinished checksum is gone (skb_postpull_rcsum).
                if packet.gso_type:
                    raise Lost("gso_invalid")
                packet.needs_csum = False
        case Push(data):
            if len(packet.data) + len(data) > MAX_LENGTH:
                raise Lost("mtu_exceeded")
            packet.data[:0] = data
            packet.csum_start += len(data)
        case Set():
            _set(packet, action)
        case Copy(to, origin, mask):
            packet.need(to, 1)
            packet.need(origin, 1)
            packet.data[to] = packet.data[to] & ~mask | packet.data[origin] & mask
        case Length(offset, start, addend):
            packet.need(start, 0)
            packet.need(offset, 2)
            length = len(packet.data) - start + addend
            if not 0 <= length <= 0xFFFF:
                raise Lost("mtu_exceeded")
            packet.store16(offset, length)
        case Checksum(offset, start, size):
            end = _covered(packet, start, size)
            packet.need(offset, 2)
            _finish_inside(packet, start, end)
            packet.store16(offset, 0)
            packet.store16(offset, _checksum(packet, start, end, size))
        case Hash(offset, start, size, mask):
            packet.need(offset, 2)
            packet.need(start, size)
            number = udp.hash_of(packet.data[start : start + size])
            packet.store16(offset, packet.load16(offset) & ~mask | number & mask)
        case UdpChecksum(version, network, offset):
            udp.leave_checksum(packet, version, network, offset)
        case Meta(word, value):
            packet.set_word(word, value)
        case MetaLoad(word, offset, mask):
            packet.set_word(word, packet.load32(offset) & mask)
        case _:
            raise TypeError(f"not an action: {action!r}")


def _covered(packet: Packet, start: int, size: int) -> int:
    """Where a checksum's coverage ends: `size` bytes from `start`, or with 0 the packet's end."""
    packet.need(start, size)
    return start + size if size else len(packet.data)


def _finish_inside(packet: Packet, start: int, end: int) -> None:
    """A checksum over [start, end) needs an unfinished one in there to be there already.

    A super-packet's can only be finished by cutting it."""
    if not packet.gso_type and _has_unfinished(packet, start, end):
        finish_checksum(packet)


def _checksum(packet: Packet, start: int, end: int, size: int) -> int:
    """Of what is there or, to a TCP super-packet's end, of each of its segments."""
    if packet.gso_type not in (0, GSO_UDP_L4) and not size and start <= packet.csum_start:
        return local_checksum(packet, start)
    return internet_checksum(packet.data[start:end])


def _has_unfinished(packet: Packet, start: int, end: int) -> bool:
    """Is an unfinished checksum in there?"""
    field = packet.csum_start + packet.csum_offset
    return packet.needs_csum and start < field + 2 and field < end


def _set(packet: Packet, action: Set) -> None:
    """Masked write; the checksum at action.checksum follows (RFC 1624)."""
    offset, size, field = action.offset, len(action.mask), action.checksum
    packet.need(offset, size)
    if field is not None:
        packet.need(field, 2)
    before = bytes(packet.data[offset : offset + size])
    after = bytes(b & ~m | v & m for b, m, v in zip(before, action.mask, action.value, strict=True))
    packet.data[offset : offset + size] = after
    if field is None:
        return
    # An odd distance from the field is an odd one from where its coverage begins.
    pad = b"\0" * ((offset - field) % 2)
    change = [(fold(ones_sum(pad + before)), fold(ones_sum(pad + after)))]
    if packet.needs_csum and field == packet.csum_start + packet.csum_offset:
        # An unfinished checksum: the pseudo header's sum, not inverted, and nothing else yet.
        if offset < packet.csum_start:
            packet.store16(field, ~adjusted(~packet.load16(field) & 0xFFFF, change))
    else:
        packet.store16(field, adjusted(packet.load16(field), change))


def _passes(world: Surroundings, packet: Packet, action: Action) -> bool:
    """The actions with an otherwise: does the packet pass?"""
    match action:
        case Trim(offset, addend):
            if packet.gso_type:
                return True
            length = packet.load16(offset) + addend
            if not 0 <= length <= len(packet.data):
                return False
            del packet.data[length:]
            return True
        case RequireChecksum(start, size):
            end = _covered(packet, start, size)
            if packet.gso_type and _has_unfinished(packet, start, end):
                return True  # what is around it is not finished either (skb_csum_unnecessary)
            _finish_inside(packet, start, end)
            return fold(ones_sum(packet.data[start:end])) == 0xFFFF
        case RequireLength(least, most, _, per_segment):
            length = segment_length(packet) if per_segment else len(packet.data)
            return least <= length <= most
        case RequireSequence(offset, state, _, explicit, late):
            number, kept = packet.load32(offset), world.state(state)
            return kept.passes(number, explicit, late, world.arrival(packet))
        case Ttl(version, offset):
            return _decrement(packet, version, offset)
        case RequireUdp(version, network, offset, _, zero):
            return udp.is_good(packet, version, network, offset, zero)
    raise TypeError(f"not an action: {action!r}")


def _decrement(packet: Packet, version: int, offset: int) -> bool:
    """ip_decrease_ttl: the TTL word's high byte goes down by one, and the checksum with it."""
    if version == 6:
        packet.need(offset, 40)
        if packet.data[offset + 7] <= 1:
            return False
        packet.data[offset + 7] -= 1
        return True
    packet.need(offset, 20)
    if packet.data[offset + 8] <= 1:
        return False
    before = packet.load16(offset + 8)
    packet.store16(offset + 8, before - 0x100)
    packet.store16(offset + 10, adjusted(packet.load16(offset + 10), [(before, before - 0x100)]))
    return True
