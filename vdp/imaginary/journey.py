"""A packet's way through traces and programs, from cell to cell, until all of it has left or is lost.

    passage:  looked up as received by a port or cell ─► traced ─► its program runs on the bytes
       ├─ output to a port: left        ├─ output to a cell: another passage, once the cell is emptied
       └─ a copy for the slow path: where that is an ICMP error, a passage of its own

The handlers are the dataplane's own (a rehearsal: vdp.rehearsal), programs run in the reference
engine's executor over a mirror of ports and states (vdp.imaginary.mirror).  Nothing changes.
What limits keep away (upcall_rate, action_rate, full queues) is not looked at: they depend on
what else goes on.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vdp.cookies import Answer
from vdp.engine.interface import META_PROTOCOL, META_TYPE, PacketType, Upcall, UpcallReason, meta_of
from vdp.engine.program import Action
from vdp.imaginary.mirror import Mirror, arriving, refusal
from vdp.links.link import Link
from vdp.links.paths import PathPending
from vdp.rehearsal import Offer, Rehearsal
from vdp.testing.reference.execute import run
from vdp.testing.reference.packet import REASONS, Lost, Packet
from vdp.testing.reference.ports import Port as MirroredPort
from vdp.testing.reference.state import Arrival, State
from vdp.testing.reference.upcalls import MOST_DATA
from vdp.testing.reference.worker import MAX_DEPTH

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.flows import Flow
    from vdp.ports.port import Port
    from vdp.trace import Guard, Trace


@dataclass(slots=True)
class End:
    """What became of a packet or copy: answer.EndRow says the kinds."""

    kind: str
    member: str = ""
    reason: str = ""
    text: str = ""
    data: bytes = b""
    segments: int = 1
    segment_size: int = 0
    packet_type: PacketType = PacketType.L3
    protocol: int = 0
    #: Of a copy for the slow path: the passage of what is sent for it.
    passage: int | None = None


@dataclass(slots=True)
class Passage:
    """One classification: a packet that came in somewhere, what was decided, what became of it.

    cause: received, cell (out of the GRO cell of `member`), flooded (towards `member` of a large
    bridge), answer (made by vdp for an upcall).
    """

    cause: str
    member: str
    packet_type: PacketType
    protocol: int
    before: bytes
    segments: int
    segment_size: int
    parent: int | None = None
    offers: list[Offer] = field(default_factory=list)
    guards: list[Guard] = field(default_factory=list)
    program: Sequence[Action] = ()
    cacheable: bool = True
    #: The megaflow that takes such packets already, and whether it does what is decided now.
    flow: Flow | None = None
    is_agreed: bool = True
    waits: str = ""
    said: list[str] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)


class Journey:
    """What programs see of the engine (execute.Surroundings), for one imaginary packet."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._mirror = Mirror(datapath)
        self.passages: list[Passage] = []
        self._here: Passage
        self._parent: dict[int, int] = {}  # passage that put something into a cell, by the cell's port
        self._filled: list[MirroredPort] = []
        self._floods: list[tuple[Packet, int, int]] = []
        self._answers: list[tuple[End, Answer]] = []

    # -- the way --------------------------------------------------------------------------

    def receive(self, member: Port | Link, data: bytes, segment_size: int = 0) -> None:
        """The packet comes in by that port, or out of that link's cell; go on until nothing is left."""
        rehearsal = Rehearsal()
        try:
            try:
                packet = arriving(self._datapath, member, data, segment_size)
            except Lost as lost:
                packet = Packet(bytearray(data), in_port=member.number)
                packet.meta[:] = meta_of(member.packet_type, 0)
                self._begin("received", packet)
                self._lose(packet, lost.reason)
                return
            self._pass("received", packet, rehearsal)
            self._settle(rehearsal)
        finally:
            rehearsal.registered.undo()

    def _settle(self, rehearsal: Rehearsal) -> None:
        while self._filled or self._floods or self._answers:
            while self._floods:
                self._flood(*self._floods.pop(0))
            filled, self._filled = self._filled, []
            emptied = [(port, port.cell(0).flush()) for port in filled]
            for port, packets in emptied:
                is_outlet = self._datapath.port_by_number(port.number) is None
                for packet in packets:
                    packet.in_port = port.number
                    cause = "flooded" if is_outlet else "cell"
                    self._pass(cause, packet, rehearsal, self._parent[port.number])
            if not self._filled and not self._floods and self._answers:
                self._send(*self._answers.pop(0), rehearsal)

    def _begin(self, cause: str, packet: Packet, parent: int | None = None) -> Passage:
        passage = Passage(
            cause,
            self._mirror.name(packet.in_port),
            PacketType(packet.word(META_TYPE)),
            packet.word(META_PROTOCOL),
            bytes(packet.data),
            packet.segments,
            packet.gso_size,
            parent,
        )
        self.passages.append(passage)
        self._here = passage
        return passage

    def _pass(self, cause: str, packet: Packet, rehearsal: Rehearsal, parent: int | None = None) -> None:
        """Look it up, trace it, run what the datapath would run."""
        passage = self._begin(cause, packet, parent)
        port = self._mirror.port(packet.in_port)
        if port is None or not port.up:
            self._lose(packet, REASONS["port_down"])
            return
        passage.flow = megaflow(self._datapath, packet)
        packet.waited = int(passage.flow is None)
        try:
            with rehearsing(self._datapath, rehearsal, passage):
                trace, program = self._datapath.trace(
                    packet.in_port, bytes(packet.data[:MOST_DATA]), len(packet.data), bytes(packet.meta)
                )
        except PathPending as pending:
            passage.waits = str(pending)
            if passage.flow is None:
                passage.ends.append(_end("held", packet, passage.member))
                passage.ends[-1].text = str(pending)
                return
            program = passage.flow.program
        else:
            self._note(passage, trace, program)
        if passage.flow is not None:
            passage.is_agreed = passage.flow.program == program
            passage.program = program = passage.flow.program
        self._run(packet, program)

    @staticmethod
    def _note(passage: Passage, trace: Trace, program: Sequence[Action]) -> None:
        passage.guards, passage.cacheable = trace.guards, trace.cacheable
        passage.program = program

    def _run(self, packet: Packet, program: Sequence[Action]) -> None:
        try:
            self._datapath.engine.check_program(program)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._lose(packet, REASONS["handler_error"])
            return
        run(self, packet, program)

    def _send(self, asked: End, answer: Answer, rehearsal: Rehearsal) -> None:
        """What vdp sends for an upcall: Datapath.send."""
        datapath = self._datapath
        asked.passage = len(self.passages)
        packet = Packet(bytearray(answer.data), in_port=datapath.number_of(answer.member))
        packet.meta[:] = meta_of(answer.packet_type, answer.protocol)
        passage = self._begin("answer", packet)
        try:
            with rehearsing(datapath, rehearsal, passage):
                trace, program = datapath.sending(*answer[:4])
        except PathPending as pending:
            passage.waits = str(pending)
            passage.ends.append(_end("unsent", packet, passage.member))
            passage.ends[-1].text = str(pending)
            return
        self._note(passage, trace, program)
        self._run(packet, program)

    def _flood(self, packet: Packet, group: int, besides: int) -> None:
        """A copy to each port of the group but one."""
        ports = [number for number in self._mirror.group(group) if number != besides]
        if not ports:
            self._lose(packet, REASONS["no_port"])
        for number in ports:
            copy = packet.copy()
            try:
                self.output(copy, number)
            except Lost as lost:
                self._lose(copy, lost.reason)

    def _lose(self, packet: Packet, reason: int, member: str = "") -> None:
        end = _end("dropped", packet, member or self._mirror.name(packet.in_port))
        end.reason, end.text = self._datapath.drops.name(reason), self._datapath.drops.text(reason)
        self._here.ends.append(end)

    # -- execute.Surroundings ---------------------------------------------------------------

    def drop(self, packet: Packet, reason: int) -> None:
        self._lose(packet, reason)

    def output(self, packet: Packet, port: int) -> None:
        mirrored = self._mirror.port(port)
        if mirrored is None:
            raise Lost("no_port")
        if mirrored.is_cell:
            packet.depth += 1
            if packet.depth > MAX_DEPTH:
                raise Lost("loop_guard")
        name = self._mirror.name(port)
        end = _end("entered", packet, name)
        reason = refusal(mirrored, packet)
        if reason is not None:
            self._lose(packet, reason, name)
            return
        before, merged = mirrored.drops.copy(), mirrored.books["merged"]
        mirrored.offer(packet, 0, self.account)
        mirrored.flush()
        lost = [reason for reason in mirrored.drops if mirrored.drops[reason] > before[reason]]
        if lost:
            self._lose(packet, lost[0], name)
        elif not mirrored.is_cell:
            sent = mirrored.sent.popleft()
            end.kind, end.data, end.segment_size = "sent", sent.data, sent.offload.gso_size
            self._here.ends.append(end)
        else:
            end.kind = "merged" if mirrored.books["merged"] > merged else "entered"
            self._here.ends.append(end)
            self._parent[port] = self.passages.index(self._here)
            if mirrored not in self._filled:
                self._filled.append(mirrored)

    def group(self, packet: Packet, group: int, besides: int) -> None:
        self._floods.append((packet, group, besides))

    def ask(self, packet: Packet, cookie: int) -> None:
        end, data = _end("asked", packet), bytes(packet.data)
        upcall = Upcall(
            0, packet.in_port, len(data), UpcallReason.ACTION, cookie, bytes(packet.meta), data[:MOST_DATA]
        )
        called, foretell = self._datapath.cookies.called(cookie), self._datapath.cookies.foretell(cookie)
        answer = foretell(upcall) if foretell is not None else None
        if foretell is None:
            whom = "nobody: its plugin is gone" if called is None else called.name
            end.text = f"a copy goes to {whom}; what that does is not tried"
        elif answer is None:
            end.text = "its sender would be told, but must not be (RFC 1122 3.2.2, RFC 4443 2.4)"
        elif answer.withheld:
            end.text = f"its sender is not told: {answer.withheld}"
        else:
            end.text = "its sender is told"
            self._answers.append((end, answer))
        self._here.ends.append(end)

    def cloned(self, packet: Packet, count: int) -> None:
        return

    def segmented(self, packet: Packet, count: int) -> None:
        return

    def count(self, counter: int, size: int) -> None:
        return

    def account(self, packet: Packet, is_sent: bool) -> None:
        packet.account = None

    def state(self, number: int) -> State:
        return self._mirror.state(number)

    def header(self, number: int) -> bytes:
        data = self._datapath.engine.read_header(number)
        if not data:
            raise Lost("handler_error")
        return data

    def arrival(self, packet: Packet) -> Arrival:
        return Arrival(0, 1, bool(packet.waited), self._datapath.engine.workers > 1)

    def spend(self, number: int) -> bool:
        try:
            return self._mirror.state(number).spend()
        except Lost:
            return False


@contextmanager
def rehearsing(datapath: Datapath, rehearsal: Rehearsal, passage: Passage) -> Iterator[None]:
    """For a block: what the datapath traces is an imaginary packet's, and its passage notes it."""
    rehearsal.turn_to(passage.offers, passage.said)
    datapath.rehearsal = rehearsal
    try:
        yield
    finally:
        datapath.rehearsal = None


def megaflow(datapath: Datapath, packet: Packet) -> Flow | None:
    """A megaflow that takes the packet, of any worker."""
    length, window = len(packet.data), int.from_bytes(bytes(packet.data[:256]).ljust(256, b"\0"), "big")
    meta = int.from_bytes(packet.meta, "big")
    wanted: dict[tuple[bytes, bytes], tuple[bytes, bytes]] = {}
    for flow in datapath.slowpath.index.flows.values():
        match = flow.match
        if match.in_port != packet.in_port or not match.min_length <= length <= match.max_length:
            continue
        masks = match.mask, match.meta_mask
        found = wanted.get(masks)
        if found is None:
            size = len(match.mask)
            value = window >> 8 * (256 - size) & int.from_bytes(match.mask, "big")
            meta_value = meta & int.from_bytes(match.meta_mask, "big")
            found = wanted[masks] = value.to_bytes(size, "big"), meta_value.to_bytes(len(packet.meta), "big")
        if found == (match.value, match.meta_value):
            return flow
    return None


def _end(kind: str, packet: Packet, member: str = "") -> End:
    packet_type = PacketType(packet.word(META_TYPE))
    return End(
        kind, member, "", "", bytes(packet.data), packet.segments, packet.gso_size,
        packet_type, packet.word(META_PROTOCOL),
    )  # fmt: skip
