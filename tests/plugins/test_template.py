"""`vdp plugin new`, and the page for new authors, from an installed vdp: nothing of the tree is in reach.

A clean virtualenv gets the wheel of this tree.  Other packages it borrows from the one that
runs the tests, behind its own, so that nothing has to be downloaded.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.lab import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: pip as a user would call it, but for the network: what is needed is borrowed.
PIP = """\
#!/bin/sh
case "$*" in
    "install 'vdp"* | "install vdp"*) exit 0;;
esac
exec {python} -m pip --python {clean} "$@" --quiet --no-deps --no-build-isolation --no-index
"""


class Clean:
    """A virtualenv with the wheel of this tree, and the commands of its own and borrowed packages."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "venv" / "bin"
        venv.create(folder / "venv", symlinks=True)
        self._run(
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
            *(f"--config-settings=build-dir={folder / 'build'}", "--wheel-dir", folder, REPOSITORY),
        )
        (wheel,) = folder.glob("*.whl")
        pip = (sys.executable, "-m", "pip", "--python", self.bin / "python")
        self._run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel)
        packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "venv")}))
        (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
        self._command("pip", PIP.format(python=sys.executable, clean=self.bin / "python"))
        for name in ("pytest", "mypy"):
            self._command(name, f'#!/bin/sh\nexec {self.bin / "python"} -m {name} "$@"\n')

    def _command(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def _run(self, *command: str | Path) -> None:
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment)
        assert done.returncode == 0, done.stdout + done.stderr

    @property
    def environment(self) -> dict[str, str]:
        """The virtualenv's commands first, then those of the one that runs the tests (ninja, to build)."""
        kept = {
            name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTEST_ADDOPTS")
        }
        return kept | {
            "PATH": f"{self.bin}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "NO_COLOR": "1",
        }

    def shell(self, command: str, folder: Path) -> str:
        """What a command line prints, in that folder; AssertionError where it fails."""
        done = subprocess.run(
            ["bash", "-c", command],
            capture_output=True,
            text=True,
            cwd=folder,
            env=self.environment,
            timeout=300,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Clean:
    return Clean(tmp_path_factory.mktemp("clean"))


def test_the_wheel_is_what_is_used(clean: Clean, tmp_path: Path) -> None:
    where = clean.shell("python -c 'import vdp, vdp_gre; print(vdp.__file__, vdp_gre.__file__)'", tmp_path)
    assert all(Path(path).is_relative_to(clean.bin.parent) for path in where.split())


@pytest.mark.parametrize("name", ["shim", "a-name-of-20-letters"])
def test_a_generated_plugin_passes_its_own_checks_and_is_loaded(
    clean: Clean, tmp_path: Path, name: str
) -> None:
    clean.shell(f"vdp plugin new {name} --set author='Ada \"A.\" L.'", tmp_path)
    folder = tmp_path / f"vdp-{name}"
    (module,) = (folder / "src").glob("vdp_*")
    code = [line for line in (module / "__init__.py").read_text().splitlines() if line.strip()]
    assert len(code[code.index("vdp_api = 1") :]) <= 30
    clean.shell("pip install .", folder)
    assert " passed" in clean.shell("pytest -q", folder)
    clean.shell("ruff check . && ruff format --check . && mypy", folder)
    tried = clean.shell(f"vdp plugin test {name} --packets 3000 --strict", folder)
    assert tried.count(" ok ") == 8
    configuration = tmp_path / "vdp.toml"
    configuration.write_text(f'[plugins]\nload = ["gre", "{name}"]\nstrict = true\n')
    assert "2 plugins" in clean.shell(f"vdp check -c {configuration}", tmp_path)
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


BLOCK = re.compile(r"^```(console|python|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


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
