"""What makes a program one that may run: vdp_program_check, on the dataclasses."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from vdp.engine.interface import META_WORDS
from vdp.engine.program import (
    ENDS,
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
    encode,
)

MAX_ACTIONS, MAX_BLOB, MAX_CLONES, MAX_REASONS, HEADROOM = 256, 8192, 64, 128, 256
FRAGMENT_LEAST = 28  # an IPv4 header and 8 bytes
OFFSETS = range(65536)  # what an offset may be
SIZES = range(2 * 65536)
WORDS = range(1 << 32)
SIGNED = range(-(1 << 31), 1 << 31)
BYTES = range(256)
HASHED = range(4, 65, 4)


def check(program: Sequence[Action]) -> None:
    """Raise OSError EINVAL unless the engine would take `program`."""
    try:
        encoded = encode(program)
        good = encoded.count <= MAX_ACTIONS and len(encoded.blob) <= MAX_BLOB
    except (AttributeError, TypeError, ValueError):
        good = False
    if not (good and _whole(program) and _clones(program, 0) <= MAX_CLONES):
        raise OSError(errno.EINVAL, "program")


def _branch(action: Action) -> Sequence[Action] | None:
    """The nested program of an action that has one."""
    match action:
        case Clone(body):
            return body
        case Trim() | RequireChecksum() | RequireLength() | RequireSequence() | Ttl() | Fragment():
            return action.otherwise
        case RequireUdp():
            return action.otherwise
    return None


def _whole(program: Sequence[Action]) -> bool:
    """Does every straight run end, and hold every action's operands?"""
    if not program or not isinstance(program[-1], ENDS):
        return False
    for action in program:
        branch = _branch(action)
        if not _holds(action) or (branch is not None and not _whole(branch)):
            return False
    return True


def _clones(program: Sequence[Action], at: int) -> int:
    """The most copies that a run from `at` on may make."""
    action = program[at]
    if isinstance(action, ENDS):
        return 0
    rest = _clones(program, at + 1)
    branch = _branch(action)
    if branch is None:
        return rest
    below = _clones(branch, 0)
    return 1 + below + rest if isinstance(action, Clone) else max(below, rest)


def _holds(action: Action) -> bool:
    """An action's own operands."""
    match action:
        case Drop(reason):
            return reason in range(MAX_REASONS)
        case Output(number):
            return number in WORDS
        case Upcall(cookie, state):
            return cookie in WORDS and (state is None or state in WORDS)
        case Pull(size):
            return size in OFFSETS
        case Push(data):
            return len(data) <= HEADROOM
        case Set(offset, mask, value, checksum):
            sizes = 1 <= len(mask) == len(value) <= 16
            return sizes and offset in OFFSETS and (checksum is None or checksum in OFFSETS)
        case Copy(to, origin, mask):
            return to in OFFSETS and origin in OFFSETS and mask in BYTES
        case Length(offset, start, addend):
            return offset in OFFSETS and start in OFFSETS and addend in SIGNED
        case Id(offset, state) | Sequence32(offset, state):
            return offset in OFFSETS and state in WORDS
        case Checksum(offset, start, size):
            return offset in OFFSETS and start in OFFSETS and size in SIZES
        case Trim(offset, addend):
            return offset in OFFSETS and addend in SIGNED
        case RequireChecksum(start, size):
            return start in OFFSETS and size in SIZES
        case RequireLength(least, most):
            return least in WORDS and most in WORDS and least <= most
        case RequireSequence(offset, state):
            return offset in OFFSETS and state in WORDS
        case WriteHeader(offset, header):
            return offset in OFFSETS and header in WORDS
        case State32(offset, state, addend):
            return offset in OFFSETS and state in WORDS and addend in SIGNED
        case Ttl(version, offset):
            return version in (4, 6) and offset in OFFSETS
        case Hash(offset, start, size, mask):
            return offset in OFFSETS and start in OFFSETS and size in HASHED and mask in OFFSETS
        case UdpChecksum(version, network, offset) | RequireUdp(version, network, offset):
            return version in (4, 6) and network in OFFSETS and offset in OFFSETS
        case Account(sent, lost, lost_too, skip):
            return sent in WORDS and lost in WORDS and lost_too in WORDS and skip in OFFSETS
        case Count(counter, addend):
            return counter in WORDS and addend in SIGNED
        case Segment(features, most, failed, longest, longest_segment, _):
            limits = longest in OFFSETS and longest_segment in OFFSETS
            return features in OFFSETS and most in SIZES and failed in WORDS and limits
        case Fragment(offset, most):
            return offset in OFFSETS and most in SIZES and most >= FRAGMENT_LEAST
        case Group(group, besides):
            return group in WORDS and besides in WORDS
        case Clone():
            return True
        case Meta(word, value):
            return word in range(META_WORDS) and value in WORDS
        case MetaLoad(word, offset, mask):
            return word in range(META_WORDS) and offset in OFFSETS and mask in WORDS
    return False
