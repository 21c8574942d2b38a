"""A worker of the reference engine: classify, execute, and the slow path's side of both.

It is what a program sees (execute.Surroundings).  A packet that came in by a port which
has since been removed is charged to nobody.
"""

from __future__ import annotations

import errno
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vdp.engine.interface import (
    Count,
    EngineConfig,
    Match,
    MemoryPacket,
    Resolution,
    Resolve,
    UpcallReason,
    WorkerStats,
)
from vdp.engine.program import Action
from vdp.testing.reference.check import check
from vdp.testing.reference.classify import Flow, FlowTable, check_match
from vdp.testing.reference.control import is_control
from vdp.testing.reference.execute import run
from vdp.testing.reference.offload import load
from vdp.testing.reference.packet import REASONS, Lost, Packet
from vdp.testing.reference.ports import Port
from vdp.testing.reference.state import Arrival, State
from vdp.testing.reference.upcalls import Bucket, Held, Upcalls

BATCH = 64
MAX_DEPTH = 8
MAX_GROUP_LINE = 256


class Shared(Protocol):
    """What the workers of one engine share."""

    config: EngineConfig
    ports: dict[int, Port]
    counters: dict[int, Count]
    states: dict[int, State]
    headers: dict[int, bytes]
    groups: dict[int, tuple[int, ...]]

    def clock(self) -> int: ...
    def signal(self) -> None: ...


@dataclass(slots=True)
class Flood:
    """A packet on its way to the ports of a group, from the one at `next` on."""

    packet: Packet
    group: int
    besides: int
    next: int = 0


class Worker:
    """One worker: its flows, upcalls, rates and statistics."""

    def __init__(self, shared: Shared, index: int) -> None:
        self.shared = shared
        self.index = index
        config = shared.config
        self.flows = FlowTable(config.flows, config.masks, config.port_masks)
        self.upcalls = Upcalls(config.upcall_queue, config.packets // 2)
        self.upcall_rate = config.upcall_rate
        self.miss_rates: dict[int, Bucket] = {}
        self.control_rates: dict[int, Bucket] = {}
        self.action_rates: dict[int, Bucket] = {}
        self.previous: dict[int, Flow] = {}
        self.last_serial = 0
        self.cells_ready: list[Port] = []
        self.floods: deque[Flood] = deque()
        self.numbers: Counter[str] = Counter()

    # Receiving.

    def receive(self, port: Port) -> int:
        """One batch of what was injected into a memory port; how many packets were good."""
        batch: list[Packet] = []
        while port.received and len(batch) < BATCH:
            record = port.received.popleft()
            try:
                batch.append(self._load(port, record))
            except Lost as lost:
                port.books.update(rx_packets=1, rx_bytes=len(record.data), rx_segments=1)
                port.lose(lost.reason)
        self.run_batch(port, batch)
        return len(batch)

    def _load(self, port: Port, record: MemoryPacket) -> Packet:
        packet = Packet(bytearray(record.data), in_port=port.number)
        port.fresh_meta(packet)
        protocol = packet.meta[4:8]
        packet.meta[4:] = record.meta[4:]
        if not any(packet.meta[4:8]):
            packet.meta[4:8] = protocol
        load(packet, record.offload)
        return packet

    def run_batch(self, port: Port, batch: Sequence[Packet]) -> None:
        """Count, classify and execute what came in by one port."""
        for packet in batch:
            packet.in_port = port.number
            port.books.update(rx_packets=1, rx_bytes=len(packet.data), rx_segments=packet.segments)
        for packet in batch:
            if not port.up:
                port.lose(REASONS["port_down"])
                continue
            flow = self.lookup(packet)
            port.books["hits" if flow else "misses"] += 1
            if flow:
                self.hit(flow, packet)
            else:
                self.miss(packet)

    def settle(self) -> None:
        """What cells coalesced comes in again, until all is done; then the ports send."""
        while self.cells_ready:
            ready, self.cells_ready = self.cells_ready, []
            emptied = [(port, port.cell(self.index).flush()) for port in ready]
            for port, packets in emptied:
                port.books["tx_queued"] -= len(packets)
            for port, packets in emptied:
                for at in range(0, len(packets), BATCH):
                    self.run_batch(port, packets[at : at + BATCH])
        for port in self.shared.ports.values():
            port.flush()

    # Classifying.

    def lookup(self, packet: Packet) -> Flow | None:
        flow = self.flows.lookup(packet)
        self.numbers["lookups"] += 1
        if flow is None:
            self.numbers["misses"] += 1
            return None
        previous = self.previous.get(packet.in_port)
        self.numbers["previous_hits" if flow is previous else "table_hits"] += 1
        self.previous[packet.in_port] = flow
        return flow

    def hit(self, flow: Flow, packet: Packet) -> None:
        """Count a hit and run the flow's program."""
        flow.packets += 1
        flow.bytes += len(packet.data)
        flow.used_ns = self.shared.clock()
        run(self, packet, flow.program)

    def miss(self, packet: Packet) -> None:
        """Put the packet in line for the slow path, within the port's rate and its line's length.

        Control traffic has a line and a rate of its own; what is beyond them is as all else.
        """
        now = self.shared.clock()
        if self._takes_control(packet, now):
            self._send(packet, UpcallReason.MISS, is_control=True)
            return
        rate = self.upcall_rate
        bucket = self.miss_rates.setdefault(packet.in_port, Bucket(rate, rate))
        if bucket.take(now):
            self._send(packet, UpcallReason.MISS)
        else:
            self.numbers["upcalls_lost"] += 1
            self.drop(packet, REASONS["upcall_rate"])

    def _takes_control(self, packet: Packet, now: int) -> bool:
        rate = self.shared.config.control_rate
        if not rate or not is_control(packet) or self.upcalls.full(packet.in_port, is_control=True):
            return False
        return self.control_rates.setdefault(packet.in_port, Bucket(rate, rate)).take(now)

    def limit(self, rate: int) -> None:
        """Another rate of misses; what was saved of the old one counts no more than a second's worth."""
        if rate == self.upcall_rate:
            return
        self.upcall_rate = rate
        for number in self.shared.ports:
            before = self.miss_rates.get(number) or Bucket(rate, rate)
            made = self.miss_rates[number] = Bucket(rate, rate)
            made.tokens, made.filled_ns = min(made.tokens, before.tokens), before.filled_ns

    def _send(
        self, packet: Packet, reason: UpcallReason, cookie: int = 0, *, is_control: bool = False
    ) -> None:
        if self.upcalls.full(packet.in_port, is_control=is_control):
            self.numbers["upcalls_lost"] += 1
            self.drop(packet, REASONS["upcall_queue_full"])
            return
        self.charge(packet, "held", 1)
        self.charge(packet, "upcalls", 1)
        packet.waited = packet.waited or self.serial()
        self.upcalls.append(packet, reason, cookie, is_control=is_control)
        self.shared.signal()

    # What a program sees.

    def drop(self, packet: Packet, reason: int) -> None:
        self.account(packet, False)
        port = self.shared.ports.get(packet.in_port)
        if port:
            port.lose(reason)

    def output(self, packet: Packet, number: int) -> None:
        port = self.shared.ports.get(number)
        if port is None:
            raise Lost("no_port")
        if port.is_cell:
            packet.depth += 1
            if packet.depth > MAX_DEPTH:
                raise Lost("loop_guard")
        self.charge(packet, "forwarded", 1)
        if port.offer(packet, self.index, self.account) and port.is_cell and port not in self.cells_ready:
            self.cells_ready.append(port)

    def group(self, packet: Packet, group: int, besides: int) -> None:
        if len(self.floods) >= min(MAX_GROUP_LINE, self.shared.config.packets // 8):
            raise Lost("group_queue_full")
        self.floods.append(Flood(packet, group, besides))
        self.charge(packet, "held", 1)

    def flood(self) -> int:
        """An iteration's copies for groups; how many."""
        made = 0
        while made < BATCH and self.floods and self.upcalls.held < self.shared.config.packets // 4:
            made += 1
            self._flood_one(self.floods[0])
        return made

    def _flood_one(self, flood: Flood) -> None:
        """The flood's next port; the last one gets the packet itself."""
        ports = self.shared.groups.get(flood.group, ())[flood.next :]
        wanted = [at for at, port in enumerate(ports) if port != flood.besides]
        packet = flood.packet
        if len(wanted) > 1:
            flood.next += wanted[0] + 1
            self.charge(packet, "cloned", 1)
            packet = packet.copy()
        else:
            self.floods.popleft()
            self.charge(packet, "held", -1)
        try:
            self.output(packet, ports[wanted[0]] if wanted else 0)
        except Lost as lost:
            self.drop(packet, lost.reason)

    def account(self, packet: Packet, is_sent: bool) -> None:
        """vdp_account_sent, vdp_account_lost."""
        if packet.account is None:
            return
        sent, lost, lost_too, size = packet.account
        packet.account = None
        for counter in (sent,) if is_sent else (lost, lost_too):
            if counter:
                self.count(counter, size)

    def charge(self, packet: Packet, book: str, count: int) -> None:
        port = self.shared.ports.get(packet.in_port)
        if port:
            port.books[book] += count

    def cloned(self, packet: Packet, count: int) -> None:
        self.charge(packet, "cloned", count)

    def segmented(self, packet: Packet, count: int) -> None:
        self.charge(packet, "segmented", count)

    def ask(self, packet: Packet, cookie: int) -> None:
        rate = self.shared.config.action_rate
        bucket = self.action_rates.setdefault(packet.in_port, Bucket(rate, max(rate // 2, 1)))
        if not bucket.take(self.shared.clock()):
            self.numbers["actions_suppressed"] += 1
            return
        self.charge(packet, "cloned", 1)
        self._send(packet.copy(), UpcallReason.ACTION, cookie)

    def count(self, counter: int, size: int) -> None:
        before = self.shared.counters.get(counter)
        if before:
            self.shared.counters[counter] = Count(before.packets + 1, before.bytes + max(size, 0))

    def serial(self) -> int:
        self.last_serial += 1
        return self.last_serial

    def arrival(self, packet: Packet) -> Arrival:
        when = packet.waited or self.serial()
        return Arrival(self.index, when, bool(packet.waited), self.shared.config.workers > 1)

    def state(self, number: int) -> State:
        if number not in self.shared.states:
            raise Lost("handler_error")
        return self.shared.states[number]

    def header(self, number: int) -> bytes:
        if number not in self.shared.headers:
            raise Lost("handler_error")
        return self.shared.headers[number]

    def spend(self, number: int) -> bool:
        state = self.shared.states.get(number)
        return state is not None and state.spend()

    # The slow path's side.

    def resolve(self, resolutions: Sequence[Resolution]) -> list[int]:
        """Do as told with packets in hand: for each a flow id, 0, or a negative errno.

        First all that are in hand, which are the older ones, then those in line that now hit."""
        results = [self._resolve_one(resolution) for resolution in resolutions]
        for resolution, result in zip(resolutions, results, strict=True):
            flow = self.flows.flows.get(result)
            if resolution.kind == Resolve.INSTALL and flow:
                self.drain(flow)
        return results

    def drain(self, flow: Flow) -> None:
        """Run the misses in line that this flow takes, in order."""
        for held in self.upcalls.withdraw(flow.match.in_port, flow.takes):
            self.charge(held.packet, "held", -1)
            self.hit(flow, held.packet)

    def _resolve_one(self, resolution: Resolution) -> int:
        held = self.upcalls.taken.pop(resolution.token, None)
        if held is None:
            return -errno.EINVAL
        packet = held.packet
        self.charge(packet, "held", -1)
        match resolution.kind:
            case Resolve.INSTALL:
                return self._install(resolution, packet)
            case Resolve.EXECUTE:
                return self._run_once(resolution.program, packet)
            case Resolve.RETRY:
                self._retry(held)
            case Resolve.DROP:
                self.drop(packet, resolution.reason)
            case Resolve.CONSUME:
                self.charge(packet, "consumed", 1)
        return 0

    def _run_once(self, program: Sequence[Action], packet: Packet) -> int:
        try:
            check(program)
        except OSError as error:
            self.drop(packet, REASONS["handler_error"])
            return -(error.errno or errno.EINVAL)
        run(self, packet, program)
        return 0

    def _install(self, resolution: Resolution, packet: Packet) -> int:
        try:
            flow = self.install(resolution.match, resolution.program)
        except OSError as error:
            if error.errno == errno.EINVAL:
                self.drop(packet, REASONS["handler_error"])
            else:
                run(self, packet, resolution.program)
            return -(error.errno or errno.EINVAL)
        self.hit(flow, packet)
        return flow.id

    def install(self, match: Match | None, program: Sequence[Action]) -> Flow:
        """A new flow.  OSError: EINVAL, ENODEV (no such in-port), EEXIST, ENOSPC, E2BIG."""
        check(program)
        if match is None:
            raise OSError(errno.EINVAL, "match")
        check_match(match)
        if match.in_port not in self.shared.ports:
            raise OSError(errno.ENODEV, "in_port")
        return self.flows.install(match, program, self.shared.clock())

    def _retry(self, held: Held) -> None:
        flow = self.lookup(held.packet)
        if flow:
            self.hit(flow, held.packet)
            return
        self.charge(held.packet, "held", 1)
        self.upcalls.put_back(Held(held.token, held.packet, UpcallReason.MISS, held.cookie, held.is_control))

    def forget(self, number: int) -> None:
        """A port goes: its flows, and the packets held for it."""
        self.flows.remove([flow.id for flow in self.flows.flows.values() if flow.match.in_port == number])
        self.cells_ready = [port for port in self.cells_ready if port.number != number]
        self.previous.pop(number, None)
        self.miss_rates.pop(number, None)
        self.action_rates.pop(number, None)
        self.control_rates.pop(number, None)
        self.upcalls.clear(number)
        self.floods = deque(flood for flood in self.floods if flood.packet.in_port != number)

    def stats(self) -> WorkerStats:
        packets = self.shared.config.packets
        return WorkerStats(
            **self.numbers,
            flows=len(self.flows.flows),
            masks=len(self.flows.masks()),
            different_masks=len(self.flows.different_masks()),
            queue_lost=sum(port.queue_losses for port in self.shared.ports.values()),
            packets_free=packets,
            packets_total=packets,
        )
