"""The example plugins as they stand in the tree: where they are, and how vdp finds one uninstalled."""

from __future__ import annotations

import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import REPOSITORY

FOLDER = REPOSITORY / "examples" / "plugins"
PREFIX = "vdp-"


def names() -> list[str]:
    """Those that there are, by the plugins' names."""
    return sorted(path.parent.name.removeprefix(PREFIX) for path in FOLDER.glob("*/pyproject.toml"))


def folder(name: str) -> Path:
    return FOLDER / f"{PREFIX}{name}"


@contextmanager
def importable(*plugins: str) -> Iterator[None]:
    """Have these examples found by their entry points, as if pip had installed them."""
    before = list(sys.path)
    with tempfile.TemporaryDirectory() as made:
        for name in plugins:
            _register(folder(name), Path(made))
            sys.path.insert(0, str(folder(name) / "src"))
        sys.path.insert(0, made)
        try:
            yield
        finally:
            sys.path[:] = before


def _register(project: Path, packages: Path) -> None:
    """What pip would write beside the package: name, version, entry points."""
    said = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    metadata = packages / f"{said['name'].replace('-', '_')}-{said['version']}.dist-info"
    metadata.mkdir()
    head = f"Metadata-Version: 2.1\nName: {said['name']}\nVersion: {said['version']}\n"
    (metadata / "METADATA").write_text(head)
    lines = []
    for group, points in said["entry-points"].items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
