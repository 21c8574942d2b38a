"""What is known of an installed plugin without importing it: `vdp plugin info`, `vdp plugin list`.

Read from its distribution's metadata, and from its module's source as text.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from vdp.loader import PluginError, installed

#: Entry points of the samples that `vdp plugin test` begins with.
SAMPLES = "vdp.samples"


@dataclass(frozen=True, slots=True)
class Metadata:
    """A plugin as its distribution describes it; what it does not say is empty."""

    name: str
    summary: str
    distribution: str
    version: str
    author: str
    license: str
    home: str
    requires: tuple[str, ...]
    module: str
    file: str
    #: `vdp_api` as the module's source says; None where it can not be seen there.
    api: int | None
    #: Whether its distribution gives samples for `vdp plugin test`.
    samples: bool


def metadata(name: str) -> Metadata:
    """Of an installed plugin; PluginError for one that is not."""
    points = installed()
    point = points.get(name)
    if point is None:
        raise PluginError(name, f"is not installed (there is: {', '.join(sorted(points)) or 'none'})")
    file = _source(point)
    urls = [each.partition(", ")[2] for each in _said(point, "Project-URL")]
    return Metadata(
        name,
        summary=_first(point, "Summary"),
        distribution=point.dist.name if point.dist else "",
        version=point.dist.version if point.dist else "",
        author=_first(point, "Author", "Author-email"),
        license=_first(point, "License-Expression", "License"),
        home=next(iter([*_said(point, "Home-page"), *urls]), ""),
        requires=tuple(need for need in _said(point, "Requires-Dist") if "extra ==" not in need),
        module=point.module,
        file=file,
        api=_api_version(file),
        samples=bool(entry_points(group=SAMPLES, name=name)),
    )


def _said(point: EntryPoint, key: str) -> Iterator[str]:
    """The values of a key of the distribution's metadata."""
    if point.dist is not None:
        yield from point.dist.metadata.get_all(key) or ()


def _first(point: EntryPoint, *keys: str) -> str:
    return next((value for key in keys for value in _said(point, key)), "")


def _source(point: EntryPoint) -> str:
    """The file of an entry point's module, as far as it can be found without importing anything.

    To look for a module within a package would import the package: it is looked up beside that.
    """
    top, *rest = point.module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return ""
    if spec is None or spec.origin is None:
        return ""
    if not rest:
        return spec.origin
    below = Path(spec.origin).parent.joinpath(*rest)
    files = (below.with_suffix(".py"), below / "__init__.py")
    return next((str(path) for path in files if path.is_file()), "")


def _api_version(file: str) -> int | None:
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # of what is nested without end
        return None
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if "vdp_api" in names and isinstance(node.value.value, int):
                return node.value.value
    return None
