"""The internet checksum (RFC 1071) and its adjustment (RFC 1624), as plainly as they can be said."""

from __future__ import annotations

from collections.abc import Iterable


def ones_sum(data: bytes | bytearray | memoryview) -> int:
    """Sum of the big-endian 16-bit words; an odd last byte counts as the high one.  Not folded."""
    view = bytes(data) + b"\0" if len(data) % 2 else bytes(data)
    # One big number's sum of 16-bit digits, by remainder: 2**16 = 1 (mod 65535).
    value = int.from_bytes(view, "big")
    return 0 if value == 0 else (value - 1) % 0xFFFF + 1


def fold(total: int) -> int:
    """Carries added back in until 16 bits are left."""
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def internet_checksum(data: bytes | bytearray | memoryview, initial: int = 0) -> int:
    """The checksum of `data`, whose own field must be zero in it, as it goes into the field."""
    return ~fold(ones_sum(data) + initial) & 0xFFFF


def adjusted(checksum: int, changes: Iterable[tuple[int, int]]) -> int:
    """A checksum after words changed from old to new: HC' = ~(~HC + ~m + m') (RFC 1624, eqn. 3)."""
    total = ~checksum & 0xFFFF
    for old, new in changes:
        total += (~old & 0xFFFF) + new
    return ~fold(total) & 0xFFFF
