"""A start that fails half way: everything before is undone, last first (gre_init, ipgre_init)."""

from __future__ import annotations

import errno
import types
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import pytest

from tests.conftest import EngineFactory
from vdp import loader
from vdp.api import Datapath, EndpointParameters, LinkKind, PacketType, Verdict, hookimpl
from vdp.links.gre_demux import GreDemux
from vdp.loader import PluginError, Plugins
from vdp.registry import RegistryError
from vdp.stages.pipeline import Pipeline
from vdp.testing.paths import StaticPaths


def take(*arguments: object) -> Verdict:
    return Verdict.RECEIVED


class Kind(LinkKind):
    """A link kind that nobody makes a link of."""

    name = "mine"
    packet_type = PacketType.L3
    parameters = EndpointParameters

    async def newlink(self, datapath: Datapath, name: str, underlay: str, parameters: Any) -> Any:
        raise AssertionError(name)

    async def dellink(self, link: Any) -> None:
        raise AssertionError(link)


class Point:
    """An entry point for a module that was made here."""

    dist = None

    def __init__(self, name: str, made: types.ModuleType) -> None:
        self.name, self._made = name, made

    def load(self) -> types.ModuleType:
        return self._made


def whole(fails_at: str, taken: list[str]) -> types.ModuleType:
    """A plugin that registers one of everything, in the order of `STEPS`, and fails behind a step."""

    def step(name: str) -> None:
        taken.append(name)
        if name == fails_at:
            raise ZeroDivisionError(name)

    @hookimpl
    def vdp_link_kinds() -> list[LinkKind]:
        return [Kind()]

    @hookimpl
    def vdp_drop_reasons() -> dict[str, str]:
        return {"colour": "the packet has the wrong colour"}

    @hookimpl
    def vdp_register(datapath: Datapath) -> None:
        step("reasons")
        datapath.registry.table("gre_version").add(take, slot=1, name="whole", owner="somebody")
        step("slot")
        datapath.registry.list("gre_cisco").add(take, priority=1, name="whole", owner="whole")
        step("handler")
        datapath.registry.list("mine").add(take, priority=1, name="whole", owner="whole")
        step("list")
        datapath.every(1.0, lambda: taken.append("chore"))
        step("chore")
        datapath.add_cookie(lambda upcall: None)
        step("cookie")

    @hookimpl
    def vdp_stages(pipeline: Pipeline) -> None:
        pipeline.add(lambda packet, egress: None, priority=1, name="whole", owner="whole")
        step("stage")

    made = types.ModuleType("whole")
    vars(made).update(
        vdp_api=1,
        vdp_link_kinds=vdp_link_kinds,
        vdp_drop_reasons=vdp_drop_reasons,
        vdp_register=vdp_register,
        vdp_stages=vdp_stages,
    )
    return made


STEPS = ["reasons", "slot", "handler", "list", "chore", "cookie", "stage"]


def left(datapath: Datapath) -> dict[str, list[str]]:
    """Everything that is registered, by what it is."""
    return {
        "handlers": [f"{item.list} {item.priority} {item.name}" for item in datapath.registry],
        "stages": [stage.name for stage in datapath.pipeline.stages],
        "reasons": [reason.name for reason in datapath.drops],
        "chores": ["chore"] * len(datapath._chores),
        "cookies": ["cookie"] * len(datapath.cookies),
        "kinds": list(datapath.plugins.kinds),
    }


@pytest.fixture
def start(
    monkeypatch: pytest.MonkeyPatch, make_engine: EngineFactory
) -> Callable[[types.ModuleType | None], Datapath]:
    """A datapath with plugin gre, and behind it the one given, which may have failed."""
    points: dict[str, Any] = {point.name: point for point in entry_points(group="vdp")}

    def make(made: types.ModuleType | None) -> Datapath:
        added = {"whole": Point("whole", made)} if made is not None else {}
        monkeypatch.setattr(loader, "installed", lambda: points | added)
        plugins = Plugins()
        assert plugins.load(["gre", *added]) == []
        datapath = Datapath(make_engine(), StaticPaths(), plugins)
        plugins.register(datapath)
        return datapath

    return make


@pytest.mark.conformance("A12", "A14")
@pytest.mark.parametrize("fails_at", STEPS)
def test_nothing_is_left_of_a_plugin_that_fails_at_any_step(
    start: Callable[[types.ModuleType | None], Datapath], fails_at: str
) -> None:
    taken: list[str] = []
    datapath = start(whole(fails_at, taken))
    assert taken == STEPS[: STEPS.index(fails_at) + 1]
    assert left(datapath) == left(start(None))
    assert datapath.plugins.infos["whole"].state == "failed"


def test_what_does_not_fail_stays(start: Callable[[types.ModuleType | None], Datapath]) -> None:
    datapath, bare = start(whole("", [])), start(None)
    more = {
        what: len(names) - len(without)
        for (what, names), without in zip(left(datapath).items(), left(bare).values(), strict=True)
    }
    assert more == {"handlers": 3, "stages": 1, "reasons": 1, "chores": 1, "cookies": 1, "kinds": 1}
    assert datapath.plugins.infos["whole"].state == "loaded"


@pytest.mark.conformance("A12")
def test_it_is_taken_back_in_reverse_order(
    start: Callable[[types.ModuleType | None], Datapath], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The labels of ipgre_init: tap_ops_failed, rtnl_link_failed, add_proto_failed, pnet_tap_faied."""
    changed: list[str] = []
    told = Datapath.handlers_changed

    def note(self: Datapath, name: str) -> None:
        changed.append(name)
        told(self, name)

    monkeypatch.setattr(Datapath, "handlers_changed", note)
    start(whole("stage", []))
    assert changed[-6:] == ["gre_version", "gre_cisco", "mine", "mine", "gre_cisco", "gre_version"]


@pytest.mark.conformance("A12")
def test_a_failing_plugins_link_kind_makes_no_link(
    start: Callable[[types.ModuleType | None], Datapath],
) -> None:
    datapath = start(whole("cookie", []))
    assert not datapath.has_kind("mine")
    assert datapath.has_kind("gre")


@pytest.mark.conformance("A12")
def test_a_plugin_may_be_tried_again_by_another_start(
    start: Callable[[types.ModuleType | None], Datapath],
) -> None:
    """What a failed attempt took is free: the same slots and priorities, without a complaint."""
    datapath = start(whole("stage", []))
    registry = datapath.registry
    registry.table("gre_version").add(take, slot=1, name="other", owner="other")
    registry.list("gre_cisco").add(take, priority=1, name="other", owner="other")
    assert datapath.drops.register("other", "colour", "another colour") == len(datapath.drops) - 1


# -- gre_init ----------------------------------------------------------------------------------


STARTED = ["ip_protocol 47 gre_rcv", "gre_version 0 gre_cisco_rcv"]


def gre(datapath: Datapath) -> list[str]:
    """What is registered for GRE over IPv4."""
    found = [f"{item.list} {item.priority} {item.name}" for item in datapath.registry]
    return [text for text in found if text.split()[:2] in (["ip_protocol", "47"], ["gre_version", "0"])]


@pytest.fixture
def bare(make_engine: EngineFactory) -> Datapath:
    """A datapath whose GRE demultiplexer has been taken out."""
    datapath = Datapath(make_engine(), StaticPaths())
    assert gre(datapath) == STARTED
    for item in list(datapath.registry):
        if item.name in ("gre_rcv", "gre_cisco_rcv"):
            datapath.registry.table(item.list).remove(item, "vdp")
    assert gre(datapath) == []
    return datapath


@pytest.mark.conformance("A1")
@pytest.mark.parametrize(("table", "slot"), [("ip_protocol", 47), ("gre_version", 0)])
def test_gre_starts_whole_or_not_at_all(bare: Datapath, table: str, slot: int) -> None:
    """gre_init: whichever of the two registrations fails, EAGAIN, and neither is there."""
    taker = bare.registry.table(table).add(take, slot=slot, name="other", owner="other")
    with pytest.raises(RegistryError) as caught:
        GreDemux(bare.registry, bare.icmp)
    assert caught.value.errno == errno.EAGAIN
    assert "taken by other of other" in str(caught.value)
    assert gre(bare) == [f"{table} {slot} other"]
    bare.registry.table(table).remove(taker, "other")
    GreDemux(bare.registry, bare.icmp)
    assert gre(bare) == STARTED


@pytest.mark.conformance("A12")
def test_strictly_a_failing_plugin_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, make_engine: EngineFactory
) -> None:
    monkeypatch.setattr(loader, "installed", lambda: {"whole": Point("whole", whole("handler", []))})
    plugins = Plugins()
    plugins.load(["whole"])
    datapath = Datapath(make_engine(), StaticPaths(), plugins)
    before = [item.name for item in datapath.registry]
    with pytest.raises(PluginError, match="plugin whole failed: ZeroDivisionError: handler"):
        plugins.register(datapath, strict=True)
    assert [item.name for item in datapath.registry] == before
