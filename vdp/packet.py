"""The traced view of a packet: what a protocol handler sees and does.

Every read is a guard on the packet as it came in; every effect is an action that the
engine will repeat for each packet of the flow.  Bytes that the trace itself put there
are constants.  Bytes that only the engine will know (lengths, checksums, sequence
numbers it fills in) can not be read.  A handler sees the first packet of a flow only.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from vdp.checkpoint import Checkpoint as _State
from vdp.engine import program as act
from vdp.engine.interface import MAX_LENGTH, META_DEVICE, META_PROTOCOL, META_REG, META_TYPE, PacketType
from vdp.engine.record import record
from vdp.header import (
    Fill,
    FillChecksum,
    FillCopy,
    FillHash,
    FillId,
    FillLength,
    FillSequence,
    FillState,
    Header,
)
from vdp.trace import Trace, TraceError, Truncated, calling_line
from vdp.verdict import Verdict

H = TypeVar("H", bound=Header)
Counter = int | tuple[int, int]  # a counter, or a counter and an addend to the bytes

#: Where the checksum is in a UDP header.
UDP_CHECKSUM_AT = 6
#: Bytes that one SET action writes.
MOST_SET = 16


@dataclass(frozen=True, slots=True)
class Place:
    """Where a header lies: at an offset of the packet as it came in, or among pushed bytes."""

    original: bool
    offset: int  # from the front as it came in; for pushed bytes: distance to their end
    pushed: bytes = b""  # the constants, when not original; as they were, should they be pulled
    known: bytes = b""
    cuts: int = 0  # pulls into pushed bytes before this place was taken


class Packet:
    """One packet under trace.  Offsets are bytes from its present front."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.actions: list[act.Action] = trace.actions
        self._base = 0  # bytes of the original that are pulled
        self._pushed = b""
        self._known = b""  # for each pushed byte, the bits that are constants
        self._cuts: tuple[int, ...] = ()  # pushed bytes left by each pull that took some
        self._overlay: dict[int, tuple[int, int, int]] = {}  # original offset: set bits, value, unknown bits
        self._meta: dict[int, int | None] = {}  # words written; None: only the engine knows
        self._trimmed = False
        self._ensured = 0  # bytes from the front that are certainly there, behind a trim
        self._done = False
        #: No super-packet and no unfinished checksum any more: all offloads are settled.
        self.plain = False
        #: UDP port that it came to, where the protocol inside is looked at as if it had not; else 0.
        self.encap_port = 0
        #: Next hop of the route that it was forwarded by (skb_dst); any: its own destination is on
        #: the link.  None: no route was asked.
        self.next_hop: IPv4Address | IPv6Address | None = None

    # -- reading: guards ------------------------------------------------------------------

    @property
    def in_port(self) -> int:
        """Number of the port that it came in by (a flow belongs to one in-port: no guard)."""
        return self.trace.in_port

    @property
    def packet_type(self) -> PacketType:
        """L2 (an Ethernet frame) or L3."""
        return PacketType(self.meta(META_TYPE))

    @property
    def protocol(self) -> int:
        """EtherType of an L3 packet; 0 for L2."""
        return self.meta(META_PROTOCOL)

    def meta(self, word: int, mask: int = 0xFFFFFFFF) -> int:
        """Bits of a 32-bit metadata word (engine.h, enum vdp_meta_word)."""
        if word in self._meta:
            written = self._meta[word]
            if written is None:
                raise TraceError(f"metadata word {word} is loaded from each packet and can not be read here")
            return written & mask
        return self.trace.guard_meta(word, mask)

    def register(self, number: int, mask: int = 0xFFFFFFFF) -> int:
        """Bits of metadata register 0 to 4; zero on receive."""
        return self.meta(self._register_word(number), mask)

    def has(self, size: int) -> bool:
        """Whether at least `size` bytes are there.

        A guard on the length as received.  Behind a trim only the engine knows the length:
        the answer then is what the first packet says, and `require_length` makes it binding.
        """
        beyond = size - len(self._pushed)
        return beyond <= 0 or self.trace.has(self._base + beyond)

    def header(self, kind: type[H], offset: int = 0) -> H:
        """The header at `offset`.  Truncated (the packet is dropped) where it is not all there."""
        self._reach(offset + kind.SIZE, kind.__name__)
        return kind(self, self._place(offset, kind.SIZE))

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes at `offset`, all of them guarded."""
        self._reach(offset + size, "what is read")
        return self.read_bits(self._place(offset, size), 0, size * 8).to_bytes(size, "big")

    def read_masked(self, offset: int, mask: bytes) -> bytes:
        """The masked bits of the bytes at `offset`; only those are guarded."""
        self._reach(offset + len(mask), "what is read")
        place = self._place(offset, len(mask))
        if not place.original:
            self._require_known(place.known, mask)
            return bytes(m & b for m, b in zip(mask, place.pushed, strict=True))
        return self._read_original(place.offset, mask, "").to_bytes(len(mask), "big")

    def read_bits(self, place: Place, start: int, width: int, label: str = "") -> int:
        """`width` bits from bit `start` of what lies at `place`, as a big-endian number."""
        first, last = start // 8, (start + width + 7) // 8
        shift = last * 8 - start - width
        mask = (((1 << width) - 1) << shift).to_bytes(last - first, "big")
        if not place.original:
            place = self._present(place)
            self._require_known(place.known[first:last], mask)
            value = int.from_bytes(place.pushed[first:last], "big")
        else:
            value = self._read_original(place.offset + first, mask, label)
        return value >> shift & ((1 << width) - 1)

    def _reach(self, size: int, what: str) -> None:
        """See to it that `size` bytes are there; behind a trim, that they are in each packet."""
        if not self.has(size):
            raise Truncated(f"{what} needs {size} bytes")
        if self._trimmed:
            self.require_length(size)

    def _read_original(self, offset: int, mask: bytes, label: str) -> int:
        if not self._overlay:
            return int.from_bytes(self.trace.guard_bits(offset, mask, label), "big")
        ask = bytearray(mask)
        constant = bytearray(len(mask))
        for index in range(len(mask)):
            overlaid, value, unknown = self._overlay.get(offset + index, (0, 0, 0))
            if unknown & mask[index]:
                raise TraceError(f"byte {offset + index} is written by the engine and can not be read")
            ask[index] &= ~overlaid
            constant[index] = value & overlaid
        read = self.trace.guard_bits(offset, bytes(ask), label) if any(ask) else bytes(len(mask))
        return int.from_bytes(bytes(r | c for r, c in zip(read, constant, strict=True)), "big")

    @staticmethod
    def _require_known(known: bytes, mask: bytes) -> None:
        if any(m & ~k for m, k in zip(mask, known, strict=True)):
            raise TraceError("a field that the engine fills in for each packet can not be read")

    def _place(self, offset: int, size: int) -> Place:
        ahead = len(self._pushed)
        if offset >= ahead:
            return Place(True, self._base + offset - ahead)
        if offset + size > ahead:
            raise TraceError("a header half pushed, half received can not be read")
        end = offset + size
        return Place(
            False, ahead - offset, self._pushed[offset:end], self._known[offset:end], len(self._cuts)
        )

    def _was_pulled(self, place: Place) -> bool:
        """Whether pushed bytes were taken off since: what lies there now, if any, is another's."""
        return any(left < place.offset for left in self._cuts[place.cuts :])

    def _present(self, place: Place) -> Place:
        """Pushed bytes as they are now, or were when they were pulled."""
        if self._was_pulled(place):
            return place
        return self._place(len(self._pushed) - place.offset, len(place.pushed))

    def offset_of(self, place: Place) -> int:
        """Where `place` is from the present front; TraceError when it was pulled off."""
        if place.original:
            offset = place.offset - self._base + len(self._pushed)
            if place.offset < self._base:
                raise TraceError("the header was pulled: its fields can be read, not changed")
            return offset
        if self._was_pulled(place):
            raise TraceError("the header was pulled: its fields can be read, not changed")
        return len(self._pushed) - place.offset

    # -- what a trace depends on beside the packet ------------------------------------------

    def uncacheable(self) -> None:
        """Every packet like this one comes to Python (rate limited); nothing is installed."""
        self.trace.cacheable = False

    def depends(self, tag: Hashable, instead_of: Hashable = None) -> None:
        """The decision rests on `tag` too: when that is invalidated, the flow is traced again.

        instead_of: a tag that it rested on until its own commit changed what that stands for.
        """
        self.trace.depends.discard(instead_of)
        self.trace.depends.add(tag)

    def on_commit(self, effect: Callable[[], None]) -> None:
        """Run `effect` once if this trace is put to use (not for an imaginary packet)."""
        self.trace.effects.append(effect)

    def on_hit(self, touch: Callable[[int], None]) -> None:
        """Tell `touch` the time (ns) of the flow's last hit, from time to time."""
        self.trace.touches.append(touch)

    # -- effects: actions -------------------------------------------------------------------

    def pull(self, size: int) -> None:
        """Take `size` bytes off the front."""
        if size == 0:
            return
        if not self.has(size):
            raise Truncated(f"{size} bytes to pull are needed")
        self._emit(act.Pull(size, source=calling_line()))
        ahead = len(self._pushed)
        self._base += max(0, size - ahead)
        self._ensured = max(0, self._ensured - size)
        self._pushed, self._known = self._pushed[size:], self._known[size:]
        if ahead:
            self._cuts += (len(self._pushed),)

    def push(self, data: bytes) -> None:
        """Put constant bytes in front."""
        self._emit(act.Push(data, source=calling_line()))
        self._pushed = data + self._pushed
        self._known = b"\xff" * len(data) + self._known
        self._ensured += len(data)

    def fill(self, offset: int, fill: Fill) -> None:
        """Have the engine write a field for each packet; see vdp.header's Fill classes."""
        source = calling_line()
        match fill:
            case FillLength(start, addend):
                self._emit(act.Length(offset, start, addend, source=source))
                self._forget(offset, 2)
            case FillId(state):
                self._emit(act.Id(offset, state, source=source))
                self._forget(offset, 2)
            case FillSequence(state):
                self._emit(act.Sequence32(offset, state, source=source))
                self._forget(offset, 4)
            case FillState(state, addend):
                self._emit(act.State32(offset, state, addend, source=source))
                self._forget(offset, 4)
            case FillChecksum(start, size):
                self._emit(act.Checksum(offset, start, size, source=source))
                self._forget(offset, 2)
            case FillCopy(distance, mask):
                self._emit(act.Copy(offset, distance, mask, source=source))
                self._forget(offset, 1, bytes([mask]))
            case FillHash(distance, size, mask):
                self._emit(act.Hash(offset, distance, size, mask, source=source))
                self._forget(offset, 2, mask.to_bytes(2, "big"))

    def write_header(self, offset: int, size: int, header: int) -> None:
        """Have the engine write the bytes that its header, of that size, holds when a packet comes."""
        self._emit(act.WriteHeader(offset, header, source=calling_line()))
        self._forget(offset, size)

    def udp_checksum(self, version: int, network: int, offset: int) -> None:
        """Have the checksum of the UDP header at `offset` computed: by the output, if it does that.

        `network`: where its IP header is, of that version, with the addresses written.
        """
        self._emit(act.UdpChecksum(version, network, offset, source=calling_line()))
        self._forget(offset + UDP_CHECKSUM_AT, 2)
        self.plain = False

    def set(self, offset: int, mask: bytes, value: bytes, checksum: int | None = None) -> None:
        """Write the masked bits of some bytes, adjusting an internet checksum (RFC 1624)."""
        if not self.has(offset + len(mask)):
            raise Truncated("the bytes to set are not there")
        value = bytes(v & m for v, m in zip(value, mask, strict=True))
        source = calling_line()
        for at in range(0, len(mask), MOST_SET):
            part = mask[at : at + MOST_SET]
            if any(part):
                self._emit(act.Set(offset + at, part, value[at : at + MOST_SET], checksum, source=source))
        for index, (m, v) in enumerate(zip(mask, value, strict=True)):
            self._write(offset + index, m, v, 0)
        if checksum is not None:
            self._forget(checksum, 2)

    def trim(self, offset: int, addend: int, otherwise: act.Program) -> None:
        """Cut to the 16-bit length field at `offset` plus `addend` bytes; `otherwise` when shorter."""
        self._emit(act.Trim(offset, addend, otherwise, source=calling_line()))
        self._trimmed = True
        self._ensured = len(self._pushed)

    def require_length(
        self,
        least: int,
        otherwise: act.Program | None = None,
        most: int = MAX_LENGTH,
        per_segment: bool = False,
    ) -> None:
        """Each packet must have `least` to `most` bytes here, as the engine sees it."""
        if self._trimmed and least <= self._ensured and most >= MAX_LENGTH:
            return
        branch = otherwise if otherwise is not None else self.otherwise("parse_truncated")
        self._ensured = max(self._ensured, least)
        self._emit(act.RequireLength(least, most, branch, per_segment, source=calling_line()))

    def require_checksum(self, start: int, size: int, otherwise: act.Program) -> None:
        """The internet checksum over `size` bytes from `start` (0: to the end) must be good."""
        self._emit(act.RequireChecksum(start, size, otherwise, source=calling_line()))

    def require_udp_checksum(
        self, version: int, network: int, offset: int, otherwise: act.Program, zero: bool = False
    ) -> None:
        """The checksum of the UDP header at `offset`, behind the IP header at `network`, must be good.

        zero: none, which a checksum of zero stands for, is good too.
        """
        self._emit(act.RequireUdp(version, network, offset, otherwise, zero, source=calling_line()))

    def require_sequence(
        self, offset: int, state: int, otherwise: act.Program, explicit: bool = False, late: bool = False
    ) -> None:
        """The number in the 4 bytes at `offset` must not be behind what engine state `state` expects.

        All 32 bits count, and wrap at 2^32: a narrower number (L2TPv3 has 24 bits) goes by
        only until it wraps, and what shares its 4 bytes must be the same in all packets.

        explicit: only the first packet ever may have any number; else, as in Linux, also the
        one after each wrap.  A state made by `datapath.states.window` tells numbers that come late from
        those that come twice: late lets them pass.  (Without it only one does that waited for
        the slow path, and was overtaken there by packets of flows that are known.)
        """
        self._emit(act.RequireSequence(offset, state, otherwise, explicit, late, source=calling_line()))

    def fragment(self, offset: int, most: int, otherwise: act.Program) -> None:
        """Cut the IPv4 packet at `offset` into fragments of at most `most` bytes; `otherwise` with DF."""
        self._emit(act.Fragment(offset, most, otherwise, source=calling_line()))
        for at, mask in ((2, b"\xff\xff"), (6, b"\x3f\xff"), (10, b"\xff\xff")):
            self._forget(offset + at, 2, mask)  # total length, all of flags and offset but DF, checksum

    def decrement_ttl(self, version: int, offset: int, otherwise: act.Program) -> None:
        """Take one off the TTL (4) or hop limit (6) of the IP header at `offset`."""
        self._emit(act.Ttl(version, offset, otherwise, source=calling_line()))
        at = offset + (8 if version == 4 else 7)
        self._forget(at, 1)
        if version == 4:
            self._forget(offset + 10, 2)

    def count(self, *counters: Counter) -> None:
        """One packet and its present length (plus an addend) on each counter."""
        for action in self._counts(counters):
            self._emit(action)

    def account(self, sent: int, lost: int, lost_too: int = 0, skip: int = 0) -> None:
        """From here on: a packet that an output takes counts on `sent`, one that is lost on both of `lost`.

        Counters, 0 for none; bytes are those that it has now, less `skip`.
        """
        self._emit(act.Account(sent, lost, lost_too, skip, source=calling_line()))

    def count_since(self, state: _State, counter: int) -> None:
        """Count each packet that comes by the checkpoint, also if its run has ended since."""
        self.actions.insert(state.actions, _Tally(counter, source=calling_line()))

    def segment(
        self,
        features: int = 0,
        most: int = 0,
        failed: int = 0,
        *,
        longest: int = 0,
        longest_segment: int = 0,
        equal: bool = False,
    ) -> None:
        """Cut super-packets and finish checksums that `features` does not cover; `failed` counts those
        of which that can not be done (0: no counter), which are dropped.

        With Feature.GRE_TSO: TCP super-packets of at most `longest` bytes, with segments of at most
        `longest_segment`, are left whole, to be put into GRE; equal: but for a shorter last one."""
        limits = (longest, longest_segment, equal)
        self._emit(act.Segment(features, most, failed, *limits, source=calling_line()))

    def set_meta(self, word: int, value: int) -> None:
        """Write a metadata word."""
        self._emit(act.Meta(word, value, source=calling_line()))
        self._meta[word] = value

    def set_register(self, number: int, value: int) -> None:
        """Write metadata register 0 to 4."""
        self.set_meta(self._register_word(number), value)

    def load_register(self, number: int, offset: int, mask: int = 0xFFFFFFFF) -> None:
        """Load a register from the 32 bits at `offset` of each packet."""
        if not self.has(offset + 4):
            raise Truncated("the bytes to load are not there")
        word = self._register_word(number)
        self._emit(act.MetaLoad(word, offset, mask, source=calling_line()))
        self._meta[word] = None

    def set_type(self, packet_type: PacketType, protocol: int = 0) -> None:
        """From here on it is a frame, or a layer-3 packet of that EtherType."""
        self.set_meta(META_TYPE, int(packet_type))
        self.set_meta(META_PROTOCOL, protocol)

    def scrub(self) -> None:
        """Forget what handlers noted in the registers (skb_scrub_packet)."""
        for word in range(META_REG, META_DEVICE):
            if self._meta.get(word, 0) != 0 or (word not in self._meta and self.trace.guard_meta(word)):
                self.set_meta(word, 0)

    def upcall(self, cookie: int, state: int | None = None) -> None:
        """Send a copy to the slow path (rate limited), then go on; see Datapath.add_cookie.

        With an engine state, only while its number is not zero; each packet takes one from it.
        """
        self._emit(act.Upcall(cookie, state, source=calling_line()))

    def clone(self) -> Packet:
        """A copy that goes its own way from here; it must end in an output or a drop too."""
        copy = Packet(self.trace)
        copy._base, copy._pushed, copy._known = self._base, self._pushed, self._known
        copy._cuts = self._cuts
        copy._overlay, copy._meta = dict(self._overlay), dict(self._meta)
        copy._trimmed, copy._ensured = self._trimmed, self._ensured
        copy.plain, copy.next_hop, copy.encap_port = self.plain, self.next_hop, self.encap_port
        copy.actions = []
        self._emit(_OpenClone(copy, source=calling_line()))
        return copy

    # -- ends -------------------------------------------------------------------------------

    def output(self, port: int) -> Verdict:
        """Hand it to a port, or to a link's GRE cell.  Ends the run."""
        self._emit(act.Output(port, source=calling_line()))
        self._done = True
        return Verdict.RECEIVED

    def output_to_group(self, group: int, besides: int) -> Verdict:
        """Hand a copy to each port of an engine group but `besides`.  Ends the run."""
        self._emit(act.Group(group, besides, source=calling_line()))
        self._done = True
        return Verdict.RECEIVED

    def drop(self, reason: int | str, *counters: Counter) -> Verdict:
        """Drop it under `reason`, after counting.  Ends the run."""
        for action in self.otherwise(reason, *counters):
            self._emit(action)
        self._done = True
        return Verdict.DROPPED

    def otherwise(self, reason: int | str, *counters: Counter) -> act.Program:
        """The branch of a failed requirement: count, then drop under `reason`."""
        code = reason if isinstance(reason, int) else self.trace.reason_code(reason)
        return (*self._counts(counters), act.Drop(code, source=calling_line()))

    @property
    def done(self) -> bool:
        """Whether the run has ended (output or drop)."""
        return self._done

    # -- a handler's way back ---------------------------------------------------------------

    def checkpoint(self) -> _State:
        """Everything that `restore` needs to undo a rejected handler's effects (guards stay)."""
        return _State(
            actions=len(self.actions),
            base=self._base,
            pushed=self._pushed,
            known=self._known,
            cuts=self._cuts,
            overlay=dict(self._overlay),
            meta=dict(self._meta),
            trimmed=self._trimmed,
            ensured=self._ensured,
            done=self._done,
            plain=self.plain,
            next_hop=self.next_hop,
            encap_port=self.encap_port,
            effects=len(self.trace.effects),
            touches=len(self.trace.touches),
        )

    def restore(self, state: _State) -> None:
        """Back to the checkpoint: REJECT leaves the packet as it was; that it was offered stays counted."""
        self.actions[state.actions :] = [a for a in self.actions[state.actions :] if isinstance(a, _Tally)]
        del self.trace.effects[state.effects :]
        del self.trace.touches[state.touches :]
        self._base, self._pushed, self._known = state.base, state.pushed, state.known
        self._cuts = state.cuts
        self._overlay, self._meta = dict(state.overlay), dict(state.meta)
        self._trimmed, self._ensured = state.trimmed, state.ensured
        self._done, self.plain, self.next_hop = state.done, state.plain, state.next_hop
        self.encap_port = state.encap_port

    def program(self) -> act.Program:
        """The finished program; TraceError when a run has no end."""
        if not self._done:
            raise TraceError("the handlers left the packet without an output or a drop")
        return tuple(
            act.Clone(action.copy.program(), source=action.source)
            if isinstance(action, _OpenClone)
            else action
            for action in self.actions
        )

    def tallies(self) -> act.Program:
        """What remains of a run that came to nothing: the counts of who was asked."""
        return tuple(action for action in self.actions if isinstance(action, _Tally))

    # -- mechanism --------------------------------------------------------------------------

    def _emit(self, action: act.Action) -> None:
        if self._done:
            raise TraceError("the packet was already output or dropped")
        self.actions.append(action)

    def _counts(self, counters: tuple[Counter, ...]) -> list[act.Action]:
        source = calling_line()
        return [
            act.Count(item, source=source) if isinstance(item, int) else act.Count(*item, source=source)
            for item in counters
        ]

    def _forget(self, offset: int, size: int, mask: bytes | None = None) -> None:
        for index in range(size):
            self._write(offset + index, 0xFF if mask is None else mask[index], 0, 0xFF)

    def _write(self, offset: int, mask: int, value: int, unknown: int) -> None:
        """Note that the masked bits of the byte at `offset` now are `value`, or unknown."""
        ahead = len(self._pushed)
        if offset < ahead:
            byte = self._pushed[offset] & ~mask | value
            known = self._known[offset] & ~(mask & unknown) | mask & ~unknown & 0xFF
            self._pushed = self._pushed[:offset] + bytes([byte]) + self._pushed[offset + 1 :]
            self._known = self._known[:offset] + bytes([known]) + self._known[offset + 1 :]
            return
        at = self._base + offset - ahead
        overlaid, old, dark = self._overlay.get(at, (0, 0, 0))
        self._overlay[at] = (overlaid | mask, old & ~mask | value, dark & ~mask | mask & unknown)

    @staticmethod
    def _register_word(number: int) -> int:
        if not 0 <= number < META_DEVICE - META_REG:
            raise ValueError(f"register {number}: there are {META_DEVICE - META_REG}")
        return META_REG + number


@record
class _Tally(act.Count):
    """A count of what was decided about the packet; it outlives a restore."""


@record
class _OpenClone(act.Action):
    """A Clone whose body is still being traced."""

    op = act.Clone.op
    name = "clone"
    copy: Packet
