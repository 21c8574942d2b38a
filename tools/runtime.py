"""What vdp needs to run, as it is installed here: its distributions, without extras' and tools'.

`lay_out` puts their metadata into a folder, for who reads an environment (`make dist` has
cyclonedx-py make the bill of materials of it).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement


def needed(requirements: Iterable[str]) -> dict[str, Distribution]:
    """The distributions that satisfy these requirements, and what those require in turn, by name."""
    found: dict[str, Distribution] = {}
    todo = [(Requirement(each), "") for each in requirements]
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name not in found:
            found[name] = distribution(name)
            todo += [(Requirement(each), "") for each in found[name].requires or ()]
        for asked in requirement.extras:
            todo += [(Requirement(each), asked) for each in found[name].requires or ()]
    return found


def lay_out(distributions: Iterable[Distribution], folder: Path) -> None:
    """Write their metadata there, as in site-packages, and nothing of what they install."""
    for each in distributions:
        metadata = folder / f"{each.metadata['Name']}-{each.version}.dist-info"
        metadata.mkdir()
        for name in ("METADATA", "WHEEL"):
            text = each.read_text(name)
            if text is not None:
                (metadata / name).write_text(text)
