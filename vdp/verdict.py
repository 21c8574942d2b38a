"""What a protocol handler answers (Linux: PACKET_RCVD and PACKET_REJECT)."""

from __future__ import annotations

import enum


class Verdict(enum.Enum):
    """RECEIVED: it is mine, and on its way.  REJECT: not mine, ask the next.  DROPPED: mine, and dropped."""

    RECEIVED = "received"
    REJECT = "reject"
    DROPPED = "drop"
