"""What a soak comes to: which loss is explained, and what its figures are worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Of a run that counts.
LEAST_S = 3600.0


def unexplained(lost: int, counted: int, *, is_cut: bool, is_harmless: bool) -> int:
    """Datagrams of one flow that nobody can explain, of those lost in one fault.

    counted: what counters of the flow's own ports grew by.  is_cut: the fault takes the flow's way
    away outside vdp, whose loss is not vdp's.  is_harmless: it harms no flow, and none may be lost.
    """
    if is_cut:
        return 0
    return lost if is_harmless else max(0, lost - counted)


def judged(found: Mapping[str, Any]) -> dict[str, Any]:
    """R1, R9 and R10 by all that is known of a run ("soak"); what says otherwise stands in "short".

    Books are vdp's own; what was lost besides, in front of a TAP whose reader had no processor, is told.

    Also of files that were written before these were judged.
    """
    told = found.get("soak")
    if told is None:
        return dict(found)
    crashes, shorts = told["restarts"], []
    if crashes or not told["same_process"]:
        shorts.append(f"the process ended and was started again {crashes} times: its figures began anew")
    lost = f"{told['unexplained']} lost datagrams are in no counter" if told["unexplained"] else ""
    scores = {
        "R1": {
            "figure": crashes,
            "met": not shorts,
            "detail": f"ends of the process in the soak's {told['faults']} faults",
        },
        "R9": {**_narrowed(found.get("R9", {}), shorts), "lost": lost},
        "R10": _narrowed(found.get("R10", {}), shorts),
    }
    return {**found, **scores}


def counted(found: Mapping[str, Any]) -> dict[str, Any]:
    """The same, judged; of a run that was too short nothing is known."""
    seconds = found.get("soak", {}).get("seconds", LEAST_S)
    if seconds < LEAST_S:
        detail = f"the soak took {seconds / 60:g} min, {LEAST_S / 60:g} are owed"
        return {name: {"figure": None, "detail": detail} for name in ("R1", "R9", "R10")}
    return judged(found)


def broken(error: BaseException, faults: int, crashes: int) -> dict[str, Any]:
    """Of a run that could not go on."""
    sentence = f"after {faults} faults: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    score = {"figure": "broken off", "met": False, "detail": sentence}
    ends = {"figure": crashes, "met": crashes == 0, "detail": f"ends of the process in {faults} faults"}
    return {"R1": ends, "R9": score, "R10": score}


def _narrowed(score: Mapping[str, Any], shorts: list[str]) -> dict[str, Any]:
    return {**score, "met": bool(score.get("met")) and not shorts, "short": shorts}
