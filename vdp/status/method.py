"""The method `finding.list` of the control socket: what is wrong now, the worst first.

The daemon takes samples all the time, so rates are known at once, whoever asks.
"""

from __future__ import annotations

from typing import Any

from vdp.control.errors import BAD_REQUEST, ControlError
from vdp.control.server import Method
from vdp.control.view import FindingRow
from vdp.status.history import History

#: Rates of a shorter time say little.
LEAST_S = 0.2


def finding_table(history: History) -> dict[str, Method]:
    """The method by name, as ControlServer takes it."""

    def rows(params: dict[str, Any]) -> list[FindingRow]:
        if params:
            raise ControlError(BAD_REQUEST, "this method has no parameters")
        history.fresh(LEAST_S)
        return [
            {
                "severity": each.severity,
                "subject": each.subject,
                "sentence": each.sentence,
                "command": each.command,
            }
            for each in history.findings()
        ]

    return {"finding.list": rows}
