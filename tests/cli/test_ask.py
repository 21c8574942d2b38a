"""Commands that ask a daemon: their text, their JSON, their exit codes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Daemon, Vdp
from tests.control.fake_view import FakeView
from vdp.cli import exits
from vdp.cli.commands import COMMANDS, Command
from vdp.control.client import call
from vdp.control.errors import UNKNOWN_METHOD, ControlError
from vdp.status import Finding, History

HEAVY = (
    "pydantic",
    "pyroute2",
    "cffi",
    "_cffi_backend",
    "rich",
    "prometheus_client",
    "pluggy",
    "asyncio",
    "pytun",
)


#: The fields of a finding; scripts rely on them.
FINDING = ["command", "sentence", "severity", "subject"]


def findings_of(view: FakeView) -> list[Finding]:
    return History(view).findings()


def words(command: Command) -> list[str]:
    return [command.noun, command.verb] if command.verb else [command.noun]


@pytest.mark.parametrize(
    "command", [each for each in COMMANDS if not each.changes], ids=lambda command: command.method
)
def test_json_is_the_answer_of_the_daemon(vdp: Vdp, daemon: Daemon, command: Command) -> None:
    result = vdp(*words(command), "--json", "--socket", daemon.socket)
    view = daemon.view
    answers = {
        "port.show": view.ports,
        "link.show": view.links,
        "flow.dump": view.flows,
        "handler.list": view.handlers,
        "plugin.list": view.plugins,
        "drop.show": view.drops,
        "bridge.show": view.show_bridges(),
        "bridge.macs": view.macs,
        "route.show": view.show_routes(),
        "rule.show": view.show_rules(),
        "status": view.state,
    }
    assert (result.code, result.err) == (exits.OK, "")
    answer = json.loads(result.out)
    if command.method == "status":
        assert [sorted(row) for row in answer.pop("findings")] == [FINDING] * len(findings_of(view))
    assert answer == answers[command.method]


@pytest.mark.parametrize(
    "command", [each for each in COMMANDS if each.changes], ids=lambda command: command.method
)
def test_what_changes_something_must_be_named_and_shows_what_became_of_it(
    vdp: Vdp, daemon: Daemon, command: Command
) -> None:
    assert vdp(*words(command), "--socket", daemon.socket).code == exits.USAGE
    assert daemon.view.asked == []
    result = vdp(*words(command), "wccp", "--socket", daemon.socket)
    assert (result.code, result.err) == (exits.OK, "")
    assert daemon.view.asked == [(command.method, "wccp")]
    assert result.out == vdp(command.noun, "list", "--socket", daemon.socket).out


def test_a_handlers_quarantine_is_in_the_list(vdp: Vdp, daemon: Daemon) -> None:
    header, failing, fine = vdp("handlers", "--socket", daemon.socket).out.splitlines()
    assert header.split()[-3:] == ["STATE", "LAST", "ERROR"]
    assert "quarantine 2 s" in failing
    assert "asked" in fine


def test_ports_are_a_table_with_aligned_columns(vdp: Vdp, daemon: Daemon) -> None:
    result = vdp("port", "show", "--socket", daemon.socket)
    assert [line[:42] for line in result.out.splitlines()] == [
        "NAME      TYPE      LAYER  STATE   MTU  DE",
        "tap0      tap       l2     up     1462  ta",
        "underlay  raw       l2     down   1462  - ",
        "gt1       gro-cell  l2     up     1462  - ",
    ]
    assert [line[55:] for line in result.out.splitlines()] == [
        "RING  RX FRAMES  RX BYTES  TX FRAMES  TX BYTES  DROPPED  ERROR",
        "1000         10      1000          4       400        0  -",
        "4096          5       700          0         0        7  ENETDOWN: Network is down",
        "   -          3         0          0         0        0  -",
    ]


def test_one_port_that_is_named_is_shown_whole(vdp: Vdp, daemon: Daemon) -> None:
    lines = vdp("port", "show", "tap0", "--socket", daemon.socket).out.splitlines()
    fields = dict(line.split(None, 1) for line in lines)
    assert fields["name"] == "tap0"
    assert fields["up"] == "yes"
    assert fields["features"] == "vnet_hdr csum"
    assert fields["counters.rx_segments"] == "30"
    assert not any(line.startswith("underlay") for line in lines)


@pytest.mark.conformance("B14")
def test_links_show_addresses_keys_and_counters(vdp: Vdp, daemon: Daemon) -> None:
    daemon.view.links[0]["okey"] = None
    header, row = vdp("link", "show", "--socket", daemon.socket).out.splitlines()
    assert "192.0.2.1  192.0.2.2  42/-  underlay" in row
    assert header.split()[:3] == ["NAME", "KIND", "LAYER"]


def test_flows_are_a_line_each_and_explained_by_source(vdp: Vdp, daemon: Daemon) -> None:
    assert vdp("flow", "dump", "--socket", daemon.socket).out == (
        "in_port(underlay),length(42..65792),ip.proto=47, packets:12, bytes:1234, age:3.2s, used:0.5s, "
        "actions:pull 28,output gt1\n"
    )
    lines = vdp("flows", "--explain", "--socket", daemon.socket).out.splitlines()
    assert lines[0] == "flow 7 of worker 0: packets:12, bytes:1234, age:3.2s, used:0.5s"
    assert ["match", "ip.proto=47", "vdp_gre/receive.py:20"] in [line.split() for line in lines]
    assert lines[-1].split() == ["action", "output", "gt1", "vdp/links/link.py:9"]


@pytest.mark.conformance("A15")
def test_the_other_tables_name_what_matters(vdp: Vdp, daemon: Daemon) -> None:
    def table(*arguments: str) -> list[list[str]]:
        return [line.split() for line in vdp(*arguments, "--socket", daemon.socket).out.splitlines()]

    assert table("handler", "list")[1][:8] == ["cisco", "10", "wccp", "wccp", "1", "2", "3", "4"]
    assert table("plugin", "list")[2][2] == "failed"
    assert table("drop", "show")[1][:3] == ["underlay", "tunnel_no_link", "6"]
    assert table("bridge", "macs")[1] == ["br0", "02:00:00:00:00:01", "tap0", "2", "s", "-"]
    status = table("status")
    assert ["flows", "1", "of", "65536,", "9", "installed"] in status
    assert ["ready", "yes"] in status


def test_the_status_ends_with_what_is_wrong_the_worst_first(vdp: Vdp, daemon: Daemon) -> None:
    daemon.view.state |= {"ready": False, "missing": ["port underlay", "plugin wccp"]}
    result = vdp("status", "--socket", daemon.socket)
    assert result.code == exits.DEGRADED
    figures, wrong = result.out.split("\n\n")
    assert "ready" in figures
    lines = wrong.splitlines()
    assert lines[0] == (
        "bad: vdp: It is not ready, this is missing: port underlay, plugin wccp.  (vdp doctor)"
    )
    assert "bad: port underlay: It is down: ENETDOWN: Network is down.  (vdp port show underlay)" in lines
    assert [line.partition(":")[0] for line in lines] == sorted(line.partition(":")[0] for line in lines)
    assert len(lines) == len(findings_of(daemon.view)) > 5
    assert all(c.isprintable() for line in lines for c in line)


def test_the_status_of_what_is_well_ends_with_that(vdp: Vdp, daemon: Daemon) -> None:
    view = daemon.view
    view.ports, view.links, view.plugins = view.ports[:1], [], view.plugins[:1]
    del view.handlers[0]
    view.state["overload"]["steps"] = []
    assert vdp("status", "--socket", daemon.socket).out.endswith("\n\nnothing is wrong\n")
    assert json.loads(vdp("status", "--json", "--socket", daemon.socket).out)["findings"] == []


def test_of_an_older_daemon_nothing_is_claimed(
    vdp: Vdp, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def older(path: str, method: str, params: dict[str, Any] | None = None) -> Any:
        if method == "finding.list":
            raise ControlError(UNKNOWN_METHOD, "there is no method finding.list")
        return call(path, method, params)

    monkeypatch.setattr("vdp.cli.commands.call", older)
    result = vdp("status", "--socket", daemon.socket)
    assert (result.code, "nothing is wrong" in result.out) == (exits.OK, False)
    assert "is older than this command" in result.err


def test_nothing_to_show_is_a_header_and_success(vdp: Vdp, daemon: Daemon) -> None:
    daemon.view.drops = []
    result = vdp("drop", "show", "--socket", daemon.socket)
    assert (result.code, result.out) == (exits.OK, "PORT  REASON  PACKETS  TEXT\n")
    assert result.err == "nothing is dropped\n"
    result = vdp("drop", "show", "--json", "--socket", daemon.socket)
    assert (result.out.strip(), result.err) == ("[]", "")


@pytest.mark.parametrize(
    ("words", "near"), [("prot show", "port"), ("link shw", "show"), ("flow dump --sort packts", "packets")]
)
def test_the_nearest_noun_verb_or_choice_is_named(vdp: Vdp, words: str, near: str) -> None:
    result = vdp(*words.split())
    assert (result.code, "invalid choice" in result.err) == (exits.USAGE, True)
    assert result.err.endswith(f'\nhint: did you mean "{near}"?\n')


def test_control_bytes_from_outside_are_escaped(vdp: Vdp, daemon: Daemon) -> None:
    daemon.view.flows[0]["match"][0]["text"] = "\x1b]0;title\x07\u202e"
    for arguments in (["handler", "list"], ["flow", "dump"], ["flow", "dump", "--explain"]):
        out = vdp(*arguments, "--socket", daemon.socket).out
        assert "\\x1b" in out
        assert all(c.isprintable() or c == "\n" for c in out)


@pytest.mark.parametrize("noun", {each.noun: 0 for each in COMMANDS if each.verb and not each.changes})
def test_plurals_and_nouns_alone_are_understood(vdp: Vdp, daemon: Daemon, noun: str) -> None:
    verb = next(command.verb for command in COMMANDS if command.noun == noun and not command.changes)
    wanted = vdp(noun, verb, "--json", "--socket", daemon.socket).out
    assert wanted
    for arguments in ([noun + "s", verb], [noun], [noun + "s"]):
        assert vdp(*arguments, "--json", "--socket", daemon.socket).out == wanted


def test_the_socket_is_found_in_the_environment_or_the_configuration(
    vdp: Vdp, daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "vdp.toml"
    # Only control.socket of it is looked at.
    path.write_text(f'[control]\nsocket = "{daemon.socket}"\n[port]\nmtu = "wrong"\n')
    assert vdp("status", "-c", str(path)).code == exits.OK
    assert vdp("-c", str(path), "status").code == exits.OK
    monkeypatch.setenv("VDP_SOCKET", daemon.socket)
    assert vdp("status").code == exits.OK
    monkeypatch.setenv("VDP_SOCKET", "/nowhere")
    assert vdp("status", "-c", str(path)).code == exits.OK
    assert vdp("status").code == exits.UNREACHABLE


def test_exit_codes_tell_what_went_wrong(vdp: Vdp, daemon: Daemon, tmp_path: Path) -> None:
    result = vdp("port", "show", "tap1", "--socket", daemon.socket)
    assert (result.code, result.out) == (exits.NOT_FOUND, "")
    assert result.err == 'vdp: error: no port "tap1"\nhint: did you mean "tap0"?\n'
    result = vdp("port", "show", "--socket", str(tmp_path / "none"))
    assert result.code == exits.UNREACHABLE
    assert "hint: start one with: vdp -c FILE" in result.err
    assert vdp("port", "shwo").code == exits.USAGE
    result = vdp("flow", "dump", "--filter", "nonsense", "--socket", daemon.socket)
    assert (result.code, "found 'nonsense', expected a field" in result.err) == (exits.USAGE, True)
    result = vdp("drop", "show", "--rates", "2h", "--socket", daemon.socket)
    assert (result.code, "found 2h, expected 0.1s to 3600s" in result.err) == (exits.USAGE, True)
    assert vdp("prot").code == exits.USAGE
    path = tmp_path / "bad.toml"
    path.write_text("[control\n")
    assert vdp("status", "-c", str(path)).code == exits.CONFIG
    assert vdp("status", "-c", str(tmp_path / "absent.toml")).code == exits.CONFIG
    path.write_text("[control]\nsocket = 3\n")
    assert vdp("status", "-c", str(path)).code == exits.CONFIG


def test_an_error_of_the_daemon_is_a_failure(
    vdp: Vdp, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("engine gone")

    monkeypatch.setattr(daemon.view, "status", broken)
    result = vdp("status", "--socket", daemon.socket)
    assert result.code == exits.FAILED
    assert "RuntimeError: engine gone" in result.err


def test_help_lists_commands_and_exit_codes(vdp: Vdp) -> None:
    result = vdp("--help")
    for code, meaning in exits.MEANINGS.items():
        assert f"{code} {meaning}" in result.out
    for command in COMMANDS:
        assert command.noun in result.out


def test_vdp_alone_prints_help_and_whether_a_daemon_runs(
    vdp: Vdp, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VDP_SOCKET", daemon.socket)
    result = vdp()
    assert (result.code, result.out.split()[0]) == (exits.OK, "usage:")
    assert result.err == f"\na daemon answers at {daemon.socket}\n"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vdp", *arguments], capture_output=True, text=True, timeout=30
    )


def test_version_is_printed() -> None:
    from vdp import __version__

    assert run("--version").stdout == f"vdp {__version__}\n"


def test_asking_imports_nothing_heavy(daemon: Daemon) -> None:
    code = (
        "import sys; from vdp.cli import main\n"
        f"for arguments in {[words(each) + ['wccp'] * each.changes for each in COMMANDS]!r}:\n"
        f"    assert main([*arguments, '--socket', {daemon.socket!r}]) == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (result.returncode, result.stderr) == (0, "[]\n")


def test_a_reader_that_goes_away_is_no_traceback(daemon: Daemon) -> None:
    daemon.view.drops *= 5000
    asking = subprocess.Popen(
        [sys.executable, "-m", "vdp", "drop", "show", "--socket", daemon.socket],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert asking.stdout is not None
    assert asking.stderr is not None
    asking.stdout.readline()
    asking.stdout.close()
    assert asking.stderr.read() == b""
    assert asking.wait(30) == exits.FAILED
    asking.stderr.close()


def on_a_terminal(daemon: Daemon, **environment: str) -> str:
    """What `vdp port show` prints on a terminal."""
    primary, secondary = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    code = subprocess.run(
        [sys.executable, "-m", "vdp", "port", "show", "--socket", daemon.socket],
        stdout=secondary, env=plain | {"TERM": "xterm-256color"} | environment, timeout=30, check=False,
    ).returncode  # fmt: skip
    os.close(secondary)
    out = os.read(primary, 1 << 16).decode()
    os.close(primary)
    assert code == 0
    return out


@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_gets_a_table_and_colours_unless_refused(daemon: Daemon, no_color: bool) -> None:
    daemon.view.ports[0]["name"] = "[red]x[/red]"
    out = on_a_terminal(daemon, COLUMNS="200", **({"NO_COLOR": "1"} if no_color else {}))
    assert "─" in out
    assert "[red]x[/red]" in out, "names are no markup"
    assert ("\x1b[31m" in out) == (not no_color)


def test_a_table_that_is_too_wide_for_the_terminal_is_not_folded(daemon: Daemon) -> None:
    out = on_a_terminal(daemon, COLUMNS="60")
    assert "─" not in out
    lines = out.splitlines()
    assert lines[0].startswith("NAME")
    assert len(lines) == 1 + len(daemon.view.ports), "one line a port, whole"


@pytest.mark.conformance("B25")
@pytest.mark.parametrize("words", [["link", "show"], ["links"], ["link", "show", "gt1"]], ids=" ".join)
def test_links_are_printed_as_a_configuration(vdp: Vdp, daemon: Daemon, words: list[str]) -> None:
    config = {"name": "gt1", "kind": "gretap", "underlay": "underlay", "key": 42, "csum": True, "ttl": "any"}
    daemon.view.links[0]["config"] = config
    result = vdp(*words, "--toml", "--socket", daemon.socket)
    assert (result.code, result.err) == (exits.OK, "")
    assert tomllib.loads(result.out) == {"link": [config]}
