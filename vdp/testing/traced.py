"""What a dataplane decides about one packet, in words that a test can compare.

    assert_trace(
        plane, "underlay", packet,
        output="gre1",                        # or drop="plugin_shim_version"
        verdicts={"shim_rcv": "received"},
        guards={"Shim.version": 1},           # looked at, and what it was
        wildcards=["Shim.tag"],               # not looked at: any other will do
        actions=["pull 8"],                   # among others, in this order
    )

Nothing is installed, sent or learned.  One trace ends where the packet leaves the port that
it came in by: what a link's cell gets is traced again, as received from the link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vdp.datapath import Datapath
from vdp.engine import program as act
from vdp.header import Field, Header, header_kinds
from vdp.links.paths import PathPending
from vdp.testing.actions import say
from vdp.testing.dataplane import Dataplane
from vdp.testing.soundness import Sample, sample_of
from vdp.trace import Guard, Trace


@dataclass(frozen=True, slots=True)
class Traced:
    """One packet's trace.  `str` is a listing: a line a guard and action, with the line that made it."""

    datapath: Datapath
    trace: Trace | None
    program: act.Program
    #: The way to a next hop that has to be asked for first; there is no trace then.
    waits: str = ""

    @property
    def output(self) -> str | None:
        """The port, or the link whose cell, that it goes to; None where it does not."""
        last = self.program[-1] if self.program else None
        return self.datapath.member_name(last.port) if isinstance(last, act.Output) else None

    @property
    def drop(self) -> str | None:
        """The reason that it is dropped for, by name; None where it is not."""
        last = self.program[-1] if self.program else None
        return self.datapath.drops.name(last.reason) if isinstance(last, act.Drop) else None

    @property
    def fate(self) -> str:
        """ "output PORT", "drop REASON" or "waits for WAY"."""
        if self.waits:
            return f"waits for {self.waits}"
        return f"output {self.output}" if self.output else f"drop {self.drop}"

    @property
    def is_cacheable(self) -> bool:
        """Whether a megaflow comes of it."""
        return self.trace is not None and self.trace.cacheable

    @property
    def verdicts(self) -> dict[str, str]:
        """What each handler answered that was asked, in order: received, reject or drop; error: it raised."""
        return {name: verdict for _, name, verdict in self.trace.asked} if self.trace else {}

    @property
    def guards(self) -> list[tuple[str, int]]:
        """What was looked at, and what it was: ("Shim.version", 1), in order.

        A bit is noted once, under the field that it was first read as; what was read without a
        header is "bytes 24..25", metadata is "meta 0", the length "length least" and "length most".
        """
        return [_said(guard) for guard in self._guards()]

    @property
    def actions(self) -> list[str]:
        """The program: "pull 24", "require_checksum start=20 size=0 else drop tunnel_checksum" …"""
        return [say(self.datapath, action) for action in self.program]

    def looks_at(self, field: str) -> bool:
        """Whether any bit of "Header.field" was looked at; ValueError for one that nobody declared.

        Found by its place too, when another field of that header was looked at.
        """
        kind, item = declared(field)
        if self.trace is None:
            return False
        for guard in self._guards():
            name, _, label = guard.label.partition(".")
            if name != kind.__name__ or label not in kind.fields():
                continue
            front = guard.offset - kind.fields()[label].offset
            bits = int.from_bytes(self.trace.mask[front : front + kind.SIZE], "big")
            if bits >> (kind.SIZE * 8 - item.start - item.width) & ((1 << item.width) - 1):
                return True
        return False

    def __str__(self) -> str:
        lines = [self.fate]
        lines += [f"  asked   {name}: {verdict}" for name, verdict in self.verdicts.items()]
        lines += [
            f"  guard   {name} = {value:#x}   ({guard.source})"
            for guard, (name, value) in zip(self._guards(), self.guards, strict=True)
        ]
        lines += [f"  action  {say(self.datapath, action)}   ({action.source})" for action in self.program]
        return "\n".join(lines)

    def _guards(self) -> Sequence[Guard]:
        return self.trace.guards if self.trace else ()


def explain(plane: Dataplane | Datapath, member: str, packet: bytes | Sample) -> Traced:
    """Trace a packet as if it came in by a port or link of that name."""
    datapath = plane.datapath if isinstance(plane, Dataplane) else plane
    sample = packet if isinstance(packet, Sample) else sample_of(datapath, member, packet)

    async def trace() -> Traced:
        # A coroutine, because a trace may start asking for a way; it never waits for it.
        try:
            made = datapath.trace(sample.in_port, sample.data, len(sample.data), sample.meta)
        except PathPending as pending:
            return Traced(datapath, None, (), str(pending.way))
        return Traced(datapath, *made)

    return asyncio.run(trace())


def assert_trace(
    plane: Dataplane | Datapath,
    member: str,
    packet: bytes | Sample,
    *,
    output: str | None = None,
    drop: str | None = None,
    verdicts: Mapping[str, str] | None = None,
    guards: Mapping[str, int] | None = None,
    wildcards: Sequence[str] = (),
    actions: Sequence[str] = (),
    cacheable: bool = True,
) -> Traced:
    """Raise AssertionError, with the whole trace, where the packet's is not as said.

    output, drop: its fate.  verdicts: of the handlers named.  guards: fields that are looked at, with
    their values.  wildcards: fields that are not.  actions: beginnings of actions, in this order.
    """
    traced = explain(plane, member, packet)
    faults = []
    if output is not None and traced.output != output:
        faults.append(f"its fate is not output {output}")
    if drop is not None and traced.drop != drop:
        faults.append(f"its fate is not drop {drop}")
    for name, verdict in (verdicts or {}).items():
        if traced.verdicts.get(name) != verdict:
            faults.append(f"{name} answered {traced.verdicts.get(name, 'nothing')}, not {verdict}")
    for name, value in (guards or {}).items():
        declared(name)
        seen = [number for label, number in traced.guards if label == name]
        if value not in seen:
            was = f"was {', '.join(map(hex, seen))}" if seen else "was not looked at"
            faults.append(f"{name} {was}, expected {value:#x}")
    faults += [f"{name} was looked at" for name in wildcards if traced.looks_at(name)]
    rest = iter(traced.actions)
    for wanted in actions:
        if not any(text.startswith(wanted) for text in rest):
            faults.append(f"there is no action {wanted!r} (behind those before it)")
            break
    if traced.is_cacheable != cacheable:
        faults.append("it is not cacheable" if cacheable else "it is cacheable")
    if faults:
        raise AssertionError("; ".join(faults) + f"\n{traced}")
    return traced


def declared(field: str) -> tuple[type[Header], Field[Any]]:
    """The header and field of "Header.field"; ValueError, with those that there are, for another."""
    name, _, label = field.partition(".")
    kinds = [kind for kind in header_kinds() if kind.__name__ == name]  # of several plugins, perhaps
    if not kinds:
        known = sorted({kind.__name__ for kind in header_kinds()})
        raise ValueError(f"no header is called {name!r}; there are {', '.join(known)}")
    for kind in reversed(kinds):
        if label in kind.fields():
            return kind, kind.fields()[label]
    raise ValueError(f"{name} has no field {label!r}; it has {', '.join(kinds[-1].fields())}")


def _said(guard: Guard) -> tuple[str, int]:
    if guard.space == "length":
        return ("length least" if guard.value == b"min" else "length most"), guard.offset
    mask, value = int.from_bytes(guard.mask, "big"), int.from_bytes(guard.value, "big")
    shift = (mask & -mask).bit_length() - 1
    if guard.space == "meta":
        return f"meta {guard.offset // 4}", value >> shift
    last = guard.offset + len(guard.mask) - 1
    place = f"byte {last}" if last == guard.offset else f"bytes {guard.offset}..{last}"
    return guard.label or place, value >> shift
