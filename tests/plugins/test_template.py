"""`vdp plugin new`, and the page for new authors, from an installed vdp: nothing of the tree is in reach."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clean import Clean
from tests.lab import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BLOCK = re.compile(r"^```(console|python|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_wheel_is_what_is_used(clean: Clean, tmp_path: Path) -> None:
    where = clean.shell("python -c 'import vdp, vdp_gre; print(vdp.__file__, vdp_gre.__file__)'", tmp_path)
    assert all(Path(path).is_relative_to(clean.bin.parent) for path in where.split())


@pytest.mark.parametrize("kind", ["decoder", "link", "udp"])
@pytest.mark.parametrize("name", ["x", "a-name-of-20-letters"])
def test_what_is_generated_is_formatted_whatever_the_name(
    clean: Clean, tmp_path: Path, kind: str, name: str
) -> None:
    clean.shell(f"vdp plugin new {name} --kind {kind}", tmp_path)
    clean.shell("ruff check . && ruff format --check .", tmp_path / f"vdp-{name}")


@pytest.mark.parametrize(
    ("kind", "name"), [("decoder", "shim"), ("link", "a-name-of-20-letters"), ("udp", "gadget-2")]
)
def test_a_generated_plugin_passes_its_own_checks_and_is_loaded(
    clean: Clean, tmp_path: Path, kind: str, name: str
) -> None:
    clean.shell(f"vdp plugin new {name} --kind {kind} --set author='Ada \"A.\" L.'", tmp_path)
    folder = tmp_path / f"vdp-{name}"
    if kind == "decoder":
        (module,) = (folder / "src").glob("vdp_*")
        code = [line for line in (module / "__init__.py").read_text().splitlines() if line.strip()]
        assert len(code[code.index("vdp_api = 1") :]) <= 30
    clean.shell("pip install .", folder)
    assert " passed" in clean.shell("pytest -q", folder)
    clean.shell("ruff check . && ruff format --check . && mypy", folder)
    tried = clean.shell(f"vdp plugin test {name} --packets 3000 --strict", folder)
    assert tried.count(" ok ") == 8
    (configuration,) = BLOCK.findall((folder / "README.md").read_text())
    (tmp_path / "vdp.toml").write_text(configuration[1])
    plugins = {"decoder": "2 plugins", "link": "1 plugin", "udp": "1 plugin"}
    assert plugins[kind] in clean.shell("vdp check -c vdp.toml", tmp_path)
    assert f"distribution  vdp-{name}\n" in clean.shell(f"vdp plugin info {name}", tmp_path)
    assert f"\n{name} " in clean.shell("vdp plugin list --socket /nowhere", tmp_path)
    clean.shell(
        f"{sys.executable} -m pip --python {clean.bin / 'python'} uninstall -q -y vdp-{name}", tmp_path
    )


def test_without_copier_it_is_a_sentence(clean: Clean, tmp_path: Path) -> None:
    (tmp_path / "copier.py").write_text("raise ImportError('not here')")
    done = subprocess.run(
        [clean.bin / "vdp", "plugin", "new", "shim"],
        capture_output=True, text=True, cwd=tmp_path, env=clean.environment | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "vdp: error: vdp plugin new needs copier, which is not installed",
        "hint: pip install 'vdp[new]'",
    ]
    assert not (tmp_path / "vdp-shim").exists()


def check_output(command: str, expected: list[str], output: str) -> None:
    """Each line is printed, in this order; `…` stands for anything."""
    at = 0
    for line in expected:
        found = re.compile(".*".join(map(re.escape, line.split("…")))).search(output, at)
        assert found, f"$ {command}\nprinted\n{output}\nand not (then) {line!r}"
        at = found.end()


def test_the_page_for_new_authors_is_true(clean: Clean, tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "first-protocol.md").read_text()
    folder = tmp_path
    ran = []
    for kind, text in BLOCK.findall(page):
        if kind != "console":
            path = folder / text.splitlines()[0].removeprefix("# ")
            assert kind == "toml" or path.exists(), f"the template makes no {path}"
            path.write_text(text.split("\n", 1)[1])
            continue
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, *expected = part.splitlines()
            if command.startswith("cd "):
                folder /= command.removeprefix("cd ")
                continue
            check_output(command, expected, clean.shell(command, folder))
            ran.append(command)
    assert "vdp plugin test nsh" in ran
    decoder = (folder / "src" / "vdp_nsh" / "__init__.py").read_text().splitlines()
    assert len([line for line in decoder[decoder.index("vdp_api = 1") :] if line.strip()]) <= 30
