"""Ports of the reference engine: memory ports and GRO cells, and their books."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vdp.engine.interface import (
    META_PROTOCOL,
    META_SIZE,
    META_TYPE,
    Feature,
    MemoryPacket,
    PacketType,
    PortConfig,
    PortStats,
    PortType,
)
from vdp.testing.reference.coalesce import Cell
from vdp.testing.reference.control import is_control
from vdp.testing.reference.gre import described, takes_headers
from vdp.testing.reference.offload import (
    check_checksum,
    covered,
    finish_checksum,
    store,
    version_ethertype,
)
from vdp.testing.reference.packet import REASONS, Lost, Packet

FLUSH_AT = 64
#: Parts of a fair queue that in-ports have, by number; and what of it is for control traffic alone.
SHARES, CONTROL_PART = 16, 8
#: What the engine's own queues lose.
QUEUES_FULL = frozenset(
    REASONS[name] for name in ("tx_queue_full", "cell_full", "group_queue_full", "no_buffer", "overload_shed")
)


@dataclass(slots=True, eq=False)
class Port:
    """A port, all its queues in one.  `tx`: taken, and not yet with whoever collects."""

    number: int
    config: PortConfig
    features: Feature
    up: bool = True
    is_fair: bool = False  # each in-port has a part of tx
    books: Counter[str] = field(default_factory=Counter)
    drops: Counter[int] = field(default_factory=Counter)
    received: deque[MemoryPacket] = field(default_factory=deque)
    tx: deque[Packet] = field(default_factory=deque)
    sent: deque[MemoryPacket] = field(default_factory=deque)
    cells: dict[int, Cell] = field(default_factory=dict)

    @property
    def is_cell(self) -> bool:
        return self.config.type == PortType.CELL

    def cell(self, worker: int) -> Cell:
        """The worker's own part of the cell."""
        cell = self.cells.setdefault(worker, Cell(self.config.tx_queue, self.features))
        cell.features = self.features
        return cell

    def stats(self) -> PortStats:
        sums: dict[str, Any] = dict(self.books)
        return PortStats(**sums, up=self.up, refuses=Feature.NONE)

    def fresh_meta(self, packet: Packet) -> None:
        """What a packet's metadata is on receive: the port's type, the version nibble's EtherType."""
        packet.meta[:] = bytes(META_SIZE)
        packet.set_word(META_TYPE, self.config.packet_type)
        if self.config.packet_type == PacketType.L3:
            packet.set_word(META_PROTOCOL, version_ethertype(packet.data))

    @property
    def queue_losses(self) -> int:
        """What full queues cost, as drops charged here have it."""
        return sum(self.drops[reason] for reason in QUEUES_FULL)

    def lose(self, reason: int) -> None:
        """One packet, before an output took it."""
        self.books["dropped"] += 1
        self.drops[reason] += 1

    def lose_offered(self, reason: int) -> None:
        """One packet that this port had taken over."""
        self.books["tx_dropped"] += 1
        self.drops[reason] += 1

    def _sheds(self, packet: Packet) -> bool:
        """Whether its in-port has its part already of a fair queue that fills up."""
        size = self.config.tx_queue
        if not self.is_fair or len(self.tx) < size // 2:
            return False
        data = size - size // CONTROL_PART
        shares = Counter(waiting.in_port % SHARES for waiting in self.tx)
        mine = shares.pop(packet.in_port % SHARES, 0)
        return (mine >= data // (len(shares) + 1) or len(self.tx) >= data) and not is_control(packet)

    def offer(self, packet: Packet, worker: int, account: Callable[[Packet, bool], None]) -> bool:
        """Take the packet over, to be sent or coalesced; False: refused at once.

        account: told whether it is taken.
        """
        self.books["offered"] += 1
        try:
            self._admit(packet)
        except Lost as lost:
            account(packet, False)
            self.lose_offered(lost.reason)
            return False
        if self.is_cell:
            account(packet, True)
            self._offer_cell(packet, worker)
        elif len(self.tx) >= self.config.tx_queue:
            account(packet, False)
            self.lose_offered(REASONS["tx_queue_full"])
        elif self._sheds(packet):
            account(packet, False)
            self.lose_offered(REASONS["overload_shed"])
        else:
            account(packet, True)
            self.tx.append(packet)
            self.books["tx_queued"] += 1
            if len(self.tx) >= min(FLUSH_AT, self.config.tx_queue):
                self.flush()
        return True

    def _admit(self, packet: Packet) -> None:
        """Raise Lost when the port refuses the packet at once; finish what it cannot."""
        if not self.up:
            raise Lost("port_down")
        if packet.word(META_TYPE) != self.config.packet_type:
            raise Lost("packet_type")
        if self.is_cell:
            return
        with_gre = Feature.GRE_TSO in self.features
        if packet.gso_type and not (covered(packet, self.features) and takes_headers(packet, with_gre)):
            raise Lost("gso_unsupported")
        if packet.needs_csum and not self.features & Feature.CSUM:
            finish_checksum(packet)

    def _offer_cell(self, packet: Packet, worker: int) -> None:
        try:
            if not packet.gso_type:
                check_checksum(packet)
        except Lost as lost:
            self.lose_offered(lost.reason)
            return
        match self.cell(worker).offer(packet):
            case "merged":
                self.books["merged"] += 1
            case "queued":
                self.books["tx_queued"] += 1
            case _:
                self.lose_offered(REASONS["cell_full"])

    def flush(self) -> None:
        """Hand waiting packets over, as long as there is room for them."""
        while self.tx and len(self.sent) < self.config.tx_queue:
            packet = self.tx.popleft()
            self.books["tx_queued"] -= 1
            try:
                offload = store(packet, described(packet))
            except Lost as lost:
                self.lose_offered(lost.reason)
                continue
            self.sent.append(MemoryPacket(bytes(packet.data), bytes(packet.meta), offload))
            self.books["tx_packets"] += 1
            self.books["tx_bytes"] += len(packet.data)
            self.books["tx_segments"] += packet.segments
