"""What is read of a dataplane at one moment, and the rates between two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, cast

from vdp.control.view import (
    DropRow,
    HandlerRow,
    LinkRow,
    PluginRow,
    PortRow,
    StatusRow,
    WorkerRow,
)


class Flow(NamedTuple):
    """Packets and bytes, in and out: totals, or a second's."""

    received: float = 0
    received_bytes: float = 0
    sent: float = 0
    sent_bytes: float = 0

    def since(self, before: Flow, seconds: float) -> Flow:
        """A second's between the two; 0 where a counter began anew."""
        return Flow(*(max(0.0, now - then) / seconds for now, then in zip(self, before, strict=True)))


NOTHING = Flow()


def port_flow(port: PortRow) -> Flow:
    """Packets on the wire, not frames: a super-packet is many."""
    counters = port["counters"]
    return Flow(counters["rx_segments"], counters["rx_bytes"], counters["tx_segments"], counters["tx_bytes"])


def link_flow(link: LinkRow) -> Flow:
    counters = link["counters"]
    return Flow(*(counters.get(name, 0) for name in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")))


def is_outside(port: PortRow) -> bool:
    """Whether packets enter or leave vdp by it: a link's GRO cell is inside."""
    return port["type"] != "gro-cell"


class Rows(Protocol):
    """What a sample needs of DatapathView."""

    def status(self) -> StatusRow: ...
    def show_ports(self) -> list[PortRow]: ...
    def show_links(self) -> list[LinkRow]: ...
    def list_handlers(self) -> list[HandlerRow]: ...
    def list_plugins(self) -> list[PluginRow]: ...
    def show_drops(self) -> list[DropRow]: ...


@dataclass(frozen=True)
class Sample:
    """The rows of a dataplane at one moment.  at: seconds of the monotonic clock."""

    at: float
    status: StatusRow
    ports: Mapping[str, PortRow]
    links: Mapping[str, LinkRow]
    handlers: list[HandlerRow]
    plugins: list[PluginRow]
    drops: Mapping[tuple[str, str], DropRow]

    @classmethod
    def take(cls, view: Rows, at: float) -> Sample:
        """Read them; on the control thread."""
        return cls(
            at,
            view.status(),
            {row["name"]: row for row in view.show_ports()},
            {row["name"]: row for row in view.show_links()},
            view.list_handlers(),
            view.list_plugins(),
            {(row["port"], row["reason"]): row for row in view.show_drops()},
        )

    @property
    def through(self) -> Flow:
        """In and out of vdp, all ports together."""
        flows = [port_flow(port) for port in self.ports.values() if is_outside(port)]
        return Flow(*map(sum, zip(*flows, strict=True))) if flows else NOTHING

    @property
    def dropped(self) -> int:
        return sum(row["packets"] for row in self.drops.values())

    @property
    def upcalls(self) -> int:
        return sum(self.status["upcalls"]["total"].values())

    def workers(self, name: str) -> int:
        """A counter of WorkerRow, of all workers."""
        return sum(cast("Mapping[str, int]", row)[name] for row in self.status["workers"])


@dataclass(frozen=True)
class Rates:
    """What happened between two samples, a second.  Empty where there is only one."""

    seconds: float = 0.0
    through: Flow = NOTHING
    dropped: float = 0.0
    upcalls: float = 0.0
    upcalls_lost: float = 0.0
    #: Part of its time that the busiest worker had work, 0 to 1.
    busy: float = 0.0
    #: Of the packets looked up, those that a known flow took; None: there were none.
    hit_ratio: float | None = None
    probes: float | None = None
    ports: Mapping[str, Flow] = field(default_factory=dict)
    links: Mapping[str, Flow] = field(default_factory=dict)
    drops: Mapping[tuple[str, str], float] = field(default_factory=dict)
    kernel_drops: Mapping[str, float] = field(default_factory=dict)
    workers: Mapping[int, float] = field(default_factory=dict)


def rates(now: Sample, before: Sample | None) -> Rates:
    """What was not there before counts from 0."""
    if before is None or (seconds := now.at - before.at) <= 0:
        return Rates()

    def each(counted: float, then: float) -> float:
        return max(0.0, counted - then) / seconds

    def grown(name: str) -> int:
        return max(0, now.workers(name) - before.workers(name))

    lookups = grown("lookups")
    workers = {
        row["worker"]: _busy(row, then)
        for row, then in zip(now.status["workers"], before.status["workers"], strict=False)
    }
    return Rates(
        seconds=seconds,
        through=now.through.since(before.through, seconds),
        dropped=each(now.dropped, before.dropped),
        upcalls=each(now.upcalls, before.upcalls),
        upcalls_lost=each(now.workers("upcalls_lost"), before.workers("upcalls_lost")),
        busy=max(workers.values(), default=0.0),
        hit_ratio=1 - grown("misses") / lookups if lookups else None,
        probes=grown("mask_probes") / lookups if lookups else None,
        ports={
            name: port_flow(row).since(
                port_flow(before.ports[name]) if name in before.ports else NOTHING, seconds
            )
            for name, row in now.ports.items()
        },
        links={
            name: link_flow(row).since(
                link_flow(before.links[name]) if name in before.links else NOTHING, seconds
            )
            for name, row in now.links.items()
        },
        drops={
            key: each(row["packets"], before.drops[key]["packets"] if key in before.drops else 0)
            for key, row in now.drops.items()
        },
        kernel_drops={
            name: each(row["kernel_drops"], before.ports[name]["kernel_drops"] if name in before.ports else 0)
            for name, row in now.ports.items()
        },
        workers=workers,
    )


def _busy(now: WorkerRow, before: WorkerRow) -> float:
    busy, idle = now["busy_ns"] - before["busy_ns"], now["idle_ns"] - before["idle_ns"]
    return busy / (busy + idle) if busy >= 0 and busy + idle > 0 else 0.0
