"""docs/api says what the code says, names everything that is public, and its examples run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import REPOSITORY
from tools import api_contents, api_examples, api_pages
from vdp import api, hookspecs

FOLDER = REPOSITORY / "docs" / "api"


@pytest.mark.parametrize("name", api_contents.PAGES)
def test_a_page_is_what_the_code_says(name: str) -> None:
    page = (FOLDER / f"{name}.md").read_text()
    assert page == api_pages.page(name), f"docs/api/{name}.md is behind the code: make docs"


def test_the_index_is_of_these_pages() -> None:
    assert (FOLDER / "index.md").read_text() == api_pages.index(), "docs/api/index.md is behind: make docs"
    assert {page.stem for page in FOLDER.iterdir()} == {"index", *api_contents.PAGES}


def test_every_public_name_and_hook_has_one_place() -> None:
    assert not api_pages.misplaced(), "give it a place in tools/api_contents.py"


def test_everything_is_explained_and_has_an_example() -> None:
    assert not api_pages.unexplained(), "it has no example in tests/api/examples or hooks, or no docstring"


def test_a_name_without_a_place_or_an_example_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "Novelty", type("Novelty", (), {"act": lambda self: None}), raising=False)
    monkeypatch.setattr(api, "__all__", [*api.__all__, "Novelty"])
    monkeypatch.setattr(hookspecs, "vdp_novelty", lambda datapath: None, raising=False)
    assert api_pages.misplaced() == ["Novelty", "vdp_novelty"]
    found = api_pages.unexplained()
    assert {"vdp_novelty", "Novelty", "Novelty.act"} == set(found)


def test_examples_are_of_what_is_public() -> None:
    known = api_pages.public()
    assert not [name for name in api_examples.examples() if name not in known]
    assert not [name for name in api_examples.hook_examples() if name not in known]


def test_every_example_runs_as_it_stands_on_its_page(tmp_path: Path) -> None:
    count = 0
    for page in FOLDER.glob("*.md"):
        for block in re.finditer(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            if "def test_" in block[1]:
                count += 1
                (tmp_path / f"test_{page.stem}_{count}.py").write_text(block[1])
    assert count > 60
    plugin = ("-p", "no:vdp", "-p", "vdp.testing.pytest_plugin", "-p", "no:cacheprovider")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugin, "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}"},
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
