"""What the kit's dataplane takes: plugins that are not installed, tables, rules, starts, commands."""

from __future__ import annotations

import sys
import types

import pytest
from pydantic import BaseModel

from vdp.api import Bits, Datapath, Header, PacketType, RegistryError, Verdict, hookimpl
from vdp.loader import PluginError
from vdp.testing import Dataplane
from vdp.testing.traced import declared

vdp_api = 1
calls: list[str] = []


class Settings(BaseModel):
    size: int = 7


vdp_settings = Settings


@hookimpl
def vdp_register(datapath: Datapath) -> None:
    calls.append(f"size {datapath.settings('mine', Settings).size}")
    datapath.states.new(5)
    datapath.commands.add("mine", "size", lambda: calls[-1], "size: what is set")


@hookimpl
def vdp_start(datapath: Datapath) -> None:
    calls.append("start")


@hookimpl
def vdp_stop(datapath: Datapath) -> None:
    calls.append("stop")


@pytest.fixture(autouse=True)
def fresh() -> None:
    calls.clear()


def test_a_module_is_tried_as_if_it_were_installed() -> None:
    with Dataplane(plugins=["gre", f"mine={__name__}"]) as plane:
        assert plane.datapath.plugins.infos["mine"].module is sys.modules[__name__]
        plane.start()
    assert calls == ["size 7", "start", "stop"]


def test_who_was_not_started_is_not_stopped() -> None:
    with Dataplane(plugins=[f"mine={__name__}"]):
        pass
    assert calls == ["size 7"]


def test_settings_are_tables_as_in_a_configuration() -> None:
    with Dataplane(plugins=[f"mine={__name__}"], settings={"mine": {"size": 9}}) as plane:
        assert plane.call("mine", "size") == "size 9"
    for wrong, words in (({"mine": {"size": "x"}}, "valid integer"), ({"other": {}}, "settings for other")):
        with pytest.raises(ValueError, match=words):
            Dataplane(plugins=[f"mine={__name__}"], settings=wrong)


def test_a_module_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(PluginError, match="plugin mine can not be imported: ModuleNotFoundError"):
        Dataplane(plugins=["mine=vdp_nowhere"])


def test_a_command_that_is_not_there_is_a_lookup_error() -> None:
    with (
        Dataplane(plugins=[f"mine={__name__}"]) as plane,
        pytest.raises(LookupError, match="has no command 'seize'"),
    ):
        plane.call("mine", "seize")


def test_states_go_with_their_plugin() -> None:
    with Dataplane(plugins=[]) as plane:
        datapath = plane.datapath
        with datapath.attempt() as registered:
            state = datapath.states.new(5)
            datapath.states.write(state, 6)
        assert datapath.states.read(state) == 6
        registered.take_back()
        with pytest.raises(OSError):
            datapath.states.read(state)


def test_a_change_is_in_force_for_the_next_packet() -> None:
    """As in a daemon, where a timer or command that invalidates is followed by a revalidation."""
    with Dataplane(plugins=["gre"]) as plane:
        plane.port("lan", PacketType.L3)
        plane.port("wan", PacketType.L3)
        plane.connect("lan", "wan")
        closed: list[bool] = []

        def gate(packet: object, egress: object) -> None:
            packet.depends("gate")  # type: ignore[attr-defined]
            if closed:
                packet.drop("policy_rule")  # type: ignore[attr-defined]

        plane.datapath.pipeline.add(gate, priority=1, name="gate", owner="mine")
        plane.send("lan", bytes([0x45]) + bytes(19))
        closed.append(True)
        plane.datapath.invalidate("gate")
        plane.send("lan", bytes([0x45]) + bytes(19))
        assert (len(plane.received("wan")), plane.drops("lan")) == (1, {"policy_rule": 1})


def test_headers_of_one_name_are_told_apart_by_their_fields() -> None:
    one = types.new_class("Twin", (Header,), exec_body=lambda names: names.update(left=Bits(8)))
    other = types.new_class("Twin", (Header,), exec_body=lambda names: names.update(right=Bits(8)))
    assert (declared("Twin.left")[0], declared("Twin.right")[0]) == (one, other)
    with pytest.raises(ValueError, match="Twin has no field 'middle'; it has right"):
        declared("Twin.middle")


def test_what_the_registry_refuses_is_a_sentence_without_a_number() -> None:
    with Dataplane(plugins=["gre"]) as plane:
        handlers = plane.datapath.registry.list("gre_cisco")
        with pytest.raises(RegistryError) as refused:
            handlers.add(lambda *_: Verdict.REJECT, priority=300, name="mine", owner="me")
        assert str(refused.value) == (
            "gre_cisco: priority 300, wanted by mine of me, is taken by ipgre_rcv of gre"
        )


def test_plugins_register_in_the_order_in_which_they_are_named() -> None:
    """Who comes second is refused, whatever the order of installation."""
    twin = f"twin={__name__}_twin"
    module = types.ModuleType(f"{__name__}_twin")

    @hookimpl
    def vdp_register(datapath: Datapath) -> None:
        handlers = datapath.registry.list("gre_cisco")
        handlers.add(lambda *_: Verdict.REJECT, priority=300, name="twin", owner="twin")

    vars(module).update(vdp_api=1, vdp_register=vdp_register)
    sys.modules[module.__name__] = module
    try:
        for names, refused in ((["gre", twin], "twin"), ([twin, "gre"], "gre")):
            with pytest.raises(
                PluginError, match=f"plugin {refused} failed: gre_cisco: priority 300, wanted"
            ):
                Dataplane(plugins=names)
    finally:
        del sys.modules[module.__name__]
