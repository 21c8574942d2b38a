"""Figures that a release is judged by, kept under build/score for `make score`."""

from __future__ import annotations

import json
from typing import Any

from tests.lab import REPOSITORY

FOLDER = REPOSITORY / "build" / "score"
#: With fewer a figure is not kept: somebody only tried.
ROUNDS = 3


def record(name: str, key: str, figure: float, **detail: Any) -> None:
    """Put one figure into build/score/NAME.json, beside those that are there."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known[key] = {"figure": round(figure, 3), "detail": detail}
    path.write_text(json.dumps(known, indent=2) + "\n")
