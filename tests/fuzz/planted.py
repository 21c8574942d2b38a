"""Bugs on purpose (planted.toml): do the harnesses find each, and how soon?

The engine and the harnesses are copied below build/, and built there; each bug is put in, the harnesses
replay their corpora and then run for a while, until one of them reports; and the bug is taken out.  Only
the processor's time counts, not that of others on the machine, nor that of the compiler.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import corpora
from tests.fuzz.builds import BUILD, FUZZ, REPOSITORY, ROOM, build, harnesses
from tests.fuzz.campaign import run_libfuzzer

MOST_SECONDS = 60.0
#: What a build needs of the tree, this one empty.
EMPTY = "tests/c/meson.build"
NEEDED = (
    "meson.build",
    "meson.options",
    "vdp/engine",
    EMPTY,
    "tests/fuzz",
    "tools/left_out.py",
)
#: How long each harness fuzzes, after the replays, in turn.
A_TURN = 2.0


@dataclass(frozen=True, slots=True)
class Bug:
    """One change of one file of the engine."""

    name: str
    file: str
    before: str
    after: str

    def applied(self, text: str) -> str:
        """The file with the bug.  ValueError where the engine is another by now."""
        if text.count(self.before) != 1:
            raise ValueError(f"planted.toml: {self.name}: `before` is not once in {self.file}")
        return text.replace(self.before, self.after)


@dataclass(slots=True)
class Finding:
    """Who found a bug, after how many seconds of a processor; "": nobody did."""

    bug: Bug
    harness: str = ""
    seconds: float = 0.0
    report: str = ""

    @property
    def line(self) -> str:
        found = f"{self.harness}, {self.seconds:.1f} s: {self.report}" if self.harness else "NOT FOUND"
        return f"{self.bug.name:52} {found[:100]}"


def bugs() -> list[Bug]:
    with (ROOM / "planted.toml").open("rb") as stream:
        return [Bug(**each) for each in tomllib.load(stream)["bug"]]


def _copy_changed(source: str, target: str) -> str:
    """A file whose content is another is new to the compiler, and no other one is."""
    content = Path(source).read_bytes()
    if not Path(target).exists() or Path(target).read_bytes() != content:
        Path(target).write_bytes(content)
    return target


def _copy() -> Path:
    scratch = BUILD / "planted"
    unneeded = shutil.ignore_patterns("*.so", "__pycache__")
    for name in NEEDED:
        source, target = REPOSITORY / name, scratch / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=unneeded, copy_function=_copy_changed)
        elif name != EMPTY:
            _copy_changed(str(source), str(target))
        elif not target.exists():
            target.write_text("")
    return scratch


def _hunt(bug: Bug, scratch: Path, turns: int = 4) -> Finding:
    """Replays first, then turns, until somebody finds it or the time is over."""
    finding = Finding(bug)
    for turn in (0.0, *[A_TURN] * (turns - 1)):
        for name in _quickest():
            program = build(FUZZ, [f"fuzz_{name}"], scratch) / f"fuzz_{name}"
            options = ("-runs=0",) if turn == 0 else ()
            folders = [_new(name), _inputs(name)]
            result = run_libfuzzer(program, name, turn or 30.0, folders, *options)
            finding.seconds += result.processor
            if result.report:
                finding.harness, finding.report = name, result.report
                return finding
            if finding.seconds > MOST_SECONDS:
                return finding
    return finding


def _inputs(name: str) -> Path:
    """The corpus as it is in the tree: what campaigns found besides does not count here."""
    return corpora.unpacked(name, BUILD / "planted" / "corpus" / name)


def _new(name: str) -> Path:
    """Where a harness writes what it finds: not to the corpus, which is each bug's as it is."""
    folder = BUILD / "planted" / "new" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _quickest() -> list[str]:
    """The harnesses, those with little to replay first."""
    return sorted(harnesses(), key=lambda name: (corpora.CORPUS / f"{name}.zip").stat().st_size)


def hunt() -> Iterator[Finding]:
    """Each bug.  SystemExit where a harness reports something without any."""
    scratch = _copy()
    control = _hunt(Bug("no bug at all", "", "", ""), scratch, turns=1)
    if control.harness:
        raise SystemExit(f"without any bug: {control.line}")
    for bug in bugs():
        path = scratch / "vdp" / "engine" / bug.file
        right = path.read_text()
        path.write_text(bug.applied(right))
        try:
            yield _hunt(bug, scratch)
        finally:
            path.write_text(right)
