"""A tap of the C engine in Python's terms: copies of packets at some points of their way.

Whoever opens one reads it now and then, and closes it.  What comes out of `read` are whole
records (struct vdp_tap_record and the packet's bytes), as they are sent to who looks on: the
daemon does not look into them.  `records` takes them apart, without the engine.
"""

from __future__ import annotations

import enum
import os
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from vdp.engine.record import record

if TYPE_CHECKING:
    from vdp.engine.native import NativeEngine

#: struct sock_filter: code, jt, jf, k.
Instruction = tuple[int, int, int, int]
#: struct vdp_tap_record, in the byte order of the machine.
RECORD = struct.Struct("=QQ14I")
_ALIGNED = 8
READ_BYTES = 1 << 20


class TapPoint(enum.IntFlag):
    """Where packets are seen; see enum vdp_tap_point."""

    RX = 1
    UPCALL = 2
    DECAP = 4
    ENCAP = 8
    TX = 16
    DROP = 32


@record
class TapConfig:
    """struct vdp_tap_config.  filters: for layer-2 and for layer-3 packets; none: all of them."""

    points: TapPoint
    follow: bool = False
    most: int = 0
    snap: int = 65792
    ring_bytes: int = 4 << 20
    port: int = 0
    link: int = 0
    link_counter: int = 0
    reasons: tuple[int, ...] = ()
    filters: tuple[Sequence[Instruction], Sequence[Instruction]] = ((), ())


class TapRecord(NamedTuple):
    """struct vdp_tap_record, field by field, and the bytes."""

    time_ns: int
    flow: int
    packet: int
    worker: int
    point: int
    port: int
    in_port: int
    counter: int
    reason: int
    packet_type: int
    length: int
    captured: int
    segments: int
    gso_type: int
    gso_size: int
    needs_csum: int
    data: bytes


def records(chunk: bytes) -> Iterator[TapRecord]:
    """The records of a chunk that `Tap.read` gave."""
    at = 0
    while at < len(chunk):
        values = RECORD.unpack_from(chunk, at)
        captured = values[11]
        at += RECORD.size
        yield TapRecord._make((*values, chunk[at : at + captured]))
        at += -(-captured // _ALIGNED) * _ALIGNED


class TapLoss(NamedTuple):
    """Packets that found no room, by where that was; point and port 0: elsewhere."""

    point: int
    port: int
    packets: int


class Tap:
    """An open tap.  All calls on the control thread; none of them waits for packets."""

    def __init__(self, engine: NativeEngine, config: TapConfig) -> None:
        """OSError: ENOSPC where too many are open, EINVAL for a filter that is none."""
        from vdp.engine._native import ffi, lib

        self._ffi, self._lib = ffi, lib
        self._engine = engine
        native = ffi.new("struct vdp_tap_config *")
        for name in ("points", "follow", "most", "snap", "ring_bytes", "port", "link", "link_counter"):
            setattr(native, name, int(getattr(config, name)))
        for reason in config.reasons:
            native.reasons[reason // 64] |= 1 << reason % 64
        keep = []
        for number, program in enumerate(config.filters):
            keep.append(ffi.new("struct vdp_tap_instruction[]", [tuple(each) for each in program]))
            native.filter[number] = keep[-1]
            native.filter_count[number] = len(program)
        self._number = self._checked(lib.vdp_tap_open(engine.handle, native))
        self._buffer = ffi.new("uint8_t[]", READ_BYTES)

    def read(self, worker: int) -> bytes:
        """The oldest records of a worker, about a megabyte at most; empty when there are none."""
        handle = self._engine.handle
        count = self._lib.vdp_tap_read(handle, self._number, worker, self._buffer, READ_BYTES)
        return bytes(self._ffi.buffer(self._buffer, self._checked(count)))

    def losses(self) -> list[TapLoss]:
        """What was lost since it was opened."""
        native = self._ffi.new("struct vdp_tap_loss[]", 65)
        found = []
        for worker in range(self._engine.workers):
            count = self._lib.vdp_tap_losses(self._engine.handle, self._number, worker, native, 65)
            found += [TapLoss(one.point, one.port, one.packets) for one in native[0 : self._checked(count)]]
        return found

    def close(self) -> None:
        """Give it back; what was not read is gone."""
        self._checked(self._lib.vdp_tap_close(self._engine.handle, self._number))

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result
