"""C programs of the bench: compiled with cc at their first use, and when their sources changed.

They are kept under build/bench.  What they say is one JSON object.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lab import REPOSITORY

FOLDER = REPOSITORY / "build" / "bench"
_C = REPOSITORY / "bench" / "c"
_ENGINE = REPOSITORY / "vdp" / "engine"
#: As pyproject.toml and meson.build have them for the product.
FLAGS = (
    "-std=c11",
    "-O3",
    "-g",
    "-D_GNU_SOURCE",
    "-D_FORTIFY_SOURCE=3",
    "-fstack-protector-strong",
    "-fstack-clash-protection",
    *(("-fcf-protection",) if platform.machine() == "x86_64" else ()),
    "-Wl,-z,relro,-z,now",
    "-pthread",
)
#: What a program is made of; those of the engine's bench contain the engine.
PROGRAMS = {
    "engine": ("engine.c", "run.c", "steps.c", "bytes.c", "cuts.c", "scenario.c"),
    "books": ("books.c",),
    "sender": ("sender.c",),
    "forwarder": ("forwarder.c",),
    "sink": ("sink.c",),
    "probe": ("probe.c",),
    "replay": ("replay.c",),
    "pingpong": ("pingpong.c",),
    "numbered": ("numbered.c",),
    "clock": ("clock.c",),
}
_WITH_ENGINE = ("engine", "books")
#: Loaded into other programs (LD_PRELOAD).
_SHARED = ("clock",)


class MissingTool(Exception):
    """Something that the bench needs is not installed."""


def need(*tools: str) -> None:
    """MissingTool, naming all of them that are not there."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise MissingTool(f"needs {', '.join(missing)}, which are not installed")


def program(name: str) -> Path:
    """The compiled program of that name."""
    sources = [_C / source for source in PROGRAMS[name]]
    watched = [*sources, *_C.glob("*.h")]
    if name in _WITH_ENGINE:
        sources += sorted(_ENGINE.glob("*.c"))
        watched += [*_ENGINE.glob("*.[ch]"), *_ENGINE.glob("*.def")]
    made = FOLDER / name
    if made.exists() and made.stat().st_mtime > max(path.stat().st_mtime for path in watched):
        return made
    need("cc")
    FOLDER.mkdir(parents=True, exist_ok=True)
    fresh = FOLDER / f"{name}.{os.getpid()}"
    shared = ("-shared", "-fPIC") if name in _SHARED else ()
    subprocess.run(["cc", *FLAGS, *shared, "-o", str(fresh), *map(str, sources)], check=True)
    fresh.replace(made)
    return made


def ask(name: str, *words: object, timeout: float = 300.0) -> dict[str, float]:
    """Run a program to its end; what it says."""
    command: Sequence[str] = [str(program(name)), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.returncode}\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
