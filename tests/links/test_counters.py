"""Each counter of a link moves by the packet that it is for, and nothing else does (ip -s -s link)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import pytest

from tests.links.test_loops import LOOP, rule
from tests.links.test_receive import INNER, LOCAL, REMOTE, moved, outer
from tests.links.ways import Ways
from tests.plane import L3, MakePlane, Plane
from vdp.engine.interface import PortConfig, PortType
from vdp.links.link import LinkCounters
from vdp.testing.builders import ethernet, gre, ipv4, udp

SIZE = len(INNER)
GROUP = "239.1.1.1"


@dataclass(frozen=True)
class Case:
    """What happens to link1, of a kind and with parameters, and what that moves."""

    act: Callable[[Plane], None]
    moves: dict[str, int]
    parameters: dict[str, Any] = field(default_factory=dict)
    kind: str = "gre"
    drops: dict[str, int] = field(default_factory=dict)
    #: MTU of the way to the remote, and packets that the underlay queues.
    way: int = 1500
    room: int = 1024


def arrives(*packets: bytes) -> Callable[[Plane], None]:
    return lambda plane: plane.send("underlay", *packets)


def leaves(*packets: bytes) -> Callable[[Plane], None]:
    return lambda plane: plane.send("lan", *packets)


def without_a_route(plane: Plane) -> None:
    assert isinstance(plane.paths, Ways)
    plane.paths.unreachable.add(ip_address(REMOTE))
    plane._runner.run(plane.datapath.paths.refresh())
    plane.send("lan", INNER)


def into_itself(plane: Plane) -> None:
    assert isinstance(plane.paths, Ways)
    plane.paths.leave_by[ip_address(REMOTE)] = ("tun0", 7)
    plane.port("tun0", L3, device="tun0")
    plane.connect("tun0", "link1")
    plane.datapath.forwarding.rules = (rule("lan", "link1"),)
    plane._runner.run(plane.datapath.paths.refresh())
    plane.send("lan", INNER)


def while_down(plane: Plane) -> None:
    plane.datapath.set_link_up("link1", False)
    plane.send("lan", INNER)


def larger_than_the_path(plane: Plane) -> None:
    assert isinstance(plane.paths, Ways)
    plane.paths.mtu = 600
    plane._runner.run(plane.datapath.paths.refresh())
    plane.send("lan", ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, bytes(900))))


def larger_than_the_card(plane: Plane) -> None:
    """The way takes it, the port does not: ip_local_out fails."""
    plane.datapath.ports["underlay"].mtu = 600
    plane.datapath.invalidate(plane.datapath.ports["underlay"].tag)
    plane.send("lan", ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, bytes(900))))


def while_the_underlay_is_down(plane: Plane) -> None:
    plane.engine.set_port_up(plane.datapath.ports["underlay"].number, False)
    plane.send("lan", INNER)


def while_the_cell_is_down(plane: Plane) -> None:
    """gro_cells_receive: what comes to a device that is not up is lost there."""
    plane.engine.set_port_up(plane.datapath.links["link1"].number, False)
    plane.send("underlay", outer(gre(INNER)))


CASES = {
    "rx": Case(
        arrives(outer(gre(INNER)), outer(gre(bytes(100), 0x1234))),
        {"rx_packets": 2, "rx_bytes": SIZE + 100},
    ),
    "rx of frames": Case(
        arrives(outer(gre(ethernet(INNER), 0x6558))),
        {"rx_packets": 1, "rx_bytes": SIZE + 14},
        kind="gretap",
    ),
    "tx": Case(leaves(INNER, INNER), {"tx_packets": 2, "tx_bytes": 2 * SIZE}),
    "tx of frames": Case(leaves(ethernet(INNER)), {"tx_packets": 1, "tx_bytes": SIZE}, kind="gretap"),
    "multicast": Case(
        arrives(outer(gre(INNER), dst=GROUP)),
        {"multicast": 1, "rx_packets": 1, "rx_bytes": SIZE},
        {"remote": GROUP},
    ),
    "rx_crc_errors": Case(
        arrives(outer(gre(INNER, csum=True))),
        {"rx_errors": 1, "rx_crc_errors": 1},
        drops={"tunnel_checksum_policy": 1},
    ),
    "rx_crc_errors the other way": Case(
        arrives(outer(gre(INNER))),
        {"rx_errors": 1, "rx_crc_errors": 1},
        {"csum": True},
        drops={"tunnel_checksum_policy": 1},
    ),
    "a checksum that is wrong is no link's": Case(
        arrives(outer(gre(INNER, checksum=1))), {}, {"csum": True}, drops={"tunnel_checksum": 1}
    ),
    "rx_fifo_errors": Case(
        arrives(outer(gre(INNER, sequence=7)), outer(gre(INNER, sequence=6)), outer(gre(INNER))),
        {"rx_packets": 1, "rx_bytes": SIZE, "rx_errors": 2, "rx_fifo_errors": 2},
        {"seq": True},
        drops={"tunnel_sequence": 2},
    ),
    "rx_frame_errors": Case(
        arrives(outer(gre(INNER), tos=3)), {"rx_errors": 1, "rx_frame_errors": 1}, drops={"tunnel_ecn": 1}
    ),
    "rx_dropped": Case(
        while_the_cell_is_down,
        {"rx_packets": 1, "rx_bytes": SIZE, "rx_dropped": 1},
        drops={"port_down": 1},
    ),
    "tx_carrier_errors": Case(
        without_a_route, {"tx_errors": 1, "tx_carrier_errors": 1}, drops={"no_route": 1}
    ),
    "tx_fifo_errors": Case(
        leaves(INNER), {"tx_errors": 1, "tx_fifo_errors": 1}, {"remote": "any"}, drops={"no_route": 1}
    ),
    "collisions": Case(into_itself, LOOP, drops={"tunnel_loop": 1}),
    "tx_errors": Case(larger_than_the_path, {"tx_errors": 1}, {"mtu": 1400}, drops={"mtu_exceeded": 1}),
    "tx_aborted_errors": Case(
        while_the_underlay_is_down,
        {"tx_errors": 1, "tx_aborted_errors": 1},
        {"local": "2001:db8::1", "remote": "2001:db8::2"},
        kind="ip6gre",
        drops={"port_down": 1},
    ),
    "tx_dropped by the underlay": Case(while_the_underlay_is_down, {"tx_dropped": 1}, drops={"port_down": 1}),
    "tx_dropped for want of room": Case(
        leaves(*[INNER] * 6),
        {"tx_packets": 4, "tx_bytes": 4 * SIZE, "tx_dropped": 2},
        drops={"tx_queue_full": 2},
        room=2,
    ),
    "tx_dropped beyond the card": Case(
        larger_than_the_card, {"tx_dropped": 1}, {"mtu": 1400}, drops={"mtu_exceeded": 1}
    ),
    "tx of what is cut into fragments": Case(
        leaves(ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, bytes(1000)), flags=0)),
        {"tx_packets": 1, "tx_bytes": 1028},
        {"pmtudisc": False, "mtu": 1400},
        way=600,
    ),
    "tx_dropped": Case(while_down, {"tx_dropped": 1}, drops={"link_down": 1}),
}


@pytest.mark.conformance("J", "B27", "E2", "E3", "E5", "E7", "G2", "G9", "G13", "G14", "G18")
@pytest.mark.parametrize("name", CASES)
def test_a_counter_moves_by_its_packet_alone(make_plane: MakePlane, name: str) -> None:
    case = CASES[name]
    plane = make_plane(("gre", "gretap", "ip6gre"), paths=Ways(mtu=case.way))
    plane.datapath.add_port(PortConfig("underlay", PortType.MEMORY, L3, mtu=65535, tx_queue=case.room))
    plane.port("lan", plane.datapath.plugins.kinds[case.kind].packet_type)
    plane.link("link1", case.kind, **{"local": LOCAL, "remote": REMOTE, **case.parameters})
    plane.connect("lan", "link1")
    case.act(plane)
    assert moved(plane, "link1") == case.moves
    assert plane.all_drops() == case.drops


@pytest.mark.conformance("J")
def test_no_counter_is_without_a_case() -> None:
    shown = {"rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "rx_dropped"}
    shown |= set(LinkCounters.names()) - {"rx", "tx"}
    assert {counter for case in CASES.values() for counter in case.moves} == shown
