"""etc/systemd: the service as systemd reads it, and what it makes of how open it is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.security.figures import UNIT, exposure

DROP_IN = UNIT.with_name("netns.conf")


def placed(folder: Path, *, netns: bool) -> Path:
    """The unit with programs that are there, and the drop-in for namespaces."""
    unit = folder / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/vdp/bin/vdp", "/bin/true"))
    if netns:
        beside = folder / f"{UNIT.name}.d"
        beside.mkdir()
        (beside / DROP_IN.name).write_text(DROP_IN.read_text())
    return unit


@pytest.mark.parametrize("netns", [False, True])
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path, netns: bool) -> None:
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(placed(tmp_path, netns=netns))],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


def test_the_service_is_not_exposed() -> None:
    assert exposure() <= 2.5


def test_what_is_for_namespaces_costs_what_it_must(tmp_path: Path) -> None:
    """The measure does see what is given up, so the figure above means something."""
    assert exposure(placed(tmp_path, netns=True)) > 4
