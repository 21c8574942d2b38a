"""Plugins that come, go and are exchanged while packets pass; what can not be done is a sentence."""

from __future__ import annotations

import inspect
import re
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import native_engine
from tests.plane import L3, A, B, MakePlane, Plane
from vdp import loader
from vdp.control.changes import change_table
from vdp.control.errors import ControlError
from vdp.engine.interface import EngineConfig, MemoryPacket, PacketType
from vdp.inspector import Inspector
from vdp.loader import PluginError
from vdp.plugin_change import PluginChange
from vdp.testing.builders import gre, ipv4, udp

COLOUR = '''
"""Drops what the part `rules` says, under a reason of its own."""
from collections.abc import Mapping

from pydantic import BaseModel

from vdp.api import hookimpl
from {package}.rules import ends

vdp_api = 1
calls = []


class Settings(BaseModel):
    port: int = 7


vdp_settings = Settings


@hookimpl
def vdp_drop_reasons() -> Mapping[str, str]:
    return {{"colour": "{text}"}}


@hookimpl
def vdp_register(datapath) -> None:
    port = datapath.settings("{name}", Settings).port

    def receive(packet, ip, info):
        return ends(packet, info, port)

    datapath.registry.list("gre_cisco").add(receive, priority={priority}, name="{name}_rcv", owner="{owner}")
    datapath.every(1, lambda: calls.append("chore"))


@hookimpl
def vdp_stages(pipeline) -> None:
    pipeline.add(lambda packet, egress: None, priority={priority}, name="{name}", owner="{owner}")


@hookimpl
def vdp_start(datapath) -> None:
    calls.append("start")
    datapath.registry.list("{name}").add(lambda *_: None, priority=1, name="late", owner="{owner}")


@hookimpl
def vdp_stop(datapath) -> None:
    calls.append("stop")
'''
PORT_DROPS = """
from vdp.api import Verdict

def ends(packet, info, port):
    seen = int.from_bytes(packet.read(info.header_size + 22, 2), "big")
    return packet.drop("plugin_{name}_colour") if seen {comparison} port else Verdict.REJECT
"""


class Source:
    """A plugin of two modules that a test writes, and installs."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.package = name, f"{name}_package"
        self.folder = folder / self.package
        self.folder.mkdir()

    def write(
        self,
        comparison: str = "==",
        text: str = "wrong",
        priority: int = 1,
        more: str = "",
        owner: str = "somebody",
    ) -> None:
        names = {
            "name": self.name,
            "package": self.package,
            "text": text,
            "priority": priority,
            "owner": owner,
        }
        (self.folder / "__init__.py").write_text(COLOUR.format(**names) + more)
        (self.folder / "rules.py").write_text(PORT_DROPS.format(name=self.name, comparison=comparison))

    @property
    def point(self) -> EntryPoint:
        return EntryPoint(self.name, self.package, "vdp")

    @property
    def calls(self) -> list[str]:
        found: list[str] = sys.modules[self.package].calls  # type: ignore[attr-defined]
        return found


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Source]]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two sources of one second are two
    points = {point.name: point for point in entry_points(group="vdp")}
    monkeypatch.setattr(loader, "installed", lambda: dict(points))
    made: list[Source] = []

    def make(name: str) -> Source:
        made.append(Source(tmp_path, name))
        made[-1].write()
        points[name] = made[-1].point
        return made[-1]

    yield make
    for each in made:
        for module in [known for known in sys.modules if known.partition(".")[0] == each.package]:
            del sys.modules[module]


def packet(port: int, flow: int = 1) -> bytes:
    inner = ipv4("10.0.0.2", f"10.0.0.{flow}", udp(1, port, b"hello"))
    return ipv4(B, A, gre(inner), protocol=47)


def equipped(plane: Plane) -> Plane:
    for name in ("underlay", "lan"):
        plane.port(name, L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.connect("lan", "gre1")
    plane.datapath.plugins.call("vdp_start", datapath=plane.datapath)
    return plane


@pytest.fixture
def plane(make_plane: MakePlane, source: Callable[[str], Source]) -> Plane:
    return equipped(make_plane(("gre", "gretap")))


@pytest.fixture
def change(plane: Plane) -> PluginChange:
    return PluginChange(plane.datapath)


def reload(plane: Plane, name: str) -> None:
    plane._runner.run(PluginChange(plane.datapath).reload(name))


def registered(plane: Plane) -> dict[str, Any]:
    datapath = plane.datapath
    counters = [plane.engine.new_counter() for _ in range(64)]
    for counter in counters:
        plane.engine.free_counter(counter)
    return {
        "handlers": [(item.list, item.name) for item in datapath.registry],
        "stages": [stage.name for stage in datapath.pipeline.stages],
        "chores": len(datapath._chores),
        "cookies": len(datapath.cookies),
        "kinds": sorted(datapath.plugins.kinds),
        "counters": max(counters),
    }


@pytest.mark.conformance("A14")
def test_a_plugin_is_loaded_into_a_running_dataplane_and_decides_about_flows_that_run(
    plane: Plane, change: PluginChange, source: Callable[[str], Source]
) -> None:
    plane.send("underlay", packet(7), packet(8, 2))
    assert len(plane.received("lan")) == 2
    mine = source("mine")
    change.load("mine")
    assert mine.calls == ["start"]
    plane.send("underlay", packet(7), packet(8, 2))
    assert len(plane.received("lan")) == 1
    assert plane.drops("underlay") == {"plugin_mine_colour": 1}


@pytest.mark.conformance("A10", "A14")
def test_nothing_is_left_of_a_plugin_that_is_unloaded(
    plane: Plane, change: PluginChange, source: Callable[[str], Source]
) -> None:
    before = registered(plane)
    mine = source("mine")
    for _ in range(10):
        change.load("mine")
        plane.send("underlay", packet(7))
        calls = mine.calls
        change.unload("mine")
        assert calls == ["start", "stop"]
        assert registered(plane) == before
        assert mine.package not in sys.modules
        plane.pass_time(1.5)
        assert "chore" not in calls
    plane.send("underlay", packet(7))
    assert plane.drops("underlay") == {"plugin_mine_colour": 10}
    assert len(plane.received("lan")) == 1
    assert plane.datapath.plugins.infos["mine"].state == "disabled"


@pytest.mark.conformance("A14")
def test_a_reload_reads_all_modules_of_the_plugin_anew(
    plane: Plane, change: PluginChange, source: Callable[[str], Source]
) -> None:
    mine = source("mine")
    change.load("mine")
    plane.send("underlay", packet(7), packet(8))
    assert plane.drops("underlay") == {"plugin_mine_colour": 1}
    old = mine.calls
    mine.write(comparison=">", text="another one")
    reload(plane, "mine")
    assert (old, mine.calls) == (["start", "stop"], ["start"])
    assert plane.received("lan") == [packet(8)[24:]]
    plane.send("underlay", packet(7), packet(8))
    assert plane.received("lan") == [packet(7)[24:]]
    drops = plane.datapath.drops
    assert drops.text(drops.code("plugin_mine_colour")) == "another one"


@pytest.mark.conformance("A14")
def test_a_reload_disturbs_nothing_else_and_what_is_decided_the_same_misses_nothing(
    plane: Plane, change: PluginChange, source: Callable[[str], Source]
) -> None:
    mine = source("mine")
    change.load("mine")
    plane.send("underlay", packet(7), packet(8))
    plane.send("lan", ipv4("10.0.0.1", "10.0.0.2", udp(1, 2)))
    before = {(flow.worker, flow.id) for flow in plane.datapath.slowpath.index.flows.values()}
    others = {id(item) for item in plane.datapath.registry if item.owner != "somebody"}
    upcalls, counters = plane.upcalls, registered(plane)
    mine.write(text="the same, with another text")
    for _ in range(5):
        reload(plane, "mine")
    assert {(flow.worker, flow.id) for flow in plane.datapath.slowpath.index.flows.values()} == before
    assert {id(item) for item in plane.datapath.registry if item.owner != "somebody"} == others
    plane.send("underlay", packet(7), packet(8))
    assert plane.upcalls == upcalls
    assert registered(plane).keys() == counters.keys()
    assert [(item.list, item.name) for item in plane.datapath.registry] == counters["handlers"]


@pytest.mark.conformance("A14")
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            "raise ImportError('not today')",
            "can not be imported: ImportError: not today; the one that runs stays",
        ),
        ("raise SystemExit(3)", "can not be imported: SystemExit: 3; the one that runs stays"),
        (
            "vdp_api = 2",
            "is made for API version 2; this vdp has 1: a newer vdp is needed; the one that runs stays",
        ),
        ("del vdp_api", "does not say vdp_api = 1, the API it is made for; the one that runs stays"),
        (
            "@hookimpl\ndef vdp_link_kinds():\n    raise OSError('kinds')",
            "failed: OSError: kinds; the one before runs again",
        ),
        (
            "@hookimpl\ndef vdp_stages(pipeline):\n    raise ZeroDivisionError('late')",
            "failed: ZeroDivisionError: late; the one before runs again",
        ),
    ],
    ids=["import", "exit", "api-2", "no-api", "kinds", "stages"],
)
def test_a_reload_that_fails_leaves_the_plugin_as_it_was(
    plane: Plane, change: PluginChange, source: Callable[[str], Source], more: str, words: str
) -> None:
    mine = source("mine")
    change.load("mine")
    plane.send("underlay", packet(7))
    before, package = registered(plane), sys.modules[mine.package]
    mine.write(comparison="!=", more=more)
    with pytest.raises(PluginError) as caught:
        reload(plane, "mine")
    said = re.sub(r" \(mine_package/__init__\.py:\d+\)", "", str(caught.value))
    assert said == f"plugin mine {words}"
    assert (said != str(caught.value)) == ("raise" in more), "an exception of the plugin's has its line"
    after = registered(plane)
    assert {key: after[key] for key in after if key != "counters"} == {
        key: before[key] for key in before if key != "counters"
    }
    assert sys.modules[mine.package] is package
    assert plane.datapath.plugins.infos["mine"].state == "loaded"
    plane.send("underlay", packet(7), packet(8))
    assert plane.drops("underlay") == {"plugin_mine_colour": 2}
    mine.write(comparison="!=")
    reload(plane, "mine")
    plane.send("underlay", packet(7), packet(8))
    assert plane.drops("underlay") == {"plugin_mine_colour": 3}


@pytest.mark.conformance("A5", "A14")
def test_a_plugin_that_takes_a_taken_priority_is_refused_and_can_be_loaded_later(
    plane: Plane, change: PluginChange, source: Callable[[str], Source]
) -> None:
    mine = source("mine")
    mine.write(priority=300)
    before = registered(plane)
    with pytest.raises(PluginError) as caught:
        change.load("mine")
    assert str(caught.value) == (
        "plugin mine failed: gre_cisco: priority 300, wanted by mine_rcv of somebody, "
        "is taken by ipgre_rcv of gre"
    )
    assert registered(plane) == before
    assert plane.datapath.plugins.infos["mine"].error == str(caught.value)
    mine.write(priority=1)
    reload(plane, "mine")
    assert plane.datapath.plugins.infos["mine"].state == "loaded"


def test_a_plugin_stays_while_there_are_links_of_its_kinds(plane: Plane, change: PluginChange) -> None:
    with pytest.raises(
        PluginError, match="plugin gre can not be unloaded: link gre1 \\(gre\\) is of its kind"
    ):
        change.unload("gre")
    change.unload("gretap")
    assert "gretap" not in plane.datapath.plugins.kinds
    plane.remove_link("gre1")
    change.unload("gre")


def test_settings_are_those_of_the_configuration_also_after_a_reload(
    make_plane: MakePlane, source: Callable[[str], Source]
) -> None:
    source("mine")
    import importlib

    settings = importlib.import_module("mine_package").Settings(port=9)
    plane = equipped(make_plane(("gre", "mine"), settings={"mine": settings}))
    for _ in range(2):
        plane.send("underlay", packet(7), packet(9))
        assert plane.received("lan") == [packet(7)[24:]]
        reload(plane, "mine")
    assert plane.drops("underlay") == {"plugin_mine_colour": 2}


def test_what_vdp_makes_for_a_packet_meanwhile_is_not_the_plugins(plane: Plane) -> None:
    """The cookie of an ICMP error, made once for all when it is first needed."""
    datapath = plane.datapath
    sent = ipv4("10.0.0.2", "10.0.0.1", udp(1, 2))
    before = len(datapath.cookies)
    with datapath.attempt() as registered:
        datapath.trace(datapath.ports["lan"].number, sent, len(sent), META)
        made = len(datapath.cookies) - before
        registered.take_back()
    assert (made, len(datapath.cookies)) == (1, before + 1)


def test_other_plugins_of_the_same_package_are_left_alone(
    plane: Plane, change: PluginChange, source: Callable[[str], Source]
) -> None:
    """Two plugins in one distribution: what both import is not imported twice."""
    mine = source("mine")
    change.load("mine")
    rules = sys.modules[f"{mine.package}.rules"]
    loader.installed()["mine"]  # the package's own
    (Path(sys.modules[mine.package].__file__ or "").parent / "second.py").write_text("vdp_api = 1\n")
    points = loader.installed()
    points["second"] = EntryPoint("second", f"{mine.package}.second", "vdp")
    original = loader.installed
    try:
        loader.installed = lambda: points
        change.load("second")
        reload(plane, "second")
    finally:
        loader.installed = original
    assert sys.modules[f"{mine.package}.rules"] is rules


# -- by the control socket ---------------------------------------------------------------------


def test_the_control_methods_answer_with_rows_or_say_why_not(
    plane: Plane, source: Callable[[str], Source]
) -> None:
    source("mine")
    methods = change_table(plane.datapath, Inspector(plane.datapath, None))  # type: ignore[arg-type]

    def ask(method: str, name: Any) -> Any:
        return plane._runner.run(answer(methods[method]({"name": name})))

    async def answer(result: Any) -> Any:
        return await result if inspect.isawaitable(result) else result

    (row,) = ask("plugin.load", "mine")
    assert (row["state"], row["provides"]) == ("loaded", [])
    (row,) = ask("handler.disable", "mine_rcv")
    assert (row["name"], row["state"]) == ("mine_rcv", "disabled")
    (row,) = ask("handler.enable", "gre_cisco/mine_rcv")
    assert row["state"] == "asked"
    assert [row["name"] for row in ask("plugin.reload", "mine")] == ["mine"]
    assert [row["state"] for row in ask("plugin.unload", "mine")] == ["disabled"]
    for method, name, code, words in [
        ("plugin.load", "gre", "refused", "plugin gre is loaded already"),
        ("plugin.unload", "mine", "refused", "plugin mine is not loaded"),
        ("plugin.unload", "gre", "refused", "link gre1"),
        ("plugin.load", "gree", "not_found", 'no plugin "gree"'),
        ("plugin.enable", "gree", "not_found", 'no plugin "gree"'),
        ("handler.enable", "ipgre", "not_found", 'no handler "ipgre"'),
        ("handler.disable", "gre_rcv", "refused", "vdp's own"),
        ("handler.disable", 3, "bad_request", "name"),
    ]:
        with pytest.raises(ControlError) as caught:
            ask(method, name)
        assert caught.value.code == code
        assert words in caught.value.message


def test_enabling_a_plugin_enables_all_its_handlers(plane: Plane) -> None:
    methods = change_table(plane.datapath, Inspector(plane.datapath, None))  # type: ignore[arg-type]
    methods["handler.disable"]({"name": "ipgre_rcv"})
    (row,) = methods["plugin.enable"]({"name": "gre"})  # type: ignore[misc]
    assert row["passed_over"] == []
    assert not plane.handler("ipgre_rcv").conduct.is_out


# -- while the C worker forwards ---------------------------------------------------------------

DEADLINE_S = 20
META = bytes([0, 0, 0, PacketType.L3, 0, 0, 8, 0]).ljust(32, b"\0")


@pytest.mark.conformance("A10", "A14")
def test_established_flows_lose_nothing_while_a_plugin_comes_changes_and_goes(
    source: Callable[[str], Source],
) -> None:
    mine = source("mine")
    plane = equipped(Plane(native_engine()(EngineConfig(upcall_rate=0, action_rate=0)), ("gre",)))
    change = PluginChange(plane.datapath)
    number = plane.datapath.ports["underlay"].number
    sent = 0

    def traffic(rounds: int) -> None:
        nonlocal sent
        deadline = time.monotonic() + DEADLINE_S
        for _ in range(rounds):
            for flow in range(1, 9):
                plane.engine.inject(number, MemoryPacket(packet(8, flow), META))
                sent += 1
            while plane.stats("lan").offered < sent - 200:
                plane.datapath.slowpath.run()
                plane.received("lan")
                assert time.monotonic() < deadline, plane.drops("underlay")

    plane.engine.start()
    try:
        traffic(50)
        for turn in range(10):
            traffic(5)
            change.load("mine")
            traffic(5)
            mine.write(comparison="<" if turn % 2 else "==")
            reload(plane, "mine")
            traffic(5)
            change.unload("mine")
        deadline = time.monotonic() + DEADLINE_S
        while plane.stats("lan").offered < sent:
            plane.datapath.slowpath.run()
            plane.received("lan")
            assert time.monotonic() < deadline, (sent, plane.stats("lan"), plane.drops("underlay"))
        assert plane.all_drops() == {}
    finally:
        plane.engine.stop()
        plane.close()
