"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: The check that finds that nobody answers at the control socket.
NO_DAEMON = "no-daemon"

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
    """One line for all; that no daemon runs stands in it, whatever else is well."""
    faults = sum(each.status == "fail" for each in results)
    warnings = sum(each.status == "warn" for each in results)
    absent = [each.sentence for each in results if each.check == NO_DAEMON]
    if not faults and not warnings:
        return "; ".join([f"all well ({len(results)} checks)", *absent])
    counts = [(faults, "fault"), (warnings, "warning")]
    words = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts if count]
    if not faults and not absent:
        absent = ["it runs"]
    return ": ".join([f"{', '.join(words)} in {len(results)} checks", *absent])
