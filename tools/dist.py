"""Make a release: source archive, wheel, bill of materials, checksums.  `make dist` calls it.

    python -m tools.dist [FOLDER]

The wheel is built from the source archive, so that builds, too; it is checked to use nothing
but the limited API of CPython 3.11, and named for the oldest C library that it runs with.
From one commit the same bytes come out, whenever and wherever: times are the commit's, or
SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

from tools.runtime import lay_out, needed

REPOSITORY = Path(__file__).resolve().parent.parent
#: GNU C libraries from that of RHEL 9, Debian 12, Ubuntu 22.04 on: what it is built with decides.
MOST_GLIBC = (2, 36)


class DistError(Exception):
    """A release that can not be made; the text says why."""


def make(folder: Path, repository: Path = REPOSITORY) -> list[Path]:
    """All files of a release, in `folder`, in place of those of another one.  DistError."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("vdp-*"), *folder.glob("SHA256SUMS")):
        old.unlink()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["SOURCE_DATE_EPOCH"] = epoch(repository)
    for line in uncommitted(repository):
        print(line, file=sys.stderr)
    with tempfile.TemporaryDirectory() as scratch:
        built = Path(scratch) / "built"
        build = ("build", "--no-isolation", "--skip-dependency-check", "--outdir", built, repository)
        _run(environment, *build)
        (archive,) = built.glob("*.tar.gz")
        (wheel,) = built.glob("*.whl")
        _run(environment, "abi3audit", "--strict", wheel)
        _run(environment, "auditwheel", "repair", "--plat", "auto", "--wheel-dir", folder, wheel)
        (wheel,) = folder.glob("*.whl")
        archive = archive.rename(folder / archive.name)
        bill = folder / f"{archive.name.removesuffix('.tar.gz')}.cdx.json"
        _write_bill(bill, repository / "pyproject.toml", environment, Path(scratch))
    check_name(wheel)
    files = [archive, wheel, bill]
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in files))
    return [*files, sums]


def epoch(repository: Path) -> str:
    """SOURCE_DATE_EPOCH, or when the commit was made that is released."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return given
    git = ("git", "-c", f"safe.directory={repository}", "-C", str(repository), "log", "-1", "--format=%ct")
    done = subprocess.run(git, capture_output=True, text=True)
    if done.returncode:
        raise DistError(f"a release is made of a git commit: {done.stderr.strip()}")
    return done.stdout.strip()


def uncommitted(repository: Path) -> list[str]:
    """A line that warns where the work tree has what the commit, and so the release, has not."""
    git = ("git", "-c", f"safe.directory={repository}", "-C", str(repository), "status", "--porcelain")
    changed = subprocess.run(git, capture_output=True, text=True).stdout.splitlines()
    if not changed:
        return []
    count = f"{len(changed)} file{'s' if len(changed) > 1 else ''}"
    return [
        f"dist: warning: {count} with uncommitted changes, as {changed[0][3:]}: "
        "a release is of the last commit; for a wheel of the work tree: pip wheel --no-deps ."
    ]


def check_name(wheel: Path) -> None:
    """DistError where a wheel is for one Python version, or for fewer systems than it should be."""
    _, _, python, abi, platform = wheel.stem.split("-")
    tags = [tag.removeprefix("manylinux_").split("_") for tag in platform.split(".") if "manylinux_" in tag]
    if (python, abi) != ("cp311", "abi3") or not tags:
        raise DistError(f"{wheel.name}: expected cp311-abi3-manylinux_…")
    oldest = min((int(major), int(minor)) for major, minor, *_ in tags)
    if oldest > MOST_GLIBC:
        needs, most = (".".join(map(str, version)) for version in (oldest, MOST_GLIBC))
        raise DistError(
            f"{wheel.name}: needs glibc {needs}, expected {most} or older: build it where that is"
        )


def _write_bill(bill: Path, project: Path, environment: dict[str, str], scratch: Path) -> None:
    """CycloneDX, of vdp and what it needs to run, in the versions that are installed here."""
    site = scratch / "site"
    venv.create(site, symlinks=True)
    (packages,) = site.glob("lib/python*/site-packages")
    described = tomllib.loads(project.read_text())["project"]
    lay_out(needed(described["dependencies"]).values(), packages)
    _run(
        environment, "cyclonedx_py", "environment", "--pyproject", project, "--output-reproducible",
        "--output-file", bill, site / "bin" / "python",
    )  # fmt: skip


def _run(environment: dict[str, str], module: str, *arguments: object) -> None:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    path = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(command, capture_output=True, text=True, env={**environment, "PATH": path})
    if done.returncode:
        raise DistError(f"{module} {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.dist", description="make a release")
    parser.add_argument("folder", nargs="?", type=Path, default=REPOSITORY / "dist")
    try:
        for file in make(parser.parse_args().folder):
            print(file)
    except DistError as error:
        sys.exit(f"dist: {error}")


if __name__ == "__main__":
    main()
