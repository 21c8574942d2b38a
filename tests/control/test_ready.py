"""When vdp is ready: nothing of the configuration is missing, whatever is done to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plane import L2, L3, A, B, MakePlane, Plane
from vdp.config import load
from vdp.inspector import Inspector

CONFIG = f"""
[[port]]
name = "underlay"
type = "memory"
packet_type = "l3"
[[port]]
name = "lan"
type = "memory"
[[link]]
name = "gt0"
kind = "gretap"
local = "{A}"
remote = "{B}"
underlay = "underlay"
[plugins]
load = ["gretap", "wccp"]
"""


@pytest.fixture
def plane(make_plane: MakePlane) -> Plane:
    """All of the configuration."""
    plane = make_plane(("gretap", "wccp"))
    plane.port("underlay", L3)
    plane.port("lan", L2)
    plane.link("gt0", "gretap", local=A, remote=B)
    return plane


@pytest.fixture
def inspector(plane: Plane, tmp_path: Path) -> Inspector:
    """Of a daemon that has started."""
    path = tmp_path / "vdp.toml"
    path.write_text(CONFIG)
    made = Inspector(plane.datapath, load(path, lambda section: plane.datapath.plugins.kinds))
    made.is_started = True
    return made


def readiness(inspector: Inspector) -> tuple[bool, list[str]]:
    status = inspector.status()
    return status["ready"], status["missing"]


def test_it_is_ready_while_it_runs_and_all_is_there(inspector: Inspector) -> None:
    assert readiness(inspector) == (True, [])
    inspector.is_started = False
    assert readiness(inspector) == (False, [])


def test_a_port_that_can_not_be_used_is_missing_until_it_can(plane: Plane, inspector: Inspector) -> None:
    number = plane.datapath.ports["lan"].number
    plane.datapath.engine.set_port_up(number, False)  # as the engine has one that has no device
    assert readiness(inspector) == (False, ["port lan"])
    plane.datapath.engine.set_port_up(number, True)
    assert readiness(inspector) == (True, [])


def test_what_was_set_down_is_not_missing(plane: Plane, inspector: Inspector) -> None:
    port = plane.datapath.ports["lan"]
    plane.datapath.engine.set_port_up(port.number, False)
    port.up = False
    plane.datapath.set_link_up("gt0", False)
    assert readiness(inspector) == (True, [])


def test_a_link_that_is_not_there_and_a_plugin_that_failed_are_missing(
    plane: Plane, inspector: Inspector
) -> None:
    plane.remove_link("gt0")
    infos = plane.datapath.plugins.infos
    infos["wccp"].state = "disabled"  # unloaded by command
    assert readiness(inspector) == (False, ["link gt0"])
    infos["wccp"].state = infos["gre"].state = "failed"  # the configuration does not list gre
    assert readiness(inspector) == (False, ["link gt0", "plugin wccp"])


def test_a_port_that_is_not_there_is_missing(plane: Plane, inspector: Inspector) -> None:
    plane.datapath.remove_port("lan")
    assert readiness(inspector) == (False, ["port lan"])
