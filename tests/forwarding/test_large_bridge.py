"""A bridge of many members: floods go out by its members' outlets, each traced once for all flows."""

from __future__ import annotations

from ipaddress import IPv4Address
from unittest.mock import Mock

import pytest

from tests.plane import L2, L3, MAC_A, MAC_B, MAC_C, A, B, MakePlane, Plane
from vdp.config import Config
from vdp.engine.program import Group, encode
from vdp.forwarding.flood import MOST_CLONES
from vdp.inspector import Inspector
from vdp.testing.builders import ETH_TEB, IP_GRE, ethernet, gre, ipv4, udp
from vdp.testing.dataplane import Dataplane
from vdp.testing.paths import StaticPaths

COUNT = 40
TO_ALL = b"\xff" * 6
TUNNELS = tuple(f"t{number}" for number in range(COUNT))
INNER = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"hello"))


@pytest.fixture
def paths() -> StaticPaths:
    return StaticPaths()


@pytest.fixture
def plane(make_plane: MakePlane, paths: StaticPaths) -> Plane:
    """Ports p1, p2 and forty tunnels in bridge br0."""
    plane = make_plane(("gretap",), paths, upcall_rate=0)
    plane.port("underlay", L3)
    for name in ("p1", "p2"):
        plane.port(name, L2)
    for number, name in enumerate(TUNNELS):
        plane.link(name, "gretap", local=A, remote=B, key=number)
    plane.bridge("br0", "p1", "p2", *TUNNELS)
    return plane


def frame(source: bytes, destination: bytes = TO_ALL) -> bytes:
    return destination + source + b"\x12\x34payload"


def from_tunnel(number: int, inner: bytes) -> bytes:
    return ipv4(B, A, gre(inner, ETH_TEB, key=number), protocol=IP_GRE)


def keys(plane: Plane) -> list[int]:
    """Which tunnels the packets that left went by."""
    return sorted(int.from_bytes(packet[24:28], "big") for packet in plane.received("underlay"))


def test_a_flood_reaches_every_other_member(plane: Plane) -> None:
    plane.send("p1", frame(MAC_A))
    assert plane.received("p2") == [frame(MAC_A)]
    assert plane.received("p1") == []
    assert keys(plane) == list(range(COUNT))
    plane.send("underlay", from_tunnel(7, frame(MAC_B)))
    assert plane.received("p1") == plane.received("p2") == [frame(MAC_B)]
    assert keys(plane) == [number for number in range(COUNT) if number != 7]


def test_what_is_traced_for_one_flow_serves_the_others(plane: Plane) -> None:
    plane.send("p1", frame(MAC_A))
    before = plane.upcalls
    assert before == 2 + COUNT
    plane.send("p1", frame(MAC_C))
    assert plane.upcalls == before + 1
    plane.send("p2", frame(MAC_B))
    assert plane.upcalls == before + 2 + 1  # p1's outlet had not been used yet
    plane.send("p1", *[frame(MAC_A)] * 3)
    assert plane.upcalls == before + 3


def test_a_known_station_is_not_flooded_to(plane: Plane) -> None:
    plane.send("underlay", from_tunnel(7, frame(MAC_B)))
    plane.received("underlay")
    plane.send("p1", frame(MAC_A, MAC_B))
    assert keys(plane) == [7]


def test_the_program_of_a_flooded_flow_is_short(plane: Plane) -> None:
    plane.send("p1", frame(MAC_A))
    (flow,) = plane.flows("p1")
    assert isinstance(flow.program[-1], Group)
    assert len(flow.program) == 1


def test_a_copy_is_too_large_for_its_own_way_only(plane: Plane) -> None:
    plane.datapath.set_link_mtu("t3", 100)
    plane.send("p1", ethernet(bytes(200), to="ff:ff:ff:ff:ff:ff"))
    assert keys(plane) == [number for number in range(COUNT) if number != 3]
    assert len(plane.received("p2")) == 1


def test_links_go_down_and_away_and_come_again(plane: Plane) -> None:
    plane.datapath.set_link_up("t3", False)
    plane.remove_link("t4")
    plane.send("p1", frame(MAC_A))
    assert keys(plane) == [number for number in range(COUNT) if number not in (3, 4)]
    plane.datapath.set_link_up("t3", True)
    plane.link("t4", "gretap", local=A, remote=B, key=4)
    plane.send("p1", frame(MAC_A))
    assert keys(plane) == list(range(COUNT))


def test_each_copy_waits_for_its_own_next_hop(make_plane: MakePlane) -> None:
    remotes = [f"198.51.100.{number}" for number in range(1, 11)]
    silent = StaticPaths(silent={IPv4Address(remotes[0])})
    plane = make_plane(("gretap",), silent)
    plane.port("underlay", L2)
    plane.port("p1", L2)
    for number, remote in enumerate(remotes):
        plane.link(f"t{number}", "gretap", local=A, remote=remote)
    plane.bridge("br0", "p1", *(f"t{number}" for number in range(10)))
    plane.send("p1", frame(MAC_A))
    assert len(plane.received("underlay")) == 9
    silent.silent.clear()
    plane._runner.run(plane.datapath.paths.refresh())
    plane.settle()
    assert len(plane.received("underlay")) == 1


def test_members_can_be_exchanged(plane: Plane) -> None:
    forwarding = plane.datapath.forwarding
    plane.send("p1", frame(MAC_A))
    plane.received("underlay")
    forwarding.change_bridge("br0", ("p1", *TUNNELS[:20]), 300, 5)
    plane.send("p1", frame(MAC_A))
    assert keys(plane) == list(range(20))
    assert len(forwarding.outlets) == 21
    forwarding.change_bridge("br0", ("p1", *TUNNELS[:MOST_CLONES]), 300, 5)
    plane.send("p1", frame(MAC_A))
    assert keys(plane) == list(range(MOST_CLONES))
    assert forwarding.outlets == {}
    forwarding.change_bridge("br0", ("p1", *TUNNELS), 300, 5)
    plane.send("p1", frame(MAC_A))
    assert keys(plane) == list(range(COUNT))


def test_a_bridge_that_goes_leaves_nothing(plane: Plane) -> None:
    plane.send("p1", frame(MAC_A))
    outlets = list(plane.datapath.forwarding.outlets)
    plane.datapath.forwarding.remove_bridge("br0")
    plane.send("p1", frame(MAC_A))
    assert plane.drops("p1") == {"no_forwarding": 1}
    assert plane.datapath.forwarding.outlets == {}
    for number in outlets:
        with pytest.raises(OSError, match=f"{number}|No such device"):
            plane.engine.port_stats(number)
    assert plane.engine.new_group([]) == 1  # it is free again


def test_a_rule_floods_too(plane: Plane) -> None:
    plane.rule(match={"in_port": "p1"}, actions=["output:p2", "flood"])
    plane.send("p1", frame(MAC_A, MAC_B))
    assert len(plane.received("p2")) == 2
    assert keys(plane) == list(range(COUNT))


def test_the_most_clones_fit_into_a_program() -> None:
    """Tunnels with every option, and routers on the way that may complain."""
    with Dataplane(plugins=("gretap",)) as plane:
        plane.port("underlay", L2)
        plane.port("p1", L2)
        for number in range(MOST_CLONES):
            options = {"csum": True, "seq": True, "tos": "inherit", "ttl": "inherit", "pmtudisc": False}
            plane.link(f"t{number}", "gretap", local=A, remote=B, key=number, encap="udp", **options)
        plane.bridge("br0", "p1", *(f"t{number}" for number in range(MOST_CLONES)))
        plane.send("p1", ethernet(INNER, to="ff:ff:ff:ff:ff:ff"))
        assert len(plane.received("underlay")) == MOST_CLONES
        flows = plane.datapath.slowpath.index.flows.values()
        (program,) = (flow.program for flow in flows if flow.match.in_port == plane.datapath.number_of("p1"))
        encoded = encode(program)
        assert encoded.count <= 256
        assert len(encoded.blob) <= 8192


def test_what_the_copies_passed_is_shown_by_the_bridge(plane: Plane) -> None:
    plane.datapath.set_link_mtu("t3", 100)
    plane.send("p1", ethernet(bytes(200), to="ff:ff:ff:ff:ff:ff"))
    inspector = Inspector(plane.datapath, Mock(spec=Config))
    (row,) = [row for row in inspector.show_ports() if row["name"] == "br0"]
    assert row["type"] == "flood"
    counters = row["counters"]
    assert counters["rx_packets"] == COUNT + 1
    assert counters["forwarded"] == COUNT
    assert counters["dropped"] == 1
    drops = {(drop["port"], drop["reason"]): drop["packets"] for drop in inspector.show_drops()}
    assert drops == {("br0", "mtu_exceeded"): 1}
    flows = {flow["in_port"]: flow["actions"][-1]["text"] for flow in inspector.dump_flows()}
    assert flows["p1"] == "copy to all of group 1 but br0 to p1"
    assert flows["br0 to p2"] == "output p2"
