"""`vdp completion`: what a shell offers, asked as a shell asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Daemon, Vdp
from tests.lab import REPOSITORY
from vdp.cli import exits
from vdp.cli.commands import COMMANDS, OWN
from vdp.cli.completion import SCRIPTS


def words(vdp: Vdp, *typed: str) -> list[str]:
    result = vdp("completion", "words", "vdp", *typed)
    assert result.code == exits.OK
    return result.out.splitlines()


def test_nouns_are_offered_first(vdp: Vdp) -> None:
    assert set(words(vdp, "")) == {command.noun.split()[0] for command in (*COMMANDS, *OWN)}
    assert words(vdp, "pl") == ["plugin"]
    assert "--version" in words(vdp, "--")


def test_then_verbs_options_and_their_choices(vdp: Vdp) -> None:
    assert {"list", "enable", "disable"} <= set(words(vdp, "handler", ""))
    assert words(vdp, "port", "show", "--j") == ["--json"]
    assert words(vdp, "--log-level", "w") == ["warning"]
    assert words(vdp, "completion", "") == sorted(SCRIPTS)
    assert words(vdp, "trace", "") == ["live"], "a noun of two words"
    assert "--count" in words(vdp, "trace", "live", "--")


def test_then_live_names(vdp: Vdp, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VDP_SOCKET", daemon.socket)
    assert words(vdp, "port", "show", "t") == ["tap0"]
    assert words(vdp, "link", "show", "--json", "") == ["gt1"]
    assert words(vdp, "handler", "enable", "") == ["gre", "wccp"]
    assert words(vdp, "port", "show", "tap0", "") == [], "it takes one name"
    assert words(vdp, "trace", "--in", "u") == ["underlay"], "the value of an option"
    assert words(vdp, "bridge", "show", "") == ["br0"]
    monkeypatch.delenv("VDP_SOCKET")
    assert words(vdp, "port", "show", "--socket", daemon.socket, "u") == ["underlay"]
    assert words(vdp, "port", "show", "--socket", "/nonexistent.sock", "u") == []


def test_names_that_can_be_explained(vdp: Vdp) -> None:
    assert words(vdp, "explain", "tunnel_no") == ["tunnel_no_link"]


def test_what_only_the_scripts_ask_is_offered_to_nobody(vdp: Vdp) -> None:
    result = vdp("completion", "nosuch")
    assert result.code == exits.USAGE
    assert "fish" in result.err
    assert "words" not in result.err


@pytest.mark.parametrize("shell", SCRIPTS)
def test_each_shell_has_a_script_that_asks_vdp(vdp: Vdp, shell: str) -> None:
    result = vdp("completion", shell)
    assert "completion words" in result.out


def test_bash_completes(tmp_path: Path) -> None:
    command = tmp_path / "vdp"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m vdp "$@"\n')
    command.chmod(0o755)
    script = (
        "source <(vdp completion bash)\n"
        'COMP_WORDS=(vdp plugin re); COMP_CWORD=2; _vdp; echo "${COMPREPLY[@]}"'
    )
    below = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}",
    }
    done = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, timeout=20, env=below
    )
    assert (done.stdout, done.stderr) == ("reload\n", "")
