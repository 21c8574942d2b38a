"""Finding and loading plugins: an allow-list, and one clear line for each failure."""

from __future__ import annotations

import socket
import types
from collections.abc import Callable
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pytest

from tests.conftest import EngineFactory
from tests.plane import L3, A, B
from vdp import loader
from vdp.api import EndpointParameters, LinkKind, PacketType, hookimpl
from vdp.loader import PluginError, Plugins
from vdp.testing.builders import gre, ipv4, udp
from vdp.testing.dataplane import Dataplane


class Distribution:
    name, version = "third-party", "1.2"


class Point:
    """An entry point whose module is made here."""

    dist = Distribution()

    def __init__(self, name: str, make: Callable[[], types.ModuleType]) -> None:
        self.name = name
        self.loads = 0
        self._make = make

    def load(self) -> types.ModuleType:
        self.loads += 1
        return self._make()


def module(name: str = "plugin", **names: Any) -> types.ModuleType:
    made = types.ModuleType(name)
    vars(made).update({"vdp_api": 1, **names})
    return made


def _given(made: types.ModuleType) -> types.ModuleType:
    return made


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Point]]:
    """Plugins that are installed beside vdp's own, by name; a module, or what makes one."""

    def make(**plugins: Any) -> dict[str, Point]:
        points: dict[str, Any] = {point.name: point for point in entry_points(group="vdp")}
        added = {
            name: Point(name, partial(_given, found) if isinstance(found, types.ModuleType) else found)
            for name, found in plugins.items()
        }
        monkeypatch.setattr(loader, "installed", lambda: points | added)
        return added

    return make


def hook(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    function.__name__ = name
    return {name: hookimpl(function)}


def test_parameters_that_no_validator_can_be_built_for_are_the_plugins_fault(
    offer: Callable[..., dict[str, Point]],
) -> None:
    class Unbuilt(EndpointParameters):
        kept: socket.socket  # what pydantic can not check

    class Kind(LinkKind):
        name, packet_type, parameters = "unbuilt", PacketType.L3, Unbuilt

        async def newlink(self, *arguments: Any) -> Any:
            raise AssertionError

        async def dellink(self, *arguments: Any) -> None:
            raise AssertionError

    offer(unbuilt=module(**hook("vdp_link_kinds", lambda: [Kind()])))
    plugins = Plugins()
    (failure,) = plugins.load(["unbuilt"])
    assert str(failure).startswith("plugin unbuilt failed: PydanticSchemaGenerationError: ")
    assert "\n" not in str(failure)
    assert "unbuilt" not in plugins.kinds


@pytest.mark.conformance("A14")
def test_the_three_built_in_plugins_are_installed_and_take_part_like_any_other() -> None:
    found = loader.installed()
    assert {"gre", "gretap", "wccp"} <= set(found)
    assert all(isinstance(point, EntryPoint) for point in found.values())


@pytest.mark.conformance("A14")
def test_nothing_that_is_not_listed_is_imported(offer: Callable[..., dict[str, Point]]) -> None:
    points = offer(listed=module(), unlisted=module())
    plugins = Plugins()
    plugins.load(["listed"])
    assert (points["listed"].loads, points["unlisted"].loads) == (1, 0)
    assert (plugins.infos["listed"].state, plugins.infos["unlisted"].state) == ("loaded", "disabled")
    assert (plugins.infos["unlisted"].distribution, plugins.infos["unlisted"].version) == (
        "third-party",
        "1.2",
    )


def broken_import() -> types.ModuleType:
    raise ModuleNotFoundError("No module named 'scipy'")


def raising(**arguments: object) -> None:
    raise ZeroDivisionError("in a hook")


@pytest.mark.conformance("A14")
@pytest.mark.parametrize(
    ("made", "words"),
    [
        (broken_import, "can not be imported: ModuleNotFoundError: No module named 'scipy'"),
        (module(vdp_api=2), "is made for API version 2; this vdp has 1: a newer vdp is needed"),
        (module(vdp_api="1"), "is made for API version '1'; this vdp has 1: a newer version of the plugin"),
        (types.ModuleType("bare"), "does not say vdp_api = 1, the API it is made for"),
        (module(**hook("vdp_link_kinds", lambda: raising())), "failed: ZeroDivisionError: in a hook"),
        (
            module(**hook("vdp_regsiter", lambda: None)),
            "failed: unknown hook 'vdp_regsiter': did you mean 'vdp_register'?",
        ),
        (
            module(**hook("vdp_unheard_of", lambda: None)),
            "failed: unknown hook 'vdp_unheard_of': there are vdp_",
        ),
    ],
    ids=["import", "api-2", "api-text", "no-api", "hook-raises", "hook-mistyped", "no-such-hook"],
)
def test_a_plugin_that_does_not_load_is_one_clear_line_and_the_others_load(
    offer: Callable[..., dict[str, Point]], made: Any, words: str
) -> None:
    offer(broken=made, good=module())
    plugins = Plugins()
    failures = plugins.load(["gre", "broken", "good"])
    assert [failure.plugin for failure in failures] == ["broken"]
    assert str(failures[0]).startswith("plugin broken ")
    assert words in str(failures[0])
    assert "\n" not in str(failures[0]).splitlines()[0]
    states = {name: plugins.infos[name].state for name in ("gre", "broken", "good")}
    assert states == {"gre": "loaded", "broken": "failed", "good": "loaded"}
    assert plugins.infos["broken"].error == str(failures[0])


def test_a_name_that_is_not_installed_is_answered_with_those_that_are() -> None:
    plugins = Plugins()
    (failure,) = plugins.load(["grre"])
    assert str(failure).startswith("plugin grre is not installed (there is: ")
    assert "gre, gretap" in str(failure)
    assert plugins.infos["grre"].state == "failed"


def test_strictly_the_first_failure_is_raised(offer: Callable[..., dict[str, Point]]) -> None:
    points = offer(broken=broken_import, good=module())
    with pytest.raises(PluginError, match="plugin broken can not be imported"):
        Plugins().load(["broken", "good"], strict=True)
    assert points["good"].loads == 0


@pytest.mark.conformance("A12")
def test_a_link_kind_is_given_once(offer: Callable[..., dict[str, Point]]) -> None:
    offer(other=module(**hook("vdp_link_kinds", lambda: [types.SimpleNamespace(name="gre")])))
    plugins = Plugins()
    (failure,) = plugins.load(["gre", "other"])
    assert "gives link kind 'gre', which another plugin gives already" in str(failure)
    assert plugins.kinds_of == {"gre": ["gre"]}


@pytest.mark.conformance("A12")
def test_nothing_is_left_of_a_plugin_that_fails_while_registering(
    offer: Callable[..., dict[str, Point]], make_engine: EngineFactory, caplog: pytest.LogCaptureFixture
) -> None:
    def vdp_register(datapath: Any) -> None:
        datapath.registry.list("gre_cisco").add(print, priority=1, name="mine", owner="broken")
        datapath.pipeline.add(print, priority=1, name="mine", owner="broken")
        raise ZeroDivisionError("half way")

    offer(broken=module(vdp_register=hookimpl(vdp_register)))
    from vdp.datapath import Datapath
    from vdp.testing.paths import StaticPaths

    plugins = Plugins()
    assert plugins.load(["broken", "gre"]) == []
    datapath = Datapath(make_engine(), StaticPaths(), plugins)
    plugins.register(datapath)
    assert [item.owner for item in datapath.registry.list("gre_cisco")] == ["gre"]
    assert [stage.owner for stage in datapath.pipeline.stages] == ["vdp", "vdp"]
    assert plugins.infos["broken"].state == "failed"
    assert "plugin broken failed: ZeroDivisionError: half way" in caplog.text


@pytest.mark.conformance("A5", "A14")
def test_a_plugin_that_takes_a_taken_priority_fails_and_names_both(
    offer: Callable[..., dict[str, Point]], make_engine: EngineFactory
) -> None:
    def vdp_register(datapath: Any) -> None:
        datapath.registry.list("gre_cisco").add(print, priority=300, name="mine", owner="late")

    offer(late=module(vdp_register=hookimpl(vdp_register)))
    with pytest.raises(
        PluginError, match="priority 300, wanted by mine of late, is taken by ipgre_rcv of gre"
    ):
        Dataplane(make_engine(), ("gre", "late"))


@pytest.mark.conformance("A14")
def test_a_plugins_handlers_drop_reasons_and_stages_are_in_force(
    offer: Callable[..., dict[str, Point]], make_engine: EngineFactory
) -> None:
    def vdp_register(datapath: Any) -> None:
        datapath.registry.list("gre_cisco").add(
            lambda packet, ip, info: packet.drop("plugin_mine_colour"), priority=1, name="mine", owner="mine"
        )

    def vdp_stages(pipeline: Any) -> None:
        pipeline.add(lambda packet, egress: None, priority=50, name="mine", owner="mine")

    offer(mine=module(
        vdp_register=hookimpl(vdp_register), vdp_stages=hookimpl(vdp_stages),
        **hook("vdp_drop_reasons", lambda: {"colour": "the packet has the wrong colour"}),
    ))  # fmt: skip
    made = Dataplane(make_engine(), ("gre", "mine"))
    made.port("underlay", L3)
    made.link("gre1", "gre", local=A, remote=B)
    made.send("underlay", ipv4(B, A, gre(ipv4("10.0.0.1", "10.0.0.2", udp(1, 2))), protocol=47))
    assert made.drops("underlay") == {"plugin_mine_colour": 1}
    assert next(stage.name for stage in made.datapath.pipeline.stages) == "mine"
    assert (
        made.datapath.drops.text(made.datapath.drops.code("plugin_mine_colour"))
        == "the packet has the wrong colour"
    )


def test_a_hook_that_fails_at_the_start_is_logged_and_the_next_plugins_start(
    offer: Callable[..., dict[str, Point]], caplog: pytest.LogCaptureFixture
) -> None:
    started: list[str] = []
    offer(
        bad=module(**hook("vdp_stop", lambda datapath: raising())),
        good=module(**hook("vdp_stop", lambda datapath: started.append("good"))),
    )
    plugins = Plugins()
    plugins.load(["bad", "good"])
    plugins.call("vdp_stop", datapath=None)
    assert started == ["good"]
    assert "plugin bad: vdp_stop: ZeroDivisionError: in a hook" in caplog.text
