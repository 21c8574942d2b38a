"""Whatever a plugin does wrong is a line that names it: never a traceback, and never the end of the rest."""

from __future__ import annotations

import asyncio
import logging
import sys
import textwrap
from pathlib import Path

import pytest

from tests.testing.conftest import Install, forget_modules, installed
from vdp.api import PacketType
from vdp.cli import main
from vdp.loader import PluginError
from vdp.log import TextFormatter
from vdp.plugin_change import PluginChange
from vdp.testing import Dataplane
from vdp.testing.builders import gre, ipv4, udp

__all__ = ["forget_modules", "installed"]

INNER = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2))
IN_GRE = ipv4("192.0.2.2", "192.0.2.1", gre(INNER), protocol=47)

HEAD = """
    from pydantic import BaseModel
    from vdp.api import Verdict, hookimpl

    vdp_api = 1

    def wrong(*arguments):
        raise ZeroDivisionError("of the plugin")
"""

#: What fails in a running dataplane, by the log line that tells of it.
RUNNING = {
    "plugin bad: handler bad_rcv raised": """
        @hookimpl
        def vdp_register(datapath):
            datapath.registry.list("gre_cisco").add(wrong, priority=1, name="bad_rcv", owner="bad")
    """,
    "a packet was dropped": """
        @hookimpl
        def vdp_stages(pipeline):
            pipeline.add(wrong, priority=1, name="bad", owner="bad")
    """,
    "a timer failed": """
        @hookimpl
        def vdp_register(datapath):
            datapath.every(1, wrong)
    """,
    "an effect failed": """
        @hookimpl
        def vdp_register(datapath):
            def receive(packet, ip, info):
                packet.on_commit(wrong)
                return packet.drop("policy_rule")
            datapath.registry.list("gre_cisco").add(receive, priority=1, name="bad_rcv", owner="bad")
    """,
    "an upcall failed": """
        @hookimpl
        def vdp_register(datapath):
            cookie = datapath.add_cookie(wrong)
            def receive(packet, ip, info):
                packet.upcall(cookie)
                return packet.drop("policy_rule")
            datapath.registry.list("gre_cisco").add(receive, priority=1, name="bad_rcv", owner="bad")
    """,
    "plugin bad: vdp_start": "vdp_start = hookimpl(lambda datapath: wrong())",
    "plugin bad: vdp_stop": "vdp_stop = hookimpl(lambda datapath: wrong())",
}


def source(text: str) -> str:
    """The head and a part, whose hooks are found by their names."""
    made = textwrap.dedent(HEAD) + textwrap.dedent(text)
    for name in ("vdp_start", "vdp_stop"):
        made = made.replace(
            f"{name} = hookimpl(lambda datapath: wrong())", f"@hookimpl\ndef {name}(datapath): wrong()"
        )
    return made


@pytest.mark.parametrize("line", RUNNING)
def test_what_fails_while_it_runs_is_one_line(
    installed: Install, caplog: pytest.LogCaptureFixture, line: str
) -> None:
    with Dataplane(plugins=["gre", installed("bad", source(RUNNING[line]))]) as plane:
        plane.port("underlay", PacketType.L3)
        plane.port("lan", PacketType.L3)
        plane.link("gre1", "gre", local="192.0.2.1", remote="192.0.2.2")
        plane.connect("lan", "gre1")
        with caplog.at_level(logging.INFO):
            plane.start()
            plane.send("underlay", IN_GRE)
            plane.send("lan", INNER)
            plane.pass_time(1.0)
            asyncio.run(_stop(plane))
    found = [record for record in caplog.records if record.getMessage().startswith(line)]
    assert found, caplog.text
    for record in found:
        said = TextFormatter().format(record)
        assert "\n" not in said
        assert "ZeroDivisionError: of the plugin" in said


async def _stop(plane: Dataplane) -> None:
    plane.datapath.plugins.call("vdp_stop", datapath=plane.datapath)


#: What is refused at the start, by the sentence that says why.
LOADING = {
    "can not be imported: SyntaxError": "def broken(:",
    "ImportError: cannot import name 'Handler' from 'vdp.api'": "from vdp.api import Handler",
    "failed: AttributeError: 'str' object has no attribute 'name'": """
        @hookimpl
        def vdp_link_kinds():
            return ["a kind"]
    """,
    "vdp_drop_reasons gives a list, not a mapping": """
        @hookimpl
        def vdp_drop_reasons():
            return ["colour"]
    """,
    "vdp_actions gives a list, not a mapping": """
        @hookimpl
        def vdp_actions():
            return ["colour"]
    """,
    "vdp_settings is a dict, not a pydantic model": "vdp_settings = {}",
    "hook 'vdp_register'": """
        @hookimpl
        def vdp_register(dataplane):
            pass
    """,
    "failed: ValueError: drop reason 'Colour' of plugin 'bad': lower-case letters": """
        @hookimpl
        def vdp_drop_reasons():
            return {"Colour": "is no word"}
    """,
    "is taken by ipgre_rcv of gre": """
        @hookimpl
        def vdp_register(datapath):
            datapath.registry.list("gre_cisco").add(wrong, priority=300, name="bad_rcv", owner="bad")
    """,
    "its vdp_register is a coroutine function, and hooks are not awaited": """
        @hookimpl
        async def vdp_register(datapath):
            pass
    """,
}


@pytest.mark.parametrize("sentence", LOADING)
def test_what_is_refused_at_the_start_is_one_sentence(installed: Install, sentence: str) -> None:
    with pytest.raises(PluginError) as refused:
        Dataplane(plugins=["gre", installed("bad", source(LOADING[sentence]))])
    said = str(refused.value)
    assert said.startswith("plugin bad ")
    assert sentence in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "sentence", [each for each in LOADING if "taken" not in each and "Colour" not in each]
)
def test_vdp_check_says_so_with_the_line_of_the_file(
    installed: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str], sentence: str
) -> None:
    installed("bad", source(LOADING[sentence]))
    path = tmp_path / "vdp.toml"
    path.write_text('[plugins]\nload = ["gre",\n        "bad"]\n')
    code = main(["check", "-c", str(path)])
    if "vdp_drop_reasons" in sentence:
        assert code == 0, "that hook is not called by a check"
        return
    said = capsys.readouterr().err
    assert code == 4
    assert "vdp.toml:3:9: error: plugins.load[1]: plugin bad " in said
    assert sentence in said
    assert "Traceback" not in said


def test_a_reload_that_fails_is_a_sentence_and_changes_nothing(installed: Install, tmp_path: Path) -> None:
    with Dataplane(plugins=["gre", installed("bad", source("x = 1"))]) as plane:
        (tmp_path / "vdp_bad.py").write_text("def broken(:")
        with pytest.raises(PluginError, match=r"plugin bad can not be imported: .*; the one that runs stays"):
            asyncio.run(_reload(plane))
        assert plane.datapath.plugins.infos["bad"].state == "loaded"
        assert sys.modules["vdp_bad"].x == 1


def test_a_link_that_its_kind_can_not_make_ends_the_start_in_a_sentence(
    installed: Install, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vdp.daemon.configure", lambda level, style: None)  # the log stays pytest's
    installed("bad", source(MAKES_NONE))
    path = tmp_path / "vdp.toml"
    path.write_text(NONE_OF_THEM.format(tmp_path))
    with caplog.at_level(logging.INFO):
        assert main(["-c", str(path)]) == 1
    (said,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert said.getMessage().startswith(
        "plugin bad can not make link none0: ZeroDivisionError: of the plugin ("
    )
    assert "Traceback" not in caplog.text


MAKES_NONE = """
    from vdp.api import IpTunnel, IpTunnelKind, PacketType

    class Bad(IpTunnel):
        def __init__(self, *given):
            super().__init__(*given)
            wrong()

    class BadKind(IpTunnelKind):
        name = "bad"
        packet_type = PacketType.L3
        tunnel = Bad

    @hookimpl
    def vdp_link_kinds():
        return [BadKind()]
"""
NONE_OF_THEM = """
control = {{ socket = "{}/vdp.sock" }}
metrics = {{ enabled = false }}
plugins = {{ load = ["bad"] }}

[[port]]
name = "underlay"
type = "memory"
packet_type = "l3"

[[link]]
name = "none0"
kind = "bad"
local = "192.0.2.1"
remote = "192.0.2.2"
underlay = "underlay"
"""


async def _reload(plane: Dataplane) -> None:
    await PluginChange(plane.datapath).reload("bad")
