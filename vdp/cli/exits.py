"""Exit codes of `vdp`, the same for all its commands."""

from __future__ import annotations

OK = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
CONFIG = 4
NOT_FOUND = 5

MEANINGS = {
    OK: "ok",
    FAILED: "failed",
    USAGE: "wrong usage",
    UNREACHABLE: "no daemon answers",
    CONFIG: "the configuration is invalid",
    NOT_FOUND: "what was asked for is not there",
}
