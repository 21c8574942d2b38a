"""The shared test vectors: captures with side files, packets in hex, scenarios.

They are not part of this repository; their folder lies beside the checkout, or where
VDP_VECTORS says.  INDEX.md there tells what each file is and whose.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import dpkt
import pytest

FOLDER = Path(os.environ.get("VDP_VECTORS", Path(__file__).parents[2] / "shared" / "vectors"))

needed = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the shared vectors are not in {FOLDER}")


@cache
def load(name: str) -> Any:
    """A JSON file of the vectors, by its path in the folder; empty where there are no vectors."""
    path = FOLDER / name
    return json.loads(path.read_text()) if path.is_file() else {}


@cache
def frames(capture: str) -> list[bytes]:
    """The frames of a capture, by its path in the folder."""
    with (FOLDER / capture).open("rb") as file:
        return [bytes(data) for _, data in dpkt.pcap.UniversalReader(file)]


@dataclass(frozen=True)
class Expectation:
    """One frame of a capture that carries GRE, and the line of its side file."""

    capture: str
    number: int  # from 1
    frame: bytes
    line: dict[str, Any]

    @property
    def gre(self) -> dict[str, Any]:
        return self.line["gre"]  # type: ignore[no-any-return]

    def __str__(self) -> str:
        return f"{self.capture} frame {self.number}"


def captures() -> list[str]:
    """Captures with a side file, by their paths in the folder."""
    return sorted(
        str(path.relative_to(FOLDER)).removesuffix(".expect.jsonl")
        for path in FOLDER.glob("captures/*/*.expect.jsonl")
    )


def expectations(capture: str) -> list[Expectation]:
    """What the side file says, frame by frame."""
    lines = (FOLDER / f"{capture}.expect.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [
        Expectation(capture, line["frame"], frames(capture)[line["frame"] - 1], line)
        for line in found
        if "gre" in line
    ]
