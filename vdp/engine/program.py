"""Actions and programs: what the engine does with a packet of a known flow.

A trace yields these (vdp.trace), the engine validates and runs them; engine.h
("Actions") is the authority on each one's meaning.  Offsets are bytes from the
packet's front at the time the action runs.  `otherwise` and `Clone.body` are
nested programs; `encode` lays them out behind the straight run, so that every
jump goes forward and a program always ends.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import field
from typing import ClassVar

from vdp.engine.record import record

NO_CHECKSUM = 0xFFFFFFFF
_ACTION = struct.Struct("=HHIII")


@record
class Action:
    """One step of a program.  `source` is the "file:line" of the plugin that asked for it."""

    op: ClassVar[int]
    name: ClassVar[str]
    source: str = field(default="", kw_only=True, compare=False)


@record
class Drop(Action):
    op = 0
    name = "drop"
    reason: int


@record
class Output(Action):
    op = 1
    name = "output"
    port: int


@record
class Clone(Action):
    op = 2
    name = "clone"
    body: tuple[Action, ...]


@record
class Pull(Action):
    op = 3
    name = "pull"
    size: int


@record
class Push(Action):
    op = 4
    name = "push"
    data: bytes


@record
class Set(Action):
    """Write the masked bits of 1 to 16 bytes; adjust the internet checksum at `checksum`, if any."""

    op = 5
    name = "set"
    offset: int
    mask: bytes
    value: bytes
    checksum: int | None = None


@record
class Copy(Action):
    op = 6
    name = "copy"
    to: int
    origin: int
    mask: int = 0xFF


@record
class Length(Action):
    """16-bit field at `offset` := bytes from `start` to the end, plus `addend`."""

    op = 7
    name = "length"
    offset: int
    start: int = 0
    addend: int = 0


@record
class Id(Action):
    op = 8
    name = "id"
    offset: int
    state: int


@record
class Sequence32(Action):
    op = 9
    name = "sequence"
    offset: int
    state: int


@record
class Checksum(Action):
    """Internet checksum over `size` bytes from `start` (0: to the end), into `offset`."""

    op = 10
    name = "checksum"
    offset: int
    start: int
    size: int = 0


@record
class Trim(Action):
    op = 11
    name = "trim"
    offset: int
    addend: int
    otherwise: tuple[Action, ...]


@record
class RequireChecksum(Action):
    op = 12
    name = "require_checksum"
    start: int
    size: int
    otherwise: tuple[Action, ...]


@record
class RequireLength(Action):
    op = 13
    name = "require_length"
    least: int
    most: int
    otherwise: tuple[Action, ...]
    per_segment: bool = False


@record
class RequireSequence(Action):
    """`otherwise` for a number behind the state's.

    explicit: no number stands for "none came in yet".  late: a number within the state's
    window passes once, too (without it only one whose packet waited for the slow path).
    """

    op = 14
    name = "require_sequence"
    offset: int
    state: int
    otherwise: tuple[Action, ...]
    explicit: bool = False
    late: bool = False


@record
class Ttl(Action):
    op = 15
    name = "ttl"
    version: int
    offset: int
    otherwise: tuple[Action, ...]


@record
class Count(Action):
    """One packet, and its length at this point plus `addend` bytes."""

    op = 16
    name = "count"
    counter: int
    addend: int = 0


SEGMENT_EQUAL = 0x100


@record
class Segment(Action):
    """Cut a super-packet unless `features` covers it; finish an unfinished checksum likewise."""

    op = 17
    name = "segment"
    features: int = 0
    most: int = 0
    #: Counter of packets that can not be cut, or finished; 0: none.
    failed: int = 0
    #: With GRE_TSO in features: bytes that a TCP super-packet about to be put into GRE may have,
    #: and its segments, to be left whole.
    longest: int = 0
    longest_segment: int = 0
    #: Those left whole are to have segments of one size: a last one that is shorter is cut off.
    equal: bool = False


@record
class Upcall(Action):
    """A copy to the slow path; with a state, only while its number is not zero, and one less each time."""

    op = 18
    name = "upcall"
    cookie: int
    state: int | None = None


@record
class Meta(Action):
    op = 19
    name = "meta"
    word: int
    value: int


@record
class MetaLoad(Action):
    op = 20
    name = "meta_load"
    word: int
    offset: int
    mask: int = 0xFFFFFFFF


@record
class Fragment(Action):
    """Cut the IPv4 packet at `offset` to at most `most` bytes each; `otherwise` where DF forbids it."""

    op = 21
    name = "fragment"
    offset: int
    most: int
    otherwise: tuple[Action, ...]


@record
class State32(Action):
    """32-bit field at `offset` := the state's number plus `addend`; the state stays."""

    op = 22
    name = "state"
    offset: int
    state: int
    addend: int = 0


@record
class Account(Action):
    """What becomes of the packet from here on: on `sent` when an output takes it, else on both of `lost`.

    Counters, 0 for none; one packet and the length that it has here, less `skip`.
    """

    op = 23
    name = "account"
    sent: int
    lost: int
    lost_too: int = 0
    skip: int = 0


@record
class Hash(Action):
    """The masked bits of the 16-bit field at `offset` := a hash of `size` bytes (4, 8 … 64) from `start`."""

    op = 24
    name = "hash"
    offset: int
    start: int
    size: int
    mask: int = 0xFFFF


@record
class UdpChecksum(Action):
    """The checksum of the UDP header at `offset`, behind the IP header at `network`, is left unfinished."""

    op = 25
    name = "udp_checksum"
    version: int
    network: int
    offset: int


@record
class RequireUdp(Action):
    """`otherwise` for a wrong UDP checksum, and for none (zero), unless `zero` may be."""

    op = 26
    name = "require_udp"
    version: int
    network: int
    offset: int
    otherwise: tuple[Action, ...]
    zero: bool = False


@record
class Group(Action):
    """A copy to each port of a group but one, some at a time (0: to all)."""

    op = 27
    name = "group"
    group: int
    besides: int = 0


@record
class WriteHeader(Action):
    """The bytes of an engine header, as they are when the packet comes, are written at `offset`."""

    op = 28
    name = "write_header"
    offset: int
    header: int


Program = tuple[Action, ...]
#: What a run of actions may end in.
ENDS = (Drop, Output, Group)


@record
class Encoded:
    """A program as the engine takes it: `count` structs vdp_action, and constants."""

    actions: bytes
    count: int
    blob: bytes


def _signed(number: int) -> int:
    """An int32 as the field of 32 bits that carries it."""
    if not -(1 << 31) <= number < 1 << 31:
        raise ValueError(f"{number} does not fit into 32 bits")
    return number & 0xFFFFFFFF


class _Assembler:
    """Lays out a program's straight run, then its branches, resolving forward jumps."""

    def __init__(self) -> None:
        self.rows: list[list[int]] = []
        self.blob = bytearray()
        self.pending: list[tuple[int, int, Sequence[Action]]] = []

    def constant(self, data: bytes) -> int:
        at = self.blob.find(data)
        if at < 0:
            at = len(self.blob)
            self.blob += data
        return at

    def branch(self, column: int, body: Sequence[Action]) -> int:
        """Remember that this row's `column` must point at `body` once that is laid out."""
        self.pending.append((len(self.rows), column, body))
        return 0

    def lay(self, actions: Sequence[Action]) -> None:
        # In the encoded form a run without an end would go on in the branch behind it.
        if not actions or not isinstance(actions[-1], ENDS):
            raise ValueError("a run of actions must end in Drop, Output or Group")
        for action in actions:
            # Evaluated before the append, so that branch() names this row.
            row = [action.op, *self.operands(action)]
            self.rows.append(row)

    def operands(self, action: Action) -> tuple[int, int, int, int]:
        match action:
            case Drop(reason):
                return 0, reason, 0, 0
            case Output(port):
                return 0, port, 0, 0
            case Clone(body):
                return 0, self.branch(2, body), 0, 0
            case Pull(size):
                return 0, size, 0, 0
            case Push(data):
                return 0, len(data), self.constant(data), 0
            case Set(offset, mask, value, checksum):
                if len(mask) != len(value):
                    raise ValueError("mask and value must have one size")
                at = self.constant(mask + value)
                return len(mask), offset, at, NO_CHECKSUM if checksum is None else checksum
            case Copy(to, origin, mask):
                return mask, to, origin, 0
            case Length(offset, start, addend):
                return 0, offset, start, _signed(addend)
            case Id(offset, state) | Sequence32(offset, state):
                return 0, offset, state, 0
            case WriteHeader(offset, header):
                return 0, offset, header, 0
            case Checksum(offset, start, size):
                return 0, offset, start, size
            case Trim(offset, addend, otherwise):
                return 0, offset, _signed(addend), self.branch(4, otherwise)
            case RequireChecksum(start, size, otherwise):
                return 0, start, size, self.branch(4, otherwise)
            case RequireLength(least, most, otherwise, per_segment):
                return int(per_segment), least, most, self.branch(4, otherwise)
            case RequireSequence(offset, state, otherwise, explicit, late):
                return int(explicit) | int(late) << 1, offset, state, self.branch(4, otherwise)
            case Ttl(version, offset, otherwise):
                return version, offset, 0, self.branch(4, otherwise)
            case Count(counter, addend):
                return 0, counter, _signed(addend), 0
            case Segment(features, most, failed, longest, longest_segment, equal):
                if max(longest, longest_segment) > 0xFFFF:
                    raise ValueError("what is put into an IP packet has less than 65536 bytes")
                return features | SEGMENT_EQUAL * equal, most, failed, longest_segment << 16 | longest
            case Upcall(cookie, state):
                return int(state is not None), cookie, state or 0, 0
            case Meta(word, value):
                return word, value, 0, 0
            case Fragment(offset, most, otherwise):
                return 0, most, offset, self.branch(4, otherwise)
            case MetaLoad(word, offset, mask):
                return word, offset, mask, 0
            case Account(sent, lost, lost_too, skip):
                return skip, sent, lost, lost_too
            case State32(offset, state, addend):
                return 0, offset, state, _signed(addend)
            case Hash(offset, start, size, mask):
                return mask, offset, start, size
            case UdpChecksum(version, network, offset):
                return version, network, offset, 0
            case RequireUdp(version, network, offset, otherwise, zero):
                return version | int(zero) << 4, network, offset, self.branch(4, otherwise)
            case Group(group, besides):
                return 0, group, besides, 0
        raise TypeError(f"not an action: {action!r}")


def encode(program: Sequence[Action]) -> Encoded:
    """Lay `program` out for the engine.

    Raises TypeError for what is not an action, ValueError for a run that does not end and
    for a number that does not fit its field.
    """
    assembler = _Assembler()
    assembler.lay(program)
    laid: dict[tuple[Action, ...], int] = {}
    done = 0
    # A branch may have branches of its own: they are laid out behind it, in turn.
    # Equal branches share one copy as long as the jump still goes forward.
    while done < len(assembler.pending):
        row, column, body = assembler.pending[done]
        done += 1
        key = tuple(body)
        target = laid.get(key, -1)
        if target <= row:
            target = len(assembler.rows)
            laid[key] = target
            assembler.lay(body)
        assembler.rows[row][column] = target
    try:
        packed = b"".join(_ACTION.pack(*row) for row in assembler.rows)
    except struct.error as error:
        raise ValueError(str(error)) from error
    return Encoded(packed, len(assembler.rows), bytes(assembler.blob))
