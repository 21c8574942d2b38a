"""What a right configuration becomes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from vdp.config import Config, ConfigError, PortSection, Problem
from vdp.config.rules import Drop, Flood, Normal, Output
from vdp.config.values import Listen, Masked
from vdp.engine.interface import EngineConfig, PacketType

Parse = Callable[[str], Config]
Problems = Callable[[str], list[Problem]]

WHOLE = """
config_version = 1
[[port]]
name = "tap0"
type = "tap"
address = ["10.10.0.1/24", "2001:db8::1/64"]
mtu = 1462
netns = "blue"
mac = "02-00-00-00-00-0A"
[[port]]
name = "tun0"
type = "tun"
up = false
[[port]]
name = "underlay"
type = "raw"
protocol = "gre"
[[port]]
name = "wire"
type = "raw"
interface = "eth0"
queues = 2
offload = false
[[port]]
name = "mem0"
type = "memory"
packet_type = "l3"
[[link]]
name = "gt1"
kind = "gretap"
local = "192.0.2.1"
remote = "192.0.2.2"
underlay = "underlay"
key = 42
[[link]]
name = "gre1"
kind = "gre"
underlay = "mem0"
tos = "inherit"
[[bridge]]
name = "br0"
members = ["tap0", "gt1"]
[[connect]]
members = ["tun0", "gre1"]
[[route]]
destination = "10.20.0.0/16"
via = "gre1"
next_hop = "10.20.0.1"
[[rule]]
priority = 100
match = { in_port = "tap0", eth_type = "arp", eth_dst = "01:00:00:00:00:00/01:00:00:00:00:00" }
actions = ["drop"]
[[rule]]
match = { ip_dst = "2001:db8::/32", ip_proto = "tcp", tp_dst = 80, reg1 = "0x10/0xf0", gre = { key = 42 } }
actions = ["output:gt1", "flood", "normal"]
[[rule]]
actions = ["normal"]
[plugins]
load = ["gre", "gretap", "wccp"]
[plugin.wccp]
detect = "linux"
[metrics]
listen = "[::1]:0"
[engine]
workers = 2
flow_idle_s = 3
[log]
format = "json"
"""


def test_a_whole_configuration_is_read(parse: Parse) -> None:
    config = parse(WHOLE)
    tap, tun, underlay, wire, _ = config.ports
    assert tap.address == (ip_interface("10.10.0.1/24"), ip_interface("2001:db8::1/64"))
    assert (tap.mtu, tap.netns, tap.mac) == (1462, "blue", "02:00:00:00:00:0a")
    assert (tun.up, underlay.protocol, wire.interface, wire.queues, wire.offload) == (
        False,
        47,
        "eth0",
        2,
        False,
    )
    layers = [port.carries for port in config.ports]
    assert layers == [PacketType.L2, PacketType.L3, PacketType.L3, PacketType.L2, PacketType.L3]
    gretap, gre = config.links
    assert dict(gretap.options) == {"local": "192.0.2.1", "remote": "192.0.2.2", "key": 42}
    assert gretap.parameters.model_dump()["remote"] == ip_address("192.0.2.2")
    assert gre.parameters.model_dump()["tos"] == "inherit"
    assert config.bridges[0].ageing_s == 300
    assert config.connects[0].members == ("tun0", "gre1")
    assert config.routes[0].destination == ip_network("10.20.0.0/16")
    assert config.plugin["wccp"].model_dump() == {"detect": "linux", "peer": {}}
    assert config.metrics.listen == Listen("::1", 0)
    assert config.control.socket == "/run/vdp/vdp.sock"
    assert config.engine.engine_config() == EngineConfig(workers=2)
    assert (config.engine.flow_idle_s, config.log.format, config.log.level) == (3, "json", "info")


def test_rules_are_parsed(parse: Parse) -> None:
    first, second, third = parse(WHOLE).rules
    assert first.match.eth_type == 0x0806
    assert first.match.eth_dst == Masked(b"\1" + bytes(5), b"\1" + bytes(5))
    assert first.actions == (Drop(),)
    assert second.priority == 32768
    assert second.match.ether_type == 0x86DD
    assert second.match.ip_proto == 6
    assert second.match.registers == {1: Masked(b"\0\0\0\x10", b"\0\0\0\xf0")}
    assert second.match.metadata == {"gre": {"key": 42}}
    assert second.actions == (Output("gt1"), Flood(), Normal())
    assert third.match.ether_type is None
    assert third.match.metadata == {}


def test_an_empty_file_is_right_and_has_the_defaults(parse: Parse) -> None:
    config = parse("")
    assert config.ports == ()
    assert config.plugins.load == ()
    assert config.metrics.enabled
    assert config.metrics.listen == Listen("127.0.0.1", 9479)
    assert config.engine.engine_config() == EngineConfig()


def test_a_configuration_can_not_be_changed(parse: Parse) -> None:
    config = parse(WHOLE)
    port: Any = config.ports[0]
    with pytest.raises(ValidationError):
        port.mtu = 9
    whole: Any = config
    with pytest.raises(AttributeError):
        whole.ports = ()


def test_a_key_can_be_found_in_the_file(parse: Parse) -> None:
    config = parse(WHOLE)
    assert config.where("port", 0, "mtu") == f"{config.path}:7"
    assert config.where("port", 1) == f"{config.path}:10"
    assert config.where("port", 1, "mtu") == f"{config.path}:10"
    assert config.where("log", "level").endswith(f":{WHOLE[: WHOLE.index('[log]')].count(chr(10)) + 1}")


def test_a_section_can_be_made_in_python_too() -> None:
    port = PortSection(name="p0", type="memory")
    assert (port.carries, port.up) == (PacketType.L2, True)


RAW = '[[port]]\nname = "u"\ntype = "raw"\nprotocol = "gre"\n'
TAP = '[[port]]\nname = "u"\ntype = "tap"\naddress = ["2001:db8::1/64"]\n'
WIRE = '[[port]]\nname = "u"\ntype = "raw"\ninterface = "e"\n'
RULE = '[[rule]]\npriority = 1\nactions = ["drop"]\n'


def second(text: str, old: str, new: str) -> str:
    """A section twice, the second time with another name and one more difference."""
    return text + text.replace('"u"', '"v"').replace(old, new)


@pytest.mark.parametrize(
    "text",
    [
        second(RAW, '"gre"\n', '"gre"\nnetns = "blue"\n'),
        second(TAP, '"tap"\n', '"tap"\nnetns = "blue"\n'),
        second(RAW, '"gre"', '"0x2e"'),
        second(RULE, "1", "2"),
    ],
)
def test_what_differs_in_one_thing_is_no_duplicate(parse: Parse, text: str) -> None:
    parse(text)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (second(RAW, '"gre"', "47"), "protocol"),
        (second(WIRE, "", ""), "interface"),
        (second(TAP, "1/64", "1/128"), "address[0]"),
    ],
)
def test_two_ports_for_one_thing_are_refused(problems: Problems, text: str, key: str) -> None:
    assert [problem.key for problem in problems(text)] == [f"port[1].{key}"]


def test_two_equal_rules_are_refused(problems: Problems) -> None:
    rule = '[[rule]]\nmatch = { eth_type = "ip" }\nactions = ["normal"]\n'
    (problem,) = problems(rule + rule.replace('"ip"', "0x0800"))
    assert (problem.key, problem.line) == ("rule[1]", 4)


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:70000", ":9479", "::1:9479", "example.org:80", "[127.0.0.1]:1", 9479]
)
def test_a_listen_address_is_an_address_and_a_port(problems: Problems, listen: object) -> None:
    text = f'"{listen}"' if isinstance(listen, str) else listen
    (problem,) = problems(f"[metrics]\nlisten = {text}\n")
    assert problem.key == "metrics.listen"
    assert "an address and port" in problem.message


def test_lines_may_end_as_on_windows(problems: Problems) -> None:
    (problem,) = problems('[log]\r\nlevel = "info"\r\n\r\n[engine] # é\r\nworkers = 0\r\n')
    assert (problem.line, problem.column, problem.source) == (5, 11, "workers = 0")


def test_an_eth_type_is_no_length(problems: Problems) -> None:
    (problem,) = problems('[[rule]]\nmatch = { eth_type = 0x05ff }\nactions = ["drop"]\n')
    assert "at least 0x0600" in problem.message


def test_a_socket_path_fits_a_unix_socket(problems: Problems) -> None:
    assert "at most 107 bytes" in problems(f'[control]\nsocket = "/{"x" * 107}"\n')[0].message


VALUES = st.recursive(
    st.sampled_from(
        ["1", "-1", "70000", "1.5", "true", '"tap0"', '"gre"', '"10.0.0.1/24"', '"drop"', '"l3"', '"tap"',
         '"raw"', '"output:x"', '"arp"', '""', '"é"', "1979-05-27", "inf"]
    ),
    lambda inner: st.lists(inner, max_size=3).map(lambda each: f"[{', '.join(each)}]")
    | st.lists(inner, max_size=2).map(
        lambda each: "{" + ", ".join(f"k{i} = {v}" for i, v in enumerate(each)) + "}"
    ),
    max_leaves=4,
)  # fmt: skip
KEYS = st.sampled_from(
    ["name", "type", "address", "mtu", "netns", "protocol", "interface", "kind", "underlay", "members", "via",
     "destination", "match", "actions", "priority", "load", "listen", "socket", "workers", "level", "key",
     "x",      "match.in_port", "match.gre.key", "packet_type"]
)  # fmt: skip
HEADERS = st.sampled_from(
    ["[[port]]", "[[link]]", "[[bridge]]", "[[connect]]", "[[route]]", "[[rule]]", "[plugins]", "[metrics]",
     "[control]", "[engine]", "[log]", "[plugin.gre]", "[port]", "[[log]]", "[plugin]", "[x]"]
)  # fmt: skip
SECTIONS = st.tuples(HEADERS, st.dictionaries(KEYS, VALUES, max_size=6))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(SECTIONS, max_size=5))
def test_any_toml_loads_or_gives_file_and_line(
    parse: Parse, sections: list[tuple[str, dict[str, str]]]
) -> None:
    lines = []
    for header, pairs in sections:
        lines += [header, *(f"{key} = {value}" for key, value in pairs.items())]
    problems: tuple[Problem, ...] = ()
    try:
        parse("\n".join(lines))
    except ConfigError as error:
        problems = error.problems
    for problem in problems:
        assert 1 <= problem.line <= max(1, len(lines)), problem
        assert problem.column >= 1
        assert problem.message


def test_configuration_is_read_without_the_libraries_that_touch_the_system() -> None:
    heavy = "('pyroute2', 'pytun', 'cffi', 'rich')"
    code = f"import sys, vdp.config; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
