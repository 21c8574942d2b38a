"""`make dist`: what a release consists of, that it installs and runs, and is the same whoever makes it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.clean import Clean
from tests.lab import REPOSITORY
from tools import dist
from tools.runtime import needed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

#: When the commit was made that is released here; even, as times in a wheel are.
EPOCH = 1_700_000_000
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


class Release:
    """The files of one, made of a commit of what is in the tree."""

    def __init__(self, folder: Path, tree: Path) -> None:
        copy = folder / "tree"
        shutil.copytree(tree, copy)
        for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "released"]):
            identity = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
            subprocess.run(
                ["git", *identity, "-C", str(copy), *command],
                check=True,
                env={**os.environ, "GIT_COMMITTER_DATE": f"{EPOCH} +0000"},
            )
        self.archive, self.wheel, self.bill, self.sums = dist.make(folder / "dist", copy)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, snapshot: Path) -> Release:
    return Release(tmp_path_factory.mktemp("release"), snapshot)


def run(*command: str | Path) -> str:
    """What it prints, away from the tree."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VDP_"))}
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", env=kept, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_it_has_one_wheel_for_all_pythons_an_archive_a_bill_and_checksums(release: Release) -> None:
    version = PROJECT["version"]
    assert release.archive.name == f"vdp-{version}.tar.gz"
    assert release.wheel.name.startswith(f"vdp-{version}-cp311-abi3-manylinux_2_")
    lines = [line.split("  ") for line in release.sums.read_text().splitlines()]
    for digest, name in lines:
        assert hashlib.sha256((release.sums.parent / name).read_bytes()).hexdigest() == digest
    assert [name for _, name in lines] == [release.archive.name, release.wheel.name, release.bill.name]
    run(sys.executable, "-m", "auditwheel", "show", release.wheel)
    with zipfile.ZipFile(release.wheel) as wheel:
        names = set(wheel.namelist())
    assert {"vdp/py.typed", "vdp/engine/_native.pyi", "vdp/template/copier.yml"} <= names
    assert not [name for name in names if name.endswith((".c", ".h", ".pyc")) or name.startswith("tests/")]
    with tarfile.open(release.archive) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    unit = "etc/systemd/vdp.service"
    assert {"Makefile", "LICENSE", unit, "docs/operating.md", "tests/c/meson.build"} <= held


def test_it_is_the_same_whoever_makes_it(release: Release, clean: Clean) -> None:
    """Of the archive and of the tree, in other folders, comes the same wheel; its times are the commit's."""

    def contents(path: Path) -> dict[str, bytes]:
        with zipfile.ZipFile(path) as wheel:
            return {
                name: wheel.read(name)
                for name in wheel.namelist()
                # These name the platform.
                if not name.endswith(("/", ".dist-info/WHEEL", ".dist-info/RECORD"))
            }

    ours, theirs = contents(release.wheel), contents(clean.wheel)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    with zipfile.ZipFile(release.wheel) as wheel:
        times = {info.date_time for info in wheel.infolist()}
    assert times == {time.gmtime(EPOCH)[:6]}
    with tarfile.open(release.archive) as archive:
        assert {member.mtime for member in archive.getmembers()} == {EPOCH}


def test_it_installs_with_what_it_needs_and_runs(release: Release, tmp_path: Path) -> None:
    """Into a virtualenv with nothing else in it; the wheel was built from the archive."""
    venv.create(tmp_path / "venv", symlinks=True)
    bin = tmp_path / "venv" / "bin"
    pip = (sys.executable, "-m", "pip", "--python", bin / "python")
    run(*pip, "install", "--quiet", release.wheel)
    run(*pip, "check")
    assert run(bin / "vdp", "--version") == f"vdp {PROJECT['version']}\n"
    for file in (REPOSITORY / "etc" / "vdp.toml", *(REPOSITORY / "etc" / "examples").glob("*.toml")):
        assert ": ok (" in run(bin / "vdp", "check", "-c", file)
    listed = run(bin / "vdp", "plugin", "list", "--socket", "/nowhere", "--json")
    assert {row["name"] for row in json.loads(listed)} == set(PROJECT["entry-points"]["vdp"])
    # The engine runs, too: a packet goes through a dataplane in memory.
    said = run(
        bin / "python",
        "-c",
        "from vdp.engine.interface import PacketType\n"
        "from vdp.testing.dataplane import Dataplane\n"
        "plane = Dataplane(plugins=['gre'])\n"
        "plane.port('a', PacketType.L2); plane.port('b', PacketType.L2); plane.connect('a', 'b')\n"
        "plane.send('a', bytes(60)); print(len(plane.received('b')))",
    )
    assert said == "1\n"


def test_the_bill_lists_what_runs_and_nothing_that_only_builds_or_tests(release: Release) -> None:
    bill = json.loads(release.bill.read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "vdp")
    assert bill["metadata"]["component"]["version"] == PROJECT["version"]
    listed = {part["name"].replace("_", "-").lower(): part for part in bill["components"]}
    assert set(listed) == set(needed(PROJECT["dependencies"]))
    assert {"pyroute2", "pydantic-core", "python-pytun"} <= set(listed)
    assert not {"pytest", "mypy", "meson", "copier"} & set(listed)
    assert all(part["version"] and part["licenses"] and part["purl"] for part in listed.values())
    assert str(Path.home()) not in release.bill.read_text()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vdp-1-cp311-cp311-manylinux_2_34_x86_64.whl", "expected cp311-abi3-manylinux"),
        ("vdp-1-cp311-abi3-linux_x86_64.whl", "expected cp311-abi3-manylinux"),
        ("vdp-1-cp311-abi3-manylinux_2_39_x86_64.whl", "needs glibc 2.39, expected 2.36 or older"),
        ("vdp-1-cp311-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", ""),
    ],
)
def test_a_wheel_for_too_few_systems_is_no_release(name: str, words: str) -> None:
    if not words:
        dist.check_name(Path(name))
        return
    with pytest.raises(dist.DistError, match=words):
        dist.check_name(Path(name))


def test_the_stub_of_the_extension_says_what_is_in_it(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "mypy.stubtest", "vdp.engine._native", "--concise")
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
