"""Figures that a release is judged by, kept under build/score for `make score`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from bench.rounds import Target
from tests.lab import REPOSITORY

FOLDER = REPOSITORY / "build" / "score"
#: With fewer, or shorter ones, a figure is not kept: somebody only tried.
ROUNDS, SECONDS = 3, 1.0


def record(name: str, key: str, figure: float, targets: Mapping[str, Target], **detail: Any) -> None:
    """Put one figure into build/score/NAME.json, beside those that are there; met if all targets are."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known[key] = scored(figure, targets) | {"detail": detail, "at": time.time()}
    path.write_text(json.dumps(known, indent=2) + "\n")


def scored(figure: float, targets: Mapping[str, Target]) -> dict[str, Any]:
    """A figure with its judgement, and which targets it is short of."""
    missed = [f"{name} {target.text()}" for name, target in targets.items() if not target.is_met]
    return {"figure": round(figure, 3), "met": not missed, "short": missed}
