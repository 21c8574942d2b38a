"""The built-in plugins use nothing but vdp's public names, as a third party's would."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from vdp import api

FOLDER = Path(__file__).parents[2] / "plugins"
FILES = sorted(FOLDER.glob("*/*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_plugin_imports_vdp_api_and_what_is_its_own(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            own = name.split(".")[0] == path.parent.name
            assert name == "vdp.api" or own or not name.startswith("vdp"), f"line {node.lineno}: {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_plugin_touches_no_private_name_of_another_object(path: Path) -> None:
    """self._x is its own; packet._x is not."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            assert isinstance(node.value, ast.Name), f"line {node.lineno}: .{node.attr}"
            assert node.value.id in ("self", "cls"), f"line {node.lineno}: {node.value.id}.{node.attr}"


def test_every_public_name_is_there_and_in_order() -> None:
    assert api.__all__ == sorted(
        api.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )
    for name in api.__all__:
        assert hasattr(api, name)
