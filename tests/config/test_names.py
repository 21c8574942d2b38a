"""Links and ports that plugins' own tables name: those that are not there are found, each at its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from tests.config.conftest import kinds
from vdp.config import Config, ConfigError, load
from vdp.config.names import LinkName, PortName


class Entry(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    backup: LinkName | None = None


class Settings(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    main: LinkName = "nothing that must be there"
    ports: list[PortName] = Field(default_factory=list)
    link: dict[LinkName, Entry] = Field(default_factory=dict)
    words: dict[str, str] = Field(default_factory=dict)
    entry: Entry = Field(default_factory=Entry)


FILE = """[plugins]
load = ["gre", "wccp"]
[[port]]
name = "u"
type = "raw"
protocol = "gre"
[[link]]
name = "gre1"
kind = "gre"
underlay = "u"
"""


def parsed(tmp_path: Path, table: str) -> Config:
    path = tmp_path / "vdp.toml"
    path.write_text(FILE + table)
    return load(path, kinds, lambda: {"wccp": Settings})


def test_names_that_are_there_pass(tmp_path: Path) -> None:
    table = '[plugin.wccp]\nmain = "gre1"\nports = ["u"]\nwords = {gre7 = "u9"}\n[plugin.wccp.link.gre1]\n'
    config = parsed(tmp_path, table + 'backup = "gre1"\n')
    assert config.plugin["wccp"].main == "gre1"  # type: ignore[attr-defined]


def test_a_default_names_nothing(tmp_path: Path) -> None:
    parsed(tmp_path, "[plugin.wccp]\n")


@pytest.mark.parametrize(
    ("table", "line", "key", "found", "hint"),
    [
        ('main = "gre2"', 12, "main", '"gre2"', "gre1"),
        ('main = "u"', 12, "main", '"u", a port', "gre1"),
        ('ports = ["u", "v"]', 12, "ports[1]", '"v"', "u"),
        ("[plugin.wccp.link.gre1]\n[plugin.wccp.link.gre2]", 13, "link.gre2", '"gre2"', "gre1"),
        ('[plugin.wccp.link.gre1]\nbackup = "far"', 13, "link.gre1.backup", '"far"', "known: gre1"),
        ('entry = {backup = "far"}', 12, "entry.backup", '"far"', "known: gre1"),
    ],
)
def test_a_name_that_is_not_there_is_found(
    tmp_path: Path, table: str, line: int, key: str, found: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(tmp_path, f"[plugin.wccp]\n{table}\n")
    (problem,) = caught.value.problems
    assert (problem.line, problem.key, problem.found) == (line, f"plugin.wccp.{key}", found)
    assert problem.expected == f"the name of a {'port' if 'ports' in key else 'link'}"
    assert hint in problem.hint
