"""The soundness check: any packet that a megaflow takes would, traced afresh, give that megaflow.

    check_soundness(plane.datapath, "underlay", packet, another, ...)

A handler breaks it by deciding on what it did not look at through its Packet: bytes of
the packet behind the trace's back, or things that differ from one packet to the next
without being in it (counts, the time, chance).  The check traces each packet under other
circumstances, and packets that differ from it in nothing that its megaflow looks at.
AssertionError names the packet, the field and the lines of source that went apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from vdp.engine.interface import META_PROTOCOL, META_SIZE, META_TYPE, Match, PacketType
from vdp.engine.program import Action, Count, Program
from vdp.header import Header
from vdp.links.paths import PathPending
from vdp.protocols.ethernet import EtherType
from vdp.testing.actions import say
from vdp.trace import Guard, Trace

if TYPE_CHECKING:
    from vdp.datapath import Datapath

#: Times that a packet is traced again, at another time: by chance alone it may come to the same.
AGAIN = 6
#: Packets made from each one, if not said otherwise.
VARIANTS = 16
#: Bytes that a variant may be longer than its packet.
MOST_LONGER = 64
_CLOCKS = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns")


@dataclass(frozen=True, slots=True)
class Sample:
    """A packet to trace: what the classifier sees of it."""

    in_port: int
    data: bytes
    meta: bytes

    def takes(self, match: Match) -> bool:
        """Whether a flow of that match takes this packet."""
        return (
            match.in_port == self.in_port
            and match.min_length <= len(self.data) <= match.max_length
            and _masked(self.data, match.mask) == match.value
            and _masked(self.meta, match.meta_mask) == match.meta_value
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a trace came to; `waits` stands for a way that has to be asked for first."""

    trace: Trace | None
    match: Match | None
    program: Program
    waits: str = ""

    @property
    def installed(self) -> bool:
        """Whether a megaflow comes of it, and may so meet other packets."""
        return self.match is not None

    def same_as(self, other: Outcome) -> bool:
        return (self.match, self.program, self.waits) == (other.match, other.program, other.waits)


def sample_of(datapath: Datapath, member: str, data: bytes, meta: bytes | None = None) -> Sample:
    """A packet as it would come in by a port or link of that name; `meta` as the engine would set it."""
    found = datapath.ports.get(member) or datapath.links[member]
    if meta is None:
        words = bytearray(META_SIZE)
        if found.packet_type is PacketType.L3:
            version = data[0] >> 4 if data else 0
            kind = {4: EtherType.IPV4, 6: EtherType.IPV6}.get(version, 0)
            words[META_TYPE * 4 + 3] = PacketType.L3
            words[META_PROTOCOL * 4 : META_PROTOCOL * 4 + 4] = kind.to_bytes(4, "big")
        meta = bytes(words)
    return Sample(found.number, data, meta)


def check_soundness(
    datapath: Datapath,
    member: str,
    *packets: bytes | Sample,
    variants: int = VARIANTS,
    chance: random.Random | None = None,
) -> None:
    """Raise AssertionError where a megaflow of one of the packets would mistreat another.

    `member` is the port or link that the packets come in by.  Nothing is installed and
    nothing is learned.  Ways to next hops that are not known yet stay so.
    """
    chance = chance or random.Random(1)
    samples = [p if isinstance(p, Sample) else sample_of(datapath, member, p) for p in packets]
    asyncio.run(_check(datapath, samples, variants, chance))


async def _check(datapath: Datapath, samples: Sequence[Sample], variants: int, chance: random.Random) -> None:
    # A coroutine, because a trace may start asking for a way; it never waits for it.
    outcomes = [_trace(datapath, sample) for sample in samples]
    for sample, first in zip(samples, outcomes, strict=True):
        if not first.installed:
            continue
        match = _match_of(first)
        assert sample.takes(match), f"a packet's own megaflow does not take it: {sample}"
        _check_again(datapath, sample, first, chance)
        for _ in range(variants):
            _check_variant(datapath, sample, first, _vary(sample, match, samples, chance))
    for sample, before in zip(samples, outcomes, strict=True):
        for other in outcomes:
            if other.installed and sample.takes(_match_of(other)):
                _expect_same(datapath, sample, other, before, "than a packet of the same megaflow")


def _check_again(datapath: Datapath, sample: Sample, first: Outcome, chance: random.Random) -> None:
    """The same packet at another time, and with other luck, comes to the same."""
    for _ in range(AGAIN):
        with _elsewhere(chance):
            again = _trace(datapath, sample)
        _expect_same(datapath, sample, first, again, "at another time")


def _check_variant(datapath: Datapath, sample: Sample, first: Outcome, variant: Sample) -> None:
    assert variant.takes(_match_of(first))
    if _trace(datapath, variant).same_as(first):
        return
    variant = _smallest(datapath, sample, first, variant)
    _expect_same(datapath, variant, first, _trace(datapath, variant), _differing(sample, variant, first))


def _trace(datapath: Datapath, sample: Sample, data: bytes | None = None) -> Outcome:
    try:
        given = sample.data if data is None else data
        trace, program = datapath.trace(sample.in_port, given, len(sample.data), sample.meta)
    except PathPending as pending:
        return Outcome(None, None, (), str(pending.way))
    return Outcome(trace, trace.match() if trace.cacheable else None, program)


def _match_of(outcome: Outcome) -> Match:
    assert outcome.match is not None
    return outcome.match


# -- other packets of the same megaflow ------------------------------------------------------


def _vary(sample: Sample, match: Match, samples: Sequence[Sample], chance: random.Random) -> Sample:
    """A packet that the megaflow takes as well, and that differs in what it does not look at."""
    length = len(sample.data)
    if chance.random() < 0.5:
        most = min(match.max_length, length + MOST_LONGER)
        length = chance.randint(match.min_length, max(match.min_length, most))
    data = _free(sample.data.ljust(length, b"\0")[:length], match.mask, samples, chance)
    meta = _free(sample.meta, match.meta_mask, (), chance) if chance.random() < 0.5 else sample.meta
    return replace(sample, data=data, meta=meta)


def _free(before: bytes, mask: bytes, samples: Sequence[Sample], chance: random.Random) -> bytes:
    """`before` with bits outside the mask changed: a few, all at random, all alike, or another's."""
    size = len(before)
    ways: list[Callable[[], bytes]] = [
        lambda: _flipped(before, chance),
        lambda: chance.randbytes(size),
        lambda: bytes([chance.choice((0, 255))]) * size,
        lambda: chance.choice(samples).data.ljust(size, b"\0")[:size] if samples else before,
    ]
    other = chance.choice(ways)()
    kept = mask.ljust(size, b"\0")[:size]
    return bytes(b & k | o & ~k & 0xFF for b, o, k in zip(before, other, kept, strict=True))


def _flipped(data: bytes, chance: random.Random) -> bytes:
    result = bytearray(data)
    for _ in range(chance.randint(1, 3) if result else 0):
        result[chance.randrange(min(len(result), 96))] ^= 1 << chance.randrange(8)
    return bytes(result)


def _smallest(datapath: Datapath, sample: Sample, first: Outcome, variant: Sample) -> Sample:
    """A variant with one difference from the packet that still goes apart, where there is one."""
    singles = [
        replace(sample, data=sample.data[:at] + bytes([now]) + sample.data[at + 1 :])
        for at, (was, now) in enumerate(zip(sample.data, variant.data, strict=False))
        if was != now
    ]
    singles += [
        replace(sample, meta=sample.meta[:word] + variant.meta[word : word + 4] + sample.meta[word + 4 :])
        for word in range(0, META_SIZE, 4)
    ]
    size = len(variant.data)
    singles.append(replace(sample, data=sample.data.ljust(size, b"\0")[:size]))
    return next((s for s in singles if not _trace(datapath, s).same_as(first)), variant)


# -- other circumstances -----------------------------------------------------------------------


@contextlib.contextmanager
def _elsewhere(chance: random.Random) -> Iterator[None]:
    """The clocks of module time show another time."""
    shift = chance.randint(1, 10**6)
    real = {name: getattr(time, name) for name in _CLOCKS}

    def shifted(name: str) -> Callable[[], Any]:
        by = shift * 10**9 if name.endswith("_ns") else shift
        return lambda: real[name]() + by

    try:
        for name in _CLOCKS:
            setattr(time, name, shifted(name))
        yield
    finally:
        for name, clock in real.items():
            setattr(time, name, clock)


# -- saying what went apart ----------------------------------------------------------------------


class _Watched(bytes):
    """Packet bytes that remember who looked at them without asking the trace."""

    seen: set[str]

    def __getitem__(self, key: Any) -> Any:
        caller = sys._getframe(1)
        if caller.f_globals.get("__name__") != "vdp.trace":
            file = PurePath(caller.f_code.co_filename)
            self.seen.add(f"{file.parent.name}/{file.name}:{caller.f_lineno}")
        return super().__getitem__(key)


def _expect_same(datapath: Datapath, sample: Sample, wanted: Outcome, found: Outcome, why: str) -> None:
    if found.same_as(wanted):
        return
    text = f"the packet {sample.data[:64].hex()} (length {len(sample.data)}) was traced otherwise {why}:\n"
    text += _contrast(datapath, wanted, found)
    peeking = _Watched(sample.data)
    peeking.seen = set()
    _trace(datapath, sample, peeking)
    if peeking.seen:
        text += f"\n  bytes are read behind the trace's back at {', '.join(sorted(peeking.seen))}"
    raise AssertionError(text)


def _contrast(datapath: Datapath, wanted: Outcome, found: Outcome) -> str:
    """Where two outcomes part: the first differing action, or guard, with their lines."""
    if wanted.waits or found.waits:
        return f"  one waits for {wanted.waits or found.waits}, the other does not"
    # What handlers did says more than the registry's counting of their verdicts.
    for programs in ((_effects(wanted.program), _effects(found.program)), (wanted.program, found.program)):
        for one, other in _pairs(*programs):
            if one != other:
                return f"  action {_said(datapath, one)}\n  but now {_said(datapath, other)}"
    if found.match is None:
        return "  it was cacheable, and now it is not"
    assert wanted.trace is not None
    assert found.trace is not None
    for guard, now in _pairs(wanted.trace.guards, found.trace.guards):
        if guard is None or now is None or _looked_at(guard) != _looked_at(now):
            return f"  {_guard(guard)}\n  but now {_guard(now)}"
    return f"  {wanted.match}\n  but now {found.match}"


def _effects(program: Program) -> list[Action]:
    return [action for action in program if not isinstance(action, Count)]


def _pairs(one: Sequence[Any], other: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    for at in range(max(len(one), len(other))):
        yield (one[at] if at < len(one) else None, other[at] if at < len(other) else None)


def _said(datapath: Datapath, action: Action | None) -> str:
    if action is None:
        return "none"
    return f"{say(datapath, action)} (made at {action.source or 'no known line'})"


def _looked_at(guard: Guard) -> tuple[object, ...]:
    return guard.space, guard.offset, guard.mask, guard.value


def _guard(guard: Guard | None) -> str:
    if guard is None:
        return "no further look"
    return f"looks at {guard.space} {guard.offset} {guard.label or guard.mask.hex()} (at {guard.source})"


def _differing(sample: Sample, variant: Sample, first: Outcome) -> str:
    """What distinguishes the variant from the packet, by field where a header is known to lie there."""
    assert first.trace is not None
    found = [
        f"byte {at} ({name}, bits {was ^ now:#04x})" if (name := _field_at(first.trace, at)) else
        f"byte {at} (bits {was ^ now:#04x})"
        for at, (was, now) in enumerate(zip(sample.data, variant.data, strict=False))
        if was != now
    ]  # fmt: skip
    if len(sample.data) != len(variant.data):
        found.append(f"length {len(variant.data)}, not {len(sample.data)}")
    if sample.meta != variant.meta:
        words = range(0, META_SIZE, 4)
        found += [
            f"metadata word {w // 4}" for w in words if sample.meta[w : w + 4] != variant.meta[w : w + 4]
        ]
    return f"for what its megaflow does not look at, {', '.join(found[:4])}"


def _field_at(trace: Trace, at: int) -> str:
    """The header field that covers a byte, judging by the fields that were looked at near it."""
    kinds = {kind.__name__: kind for kind in _kinds(Header)}
    for guard in trace.guards:
        name, _, label = guard.label.partition(".")
        fields = kinds[name].fields() if guard.space == "packet" and name in kinds else {}
        if label not in fields:
            continue
        front = guard.offset - fields[label].offset
        for other, item in fields.items():
            if item.start <= (at - front) * 8 + 7 and (at - front) * 8 < item.start + item.width:
                return f"{name}.{other}"
    return ""


def _kinds(kind: type[Header]) -> Iterator[type[Header]]:
    for each in kind.__subclasses__():
        yield each
        yield from _kinds(each)


def _masked(data: bytes, mask: bytes) -> bytes:
    return bytes(m & d for m, d in zip(mask, data, strict=False)).ljust(len(mask), b"\0")
