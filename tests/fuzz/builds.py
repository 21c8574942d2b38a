"""What is built for the fuzzers, each variant of the engine in a folder of its own below build/."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOM = Path(__file__).parent
REPOSITORY = ROOM.parents[1]
BUILD = REPOSITORY / "build"
#: Where the score sheet is put together from.
SCORE = BUILD / "score"


class Missing(Exception):
    """A tool is not there; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Variant:
    """How the engine and the harnesses are compiled, and where that goes."""

    name: str
    compiler: str
    options: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return BUILD / self.name

    def program(self, name: str) -> Path:
        return self.folder / "tests" / "fuzz" / name


SANITIZED = ("-Db_sanitize=address,undefined", "-Db_lundef=false")
#: libFuzzer programs, fuzz_NAME, under AddressSanitizer and UndefinedBehaviorSanitizer.
FUZZ = Variant("fuzz", "clang", ("-Dfuzz=true", "-Doptimization=2", *SANITIZED))
#: replay_NAME as the product is compiled: quick.
PLAIN = Variant("fuzz-plain", "clang", ("-Doptimization=2",))
#: replay_NAME that writes down which lines ran.
COVERAGE = Variant(
    "fuzz-coverage",
    "clang",
    ("-Dc_args=-fprofile-instr-generate -fcoverage-mapping", "-Dc_link_args=-fprofile-instr-generate"),
)


def harnesses(room: Path = ROOM) -> list[str]:
    """The names that meson.build lists."""
    text = (room / "meson.build").read_text()
    listed = re.search(r"harnesses = \[(.*?)\]", text, re.DOTALL)
    assert listed is not None
    return re.findall(r"'(\w+)'", listed[1])


def build(variant: Variant, targets: list[str], source: Path = REPOSITORY) -> Path:
    """Compile these; where they are.  `source`: a copy of the tree is built inside that copy."""
    if shutil.which(variant.compiler) is None:
        raise Missing(f"{variant.compiler} is missing: apt-get install clang llvm")
    folder = source / "build" / variant.name
    tools = {
        **os.environ,
        "CC": variant.compiler,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    if not (folder / "build.ninja").exists():
        setup = ["meson", "setup", str(folder), str(source), "-Dextension=false", *variant.options]
        _run(setup, tools)
    _run(["ninja", "-C", str(folder), *(f"tests/fuzz/{target}" for target in targets)], tools)
    return folder / "tests" / "fuzz"


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
