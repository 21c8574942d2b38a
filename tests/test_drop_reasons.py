"""Each drop reason is provoked: here on a dataplane in memory, or by a test that is named here."""

from __future__ import annotations

import importlib
import inspect
import re
import struct
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.links.test_loops import cell, rule
from tests.links.ways import Ways
from tests.plane import L2, L3, A, B, MakePlane, Plane, make_plane
from vdp.config.rules import Drop
from vdp.drops import Drops
from vdp.forwarding.routes import Route
from vdp.forwarding.rules import Rule
from vdp.links.gre_demux import FlagPolicy
from vdp.testing.builders import ethernet, gre, ipv4, ipv6, udp

__all__ = ["make_plane"]

HERE = Path(__file__).parent
INNER = ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, b"hello"))
FRAME = ethernet(INNER)
GROUP = "239.1.1.1"


def outer(payload: bytes, source: str = B, destination: str = A, **fields: Any) -> bytes:
    return ethernet(ipv4(source, destination, payload, protocol=47, **fields))


def outer6(payload: bytes, **fields: Any) -> bytes:
    return ethernet(ipv6("2001:db8::2", "2001:db8::1", payload, **{"next_header": 47, **fields}))


def tunnel(plane: Plane, **parameters: Any) -> None:
    """Link gre1 in port lan's connect, over an Ethernet underlay."""
    plane.link("gre1", "gre", **{"local": A, "remote": B, **parameters})
    plane.connect("lan", "gre1")


def arrives(*frames: bytes, **parameters: Any) -> Callable[[Plane], None]:
    """Frames at the underlay of a gre link with these parameters."""

    def act(plane: Plane) -> None:
        tunnel(plane, **parameters)
        plane.send("underlay", *frames)

    return act


def leaves(*packets: bytes, **parameters: Any) -> Callable[[Plane], None]:
    def act(plane: Plane) -> None:
        tunnel(plane, **parameters)
        plane.send("lan", *packets)

    return act


def with_a_wrong_udp_checksum(plane: Plane) -> None:
    header = struct.pack("!HHHH", 49152, 4754, 8 + len(gre(INNER)), 1)
    arrives(ethernet(ipv4(B, A, header + gre(INNER), protocol=17)), encap="udp")(plane)


def with_flag_policy(plane: Plane) -> None:
    plane.datapath.gre.policy = FlagPolicy.STRICT
    arrives(outer(gre(INNER, flags=0x0100)))(plane)


def over_ipv6(*frames: bytes) -> Callable[[Plane], None]:
    def act(plane: Plane) -> None:
        plane.link("link6", "ip6gre", local="2001:db8::1", remote="2001:db8::2")
        plane.send("underlay", *frames)

    return act


def into_a_bridge(*frames: bytes) -> Callable[[Plane], None]:
    def act(plane: Plane) -> None:
        plane.port("wire", L2)
        plane.bridge("br0", "underlay", "wire")
        for frame in frames:
            plane.send("underlay", frame)

    return act


def in_two_places(plane: Plane) -> None:
    """The source is heard behind either of two members, in turn."""
    plane.port("wire", L2)
    plane.bridge("br0", "wire", "underlay")
    for _ in range(4):
        plane.send("wire", ethernet(INNER))
        plane.send("underlay", ethernet(INNER))


def without_a_way(plane: Plane) -> None:
    assert isinstance(plane.paths, Ways)
    plane.paths.unreachable.add(ip_address(B))
    leaves(INNER)(plane)


def silent_next_hop(plane: Plane) -> None:
    """A flood waits for nobody."""
    assert isinstance(plane.paths, Ways)
    plane.paths.silent.add(ip_address(B))
    plane.port("wire", L2)
    plane.link("gt1", "gretap", local=A, remote=B)
    plane.bridge("br0", "wire", "gt1")
    plane.send("wire", FRAME)


def into_itself(plane: Plane) -> None:
    assert isinstance(plane.paths, Ways)
    plane.paths.leave_by[ip_address(B)] = ("tun0", 7)
    plane.port("tun0", L3, device="tun0")
    tunnel(plane)
    plane.connect("tun0", "gre1")
    plane.datapath.forwarding.rules = (rule("lan", "gre1"),)
    plane.send("lan", INNER)


def round_and_round(plane: Plane) -> None:
    cell(plane, "cell0")
    plane.link("gre1", "gre", underlay="cell0", local=A, remote=B)
    plane.datapath.forwarding.rules = (rule("lan", "gre1"), rule("cell0", "gre1"))
    plane.send("lan", INNER)


def by_a_rule(plane: Plane) -> None:
    plane.datapath.forwarding.rules = (Rule(1, "lan", (), (Drop(),)),)
    plane.send("lan", INNER)


def routed(packet: bytes, to: str = "10.0.0.0/8") -> Callable[[Plane], None]:
    def act(plane: Plane) -> None:
        plane.port("wan", L3)
        plane.route(Route(ip_network(to), "wan"))
        plane.send("lan", packet)

    return act


def while_the_link_is_down(plane: Plane) -> None:
    tunnel(plane)
    plane.datapath.set_link_up("gre1", False)
    plane.send("lan", INNER)


def while_the_port_is_down(plane: Plane) -> None:
    plane.engine.set_port_up(plane.datapath.ports["lan"].number, False)
    plane.send("lan", INNER)


def frames_to_packets(plane: Plane) -> None:
    plane.connect("underlay", "lan")
    plane.send("underlay", FRAME)


def larger_than_a_port(plane: Plane) -> None:
    plane.port("wan", L3, mtu=100)
    plane.connect("lan", "wan")
    plane.send("lan", ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, bytes(200))))


def to_a_port_that_went(plane: Plane) -> None:
    plane.port("wan", L3)
    plane.connect("lan", "wan")
    plane.datapath.remove_port("wan")
    plane.send("lan", INNER)


def with_a_bad_handler(plane: Plane) -> None:
    plane.faults = True
    broken: Any = lambda packet, member: 1 / 0  # noqa: E731
    plane.datapath.forwarding.forward = broken  # type: ignore[method-assign]
    plane.send("lan", INNER)


#: What is done to a plane with ports "underlay" (frames) and "lan" (packets).
LIVE: dict[str, Callable[[Plane], None]] = {
    "parse_truncated": arrives(ethernet(b"\x45" + bytes(9), ethertype=0x0800)),
    "parse_bad_length": arrives(outer(gre(INNER), total_length=1000)),
    "ip_header": arrives(ethernet(b"\x44" + outer(gre(INNER))[15:], ethertype=0x0800)),
    "ip_checksum": arrives(outer(gre(INNER), checksum=1)),
    "ip_source": arrives(outer(gre(INNER), source="127.0.0.1")),
    "ip_option": over_ipv6(outer6(bytes((47, 0, 0xFE, 4, 0, 0, 0, 0)) + gre(INNER), next_header=60)),
    "l4_checksum": with_a_wrong_udp_checksum,
    "fragment_policy": arrives(outer(gre(INNER), flags=1)),
    "ttl_expired": routed(ipv4("10.0.0.2", "10.0.0.1", udp(1, 2), ttl=1)),
    "mtu_exceeded": larger_than_a_port,
    "no_port": to_a_port_that_went,
    "no_forwarding": lambda plane: plane.send("lan", INNER),
    "no_route": without_a_way,
    "policy_rule": by_a_rule,
    "port_down": while_the_port_is_down,
    "link_down": while_the_link_is_down,
    "packet_type": frames_to_packets,
    "loop_guard": round_and_round,
    "handler_error": with_a_bad_handler,
    "neighbour_failed": silent_next_hop,
    "not_for_us": arrives(ethernet(INNER)),
    "protocol_unsupported": routed(b"\x00" * 40),
    "same_port": into_a_bridge(
        ethernet(INNER, to="02:00:00:00:00:0a", origin="02:00:00:00:00:0b"),
        ethernet(INNER, to="02:00:00:00:00:0b", origin="02:00:00:00:00:0a"),
    ),
    "mac_moves": in_two_places,
    "link_local": into_a_bridge(ethernet(INNER, to="01:80:c2:00:00:0e")),
    "tunnel_short": arrives(outer(gre(b"")[:8])),
    "tunnel_version": arrives(outer(gre(INNER, flags=0x0002))),
    "tunnel_reserved": with_flag_policy,
    "tunnel_routing": arrives(outer(gre(INNER, flags=0x4000))),
    "tunnel_truncated": arrives(outer(gre(b"", key=1, csum=True, sequence=1)[:13])),
    "tunnel_checksum": arrives(outer(gre(INNER, checksum=1)), csum=True),
    "tunnel_checksum_policy": arrives(outer(gre(INNER, csum=True))),
    "tunnel_sequence": arrives(outer(gre(INNER)), seq=True),
    "tunnel_ecn": arrives(outer(gre(INNER), tos=3)),
    "tunnel_inner_short": arrives(outer(gre(FRAME[:13], 0x6558))),
    "tunnel_loopback": arrives(outer(gre(INNER), source=A, destination=GROUP), remote=GROUP),
    "tunnel_no_link": arrives(outer(gre(INNER), source="192.0.2.77")),
    "tunnel_loop": into_itself,
}

#: What only the engine can come to, or takes long to arrange: file and test.
ELSEWHERE = {
    "upcall_queue_full": "engine/test_rates.py:test_a_port_s_line_takes_no_more_than_its_limit",
    "upcall_rate": "engine/test_rates.py:test_misses_of_a_port_are_bounded_a_second",
    "tx_queue_full": "engine/test_ports.py:test_a_full_transmit_queue_drops_at_the_output",
    "tx_error": "c/test_ports_socketpair.c:test_what_is_no_frame_is_not_sent",
    "gso_invalid": "engine/test_segment.py:test_a_super_packet_whose_own_header_is_pulled_off_is_dropped",
    "gso_unsupported": "engine/test_offload.py:test_an_output_without_the_feature_refuses_a_super_packet",
    "vnet_hdr_invalid":
        "engine/test_offload.py:test_a_checksum_whose_field_is_trimmed_off_is_dropped_at_the_output",
    "header_budget":
        "registry/test_delivery.py:test_a_handler_that_looks_too_deep_drops_the_packet_as_over_the_header_budget",
    "handler_timeout": "slowpath/test_time_limit.py:test_a_handler_that_hangs_costs_its_packet",
    "no_buffer": "c/test_execute.c:test_an_empty_pool_loses_packets_under_their_name",
    "cell_full": "engine/test_cells.py:test_a_full_cell_drops_what_it_cannot_join",
    "shutdown": "c/test_cell_order.c:test_freed_cell_drops_what_waits_as_shutdown",
    "rx_error": "c/test_ports_socketpair.c:test_a_frame_cut_short_is_an_error",
    "group_queue_full": "engine/test_groups.py:test_a_full_line_drops",
    "overload_shed": "engine/test_overload.py:test_in_a_fair_queue_who_sends_little_is_not_lost",
    "icmp_error": "links/test_errors.py:test_on_an_ethernet_underlay_they_are_frames",
    "inner_martian": "security/test_inner_sources.py:test_forty_addresses_and_no_leak",
    "inner_source": "security/test_inner_sources.py:test_only_the_networks_that_are_allowed",
}  # fmt: skip

#: What no packet comes to, and why there is a name for it all the same.
NEVER = {
    "none": "the code of what is not dropped",
    "wccp_short": "gre_rcv asks for 12 bytes first, and both headers together have 8",
}


@pytest.mark.conformance("J")
@pytest.mark.parametrize("reason", LIVE)
def test_a_packet_is_lost_under_its_reason_and_no_other(make_plane: MakePlane, reason: str) -> None:
    plane = make_plane(("gre", "gretap", "wccp", "ip6gre"), paths=Ways())
    plane.port("underlay", L2)
    plane.port("lan", L3)
    LIVE[reason](plane)
    drops = plane.all_drops()
    assert drops.pop(reason) == 1
    assert set(drops) <= {"no_forwarding"}, "an answer, or what came before, at a port that leads nowhere"


@pytest.mark.parametrize("reason", ELSEWHERE)
def test_the_test_that_is_named_is_about_the_reason(reason: str) -> None:
    file, name = ELSEWHERE[reason].split(":")
    if file.endswith(".c"):
        text = (HERE / file).read_text()
        (body,) = re.findall(rf"^static void {name}\(.*?^}}", text, re.M | re.S)
        assert f"VDP_REASON_{reason}" in body
        assert f"cmocka_unit_test({name})" in text or f"({name}" in text.split(body)[1]
        return
    module = importlib.import_module("tests." + file.removesuffix(".py").replace("/", "."))
    assert f'"{reason}"' in inspect.getsource(getattr(module, name))


@pytest.mark.conformance("J")
def test_every_reason_is_in_one_of_the_tables() -> None:
    names = [reason.name for reason in Drops()]
    assert sorted([*LIVE, *ELSEWHERE, *NEVER]) == sorted(names)
