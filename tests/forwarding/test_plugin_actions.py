"""Actions of rules that plugins give: made of an argument, in order with others, gone with their plugin."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.testing.conftest import Install, forget_modules, installed
from vdp.api import PacketType
from vdp.cli import main
from vdp.plugin_change import PluginChange
from vdp.testing import Dataplane, check_soundness
from vdp.testing.builders import ipv4, udp

__all__ = ["forget_modules", "installed"]

MARK = """
    from vdp.api import IPv4, Packet, hookimpl

    vdp_api = 1

    def dscp(argument):
        value = int(argument)
        return lambda packet: packet.header(IPv4).set(dscp=value)

    def end(argument):
        return lambda packet: packet.drop("policy_rule") and None

    def broken(argument):
        raise ZeroDivisionError("when it is made")

    def fails(argument):
        def act(packet):
            raise ZeroDivisionError("when it acts")
        return act

    @hookimpl
    def vdp_actions():
        return {"dscp": dscp, "end": end, "broken": broken, "fails": fails}
"""


def packet(dscp: int = 0) -> bytes:
    return ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"hello"), tos=dscp << 2)


@pytest.fixture
def plane(installed: Install) -> Dataplane:
    made = Dataplane(plugins=[installed("mark", MARK)])
    for name in ("lan", "wan", "spy"):
        made.port(name, PacketType.L3)
    made.connect("lan", "wan")
    return made


def test_it_changes_the_packet_for_what_follows_and_not_for_what_was_before(plane: Dataplane) -> None:
    plane.rule(actions=["mark.dscp:8", "output:spy", "mark.dscp:46", "normal"])
    plane.send("lan", packet())
    assert (plane.received("spy"), plane.received("wan")) == ([packet(8)], [packet(46)])
    check_soundness(plane.datapath, "lan", packet(), packet(5))


@pytest.mark.parametrize("actions", [["mark.dscp:8"], ["output:spy", "mark.dscp:8"], ["mark.end", "normal"]])
def test_what_no_action_sends_is_dropped_by_policy(plane: Dataplane, actions: list[str]) -> None:
    plane.rule(actions=actions)
    plane.send("lan", packet())
    assert plane.received("wan") == []
    assert plane.drops("lan") == {"policy_rule": 1}
    assert plane.received("spy") == ([packet()] if actions[0] == "output:spy" else [])


def test_flows_follow_a_plugin_that_goes_and_comes_anew(plane: Dataplane, tmp_path: Path) -> None:
    plane.rule(actions=["mark.dscp:8", "normal"])
    plane.send("lan", packet())
    change = PluginChange(plane.datapath)
    change.unload("mark")
    plane.send("lan", packet())
    assert plane.received("wan") == [packet(8)]
    assert plane.drops("lan") == {"policy_rule": 1}, "nobody knows what the action was to do"
    (tmp_path / "vdp_mark.py").write_text(textwrap.dedent(MARK).replace("dscp=value", "dscp=value + 1"))
    change.load("mark")
    plane.send("lan", packet())
    assert plane.received("wan") == [packet(9)]


def test_one_that_raises_costs_its_packets_and_a_line(
    plane: Dataplane, caplog: pytest.LogCaptureFixture
) -> None:
    plane.rule(actions=["mark.fails", "normal"])
    plane.send("lan", packet())
    assert plane.drops("lan") == {"handler_error": 1}
    (line,) = caplog.messages
    assert line.startswith("a packet was dropped: ZeroDivisionError: when it acts (")
    assert "vdp_mark.py:" in line
    assert caplog.records[0].exc_info is None, "a traceback is for the log level debug"


CONFIGURATION = """\
[plugins]
load = ["mark"]
[[port]]
name = "lan"
type = "memory"
[[rule]]
actions = ["{}", "normal"]
"""


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("mark.dscp:8", ""),
        ("mark.dscp:x", """found "mark.dscp:x", invalid literal for int() with base 10: 'x'"""),
        ("mark.dcsp:8", 'expected an action of a loaded plugin [unknown-action]\n'),
        ("mark.dcsp:8", 'hint: did you mean "mark.dscp"?'),
        ("other.word", "hint: there is: mark.broken, mark.dscp, mark.end, mark.fails; is the plugin in"),
        ("mark.broken:1", "mark.broken failed to be made of '1': ZeroDivisionError: when it is made"),
        ("mark.", 'expected one of "drop", "output:NAME", "flood", "normal", or a plugin\'s "PLUGIN.WORD"'),
        (".dscp", "expected one of"),
    ],
)  # fmt: skip
def test_a_configuration_is_told_what_is_wrong_with_its_line(
    installed: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str], action: str, words: str
) -> None:
    installed("mark", MARK)
    path = tmp_path / "vdp.toml"
    path.write_text(CONFIGURATION.format(action))
    assert main(["check", "-c", str(path)]) == (4 if words else 0)
    said = capsys.readouterr().err
    assert words in said
    assert ("vdp.toml:7:12: error: rule[0].actions[0]: " in said) == bool(words)
