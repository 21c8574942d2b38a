"""The documents' code runs, the examples are right, and no page is out of reach."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import REPOSITORY
from vdp.cli import main

DOCS = REPOSITORY / "docs"


def install(folder: Path, module: str, source: str) -> None:
    """The module as pip would have installed it, with an entry point of the group vdp."""
    name = module.removeprefix("vdp_")
    (folder / f"{module}.py").write_text(source)
    metadata = folder / f"{module}-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[vdp]\n{name} = {module}\n")


@pytest.fixture
def forget_modules() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("vdp_"):
            del sys.modules[name]


def run_tests(path: Path) -> None:
    """pytest on a test file of a page, with the test kit's plugin as it is found where vdp is installed."""
    plugin = ("-p", "no:vdp", "-p", "vdp.testing.pytest_plugin", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", "-q", *plugin, "--rootdir", str(path.parent), str(path)]
    below = {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}:{path.parent}"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=50, cwd=path.parent, env=os.environ | below
    )
    assert done.returncode == 0, done.stdout


#: The pages whose Python is run, block by block; what a block prints is the ```text block behind it.
RUN = ["plugins.md", "tracing.md", "handler-lists.md", "cookbook.md", "testing-plugins.md"]
BLOCK = re.compile(r"^```(python|text|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def looks_like(shown: str) -> re.Pattern[str]:
    """What a page shows; `…` stands for anything in a line."""
    return re.compile(".*".join(map(re.escape, shown.split("…"))))


@pytest.mark.parametrize("name", RUN)
def test_the_python_of_a_page_runs(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    forget_modules: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (DOCS / name).read_text()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    printed = ""
    for block in BLOCK.finditer(page):
        kind, source = block.groups()
        # Lines are numbered as on the page, so that a failure can be found there.
        line = page.count("\n", 0, block.start(2))
        if kind == "text":
            assert looks_like(source).fullmatch(printed), f"{name}:{line}: what is printed is\n{printed}"
            printed = ""
            continue
        assert not printed, f"{name}:{line}: the block before prints what the page does not show:\n{printed}"
        named = re.match(r"# (\w+)\.(?:py|toml)\n", source)
        if kind == "toml":
            if named:
                (tmp_path / f"{named.group(1)}.toml").write_text(source)
        elif named and named.group(1).startswith("test_"):
            path = tmp_path / f"{named.group(1)}.py"
            path.write_text(source)
            run_tests(path)
        elif named:
            install(tmp_path, named.group(1), source)
        else:
            exec(compile("\n" * line + source, DOCS / name, "exec"), namespace)
            printed = capsys.readouterr().out
    assert not printed, f"{name}: the last block prints what the page does not show:\n{printed}"


@pytest.mark.parametrize(
    "example",
    [REPOSITORY / "etc/vdp.toml", *sorted((REPOSITORY / "etc/examples").glob("*.toml"))],
    ids=lambda p: p.name,
)
def test_examples_pass_the_check(example: Path) -> None:
    assert main(["check", "-c", str(example)]) == 0


#: The pages whose configurations are checked: whole files, known by the plugins that they load.
GUIDE = ["operating.md", "replacing-a-kernel-tunnel.md", "wccp-with-squid.md"]


@pytest.mark.parametrize("name", GUIDE)
def test_the_configurations_of_the_guide_pass_the_check(name: str, tmp_path: Path) -> None:
    blocks = [source for kind, source in BLOCK.findall((DOCS / name).read_text()) if kind == "toml"]
    files = [source for source in blocks if "[plugins]" in source]
    assert files
    for number, source in enumerate(files):
        path = tmp_path / f"{number}.toml"
        path.write_text(source)
        assert main(["check", "-c", str(path)]) == 0


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "index.md").read_text()
    pages = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if page.name != "index.md"]
    assert not [page for page in pages if f"({page})" not in index]


def defined_in(path: str) -> set[str]:
    """Names of functions, methods and classes that a source file defines."""
    text = (REPOSITORY / path).read_text()
    if path.endswith(".py"):
        return set(re.findall(r"^\s*(?:async )?(?:def|class) (\w+)", text, re.MULTILINE))
    return set(re.findall(r"^[a-z][\w *]*?\b(\w+)\(", text, re.MULTILINE))


def test_the_journey_names_what_is_there() -> None:
    page = DOCS / "journey.md"
    paths = re.findall(r"`((?:vdp|plugins)/[\w/]+\.(?:py|c|h))`", page.read_text())
    assert len(paths) > 40
    assert not [path for path in paths if not (REPOSITORY / path).is_file()]
    stated = re.findall(r"`((?:vdp|plugins)/[\w/]+\.(?:py|c|h))`\s+`([\w.]+)`", page.read_text())
    assert len(stated) > 50
    for path, name in stated:
        assert set(name.split(".")) <= defined_in(path), f"{path} has no {name}"
