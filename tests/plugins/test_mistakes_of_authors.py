"""What an author gets wrong is named: the word that is not known, the function, the line."""

from __future__ import annotations

import logging

import pytest

from tests.plane import L2, L3, A, B, MakePlane
from vdp.api import Egress, IPv4, LinkKind, Packet, TunnelInfo, Upcall, Verdict
from vdp.drops import Drops, UnknownReason
from vdp.flow_words import FlowWords
from vdp.testing.builders import gre, ipv4, udp

IN_GRE = ipv4(B, A, gre(ipv4("10.0.0.1", "10.0.0.2", udp(1, 2))), protocol=47)


def test_a_drop_reason_that_nobody_gives_is_answered_with_the_likely_one() -> None:
    drops = Drops()
    drops.register("mine", "session", "no such session")
    with pytest.raises(UnknownReason) as near:
        drops.code("plugin_mine_sesion")
    assert str(near.value) == (
        "no drop reason is called 'plugin_mine_sesion'; did you mean 'plugin_mine_session'?"
    )
    with pytest.raises(KeyError, match="a plugin's are those of its hook vdp_drop_reasons"):
        drops.code("qqq")


def test_a_packet_of_a_type_that_a_member_does_not_carry_is_refused(make_plane: MakePlane) -> None:
    plane = make_plane(("gre", "gretap"))
    plane.port("underlay", L3)
    plane.link("tap1", "gretap", local=A, remote=B)
    with pytest.raises(ValueError, match="tap1: expected a packet of type L2, found L3"):
        plane.datapath.send("tap1", b"\x45" + bytes(40), L3, 0x0800)
    plane.datapath.send("tap1", bytes(60), L2)
    assert len(plane.received("underlay")) == 1


def test_a_kind_of_a_plugin_that_is_not_loaded_is_answered_with_where_to_list_it(
    make_plane: MakePlane,
) -> None:
    plane = make_plane(("gre",))
    with pytest.raises(LookupError, match=r"kind 'gretap': list the plugin 'gretap' under \[plugins\] load"):
        plane.datapath.kind(LinkKind, "gretap")  # type: ignore[type-abstract]
    with pytest.raises(LookupError, match="kind 'never': list the plugin that does"):
        plane.datapath.kind(LinkKind, "never")  # type: ignore[type-abstract]


def test_timers_and_upcalls_that_fail_are_named(
    make_plane: MakePlane, caplog: pytest.LogCaptureFixture
) -> None:
    plane = make_plane(("gre",))
    plane.port("underlay", L3)
    plane.link("gre1", "gre", local=A, remote=B)

    def ticks() -> None:
        raise ZeroDivisionError("tick")

    def hears(upcall: Upcall) -> None:
        raise ZeroDivisionError("heard")

    def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        packet.upcall(cookie)
        return packet.drop("policy_rule")

    cookie = plane.datapath.add_cookie(hears)
    plane.datapath.registry.list("gre_cisco").add(receive, priority=1, name="mine", owner="mine")
    plane.datapath.every(1, ticks)
    with caplog.at_level(logging.ERROR):
        plane.send("underlay", IN_GRE)
        plane.pass_time(1.1)
    here = f"{__name__}.test_timers_and_upcalls_that_fail_are_named.<locals>"
    assert f"a timer failed: {here}.ticks: ZeroDivisionError: tick (" in caplog.text
    assert f"an upcall failed: {here}.hears: ZeroDivisionError: heard (" in caplog.text


def test_what_a_plugin_counts_by_is_said_by_its_name(make_plane: MakePlane) -> None:
    plane = make_plane(("gre",))
    plane.port("lan", L3)
    plane.port("wan", L3)
    plane.connect("lan", "wan")
    sent = plane.datapath.counters.family("mine", "sent", "What was sent.", ("egress",))

    def count(packet: Packet, egress: Egress) -> None:
        packet.count(sent.labels(egress.name))

    plane.datapath.pipeline.add(count, priority=900, name="mine", owner="mine")
    plane.send("lan", ipv4("10.0.0.1", "10.0.0.2", udp(1, 2)))
    assert len(plane.received("wan")) == 1
    (flow,) = plane.flows("lan")
    rows = FlowWords(plane.datapath).action_rows(flow.program)
    assert 'count mine.sent{egress="wan"}' in [row["text"] for row in rows]
