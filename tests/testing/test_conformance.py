"""`vdp plugin test`: a plugin that keeps to the contract passes, and each way to break it is found."""

from __future__ import annotations

import types

import pytest
from pydantic import BaseModel, ConfigDict

from tests.testing.conftest import Install
from vdp.testing import Conformance, Result
from vdp.testing.fuzz import constants_of

HEAD = """
import time
from vdp.api import Bits, Datapath, Header, IPv4, Packet, TunnelInfo, Verdict, hookimpl

vdp_api = 1
PRIORITY, OWNER = 7, __name__.removeprefix("vdp_")

def add(datapath: Datapath, receive, owner=OWNER) -> None:
    datapath.registry.list("gre_cisco").add(receive, priority=PRIORITY, name="mine", owner=owner)
"""


def receiving(body: str, more: str = "") -> str:
    """A plugin whose handler does that."""
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    return (
        f"{HEAD}\n{more}\n@hookimpl\ndef vdp_register(datapath: Datapath) -> None:\n"
        f"    def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:\n{lines}\n"
        f"    add(datapath, receive)\n"
    )


def results(name: str, packets: int = 2000, **more: object) -> dict[str, Result]:
    suite = Conformance(name, packets=packets, beside=("gre",), **more)  # type: ignore[arg-type]
    return {result.check: result for result in suite.run()}


GOOD = """if info.protocol != 0x88B5:
    return Verdict.REJECT
return packet.drop("policy_rule")"""


def test_a_good_plugin_passes_everything(installed: Install) -> None:
    found = results(installed("good", receiving(GOOD)))
    assert {result.state for result in found.values()} == {"ok"}, found
    assert list(found) == [
        "loads",
        "imports",
        "registers",
        "links",
        "packets",
        "handlers",
        "soundness",
        "time",
    ]
    assert found["registers"].detail == "gre_cisco/7 mine"


@pytest.mark.parametrize("name", ["gre", "gretap", "wccp", "erspan", "nvgre", "pptp", "ip6gre"])
def test_the_built_in_plugins_pass(name: str) -> None:
    found = list(Conformance(name, packets=1000).run())
    assert {result.state for result in found} <= {"ok"}, found


def test_the_same_seed_tries_the_same(installed: Install) -> None:
    name = installed("good", receiving(GOOD))
    first, second = (results(name, 600)["handlers"].detail for _ in range(2))
    assert first == second
    assert results(name, 600, seed=2)["handlers"].detail != first


def test_an_exception_is_found_behind_a_chain_of_ifs(installed: Install) -> None:
    """The fuzzer is not told of 0x88B5, 0xBEEF nor 3: it finds them in the code, and the way by itself."""
    body = """if info.protocol != 0x88B5:
    return Verdict.REJECT
header = packet.header(Deep, info.header_size)
if header.magic == 0xBEEF and header.version == 3:
    return [][header.rest]
return Verdict.REJECT"""
    declared = "class Deep(Header):\n    version = Bits(4)\n    rest = Bits(12)\n    magic = Bits(16)\n"
    found = results(installed("deep", receiving(body, declared)), 20_000)
    assert found["packets"].state == "failed"
    assert "vdp_deep.py:" in found["packets"].detail
    assert "IndexError" in found["packets"].detail
    assert "packet 4" in found["packets"].detail  # in hexadecimal, to be tried again


def test_an_unsound_handler_is_found(installed: Install) -> None:
    body = 'return packet.drop("policy_rule") if packet.trace.data[30] & 1 else Verdict.REJECT'
    found = results(installed("peeking", receiving(body)))
    assert found["soundness"].state == "failed"
    assert "vdp_peeking.py" in found["soundness"].detail


def test_a_clock_is_found(installed: Install) -> None:
    body = 'return packet.drop("policy_rule") if time.monotonic_ns() // 1000 % 2 else Verdict.REJECT'
    assert results(installed("clock", receiving(body)))["soundness"].state == "failed"


@pytest.mark.parametrize(
    ("source", "check", "words"),
    [
        (
            f"{HEAD}\nimport vdp.datapath\n" + receiving(GOOD),
            "imports",
            "not public: vdp_bad.py:11 vdp.datapath",
        ),
        (f"{HEAD}\nfrom vdp import registry\n" + receiving(GOOD), "imports", "vdp.registry"),
        (
            receiving(GOOD).replace("add(datapath, receive)", 'add(datapath, receive, "me")'),
            "registers",
            "as me",
        ),
        (
            receiving(GOOD).replace("PRIORITY, OWNER = 7", "PRIORITY, OWNER = 300"),
            "registers",
            "ipgre_rcv of gre",
        ),
        (receiving(GOOD).replace("vdp_api = 1", "vdp_api = 9"), "loads", "API version 9"),
        (
            receiving("return Verdict.REJECT").replace('"gre_cisco"', '"nowhere"'),
            "handlers",
            "nothing reached mine",
        ),
        (
            receiving(GOOD).replace(
                "    add(datapath", "    datapath.engine.new_counter()\n    add(datapath"
            ),
            "registers",
            "engine counters",
        ),
    ],
    ids=["imports", "imports-from", "owner", "taken", "api", "unreached", "leak"],
)
def test_a_broken_contract_is_named(installed: Install, source: str, check: str, words: str) -> None:
    found = results(installed("bad", source), 300)
    assert found[check].state == "failed", found
    assert words in found[check].detail


def test_a_handler_that_never_says_yes_is_weak(installed: Install) -> None:
    assert results(installed("shy", receiving("return Verdict.REJECT")), 300)["handlers"].state == "weak"


def test_a_plugin_without_handlers_is_tried_too(installed: Install) -> None:
    found = results(installed("empty", HEAD), 300)
    assert (found["registers"].detail, found["handlers"].detail) == ("nothing but hooks", "it has none")
    assert found["packets"].state == "ok"


def test_without_any_sample_nothing_can_be_said(installed: Install) -> None:
    name = installed("good", receiving(GOOD))
    installed("nothing", "def samples(plane):\n    return []\n")
    assert results(name, 300, samples="vdp_nothing:samples")["packets"].state == "weak"


LEAKING = """
from vdp.testing import Dataplane

def samples(plane: Dataplane):
    from vdp.api import PacketType
    plane.port("underlay", PacketType.L3)
    link = plane.link("gre1", "gre", local="192.0.2.1", remote="192.0.2.2")
    plane.engine.new_state()
    return [("underlay", bytes(60))]
"""


def test_links_that_leave_something_behind_are_found(installed: Install) -> None:
    installed("leaking_samples", LEAKING)
    name = installed("good", receiving(GOOD))
    found = results(name, 300, samples="vdp_leaking_samples:samples")
    assert found["links"].detail == "once removed, they leave engine states behind"


def test_samples_that_can_not_be_had_are_a_sentence(installed: Install) -> None:
    name = installed("good", receiving(GOOD))
    found = results(name, 300, samples="vdp_nowhere:samples")
    assert found == {
        "samples": Result("samples", "failed", "vdp_nowhere:samples: No module named 'vdp_nowhere'")
    }


def test_settings_are_those_of_a_configuration() -> None:
    tables = {"keepalive": {"link": {"gre0": {"send": True}}}}
    found = list(Conformance("keepalive", packets=500, settings=tables).run())
    assert not [result for result in found if result.state == "failed"], found
    wrong = {"keepalive": {"lnik": {}}}
    (found_wrong,) = Conformance("keepalive", packets=500, settings=wrong).run()
    assert "[plugin.keepalive]" in found_wrong.detail


def test_numbers_are_found_in_a_model_that_pydantic_has_not_built_yet() -> None:
    class Options(BaseModel):
        model_config = ConfigDict(defer_build=True)
        colour: int = 0

        @property
        def is_red(self) -> bool:
            return self.colour == 4711

    Options.__module__ = "mine"
    module = types.ModuleType("mine")
    module.Options = Options  # type: ignore[attr-defined]
    assert 4711 in constants_of(module)
