"""Exit codes of `vdp`, the same for all its commands."""

from __future__ import annotations

OK = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
CONFIG = 4
NOT_FOUND = 5
DEGRADED = 6
#: Of `vdp trace`: what would become of the packet, where it is not forwarded.
DROPPED = 10
HELD = 11
CONSUMED = 12

MEANINGS = {
    OK: "ok",
    FAILED: "failed",
    USAGE: "wrong usage",
    UNREACHABLE: "no daemon answers",
    CONFIG: "the configuration is invalid",
    NOT_FOUND: "what was asked for is not there",
    DEGRADED: "the daemon answers, but not all of it works",
    DROPPED: "trace: the packet is dropped",
    HELD: "trace: the packet waits for a next hop",
    CONSUMED: "trace: the packet ends here, and is not lost",
}
