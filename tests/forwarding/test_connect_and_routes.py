"""Connect, longest-prefix routes, and that frames and bare packets are never mixed up."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from tests.plane import L2, L3, A, B, MakePlane, Plane
from vdp.config.model import RuleSection
from vdp.forwarding.routes import Route
from vdp.forwarding.rules import compile_rule
from vdp.testing.builders import ethernet, gre, icmp6, ipv4, ipv6, udp


def to(destination: str, ttl: int = 64, source: str = "10.9.9.9") -> bytes:
    return ipv4(source, destination, udp(1, 2), ttl=ttl)


def route(destination: str, via: str, metric: int = 0) -> Route:
    return Route(ip_network(destination), via, metric)


@pytest.fixture
def routed(plane: Plane) -> Plane:
    """L3 ports lan, a, b and c, without routes yet."""
    for name in ("lan", "a", "b", "c"):
        plane.port(name, L3)
    return plane


def reached(plane: Plane) -> dict[str, int]:
    counts = {name: len(plane.received(name)) for name in plane.datapath.ports}
    return {name: count for name, count in counts.items() if count}


# -- connect ---------------------------------------------------------------------------------


@pytest.mark.conformance("E11")
def test_what_comes_from_one_end_goes_to_the_other_untouched(routed: Plane) -> None:
    routed.connect("lan", "a")
    packets = [to("10.0.0.1", ttl=1), ipv6("fe80::1", "fe80::2", udp(1, 2)), b"\x11" * 9]
    routed.send("lan", *packets)
    assert routed.received("a") == packets
    routed.send("a", *packets)
    assert routed.received("lan") == packets


def test_a_connect_looks_at_no_byte(routed: Plane) -> None:
    routed.connect("lan", "a")
    routed.send("lan", to("10.0.0.1"))
    (flow,) = routed.flows("lan")
    assert (flow.match.mask, flow.match.min_length) == (b"", 0)


def test_frames_are_connected_too(plane: Plane) -> None:
    plane.port("x", L2)
    plane.port("y", L2)
    plane.connect("x", "y")
    plane.send("x", ethernet(to("10.0.0.1")), b"short")
    assert plane.received("y") == [ethernet(to("10.0.0.1")), b"short"]


def test_after_a_disconnect_there_is_no_way(routed: Plane) -> None:
    routed.connect("lan", "a")
    routed.send("lan", to("10.0.0.1"))
    routed.datapath.forwarding.disconnect("a")
    routed.datapath.revalidate()
    routed.send("lan", to("10.0.0.1"))
    assert routed.drops("lan") == {"no_forwarding": 1}


# -- routes ----------------------------------------------------------------------------------


def test_the_longest_prefix_wins_whatever_the_order(routed: Plane) -> None:
    routed.route(route("0.0.0.0/0", "a"), route("10.1.0.0/16", "c"), route("10.0.0.0/8", "b"))
    for destination, via in (("10.1.2.3", "c"), ("10.2.0.1", "b"), ("192.0.2.1", "a"), ("10.1.255.255", "c")):
        routed.send("lan", to(destination))
        assert reached(routed) == {via: 1}, destination


def test_the_metric_does_not_matter_between_different_prefixes(routed: Plane) -> None:
    routed.route(route("10.0.0.0/8", "a", 0), route("10.1.0.0/16", "b", 50))
    routed.send("lan", to("10.1.0.1"))
    assert reached(routed) == {"b": 1}


def test_of_equal_prefixes_the_lower_metric_wins(routed: Plane) -> None:
    routed.route(route("10.0.0.0/8", "a", 20), route("10.0.0.0/8", "b", 10))
    routed.send("lan", to("10.0.0.1"))
    assert reached(routed) == {"b": 1}


@pytest.mark.conformance("E11")
def test_a_route_takes_one_off_the_ttl_and_keeps_the_checksum(routed: Plane) -> None:
    routed.route(route("10.0.0.0/8", "a"))
    routed.send("lan", to("10.0.0.1", ttl=64), to("10.0.0.1", ttl=2))
    assert routed.received("a") == [to("10.0.0.1", ttl=63), to("10.0.0.1", ttl=1)]


@pytest.mark.parametrize("ttl", [0, 1])
def test_a_ttl_that_runs_out_is_the_end(routed: Plane, ttl: int) -> None:
    routed.route(route("10.0.0.0/8", "a"))
    routed.send("lan", to("10.0.0.1", ttl=64))
    reached(routed)
    upcalls = routed.upcalls
    routed.send("lan", to("10.0.0.1", ttl=ttl))
    assert reached(routed) == {}
    assert routed.drops("lan") == {"ttl_expired": 1}
    assert routed.upcalls == upcalls, "the engine sees to it"


def test_ipv6_is_routed_by_its_own_routes(routed: Plane) -> None:
    routed.route(route("::/0", "a"), route("2001:db8::/32", "b"), route("0.0.0.0/0", "c"))
    for destination, via in (("2001:db8::1", "b"), ("2001:db9::1", "a")):
        routed.send("lan", ipv6("fe80::1", destination, udp(1, 2), hop_limit=9))
        (packet,) = routed.received(via)
        assert packet == ipv6("fe80::1", destination, udp(1, 2), hop_limit=8)
    routed.send("lan", ipv6("fe80::1", "2001:db8::1", udp(1, 2), hop_limit=1))
    assert routed.drops("lan") == {"ttl_expired": 1}


def test_without_a_route_there_is_a_reason(routed: Plane) -> None:
    routed.route(route("10.0.0.0/8", "a"))
    routed.send("lan", to("11.0.0.1"), ipv6("fe80::1", "fe80::2", udp(1, 2)))
    assert routed.drops("lan") == {"no_route": 2}


def test_what_is_not_ip_is_not_routed(routed: Plane) -> None:
    routed.route(route("0.0.0.0/0", "a"))
    routed.send("lan", b"\x11" * 40)
    assert routed.drops("lan") == {"protocol_unsupported": 1}


def test_a_header_that_contradicts_its_protocol_is_dropped(routed: Plane) -> None:
    """The metadata says IPv4, the packet's first nibble says 6."""
    from vdp.engine.interface import MemoryPacket

    routed.route(route("0.0.0.0/0", "a"))
    data = b"\x65" + to("10.0.0.1")[1:]
    meta = bytes(3) + b"\1" + b"\0\0\x08\0" + bytes(24)
    routed.engine.inject(routed.datapath.ports["lan"].number, MemoryPacket(data, meta))
    routed.settle()
    assert routed.drops("lan") == {"ip_header": 1}


def test_a_packet_too_short_for_its_header_is_dropped(routed: Plane) -> None:
    routed.route(route("0.0.0.0/0", "a"))
    routed.send("lan", to("10.0.0.1")[:19])
    assert routed.drops("lan") == {"parse_truncated": 1}


def test_routes_do_not_concern_frames(plane: Plane) -> None:
    plane.port("x", L2)
    plane.port("a", L3)
    plane.route(route("0.0.0.0/0", "a"))
    plane.send("x", ethernet(to("10.0.0.1")))
    assert plane.drops("x") == {"no_forwarding": 1}


def test_a_default_route_looks_at_no_bit_of_the_destination(routed: Plane) -> None:
    routed.route(route("0.0.0.0/0", "a"))
    for number in range(20):
        routed.send("lan", to(f"{number + 1}.0.0.{number}"))
    assert len(routed.flows("lan")) == 1
    assert routed.flows("lan")[0].match.mask == b"\xf0"


def test_a_route_looks_at_no_more_of_the_destination_than_tells_routes_apart(routed: Plane) -> None:
    """Byte by byte: what differs from 10.1.0.0/16 in its first byte is one flow a first byte."""
    routed.route(route("0.0.0.0/0", "a"), route("10.1.0.0/16", "b"))
    for number in range(1, 50):
        routed.send(
            "lan", to(f"10.1.{number}.{number}"), to(f"11.{number}.{number}.1"), to(f"10.9.{number}.1")
        )
    masks = sorted(flow.match.mask[16:] for flow in routed.flows("lan"))
    assert masks == [b"\xff", b"\xff\xff", b"\xff\xff"]


def test_a_prefix_that_ends_within_a_byte_is_looked_at_no_further(routed: Plane) -> None:
    routed.route(route("10.0.0.0/12", "a"))
    routed.send("lan", to("10.3.0.1"), to("10.15.255.255"), to("10.0.0.0"))
    assert reached(routed) == {"a": 3}
    assert [flow.match.mask[16:] for flow in routed.flows("lan")] == [b"\xff\xf0"]


def test_other_routes_are_taken_at_once(routed: Plane) -> None:
    routed.route(route("10.0.0.0/8", "a"))
    routed.send("lan", to("10.0.0.1"))
    assert reached(routed) == {"a": 1}
    upcalls = routed.upcalls
    routed.route(route("10.0.0.0/8", "b"))
    routed.datapath.revalidate()
    routed.send("lan", to("10.0.0.1"))
    assert reached(routed) == {"b": 1}
    assert routed.upcalls == upcalls, "same mask: the program was exchanged, no packet missed"


@pytest.mark.conformance("E10")
def test_packets_are_routed_between_tunnels(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("left", "gre", local=A, remote=B)
    plane.link("right", "gre", local=A, remote="192.0.2.3", key=5)
    plane.route(route("10.2.0.0/16", "right"), route("10.1.0.0/16", "left"), route("10.0.0.0/16", "lan"))
    plane.send("underlay", ipv4(B, A, gre(to("10.2.0.1")), protocol=47))
    (out,) = plane.received("underlay")
    assert (out[16:20], out[20:28], out[28:]) == (
        b"\xc0\0\2\3",
        b"\x20\0\x08\0\0\0\0\5",
        to("10.2.0.1", ttl=63),
    )
    plane.send("underlay", ipv4(B, A, gre(to("10.0.0.7")), protocol=47))
    assert plane.received("lan") == [to("10.0.0.7", ttl=63)]


# -- frames and packets ------------------------------------------------------------------------


def rule(in_port: str, action: str) -> RuleSection:
    return RuleSection.model_validate({"match": {"in_port": in_port}, "actions": [action]})


@pytest.mark.parametrize(
    ("come", "go"),
    [("frames", "packets"), ("packets", "frames"), ("frames", "gre1"), ("packets", "gt1"), ("gt1",
    "packets"), ("gre1", "frames")],
)  # fmt: skip
def test_a_frame_never_goes_where_packets_go_nor_a_packet_where_frames_go(
    plane: Plane, come: str, go: str
) -> None:
    """Also when a rule says so: dropped as packet_type, at whichever side notices."""
    plane.port("underlay", L3)
    plane.port("frames", L2)
    plane.port("packets", L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.link("gt1", "gretap", local=A, remote=B)
    plane.datapath.forwarding.rules = (compile_rule(rule(come, f"output:{go}")),)
    arrivals = {
        "frames": ("frames", ethernet(to("10.0.0.1"))),
        "packets": ("packets", to("10.0.0.1")),
        "gre1": ("underlay", ipv4(B, A, gre(to("10.0.0.1")), protocol=47)),
        "gt1": ("underlay", ipv4(B, A, gre(ethernet(to("10.0.0.1")), 0x6558), protocol=47)),
    }
    port, packet = arrivals[come]
    plane.send(port, packet, packet)
    assert plane.received("underlay") + plane.received("frames") + plane.received("packets") == []
    assert plane.all_drops() == {"packet_type": 2}


def test_icmp6_passes_a_connect_between_tunnel_and_port(plane: Plane) -> None:
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.connect("lan", "gre1")
    packet = ipv6("fe80::1", "fe80::2", icmp6(128))
    plane.send("underlay", ipv4(B, A, gre(packet, 0x86DD), protocol=47))
    assert plane.received("lan") == [packet]


def test_a_member_that_is_connected_anew_leaves_the_one_before(plane: Plane) -> None:
    for name in ("one", "two", "three"):
        plane.port(name, L3)
    plane.connect("one", "two")
    plane.connect("one", "three")
    packet = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"to and fro"))
    plane.send("one", packet)
    assert plane.received("three") == [packet]
    plane.send("two", packet)
    assert plane.received("one") == []
    assert plane.drops("two") == {"no_forwarding": 1}
