"""`vdp drop show --rates`: what is being lost now, as two looks some time apart show it."""

from __future__ import annotations

import time
from typing import Any

from vdp.control.client import call


def drops_with_rates(path: str, params: dict[str, Any], apart_s: float) -> list[dict[str, Any]]:
    """The rows of drop.show, each with `per_s`, packets a second; the most first."""
    started, before = time.monotonic(), _packets(call(path, "drop.show", params))
    time.sleep(apart_s)
    rows: list[dict[str, Any]] = call(path, "drop.show", params)
    passed_s = time.monotonic() - started
    for row in rows:
        row["per_s"] = (row["packets"] - before.get((row["port"], row["reason"]), 0)) / passed_s
    return sorted(rows, key=lambda row: -row["per_s"])


def _packets(rows: list[dict[str, Any]]) -> dict[tuple[str, str], int]:
    return {(row["port"], row["reason"]): row["packets"] for row in rows}
