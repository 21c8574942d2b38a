"""The flow table as an oracle: a linear scan over all flows, oldest first."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass

from vdp.engine.interface import META_SIZE, WINDOW, FlowStats, Match
from vdp.engine.program import Action
from vdp.testing.reference.packet import Packet

#: Of an in-port's masks, one in so many is its own, whatever the others have.
OWN_PART = 4


def masked(data: bytes | bytearray, mask: bytes) -> bytes:
    return bytes(d & m for d, m in zip(data, mask, strict=False))


def check_match(match: Match) -> None:
    """Raise OSError EINVAL for a match that contradicts itself (see struct vdp_match)."""
    last = len(match.mask.rstrip(b"\0"))
    good = (
        len(match.mask) == len(match.value) <= WINDOW
        and len(match.meta_mask) == len(match.meta_value) == META_SIZE
        and masked(match.value, match.mask) == match.value
        and masked(match.meta_value, match.meta_mask) == match.meta_value
        and last <= match.min_length <= match.max_length
    )
    if not good:
        raise OSError(errno.EINVAL, "match")


def mask_of(match: Match) -> tuple[int, bytes, bytes]:
    """What flows of one subtable have in common."""
    return match.in_port, match.mask.rstrip(b"\0"), match.meta_mask


def value_of(match: Match) -> bytes:
    """The value up to the last masked byte, which min_length covers."""
    return match.value[: len(match.mask.rstrip(b"\0"))]


@dataclass(slots=True)
class Flow:
    id: int
    match: Match
    program: Sequence[Action]
    used_ns: int
    packets: int = 0
    bytes: int = 0

    def takes(self, packet: Packet) -> bool:
        match = self.match
        return (
            packet.in_port == match.in_port
            and match.min_length <= len(packet.data) <= match.max_length
            and masked(packet.meta, match.meta_mask) == match.meta_value
            and masked(packet.data, match.mask.rstrip(b"\0")) == value_of(match)
        )

    @property
    def key(self) -> tuple[object, ...]:
        """What no two flows share."""
        match = self.match
        return mask_of(match), value_of(match), match.meta_value, match.min_length, match.max_length

    @property
    def stats(self) -> FlowStats:
        return FlowStats(self.id, self.packets, self.bytes, self.used_ns)


class FlowTable:
    """One worker's flows, at most `flows`, with at most `masks` different masks, `port_masks` an in-port."""

    def __init__(self, flows: int, masks: int, port_masks: int) -> None:
        self.flows: dict[int, Flow] = {}
        self.limit = flows
        self.mask_limit = masks
        self.port_mask_limit = port_masks
        self.next_id = 1

    def lookup(self, packet: Packet) -> Flow | None:
        return next((flow for flow in self.flows.values() if flow.takes(packet)), None)

    def masks(self, in_port: int | None = None) -> set[tuple[int, bytes, bytes]]:
        """The different masks: of one in-port, or of all."""
        matches = (flow.match for flow in self.flows.values())
        return {mask_of(match) for match in matches if in_port is None or match.in_port == in_port}

    def install(self, match: Match, program: Sequence[Action], now_ns: int) -> Flow:
        """A new flow for a checked match.  OSError: ENOSPC (table full), E2BIG (masks full), EEXIST."""
        if len(self.flows) >= self.limit:
            raise OSError(errno.ENOSPC, "the flow table is full")
        if not self._has_room(match):
            raise OSError(errno.E2BIG, "the masks are full")
        flow = Flow(self.next_id, match, tuple(program), now_ns)
        if any(flow.key == other.key for other in self.flows.values()):
            raise OSError(errno.EEXIST, "there is a flow of this match")
        self.next_id += 1
        self.flows[flow.id] = flow
        return flow

    def different_masks(self) -> set[tuple[bytes, bytes]]:
        """In-ports may share them."""
        return {mask[1:] for mask in self.masks()}

    def _has_room(self, match: Match) -> bool:
        """Whether the in-port has the mask, or may have another one: always its first few."""
        mask, present = mask_of(match), self.masks(match.in_port)
        if mask in present:
            return True
        if len(present) >= self.port_mask_limit:
            return False
        different = self.different_masks()
        is_own = len(present) < -(-self.port_mask_limit // OWN_PART)
        return is_own or len(different) < self.mask_limit or mask[1:] in different

    def remove(self, ids: Sequence[int]) -> int:
        return sum(self.flows.pop(number, None) is not None for number in ids)

    def expire(self, now_ns: int, idle_ns: int, keep: int) -> list[int]:
        """Remove what has been idle for idle_ns, and the longest idle above `keep`; their ids."""
        old = [flow.id for flow in self.flows.values() if now_ns - flow.used_ns >= idle_ns]
        self.remove(old)
        excess = len(self.flows) - keep
        if excess > 0:
            idlest = sorted(self.flows.values(), key=lambda flow: (flow.used_ns, flow.id))[:excess]
            old += [flow.id for flow in idlest]
            self.remove(old)
        return old
