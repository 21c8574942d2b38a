"""`vdp plugin info`, `new` and `test`: what needs no daemon."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Daemon, Vdp
from tests.lab import REPOSITORY
from tests.test_docs import forget_modules, install
from vdp.cli import exits
from vdp.cli.plugin import KINDS, questions, template

__all__ = ["forget_modules"]

PAGE = (REPOSITORY / "docs" / "commands.md").read_text()
GOOD = """
from vdp.api import Datapath, IPv4, Packet, TunnelInfo, Verdict, hookimpl

vdp_api = 1


@hookimpl
def vdp_register(datapath: Datapath) -> None:
    def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        return Verdict.REJECT

    datapath.registry.list("gre_cisco").add(receive, priority=5, name="shy_rcv", owner="shy")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget_modules: None) -> Path:
    """An empty folder to work in, whose modules can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_info_is_read_without_importing(vdp: Vdp, folder: Path) -> None:
    install(folder, "vdp_bomb", "vdp_api = 3\nraise SystemExit('imported')\n")
    result = vdp("plugin", "info", "bomb")
    fields = dict(re.split(r"  +", line, maxsplit=1) for line in result.out.splitlines())
    assert result.code == exits.OK
    assert (fields["distribution"], fields["version"], fields["api"]) == ("vdp_bomb", "1", "3")
    assert (fields["module"], fields["file"]) == ("vdp_bomb", str(folder / "vdp_bomb.py"))
    assert (fields["author"], fields["samples"]) == ("-", "no")
    assert json.loads(vdp("plugin", "info", "bomb", "--json").out)["api"] == 3
    assert "vdp_bomb" not in sys.modules


def test_info_says_what_a_daemon_has_counted_for_it(vdp: Vdp, daemon: Daemon) -> None:
    row = daemon.view.plugins[0]
    name = "vdp_plugin_gre_odd"
    row["counters"] = [
        {"name": name, "text": "Odd ones.", "labels": {"port": "a", "tos": "7"}, "packets": 3, "bytes": 99}
    ]
    said = vdp("plugin", "info", "gre", "--socket", daemon.socket)
    assert re.search(r"^running +loaded\n", said.out, re.MULTILINE)
    assert re.search(r"^provides +link kind gre\n", said.out, re.MULTILINE)
    assert said.out.splitlines()[-1].split() == [name, "port=a,tos=7", "3", "99"]
    assert json.loads(vdp("plugin", "info", "gre", "--json", "--socket", daemon.socket).out)["running"] == row
    alone = vdp("plugin", "info", "gre", "--socket", "/nowhere")
    assert (alone.code, alone.err) == (exits.OK, "")
    assert re.search(r"^running +-$", alone.out, re.MULTILINE)
    assert json.loads(vdp("plugin", "info", "gre", "--json", "--socket", "/nowhere").out)["running"] is None


def test_info_says_what_of_its_timers_failed_and_list_does_so_too(vdp: Vdp, daemon: Daemon) -> None:
    said = vdp("plugin", "info", "wccp", "--socket", daemon.socket)
    titles, row = said.out.splitlines()[-2:]
    assert titles.split() == ["CALLED", "NAME", "TIMES", "FAILURES", "STATE", "LAST", "ERROR"]
    assert row.split()[:7] == ["timer", "vdp_wccp.tick", "9", "5", "quarantine", "2", "s"]
    assert "ValueError: " in row
    assert "\x1b" not in said.out
    daemon.view.plugins[1]["error"] = ""
    listed = vdp("plugin", "list", "--socket", daemon.socket).out
    assert "timer failed 5 times: ValueError: " in listed
    assert "\x1b" not in listed


def test_info_of_a_built_in_plugin(vdp: Vdp) -> None:
    answer = json.loads(vdp("plugin", "info", "gre", "--json").out)
    assert (answer["distribution"], answer["api"]) == ("vdp", 1)
    assert any(need.startswith("pydantic") for need in answer["requires"])
    assert not any("extra" in need for need in answer["requires"])


@pytest.mark.parametrize("verb", ["info", "test"])
def test_a_plugin_that_is_not_installed_is_not_found(vdp: Vdp, verb: str) -> None:
    result = vdp("plugin", verb, "gree")
    assert (result.code, result.out) == (exits.NOT_FOUND, "")
    assert result.err.startswith("vdp: error: plugin gree is not installed (there is: ")
    assert result.err.endswith('hint: did you mean "gre"?\n')


def test_without_a_daemon_the_list_is_what_is_installed(vdp: Vdp, folder: Path) -> None:
    install(folder, "vdp_bomb", "raise SystemExit('imported')\n")
    result = vdp("plugin", "list", "--socket", str(folder / "none"))
    assert result.code == exits.OK
    assert result.err.endswith(": this is what is installed\n")
    rows = {line.split()[0]: line.split()[1:4] for line in result.out.splitlines()[1:]}
    assert rows["bomb"] == ["1", "installed", "vdp_bomb"]
    assert {"gre", "gretap", "wccp"} <= rows.keys()
    assert vdp("plugin", "list", "gre", "--socket", str(folder / "none")).code == exits.UNREACHABLE


def test_a_test_prints_a_line_a_check_and_fails_by_what_failed(vdp: Vdp, folder: Path) -> None:
    install(folder, "vdp_shy", GOOD)
    arguments = ("plugin", "test", "shy", "--packets", "300", "--beside", "gre")
    result = vdp(*arguments)
    states = {line.split()[0]: line.split()[1] for line in result.out.splitlines()}
    assert (result.code, result.err) == (exits.OK, "")
    assert states["handlers"] == "weak"
    assert states["loads"] == states["packets"] == states["soundness"] == "ok"
    assert vdp(*arguments, "--strict").code == exits.FAILED
    rows = json.loads(vdp(*arguments, "--json").out)
    assert {row["check"]: row["state"] for row in rows} == states


def test_a_failed_test_is_an_exit_code_and_all_lines_of_what_failed(vdp: Vdp, folder: Path) -> None:
    install(folder, "vdp_shy", GOOD.replace("return Verdict.REJECT", "return info.nonsense"))
    result = vdp("plugin", "test", "shy", "--packets", "300", "--beside", "gre")
    assert result.code == exits.FAILED
    assert re.search(
        r"^packets +failed +[^/ ]+/vdp_shy\.py:10: AttributeError: .*\n {20,}packet 4",
        result.out,
        re.MULTILINE,
    )


def test_settings_come_from_a_configuration(vdp: Vdp, folder: Path) -> None:
    (folder / "vdp.toml").write_text("[plugin.gre]\nflags = 'nonsense'\n")
    result = vdp("plugin", "test", "gre", "--packets", "10", "-c", "vdp.toml")
    assert result.code == exits.FAILED
    assert result.out.startswith("settings   failed     [plugin.gre]: 1 validation error")
    assert vdp("plugin", "test", "gre", "-c", "absent.toml").code == exits.CONFIG


@pytest.mark.parametrize("name", ["Shim", "1shim", "shim.x", "-", "a" * 21, "vdp-"])
def test_a_name_that_is_none_is_refused(vdp: Vdp, folder: Path, name: str) -> None:
    result = vdp("plugin", "new", "--", name)
    assert (result.code, list(folder.iterdir())) == (exits.FAILED, [])
    assert "is no name" in result.err


def test_what_is_there_already_is_left_alone(vdp: Vdp, folder: Path) -> None:
    (folder / "vdp-shim").mkdir()
    (folder / "vdp-shim" / "mine").touch()
    result = vdp("plugin", "new", "shim")
    assert (result.code, result.err) == (
        exits.FAILED,
        "vdp: error: vdp-shim is there already, and not an empty folder\n",
    )


@pytest.mark.parametrize("given", ["colour=red", "summary", "name=x", "kind=udp", "module=x"])
def test_an_answer_that_nobody_asked_for_is_refused(vdp: Vdp, folder: Path, given: str) -> None:
    result = vdp("plugin", "new", "shim", "--set", given)
    assert result.code == exits.FAILED
    assert result.err.endswith(
        "expected KEY=VALUE, where KEY is author, ethertype, priority, summary, udp_port\n"
    )


def test_an_answer_that_is_wrong_is_refused(vdp: Vdp, folder: Path) -> None:
    result = vdp("plugin", "new", "shim", "--set", "ethertype=35000")
    assert result.code == exits.FAILED
    assert "four hexadecimal digits behind 0x" in result.err
    assert not (folder / "vdp-shim").exists()


@pytest.mark.parametrize("noun", ["plugin", "plugins", "handler"])
def test_help_about_a_noun_of_several_verbs_says_them_all(vdp: Vdp, noun: str) -> None:
    result = vdp(noun, "--help")
    assert (result.code, result.out.splitlines()[0]) == (
        exits.OK,
        f"usage: vdp {noun.removesuffix('s')} [-h] VERB ...",
    )


def test_every_kind_has_its_files_in_the_template() -> None:
    folders = {path.name: {file.name for file in path.iterdir()} for path in (template() / "kinds").iterdir()}
    assert folders.keys() == set(KINDS)
    assert {frozenset(files) for files in folders.values()} == {
        frozenset({"module.py.jinja", "samples.py.jinja", "tests.py.jinja", "usage.md.jinja"})
    }


def test_the_page_has_every_verb_option_and_question() -> None:
    for verb in ("info PLUGIN", "test PLUGIN", "new NAME"):
        assert f"| `vdp plugin {verb}` |" in PAGE
    options = ("packets", "seed", "beside", "samples", "strict", "directory", "set", "kind")
    assert not [option for option in options if f"--{option}" not in PAGE]
    assert not [question for question in questions() if f"`{question}`" not in PAGE]
