"""`vdp drop show --rates`: what is being lost now comes first."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest

from vdp.cli import rates
from vdp.cli.options import duration
from vdp.cli.pages import drop_page


def row(reason: str, packets: int) -> dict[str, Any]:
    return {"port": "underlay", "reason": reason, "text": f"text of {reason}", "packets": packets}


def test_what_is_lost_now_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    answers = [
        [row("no_route", 1000), row("tunnel_checksum", 7)],
        [row("no_route", 1000), row("port_down", 5), row("tunnel_checksum", 47)],
    ]
    monkeypatch.setattr(rates, "call", lambda path, method, params: answers.pop(0))
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    rows = rates.drops_with_rates("/run/vdp.sock", {}, 2.0)
    assert [(each["reason"], each["per_s"]) for each in rows] == [
        ("tunnel_checksum", 20.0), ("port_down", 2.5), ("no_route", 0.0),
    ]  # fmt: skip
    page = io.StringIO()
    drop_page(rows, page, False)
    assert page.getvalue().splitlines()[1].split()[:4] == ["underlay", "tunnel_checksum", "20.0", "47"]


@pytest.mark.parametrize(("text", "value"), [("1s", 1.0), ("0.5", 0.5), ("60s", 60.0), ("5m", 300.0)])
def test_a_time_is_seconds(text: str, value: float) -> None:
    assert duration(text, least=0.1, most=3600) == value
