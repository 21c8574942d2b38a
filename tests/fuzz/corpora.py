"""Corpora: the inputs that lead somewhere, one archive a harness (corpus/NAME.zip), and past crashes.

An archive is made anew from what a campaign found: libFuzzer keeps the smallest inputs that between them
reach everything (-merge=1).  Names are those of libFuzzer, dates are all the same: the same inputs give
the same archive.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import zipfile
from pathlib import Path

from tests.fuzz.builds import BUILD, FUZZ, ROOM, build

DATE = (2000, 1, 1, 0, 0, 0)
CORPUS, CRASHES = ROOM / "corpus", ROOM / "crashes"
#: Everything in the tree that is an input, together.
MOST_BYTES = 2 << 20


def unpacked(name: str, folder: Path) -> Path:
    """The archive's inputs and the past crashes of a harness, in that folder."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = CORPUS / f"{name}.zip"
    if archive.exists():
        with zipfile.ZipFile(archive) as inputs:
            inputs.extractall(folder)
    for crash in sorted((CRASHES / name).glob("*")):
        (folder / crash.name).write_bytes(crash.read_bytes())
    return folder


def past_crashes(name: str) -> list[bytes]:
    """The inputs that once broke a law of that harness."""
    return [crash.read_bytes() for crash in sorted((CRASHES / name).glob("*"))]


def working(name: str) -> Path:
    """The folder that a campaign reads and writes, with what the archive has."""
    return unpacked(name, BUILD / "corpus" / name)


def write(name: str, inputs: list[bytes]) -> Path:
    """The archive of a harness, in its place."""
    CORPUS.mkdir(exist_ok=True)
    path = CORPUS / f"{name}.zip"
    named = {hashlib.sha1(data).hexdigest(): data for data in inputs}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for digest, data in sorted(named.items()):
            archive.writestr(zipfile.ZipInfo(digest, DATE), data, zipfile.ZIP_DEFLATED)
    return path


def minimise(names: list[str]) -> None:
    """Make the archives of what the working folders have."""
    folder = build(FUZZ, [f"fuzz_{name}" for name in names])
    for name in names:
        with tempfile.TemporaryDirectory() as kept:
            command = [str(folder / f"fuzz_{name}"), "-merge=1", "-max_len=1024", kept, str(working(name))]
            subprocess.run(command, capture_output=True, check=True, timeout=600)
            inputs = [path.read_bytes() for path in sorted(Path(kept).iterdir())]
        path = write(name, inputs)
        print(f"{name:12} {len(inputs):5} inputs, {path.stat().st_size:7} bytes")


def size() -> int:
    """Bytes of all inputs in the tree."""
    return sum(path.stat().st_size for path in (*CORPUS.glob("*.zip"), *CRASHES.glob("*/*")))
