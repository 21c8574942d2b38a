"""One frame of a capture file: pcap (both byte orders, micro- and nanoseconds) and pcapng.

Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.  Frames count from 1, as in tshark.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAGICS = {0xA1B2C3D4, 0xA1B23C4D}
SECTION, INTERFACE, SIMPLE, ENHANCED = 0x0A0D0D0A, 1, 3, 6
BYTE_ORDER = 0x1A2B3C4D
ETHERNET, RAW = 1, frozenset({12, 14, 101, 228, 229})  # link types; LINKTYPE_RAW and its variants


class CaptureError(ValueError):
    """The file is no capture, is cut short, or has no such frame."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as captured; is_whole: nothing of it was cut off."""

    data: bytes
    link_type: int
    is_whole: bool

    @property
    def is_ethernet(self) -> bool:
        return self.link_type == ETHERNET


def frame(path: Path, number: int) -> Frame:
    """Frame `number` of the file.  CaptureError, OSError."""
    count = 0
    for found in _whole_blocks(path):
        count += 1
        if count == number:
            if found.link_type != ETHERNET and found.link_type not in RAW:
                raise CaptureError(
                    f"{path}: frame {number} has link type {found.link_type}, expected Ethernet or bare IP"
                )
            if not found.is_whole:
                raise CaptureError(f"{path}: frame {number} was cut when it was captured (capture with -s 0)")
            return found
    raise CaptureError(f"{path}: there is no frame {number}: it has {count}")


def _whole_blocks(path: Path) -> Iterator[Frame]:
    try:
        yield from frames(_content(path))
    except struct.error:
        raise CaptureError(f"{path}: a block is shorter than what it must have") from None


def _content(path: Path) -> bytes:
    if not path.stat().st_size:
        raise CaptureError(f"{path}: the file is empty")
    with path.open("rb") as stream:
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)  # type: ignore[return-value]


def frames(data: bytes) -> Iterator[Frame]:
    """All frames of a capture file's content."""
    if len(data) >= 24:
        for order in "<>":
            if struct.unpack_from(order + "I", data)[0] in MAGICS:
                return _pcap(data, order)
    if data[:4] == SECTION.to_bytes(4, "big"):
        return _pcapng(data)
    raise CaptureError("this is neither pcap nor pcapng")


def _pcap(data: bytes, order: str) -> Iterator[Frame]:
    link_type = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    at = 24
    while at + 16 <= len(data):
        captured, length = struct.unpack_from(order + "II", data, at + 8)
        if at + 16 + captured > len(data):
            raise CaptureError("the file ends in the middle of a frame")
        yield Frame(data[at + 16 : at + 16 + captured], link_type, captured == length)
        at += 16 + captured


def _pcapng(data: bytes) -> Iterator[Frame]:
    order, at = "<", 0
    interfaces: list[tuple[int, int]] = []  # link type and snap length
    while at + 12 <= len(data):
        kind = struct.unpack_from(order + "I", data, at)[0]
        if kind == SECTION:
            order = "<" if struct.unpack_from("<I", data, at + 8)[0] == BYTE_ORDER else ">"
            interfaces = []
        size = struct.unpack_from(order + "I", data, at + 4)[0]
        body = data[at + 8 : at + size - 4]
        if size < 12 or at + size > len(data):
            raise CaptureError("the file ends in the middle of a block")
        at += size
        if kind == INTERFACE:
            link_type, _, snap = struct.unpack_from(order + "HHI", body)
            interfaces.append((link_type, snap))
        elif kind in (ENHANCED, SIMPLE):
            yield _packet(kind, body, order, interfaces)


def _packet(kind: int, body: bytes, order: str, interfaces: list[tuple[int, int]]) -> Frame:
    number = struct.unpack_from(order + "I", body)[0] if kind == ENHANCED else 0
    if number >= len(interfaces):
        raise CaptureError(f"a frame is of interface {number}, which the file does not describe")
    link_type, snap = interfaces[number]
    if kind == ENHANCED:
        captured, length = struct.unpack_from(order + "II", body, 12)
        return Frame(body[20 : 20 + captured], link_type, captured == length)
    length = struct.unpack_from(order + "I", body)[0]
    captured = min(length, snap or length)
    return Frame(body[4 : 4 + captured], link_type, captured == length)
