"""`vdp check --live`: a right configuration, and whether this machine has what it needs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Vdp
from vdp.cli import exits

ABSENT = """\
[[port]]
name = "wire"
type = "raw"
interface = "no-such-dev"
[metrics]
enabled = false
[control]
socket = "/nonexistent/vdp.sock"
"""


def test_what_the_machine_lacks_is_said_with_its_cure(vdp: Vdp, tmp_path: Path) -> None:
    path = tmp_path / "vdp.toml"
    path.write_text(ABSENT)
    assert vdp("check", "-c", str(path)).code == exits.OK
    result = vdp("check", "-c", str(path), "--live")
    assert result.code == exits.FAILED
    assert "fail  port wire: there is no device no-such-dev [device-absent]" in result.out
    answer = json.loads(vdp("check", "-c", str(path), "--live", "--json").out)
    assert not answer["ok"]
    (failed,) = [each for each in answer["checks"] if each["check"] == "device-absent"]
    assert failed["fix"]


def test_a_configuration_with_mistakes_is_not_taken_to_the_machine(vdp: Vdp, tmp_path: Path) -> None:
    path = tmp_path / "vdp.toml"
    path.write_text(ABSENT + 'socket = "twice"\n')
    result = vdp("check", "-c", str(path), "--live")
    assert (result.code, result.out) == (exits.CONFIG, "")
    assert "[not-toml]" in result.err
