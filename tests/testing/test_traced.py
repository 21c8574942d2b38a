"""assert_trace: one packet's fate, guards, wildcards and actions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from tests.testing.conftest import Install
from vdp.engine.interface import PacketType
from vdp.testing import Dataplane, StaticPaths, assert_trace, explain
from vdp.testing.builders import gre, ipv4, udp

A, B = "192.0.2.1", "192.0.2.2"
INNER = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"hello"))
OUTER = ipv4(B, A, gre(INNER, 0x0800, key=7), protocol=47)


@pytest.fixture
def plane() -> Iterator[Dataplane]:
    with Dataplane(plugins=["gre"]) as made:
        made.port("underlay", PacketType.L3)
        made.port("lan", PacketType.L3)
        made.link("gre1", "gre", local=A, remote=B, key=7)
        made.connect("lan", "gre1")
        yield made


def test_what_is_as_said_passes_and_is_answered(plane: Dataplane) -> None:
    traced = assert_trace(
        plane,
        "underlay",
        OUTER,
        output="gre1",
        verdicts={"ipgre_rcv": "received", "gre_rcv": "received"},
        guards={"GreKey.key": 7, "GreBase.protocol": 0x0800},
        wildcards=["IPv4.identification", "IPv4.checksum"],
        actions=["pull 20", "pull 8", "output gre1"],
    )
    assert traced.fate == "output gre1"
    assert traced.is_cacheable


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"output": "lan"}, "its fate is not output lan"),
        ({"drop": "tunnel_no_link"}, "its fate is not drop tunnel_no_link"),
        ({"verdicts": {"ipgre_rcv": "reject"}}, "ipgre_rcv answered received, not reject"),
        ({"verdicts": {"wccp_rcv": "reject"}}, "wccp_rcv answered nothing, not reject"),
        ({"guards": {"GreKey.key": 8}}, "GreKey.key was 0x7, expected 0x8"),
        ({"guards": {"IPv4.identification": 0}}, "IPv4.identification was not looked at"),
        ({"wildcards": ["GreKey.key"]}, "GreKey.key was looked at"),
        ({"actions": ["pull 8", "pull 20"]}, "there is no action 'pull 20'"),
        ({"cacheable": False}, "it is cacheable"),
    ],
)
def test_what_is_otherwise_fails_and_says_what_with_the_whole_trace(
    plane: Dataplane, said: dict[str, object], words: str
) -> None:
    with pytest.raises(AssertionError) as error:
        assert_trace(plane, "underlay", OUTER, **said)  # type: ignore[arg-type]
    assert str(error.value).startswith(words)
    assert re.search(r"guard   GreKey\.key = 0x7   \(\w+/\w+\.py:\d+\)", str(error.value))
    assert "action  output gre1" in str(error.value)


def test_a_field_that_nobody_declared_is_a_mistake_of_the_test(plane: Dataplane) -> None:
    with pytest.raises(ValueError, match=r"IPv4 has no field 'tttl'; it has version, ihl"):
        assert_trace(plane, "underlay", OUTER, wildcards=["IPv4.tttl"])
    with pytest.raises(ValueError, match=r"no header is called 'IPV4'"):
        assert_trace(plane, "underlay", OUTER, guards={"IPV4.ttl": 1})


def test_a_drop_is_named_and_nothing_is_installed_or_counted(plane: Dataplane) -> None:
    strange = ipv4(B, A, gre(INNER, 0x0800, key=8), protocol=47)
    assert explain(plane, "underlay", strange).fate == "drop tunnel_no_link"
    assert plane.drops("underlay") == {}
    assert plane.datapath.slowpath.index.flows == {}


PEEKING = """
    from vdp.api import Bits, Datapath, Header, IPv4, Packet, TunnelInfo, Verdict, hookimpl

    vdp_api = 1

    class Nibbles(Header):
        high = Bits(4)
        low = Bits(4)
        other = Bits(8)

    @hookimpl
    def vdp_register(datapath: Datapath) -> None:
        def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
            packet.read(info.header_size, 1)
            packet.header(Nibbles, info.header_size).other
            return Verdict.REJECT

        datapath.registry.list("gre_cisco").add(receive, priority=5, name="nibbles", owner="nibbles")
"""


def test_a_field_counts_as_looked_at_whatever_it_was_read_as(installed: Install) -> None:
    with Dataplane(plugins=["gre", installed("nibbles", PEEKING)]) as plane:
        plane.port("underlay", PacketType.L3)
        plane.link("gre1", "gre", local=A, remote=B)
        packet = ipv4(B, A, gre(INNER, 0x0800), protocol=47)
        traced = assert_trace(
            plane, "underlay", packet, guards={"Nibbles.other": 0}, verdicts={"nibbles": "reject"}
        )
        assert traced.looks_at("Nibbles.high")
        assert ("byte 24", 0x45) in traced.guards


def test_what_waits_for_a_way_says_so() -> None:
    with Dataplane(plugins=["gre"], paths=StaticPaths(silent={IPv4Address(B)})) as plane:
        plane.port("underlay", PacketType.L2)
        plane.port("lan", PacketType.L3)
        plane.link("gre1", "gre", local=A, remote=B)
        plane.connect("lan", "gre1")
        traced = explain(plane, "lan", INNER)
        assert traced.fate.startswith("waits for ")
        assert not traced.is_cacheable
