"""Asking handlers: order, verdicts, what a rejected or raising handler leaves behind."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from tests import vectors
from tests.plane import L3, A, B, MakePlane, Plane
from vdp.api import GreBase, IPv4, Packet, TunnelInfo, Verdict
from vdp.config.model import IcmpSection
from vdp.testing.builders import gre, icmp, ipv4, tcp, udp

Handler = Callable[[Packet, IPv4, TunnelInfo], Verdict]
INNER = ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, b"hello"))
PACKET = ipv4(B, A, gre(INNER), protocol=47)


@pytest.fixture
def bare(make_plane: MakePlane) -> Plane:
    """An underlay with the GRE demultiplexer, a link for its addresses, and a list without handlers."""
    plane = make_plane()
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.connect("lan", "gre1")
    for owner in ("gre", "gretap", "wccp"):
        plane.datapath.registry.list("gre_cisco").remove_owner(owner)
    return plane


def add(plane: Plane, priority: int, receive: Handler, name: str = "", owner: str = "test") -> Any:
    name = name or f"p{priority}"
    return plane.datapath.registry.list("gre_cisco").add(receive, priority=priority, name=name, owner=owner)


def accept(plane: Plane) -> Handler:
    """Takes everything: to port lan, without its GRE header."""

    def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        packet.pull(info.header_size)
        return packet.output(plane.datapath.ports["lan"].number)

    return receive


def reject(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
    return Verdict.REJECT


@pytest.mark.conformance("A4", "A6", "A7")
@vectors.needed
@pytest.mark.parametrize(
    "case", vectors.load("scenarios/registry.json").get("cases", ()), ids=lambda case: case["name"]
)
def test_the_kernels_walk_through_the_list(bare: Plane, case: dict[str, Any]) -> None:
    asked = []
    for priority, answer in case["handlers"]:

        def receive(
            packet: Packet, ip: IPv4, info: TunnelInfo, priority: int = priority, answer: str = answer
        ) -> Verdict:
            asked.append(priority)
            return accept(bare)(packet, ip, info) if answer == "RCVD" else Verdict.REJECT

        add(bare, priority, receive)
    bare.send("underlay", PACKET)
    assert asked == case["asked"]
    if case["result"].startswith("RCVD"):
        assert bare.received("lan") == [INNER]
        assert bare.drops("underlay") == {}
    else:
        assert bare.received("lan") == []
        assert bare.drops("underlay") == {"tunnel_no_link": 1}
        (answer,) = bare.received("underlay")
        assert answer[20:22] == b"\3\3"


@pytest.mark.conformance("A6", "C9", "C10")
def test_the_same_header_is_given_to_each_handler(bare: Plane) -> None:
    seen: list[tuple[TunnelInfo, int]] = []

    def look(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        seen.append((info, packet.header(GreBase).protocol))
        packet.pull(8)
        packet.set_register(1, 5)
        return Verdict.REJECT

    add(bare, 1, look)
    add(bare, 2, look)
    bare.send("underlay", ipv4(B, A, gre(INNER, key=7, sequence=9), protocol=47))
    (one, front), (other, again) = seen
    assert one is other
    assert (front, again) == (0x0800, 0x0800)
    assert (one.key, one.header_size, one.sequence_offset) == (7, 12, 8)


@pytest.mark.conformance("A6")
def test_a_rejecting_handler_leaves_the_packet_as_it_was(bare: Plane) -> None:
    """Whatever it did to it: pulls, pushes, writes, metadata, counts, clones, drops, effects."""
    done: list[str] = []

    def meddle(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        packet.clone().output(bare.datapath.ports["lan"].number)
        packet.header(IPv4, 4).set(ttl=1)
        packet.pull(24)
        packet.push(b"xyz")
        packet.set_register(0, 9)
        packet.load_register(1, 0)
        packet.on_commit(lambda: done.append("effect"))
        packet.trim(0, 0, packet.otherwise("parse_bad_length"))
        packet.plain = True
        packet.drop("policy_rule")
        return Verdict.REJECT

    def look(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        assert packet.header(IPv4, 4).ttl == 64
        assert (packet.register(0), packet.register(1)) == (0, 0)
        assert (packet.plain, packet.done) == (False, False)
        return accept(bare)(packet, ip, info)

    add(bare, 1, meddle)
    add(bare, 2, look)
    bare.send("underlay", PACKET)
    assert bare.received("lan") == [INNER]
    assert bare.drops("underlay") == {}
    assert done == []
    assert bare.stats("underlay").cloned == 0
    assert bare.verdicts()["p2"] == {"received": 1}


@pytest.mark.conformance("A6")
def test_what_a_rejecting_handler_looked_at_is_still_guarded(bare: Plane) -> None:
    def look(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        return packet.drop("policy_rule") if packet.header(IPv4, 4).ttl == 9 else Verdict.REJECT

    add(bare, 1, look)
    add(bare, 2, accept(bare))
    bare.send(
        "underlay", PACKET, ipv4(B, A, gre(ipv4("10.0.0.2", "10.0.0.1", b"", protocol=9, ttl=9)), protocol=47)
    )
    assert bare.received("lan") == [INNER]
    assert bare.drops("underlay") == {"policy_rule": 1}


@pytest.mark.conformance("A14", "A15")
def test_a_handler_that_raises_counts_as_rejecting(bare: Plane, caplog: pytest.LogCaptureFixture) -> None:
    def fail(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        packet.pull(4)
        raise KeyError("colour")

    add(bare, 1, fail, owner="broken")
    add(bare, 2, accept(bare))
    with caplog.at_level(logging.ERROR, "vdp"):
        bare.send("underlay", *[PACKET] * 3)
    assert bare.received("lan") == [INNER] * 3
    assert bare.verdicts()["p1"] == {"error": 3}
    assert bare.verdicts()["p2"] == {"received": 3}
    assert bare.handler("p1").last_error.startswith("KeyError: 'colour' (registry/test_delivery.py:")
    (record,) = caplog.records
    assert record.getMessage().startswith("plugin broken: handler p1 raised: KeyError: 'colour' (registry/")
    assert record.exc_info is None, "a line; with the traceback at level debug"


def test_a_raising_handler_is_named_once_a_second_in_the_log(
    bare: Plane, caplog: pytest.LogCaptureFixture, stopped_time: Callable[[float], None]
) -> None:
    def fail(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        packet.uncacheable()
        raise KeyError("colour")

    add(bare, 1, fail)
    add(bare, 2, accept(bare))
    with caplog.at_level(logging.ERROR, "vdp"):
        bare.send("underlay", *[PACKET] * 3)
        assert (len(caplog.records), bare.datapath.suppressed_messages) == (1, 2)
        stopped_time(1.0)
        bare.send("underlay", PACKET)
    assert len(caplog.records) == 2


@pytest.mark.parametrize("answer", [None, True, "received", 1])
def test_an_answer_that_is_no_verdict_counts_as_raising(bare: Plane, answer: Any) -> None:
    add(bare, 1, lambda packet, ip, info: answer)
    add(bare, 2, accept(bare))
    bare.send("underlay", PACKET)
    assert bare.received("lan") == [INNER]
    assert bare.handler("p1").last_error.startswith("TypeError: p1 answered")


@pytest.mark.conformance("A14")
def test_a_handler_that_takes_a_packet_and_does_nothing_with_it_loses_that_packet_only(bare: Plane) -> None:
    bare.faults = True
    add(bare, 1, lambda packet, ip, info: Verdict.RECEIVED if info.key else Verdict.REJECT)
    add(bare, 2, accept(bare))
    bare.send("underlay", ipv4(B, A, gre(INNER, key=1), protocol=47), PACKET)
    assert bare.received("lan") == [INNER]
    assert bare.drops("underlay") == {"handler_error": 1}


@pytest.mark.conformance("A15")
def test_a_handler_on_a_short_packet_drops_it_as_truncated(bare: Plane) -> None:
    def look(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        packet.header(IPv4, 4)
        return Verdict.REJECT

    add(bare, 1, look)
    add(bare, 2, accept(bare))
    bare.send("underlay", ipv4(B, A, gre(bytes(8), 0x1234), protocol=47), PACKET)
    assert bare.received("lan") == [INNER]
    assert bare.drops("underlay") == {"parse_truncated": 1}
    assert bare.handler("p1").verdicts["drop"] == 1
    (flow,) = [flow for flow in bare.flows("underlay") if flow.length < len(PACKET)]
    assert ("gre_cisco", "p1", "drop") in flow.asked


def test_a_handler_that_looks_too_deep_drops_the_packet_as_over_the_header_budget(bare: Plane) -> None:
    add(
        bare,
        1,
        lambda packet, ip, info: packet.drop("policy_rule") if packet.read(300, 1) else Verdict.REJECT,
    )
    bare.send("underlay", ipv4(B, A, gre(bytes(400), 0x1234), protocol=47))
    assert bare.drops("underlay") == {"header_budget": 1}


def test_a_handler_can_have_drop_reasons_of_its_own(bare: Plane) -> None:
    code = bare.datapath.drops.register("mine", "colour", "the packet has the wrong colour")
    add(bare, 1, lambda packet, ip, info: packet.drop(code))
    bare.send("underlay", PACKET)
    assert bare.drops("underlay") == {"plugin_mine_colour": 1}


def test_an_uncacheable_handler_sees_every_packet(bare: Plane) -> None:
    def receive(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        packet.uncacheable()
        return accept(bare)(packet, ip, info)

    add(bare, 1, receive)
    bare.send("underlay", *[PACKET] * 5)
    assert bare.received("lan") == [INNER] * 5
    assert (bare.upcalls, len(bare.flows("underlay"))) == (5, 0)
    assert bare.verdicts()["p1"] == {"received": 5}


@pytest.mark.conformance("A15", "J")
def test_verdicts_are_counted_by_packet_also_on_the_fast_path(bare: Plane) -> None:
    add(bare, 1, reject)
    add(bare, 2, accept(bare))
    bare.send("underlay", PACKET)
    bare.send("underlay", *[PACKET] * 99)
    assert bare.verdicts() == {
        "gre_rcv": {"received": 100}, "gre_cisco_rcv": {"received": 100},
        "p1": {"reject": 100}, "p2": {"received": 100}, "icmp_rcv": {}, "icmpv6_rcv": {},
        "udp_rcv": {}, "udpv6_rcv": {},
    }  # fmt: skip
    assert bare.upcalls == 1


def test_a_handler_added_later_is_asked_about_flows_that_run_already(bare: Plane) -> None:
    add(bare, 2, accept(bare))
    bare.send("underlay", PACKET)
    first = add(bare, 1, lambda packet, ip, info: packet.drop("policy_rule"))
    bare.send("underlay", PACKET)
    assert bare.received("lan") == [INNER]
    assert bare.drops("underlay") == {"policy_rule": 1}
    bare.datapath.registry.list("gre_cisco").remove(first, "test")
    bare.send("underlay", PACKET)
    assert bare.received("lan") == [INNER]


@pytest.mark.conformance("A10")
def test_a_removed_handler_gets_no_packet_more(bare: Plane) -> None:
    one = add(bare, 1, accept(bare))
    bare.send("underlay", PACKET)
    bare.datapath.registry.list("gre_cisco").remove(one, "test")
    bare.send("underlay", PACKET)
    assert bare.received("lan") == [INNER]
    assert bare.drops("underlay") == {"tunnel_no_link": 1}


@pytest.mark.conformance("A2", "C3")
def test_a_handler_for_gre_version_one_gets_its_packets(bare: Plane) -> None:
    """PPTP's slot: byte 1 & 0x7f is 1; other versions have none."""
    seen = []

    def pptp(packet: Packet, ip: IPv4) -> Verdict:
        seen.append(packet.header(GreBase, ip.payload).version)
        return packet.drop("policy_rule")

    v1 = ipv4(B, A, gre(bytes(20), 0x880B, key=1, flags=1), protocol=47)
    bare.send("underlay", v1)
    assert bare.drops("underlay") == {"tunnel_version": 1}
    bare.datapath.registry.table("gre_version").add(pptp, slot=1, name="pptp", owner="test")
    bare.send("underlay", v1)
    assert bare.drops("underlay") == {"tunnel_version": 1, "policy_rule": 1}
    assert seen == [1]


@pytest.mark.conformance("A14")
def test_a_protocol_beside_gre_can_be_registered(bare: Plane) -> None:
    def ipip(packet: Packet, ip: IPv4) -> Verdict:
        packet.pull(ip.payload)
        packet.set_type(L3, 0x0800)
        return packet.output(bare.datapath.ports["lan"].number)

    packet = ipv4(B, A, INNER, protocol=4)
    bare.send("underlay", packet)
    assert bare.drops("underlay") == {"not_for_us": 1}
    drops = bare.datapath.drops
    assert "an IP protocol" in drops.text(drops.code("not_for_us")), "it is our own address"
    bare.datapath.registry.table("ip_protocol").add(ipip, slot=4, name="ipip", owner="test")
    bare.send("underlay", packet)
    assert bare.received("lan") == [INNER]


def test_a_handler_may_send_through_a_link_whose_way_is_not_known_yet(bare: Plane) -> None:
    """PathPending is no fault of the handler: the packet waits and is tried again."""
    bare.link("gre9", "gre", local=A, remote="any")
    from ipaddress import IPv4Address

    def relay(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        packet.pull(info.header_size)
        underlay = bare.datapath.ports["underlay"]
        path = bare.datapath.paths.lookup(packet, underlay, IPv4Address("192.0.2.77"), IPv4Address(A))
        assert path is not None
        return packet.output(bare.datapath.ports["lan"].number)

    add(bare, 1, relay)
    bare.send("underlay", PACKET)
    bare.settle()
    assert bare.handler("p1").last_error == ""
    assert bare.received("lan") == [INNER]


# -- when all reject ---------------------------------------------------------------------------


@pytest.mark.conformance("A7")
def test_the_error_goes_back_to_the_sender_with_what_it_sent(bare: Plane) -> None:
    from scapy.layers.inet import ICMP, IP

    bare.send("underlay", PACKET)
    (answer,) = bare.received("underlay")
    found = IP(answer)
    assert (found.src, found.dst, found.proto, found.ttl, found.tos) == (A, B, 1, 64, 0xC0)
    assert (found[ICMP].type, found[ICMP].code, found.len) == (3, 3, len(answer))
    assert bytes(answer[28:]) == PACKET
    del found.chksum, found[ICMP].chksum
    assert bytes(IP(bytes(found))) == answer, "both checksums are as scapy computes them"
    assert bare.datapath.icmp.sent == {(4, 3, 3): 1}


@pytest.mark.conformance("A7")
def test_at_most_576_bytes_go_back(bare: Plane) -> None:
    packet = ipv4(B, A, gre(bytes(1000)), protocol=47)
    bare.send("underlay", packet)
    (answer,) = bare.received("underlay")
    assert len(answer) == 576
    assert answer[28:] == packet[:548]


@pytest.mark.conformance("A7")
def test_padding_does_not_go_back(make_plane: MakePlane) -> None:
    from tests.plane import L2
    from vdp.testing.builders import ethernet

    plane = make_plane()
    plane.port("underlay", L2)
    plane.link("gre1", "gre", local=A, remote="192.0.2.9")
    plane.send("underlay", ethernet(PACKET) + bytes(7))
    (answer,) = plane.received("underlay")
    assert answer[14 + 28 :] == PACKET
    assert answer[:14] == ethernet(b"", to="02:00:00:00:00:01", origin="02:00:00:00:00:02")


@pytest.mark.conformance("A7", "D9")
@pytest.mark.parametrize(
    ("source", "destination", "reason"),
    [
        (B, "239.1.1.1", "tunnel_no_link"),
        (B, "255.255.255.255", "tunnel_no_link"),
        ("0.0.0.7", A, "tunnel_no_link"),
        # Martians do not come so far (ip_route_input_slow).
        ("0.0.0.0", A, "ip_source"),
        ("127.0.0.1", A, "ip_source"),
        ("224.0.0.1", A, "ip_source"),
        ("255.255.255.255", A, "ip_source"),
    ],
)
def test_nobody_is_told_where_there_is_nobody_to_tell(
    bare: Plane, source: str, destination: str, reason: str
) -> None:
    """RFC 1122 3.2.2: never about multicast or broadcast, nor to a source that is no single host."""
    bare.send("underlay", ipv4(source, destination, gre(INNER), protocol=47))
    assert bare.drops("underlay") == {reason: 1}
    assert bare.received("underlay") == []
    assert not bare.datapath.icmp.sent


@pytest.mark.conformance("A7", "C20")
@pytest.mark.parametrize("which", ["first", "later"])
def test_nothing_is_said_about_fragments(bare: Plane, which: str) -> None:
    flags, offset = (1, 0) if which == "first" else (0, 10)
    bare.send("underlay", ipv4(B, A, gre(INNER), protocol=47, flags=flags, fragment=offset))
    assert bare.drops("underlay") == {"fragment_policy": 1}
    assert bare.received("underlay") == []


@pytest.mark.conformance("A7")
def test_nothing_is_said_to_a_group_mac_address(make_plane: MakePlane) -> None:
    from tests.plane import L2
    from vdp.testing.builders import ethernet

    plane = make_plane()
    plane.port("underlay", L2)
    plane.link("gre1", "gre", local=A, remote="192.0.2.9")
    plane.send(
        "underlay", ethernet(PACKET, to="ff:ff:ff:ff:ff:ff"), ethernet(PACKET, origin="01:00:00:00:00:01")
    )
    assert plane.received("underlay") == []
    assert plane.drops("underlay") == {"tunnel_no_link": 2}


@pytest.mark.conformance("A7")
def test_errors_are_sent_at_a_limited_rate_and_every_packet_is_counted_all_the_same(
    make_plane: MakePlane,
) -> None:
    plane = make_plane(action_rate=10)
    plane.datapath.icmp.limits.rates = IcmpSection(ratelimit_ms=0)
    plane.port("underlay", L3)
    plane.link("gre1", "gre", local=A, remote="192.0.2.9")
    for _ in range(10):
        plane.send("underlay", *[PACKET] * 10)
    assert len(plane.received("underlay")) == 5, "a burst of half a second's worth"
    assert plane.drops("underlay") == {"tunnel_no_link": 100}
    assert plane.engine.worker_stats(0).actions_suppressed == 95
    plane.pass_time(1.0)
    plane.send("underlay", *[PACKET] * 10)
    assert len(plane.received("underlay")) == 5


@pytest.mark.conformance("A1", "A7")
def test_other_protocols_get_no_answer_from_the_tunnel_handlers(bare: Plane) -> None:
    """They are the host's, or the bridge's; here, nobody's."""
    for payload in (tcp(1, 2), udp(1, 2)):
        bare.send("underlay", ipv4(B, A, payload))
    bare.send("underlay", ipv4(B, A, icmp(3, 3, payload=PACKET), protocol=1))
    assert bare.drops("underlay") == {"not_for_us": 2, "icmp_error": 1}
    assert bare.received("underlay") == []
