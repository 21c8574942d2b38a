"""What is public of the test kit is listed once, is there, and is on its page."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vdp.testing
from tests.lab import REPOSITORY
from vdp.testing import PUBLIC

PAGE = (REPOSITORY / "docs" / "testing-plugins.md").read_text()


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_there_and_on_the_page(name: str) -> None:
    assert getattr(vdp.testing, name) is not None
    assert re.search(rf"`(?:vdp\.testing\.)?{name}\b", PAGE), (
        f"docs/testing-plugins.md does not explain {name}"
    )


def test_the_type_checker_sees_the_same_names() -> None:
    tree = ast.parse(Path(vdp.testing.__file__).read_text())
    seen = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for each in node.body:
                assert isinstance(each, ast.ImportFrom)
                (alias,) = each.names
                is_module = each.module == "vdp.testing"
                seen[alias.asname] = f"vdp.testing.{alias.name}" if is_module else each.module
    assert seen == PUBLIC


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Datapalne'"):
        vdp.testing.Datapalne  # noqa: B018


def test_what_is_not_used_is_not_imported() -> None:
    code = (
        "import sys, vdp.testing.pytest_plugin; print(sorted(n for n in sys.modules if n.startswith('vdp')))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert found.stdout.strip() == "['vdp', 'vdp.testing', 'vdp.testing.pytest_plugin']"
