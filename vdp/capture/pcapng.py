"""A pcapng file of captured packets (draft-ietf-opsawg-pcapng-03), written as they come.

An interface block for each point and port, since where a packet was seen is what its readers
sort by; a comment at each packet; and at the end what each interface saw and lost.  Written here
with struct alone: a library would build an object for each of five short blocks.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import BinaryIO

from vdp.capture.source import Seen

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_MAGIC = 0x1A2B3C4D
_ETHERNET, _RAW = 1, 101  # LINKTYPE_…
# Option codes.
_COMMENT = 1
_USER_APPLICATION = 4
_NAME, _DESCRIPTION, _RESOLUTION = 2, 3, 9
_FLAGS, _PACKET_ID = 2, 5
_START, _END, _RECEIVED, _DROPPED = 2, 3, 4, 5
_NANOSECONDS = b"\x09"
_INBOUND, _OUTBOUND = 1, 2
_INWARD = ("rx", "decap")
_LONGEST = 0xFFFF

#: Where a packet was seen: point, port, packet type.
Place = tuple[str, str, int]


class PcapngWriter:
    """Writes to `stream`, which stays the caller's; `flush` is the caller's, too."""

    def __init__(self, stream: BinaryIO, application: str, snaplen: int = 0) -> None:
        self._stream = stream
        self._snaplen = snaplen
        self._interfaces: dict[Place, int] = {}
        self._counts: dict[Place, int] = {}
        self._times = (0, 0)
        body = struct.pack("=IHHq", _MAGIC, 1, 0, -1)
        self._block(_SECTION, body + _options((_USER_APPLICATION, application.encode())))

    def write(self, seen: Seen, comment: str) -> None:
        place = (seen.point, seen.port, seen.record.packet_type)
        number = self._interface(place)
        self._counts[place] += 1
        time_ns, data, length = seen.record.time_ns, seen.record.data, seen.record.length
        self._times = (self._times[0] or time_ns, max(time_ns, self._times[1]))
        body = struct.pack("=IIIII", number, time_ns >> 32, time_ns & 0xFFFFFFFF, len(data), length)
        direction = _INBOUND if seen.point in _INWARD else _OUTBOUND
        options = _options(
            (_COMMENT, comment.encode()[:_LONGEST]),
            (_FLAGS, struct.pack("=I", direction)),
            (_PACKET_ID, struct.pack("=II", seen.record.packet, seen.record.worker)),
        )
        self._block(_PACKET, body + _padded(data) + options)

    def finish(self, losses: Mapping[tuple[str, str], int]) -> None:
        """What was seen and lost, by point and port; what is lost at a place without packets, too."""
        known = {(point, port) for point, port, _ in self._interfaces}
        for point, port in losses.keys() - known:
            self._interface((point, port, 0))
        told: set[tuple[str, str]] = set()
        for place, number in self._interfaces.items():
            lost = 0 if place[:2] in told else losses.get(place[:2], 0)
            told.add(place[:2])
            body = struct.pack("=III", number, self._times[1] >> 32, self._times[1] & 0xFFFFFFFF)
            options = _options(
                *((code, struct.pack("=II", time_ns >> 32, time_ns & 0xFFFFFFFF))
                  for code, time_ns in zip((_START, _END), self._times, strict=True)),
                (_RECEIVED, struct.pack("=Q", self._counts[place] + lost)),
                (_DROPPED, struct.pack("=Q", lost)),
            )  # fmt: skip
            self._block(_STATISTICS, body + options)

    def _interface(self, place: Place) -> int:
        number = self._interfaces.get(place)
        if number is None:
            number = self._interfaces[place] = len(self._interfaces)
            self._counts[place] = 0
            point, port, packet_type = place
            options = _options(
                (_NAME, f"{point} {port}".encode()),
                (_DESCRIPTION, _POINTS[point].encode()),
                (_RESOLUTION, _NANOSECONDS),
            )
            link_type = _RAW if packet_type else _ETHERNET
            self._block(_INTERFACE, struct.pack("=HHI", link_type, 0, self._snaplen) + options)
        return number

    def _block(self, kind: int, body: bytes) -> None:
        size = struct.pack("=I", len(body) + 12)
        self._stream.write(struct.pack("=I", kind) + size + body + size)


_POINTS = {
    "rx": "received by the port",
    "upcall": "waits for the slow path",
    "decap": "taken off its tunnel headers, handed to the link",
    "encap": "given to a link, before its headers are put on",
    "tx": "sent by the port",
    "drop": "lost; the comment says why",
}


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _options(*options: tuple[int, bytes]) -> bytes:
    parts = [struct.pack("=HH", code, len(value)) + _padded(value) for code, value in options]
    return b"".join(parts) + bytes(4)
