"""`vdp check` and `vdp -c`: what a configuration leads to."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from tests.cli.conftest import Vdp
from tests.config.conftest import kinds
from vdp.cli import exits
from vdp.config import PluginsSection


class Failure(Exception):
    def __init__(self, plugin: str) -> None:
        super().__init__(f"plugin {plugin} is not installed")
        self.plugin = plugin


class Plugins:
    """Stands for vdp.loader.Plugins: has gre and gretap."""

    actions: ClassVar[dict[str, Any]] = {}
    infos: ClassVar[dict[str, Any]] = {"gre": None, "gretap": None}

    def __init__(self) -> None:
        self.kinds = kinds(PluginsSection(load=()))

    def settings(self) -> dict[str, type[BaseModel]]:
        return {}

    def load(self, names: tuple[str, ...]) -> list[Failure]:
        self.kinds = kinds(PluginsSection(load=names))
        return [Failure(name) for name in names if name not in ("gre", "gretap")]


@pytest.fixture(autouse=True)
def loader(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("vdp.loader")
    module.Plugins = Plugins  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vdp.loader", module)


GOOD = """
[[port]]
name = "u"
type = "raw"
protocol = "gre"
[[link]]
name = "g"
kind = "gre"
underlay = "u"
[[link]]
name = "h"
kind = "gre"
underlay = "u"
key = 1
[plugins]
load = ["gre"]
"""


def test_a_right_configuration_is_ok(vdp: Vdp, tmp_path: Path) -> None:
    path = tmp_path / "vdp.toml"
    path.write_text(GOOD)
    result = vdp("check", "-c", str(path))
    assert result.code == exits.OK
    assert result.out == f"{path}: ok (1 port, 2 links, 1 plugin)\n"
    assert json.loads(vdp("check", "-c", str(path), "--json").out) == {
        "ok": True,
        "problems": [],
        "warnings": [],
    }


def test_a_wrong_configuration_shows_every_problem(vdp: Vdp, tmp_path: Path) -> None:
    path = tmp_path / "vdp.toml"
    path.write_text(GOOD.replace("raw", "rwa").replace('["gre"]', '["gre", "gretpa"]'))
    result = vdp("check", "-c", str(path))
    assert (result.code, result.out) == (exits.CONFIG, "")
    assert f"{path}:4:8: error: port[0].type:" in result.err
    assert "plugins.load[1]: plugin gretpa is not installed" in result.err
    assert result.err.endswith("2 problems\n")
    answer = json.loads(vdp("check", "-c", str(path), "--json").out)
    assert [(problem["line"], problem["key"]) for problem in answer["problems"]] == [
        (4, "port[0].type"),
        (16, "plugins.load[1]"),
    ]


def test_check_needs_a_file(vdp: Vdp) -> None:
    result = vdp("check")
    assert result.code == exits.USAGE
    assert "vdp check -c FILE" in result.err


def test_a_configuration_runs_the_daemon(vdp: Vdp, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("vdp.daemon")
    asked: list[tuple[Path, str | None, bool]] = []

    def run(path: Path, *, log_level: str | None = None, strict: bool = False) -> int:
        asked.append((path, log_level, strict))
        return 17

    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vdp.daemon", module)
    assert vdp("-c", "a.toml").code == 17
    assert vdp("--config", "b.toml", "--log-level", "debug").code == 17
    assert vdp("-c", "c.toml", "--strict").code == 17
    assert asked == [
        (Path("a.toml"), None, False), (Path("b.toml"), "debug", False), (Path("c.toml"), None, True),
    ]  # fmt: skip
    assert vdp("-c", "a.toml", "--log-level", "loud").code == exits.USAGE
