"""A clean virtualenv with the wheel of this tree: vdp as a user has it, and nothing of the tree in reach.

Other packages it borrows from the one that runs the tests, behind its own, so that nothing
has to be downloaded.  The fixture `clean` (tests/conftest.py) makes one a session.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from tests.lab import REPOSITORY
from tests.test_rules import tracked

#: pip as a user would call it, but for the network: what is needed is borrowed.
PIP = """\
#!/bin/sh
case "$*" in
    "install 'vdp"* | "install vdp"*) exit 0;;
esac
exec {python} -m pip --python {clean} "$@" --quiet --no-deps --no-build-isolation --no-index
"""


def copied(target: Path) -> Path:
    """What belongs to this tree, copied to a folder."""
    for path in tracked():
        file = target / path.relative_to(REPOSITORY)
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, file)
    return target


class Clean:
    """A virtualenv with the wheel of this tree, and the commands of its own and borrowed packages."""

    def __init__(self, folder: Path, tree: Path) -> None:
        self.bin = folder / "venv" / "bin"
        self._types = folder / "mypy-cache"
        venv.create(folder / "venv", symlinks=True)
        self._run(
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
            *(f"--config-settings=build-dir={folder / 'build'}", "--wheel-dir", folder, tree),
        )
        (self.wheel,) = folder.glob("*.whl")
        pip = (sys.executable, "-m", "pip", "--python", self.bin / "python")
        self._run(*pip, "install", "--quiet", "--no-deps", "--no-index", self.wheel)
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
            "MYPY_CACHE_DIR": str(self._types),
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
