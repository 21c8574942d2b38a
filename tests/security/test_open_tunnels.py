"""Links that take packets from anybody: refused unless it is said, and then pointed out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vdp.cli import exits, main

HEAD = """
[[port]]
name = "wan"
type = "raw"
protocol = "gre"
[[port]]
name = "lan"
type = "tun"
[plugins]
load = ["gre", "gretap"]
[[link]]
name = "g1"
kind = "gre"
underlay = "wan"
"""

OPEN = ("", 'remote = "any"', 'remote = "0.0.0.0"', 'local = "192.0.2.1"\nkey = 7', "fallback = true")
CLOSED = ('remote = "192.0.2.2"', 'local = "192.0.2.1"\nremote = "224.0.0.5"')


def check(folder: Path, more: str, *options: str) -> int:
    path = folder / "vdp.toml"
    path.write_text(HEAD + more + "\n")
    return main(["check", "-c", str(path), *options])


@pytest.mark.parametrize("more", OPEN)
def test_a_tunnel_from_anybody_has_to_be_meant(
    more: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, more) == exits.CONFIG
    said = capsys.readouterr().err
    assert "[open-tunnel]" in said
    assert "allow_any_remote = true" in said
    assert "1 problem\n" in said


@pytest.mark.parametrize("more", OPEN)
def test_one_that_is_meant_is_pointed_out(
    more: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, f"allow_any_remote = true\n{more}") == exits.OK
    said = capsys.readouterr()
    assert ": ok (" in said.out
    assert said.err.count("warning: link[0].allow_any_remote: ") == 1
    assert "whoever reaches wan can send into what is behind link g1" in said.err
    assert check(tmp_path, f"allow_any_remote = true\n{more}", "--json") == exits.OK
    answer = json.loads(capsys.readouterr().out)
    assert [each["kind"] for each in answer["warnings"]] == ["open-tunnel"]


@pytest.mark.parametrize("more", [*CLOSED, 'allow_any_remote = true\ninner_allowed = ["10.0.0.0/8"]'])
def test_of_another_there_is_nothing_to_say(
    more: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, more) == exits.OK
    assert capsys.readouterr().err == ""


def test_what_else_is_open_is_said_where_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = """remote = "192.0.2.2"
[metrics]
listen = "0.0.0.0:9479"
[security]
workers = "off"
capabilities = ["all"]
"""
    assert check(tmp_path, more) == exits.OK
    said = capsys.readouterr().err
    for line, key in (("17", "metrics.listen"), ("19", "security.workers"), ("20", "security.capabilities")):
        assert f"vdp.toml:{line}:" in said
        assert f"warning: {key}: " in said
    assert said.count("[exposed]") == 3


def test_a_capability_that_there_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = 'remote = "192.0.2.2"\n[security]\ncapabilities = ["CAP_NET_ADMINN"]'
    assert check(tmp_path, more) == exits.CONFIG
    assert 'did you mean "CAP_NET_ADMIN"' in capsys.readouterr().err
