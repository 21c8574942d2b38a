"""The plugins of examples/plugins, installed for the daemons of a laboratory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.lab import REPOSITORY

PLUGINS = REPOSITORY / "examples" / "plugins"


def install(folder: Path, *names: str) -> Path:
    """Have pip put these into the folder, from the tree; nothing is downloaded."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
    command += ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command += [str(PLUGINS / f"vdp-{name}") for name in names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder
