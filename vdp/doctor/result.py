"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Result:
    """check: its word.  fail: vdp does not run or carry packets; warn: it may not.  fix: a command."""

    check: str
    status: Status
    sentence: str
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        return {"check": self.check, "status": self.status, "sentence": self.sentence, "fix": self.fix}


def verdict(results: list[Result]) -> str:
    """One line for all."""
    faults = sum(each.status == "fail" for each in results)
    warnings = sum(each.status == "warn" for each in results)
    if not faults and not warnings:
        return f"all well ({len(results)} checks)"
    counts = [(faults, "fault"), (warnings, "warning")]
    words = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts if count]
    return f"{', '.join(words)} in {len(results)} checks" + ("" if faults else ": it runs")
