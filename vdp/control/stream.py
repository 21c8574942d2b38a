"""Answers of the control socket that go on: frames behind the line of the answer.

A frame is a kind, one byte, the payload's length, four bytes, big-endian, and the payload.
The client ends a stream by sending a byte (what is left is sent, and then a frame END), or by
closing the connection.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any, Protocol, runtime_checkable

FRAME = struct.Struct("!cI")
#: struct vdp_tap_record with its bytes, again and again; a JSON object; the last one.
RECORDS, TOLD, END = b"R", b"J", b"E"


@runtime_checkable
class Stream(Protocol):
    """What a method returns to go on after its answer."""

    @property
    def answer(self) -> dict[str, Any]: ...
    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Write frames until the client has had enough.  Must not wait for a client that does not read."""

    def close(self) -> None:
        """Give back what it has.  Called once, whatever happened."""


def frame(kind: bytes, payload: bytes) -> bytes:
    return FRAME.pack(kind, len(payload)) + payload
