"""A learning bridge: learning, flooding, ageing, moving, group addresses (IEEE 802.1D 7, net/bridge)."""

from __future__ import annotations

import pytest

from tests.plane import L2, L3, MAC_A, MAC_B, A, B, MakePlane, Plane
from vdp.testing.builders import gre, ipv4

TO_ALL = b"\xff" * 6


def frame(source: bytes, destination: bytes, payload: bytes = b"payload") -> bytes:
    return destination + source + b"\x12\x34" + payload


@pytest.fixture
def plane(plane: Plane) -> Plane:
    """Ports p1, p2, p3 in bridge br0."""
    for name in ("p1", "p2", "p3"):
        plane.port(name, L2)
    plane.bridge("br0", "p1", "p2", "p3", ageing_s=300)
    return plane


def reached(plane: Plane, *ports: str) -> dict[str, int]:
    """How many frames came out where, zeros left out."""
    counts = {name: len(plane.received(name)) for name in ports or ("p1", "p2", "p3")}
    return {name: count for name, count in counts.items() if count}


def age(plane: Plane, seconds: float) -> None:
    """What the daemon does now and then: tell touches, forget the silent, drop idle flows."""
    plane.pass_time(seconds)
    plane.datapath.slowpath.sweep(idle_s=3600, keep=1000)
    for bridge in plane.datapath.forwarding.bridges.values():
        bridge.age(plane.engine.clock())
    plane.datapath.revalidate()


def test_an_unknown_destination_is_flooded_but_not_back(plane: Plane) -> None:
    plane.send("p1", frame(MAC_A, MAC_B))
    assert reached(plane) == {"p2": 1, "p3": 1}


def test_what_a_flow_teaches_does_not_make_it_stale(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    plane.send("p2", frame(MAC_B, MAC_A))
    traced: list[int] = []
    trace = plane.datapath.trace
    monkeypatch.setattr(
        plane.datapath, "trace", lambda port, *rest: traced.append(port) or trace(port, *rest)
    )
    plane.send("p1", frame(MAC_A, MAC_B))
    assert sorted(traced) == sorted(plane.datapath.number_of(name) for name in ("p1", "p2"))
    assert reached(plane)["p2"] == 1


@pytest.mark.parametrize(
    "group", [TO_ALL, b"\x01\0\x5e\0\0\x01", b"\x33\x33\0\0\0\x01", b"\x01\x80\xc2\0\0\0"]
)
def test_group_addresses_are_flooded(plane: Plane, group: bytes) -> None:
    """Broadcast, multicast, and the bridge group address, since no spanning tree runs."""
    for _ in range(2):
        plane.send("p1", frame(MAC_A, group))
        assert reached(plane) == {"p2": 1, "p3": 1}


@pytest.mark.parametrize("last", range(1, 16))
def test_link_local_groups_stay_on_their_link(plane: Plane, last: int) -> None:
    plane.send("p1", frame(MAC_A, b"\x01\x80\xc2\0\0" + bytes([last])))
    assert reached(plane) == {}
    assert plane.drops("p1") == {"link_local": 1}


def test_a_learned_station_is_reached_alone(plane: Plane) -> None:
    plane.send("p2", frame(MAC_B, TO_ALL))
    reached(plane)
    plane.send("p1", frame(MAC_A, MAC_B))
    assert reached(plane) == {"p2": 1}
    plane.send("p2", frame(MAC_B, MAC_A))
    assert reached(plane) == {"p1": 1}


def test_a_flooded_flow_becomes_a_unicast_one_when_its_destination_is_heard(plane: Plane) -> None:
    plane.send("p1", frame(MAC_A, MAC_B))
    assert reached(plane) == {"p2": 1, "p3": 1}
    plane.send("p2", frame(MAC_B, MAC_A))
    reached(plane)
    upcalls = plane.upcalls
    plane.send("p1", frame(MAC_A, MAC_B))
    assert reached(plane) == {"p2": 1}
    assert plane.upcalls == upcalls, "the flow was traced again, no packet missed"


def test_a_station_on_the_same_side_needs_no_forwarding(plane: Plane) -> None:
    plane.send("p1", frame(MAC_B, TO_ALL))
    reached(plane)
    plane.send("p1", frame(MAC_A, MAC_B))
    assert reached(plane) == {}
    assert plane.drops("p1") == {"same_port": 1}


def test_a_station_that_moves_is_followed_at_once(plane: Plane) -> None:
    plane.send("p2", frame(MAC_B, TO_ALL))
    plane.send("p1", frame(MAC_A, MAC_B))
    reached(plane)
    plane.send("p3", frame(MAC_B, TO_ALL))
    reached(plane)
    plane.send("p1", frame(MAC_A, MAC_B))
    assert reached(plane) == {"p3": 1}
    assert plane.datapath.forwarding.bridges["br0"].stations[MAC_B].member == "p3"


def test_a_station_that_moves_to_and_fro_is_followed_every_time(plane: Plane) -> None:
    """Nothing cached of the one side may hide that it is heard on the other."""
    plane.send("p1", frame(MAC_A, TO_ALL))
    for here in ("p2", "p3", "p2", "p2", "p3", "p3", "p2"):
        plane.send(here, frame(MAC_B, MAC_A))
        reached(plane)
        plane.send("p1", frame(MAC_A, MAC_B))
        assert reached(plane) == {here: 1}


def moved_too_often(plane: Plane) -> None:
    """MAC_B, at home behind p2, is heard behind p3, p2, p3 … until it is held."""
    plane.send("p2", frame(MAC_B, TO_ALL))
    for member in ("p3", "p2", "p3", "p2", "p3", "p2"):
        plane.send(member, frame(MAC_B, TO_ALL))
    reached(plane)


def test_a_station_that_moves_too_often_is_held_where_it_was(plane: Plane) -> None:
    moved_too_often(plane)
    plane.send("p1", frame(MAC_A, MAC_B))
    assert reached(plane) == {"p2": 1}
    upcalls = plane.upcalls
    for _ in range(3):
        plane.send("p3", frame(MAC_B, TO_ALL))
    assert reached(plane) == {}
    assert plane.drops("p3") == {"mac_moves": 3}
    assert plane.upcalls <= upcalls + 1, "dropped by the engine"
    plane.send("p2", frame(MAC_B, MAC_A))
    assert reached(plane) == {"p1": 1}, "at home it speaks as ever"


def test_a_station_that_is_held_floods_nothing(plane: Plane) -> None:
    """It may be behind the loop itself: two cables to one switch.  Each frame would come back to its home."""
    moved_too_often(plane)
    for _ in range(3):
        plane.send("p2", frame(MAC_B, TO_ALL))
    assert reached(plane) == {}
    assert plane.drops("p2") == {"mac_moves": 3}


def test_no_station_is_held_where_it_can_not_be_any_more(plane: Plane) -> None:
    plane.port("p4", L2)
    plane.datapath.forwarding.change_bridge("br0", ("p1", "p2", "p3", "p4"), 300, 5)
    for member in ("p4", "p3"):
        plane.send(member, frame(MAC_B, TO_ALL))
    plane.datapath.forwarding.change_bridge("br0", ("p1", "p2", "p3"), 300, 5)
    plane.datapath.revalidate()
    for member in ("p2", "p3", "p2", "p3", "p2", "p3"):
        plane.send(member, frame(MAC_B, TO_ALL))
    reached(plane, "p1", "p2", "p3", "p4")
    plane.send("p1", frame(MAC_A, MAC_B))
    assert reached(plane, "p1", "p2", "p3", "p4") == {"p3": 1}


def test_a_station_that_was_held_may_move_again_later(plane: Plane) -> None:
    moved_too_often(plane)
    plane.send("p3", frame(MAC_B, TO_ALL))
    assert reached(plane) == {}
    age(plane, 11)
    plane.send("p3", frame(MAC_B, TO_ALL))
    assert reached(plane) == {"p1": 1, "p2": 1}
    plane.send("p1", frame(MAC_A, MAC_B))
    assert reached(plane) == {"p3": 1}


def test_moves_that_are_far_apart_do_not_count(plane: Plane) -> None:
    plane.send("p2", frame(MAC_B, TO_ALL))
    for member in ("p3", "p2") * 6:
        age(plane, 4)
        plane.send(member, frame(MAC_B, TO_ALL))
        reached(plane)
        plane.send("p1", frame(MAC_A, MAC_B))
        assert reached(plane) == {member: 1}


def test_a_bridge_may_be_told_to_follow_every_move(plane: Plane) -> None:
    plane.datapath.forwarding.change_bridge("br0", ("p1", "p2", "p3"), 300, 0)
    moved_too_often(plane)
    plane.send("p3", frame(MAC_B, TO_ALL))
    assert reached(plane) == {"p1": 1, "p2": 1}


def test_who_is_held_is_let_go_when_another_number_of_moves_is_allowed(plane: Plane) -> None:
    moved_too_often(plane)
    plane.send("p3", frame(MAC_B, TO_ALL))
    assert reached(plane) == {}
    plane.datapath.forwarding.change_bridge("br0", ("p1", "p2", "p3"), 300, 20)
    plane.datapath.revalidate()
    plane.send("p3", frame(MAC_B, TO_ALL))
    assert reached(plane) == {"p1": 1, "p2": 1}


def test_two_stations_behind_one_address_in_one_batch_are_learned_in_order(plane: Plane) -> None:
    plane.arrive("p2", frame(MAC_B, TO_ALL))
    plane.arrive("p3", frame(MAC_B, TO_ALL, b"later"))
    plane.settle()
    reached(plane)
    plane.send("p1", frame(MAC_A, MAC_B))
    heard = plane.datapath.forwarding.bridges["br0"].stations[MAC_B].member
    assert reached(plane) == {heard: 1}


def test_group_and_zero_sources_are_not_learned(plane: Plane) -> None:
    for source in (b"\x01\0\x5e\0\0\x01", TO_ALL, bytes(6)):
        plane.send("p1", frame(source, MAC_B))
    assert plane.datapath.forwarding.bridges["br0"].stations == {}


def test_a_silent_station_is_forgotten_after_the_ageing_time(plane: Plane) -> None:
    plane.send("p2", frame(MAC_B, TO_ALL))
    age(plane, 299)
    plane.send("p1", frame(MAC_A, MAC_B))
    reached(plane)
    assert MAC_B in plane.datapath.forwarding.bridges["br0"].stations
    age(plane, 2)
    assert MAC_B not in plane.datapath.forwarding.bridges["br0"].stations
    plane.send("p1", frame(MAC_A, MAC_B))
    assert reached(plane) == {"p2": 1, "p3": 1}


def test_a_station_whose_flow_is_alive_is_not_forgotten(plane: Plane) -> None:
    """Its packets no longer come to Python; that the flow is hit keeps it alive."""
    plane.send("p2", frame(MAC_B, TO_ALL))
    upcalls = plane.upcalls
    for _ in range(5):
        age(plane, 200)
        plane.send("p2", frame(MAC_B, TO_ALL))
    age(plane, 200)
    assert plane.upcalls == upcalls
    assert MAC_B in plane.datapath.forwarding.bridges["br0"].stations


def test_a_forgotten_station_whose_flow_speaks_again_is_learned_again(plane: Plane) -> None:
    plane.send("p2", frame(MAC_B, TO_ALL))
    age(plane, 301)
    assert MAC_B not in plane.datapath.forwarding.bridges["br0"].stations
    plane.send("p2", frame(MAC_B, TO_ALL))
    age(plane, 1)
    reached(plane)
    plane.send("p1", frame(MAC_A, MAC_B))
    assert reached(plane) == {"p2": 1}


def test_a_frame_too_short_for_its_header_is_dropped(plane: Plane) -> None:
    plane.send("p1", frame(MAC_A, MAC_B)[:13])
    assert plane.drops("p1") == {"parse_truncated": 1}


def test_a_bridge_of_one_member_forwards_nothing(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.port("p1", L2)
    plane.bridge("br0", "p1")
    plane.send("p1", frame(MAC_A, MAC_B))
    assert plane.drops("p1") == {"no_forwarding": 1}


def test_who_was_behind_a_removed_port_is_forgotten(plane: Plane) -> None:
    plane.send("p2", frame(MAC_B, TO_ALL))
    plane.send("p1", frame(MAC_A, MAC_B))
    reached(plane)
    plane.datapath.forwarding.remove_bridge("br0")
    plane.datapath.remove_port("p2")
    plane.bridge("br0", "p1", "p3")
    plane.datapath.revalidate()
    plane.send("p1", frame(MAC_A, MAC_B))
    assert reached(plane, "p1", "p3") == {"p3": 1}


def test_a_flood_reaches_the_others_when_a_member_is_gone(plane: Plane) -> None:
    """The bridge still names it: that copy is dropped as no_port."""
    plane.send("p2", frame(MAC_B, TO_ALL))
    reached(plane)
    plane.datapath.remove_port("p2")
    plane.send("p1", frame(MAC_A, TO_ALL), frame(MAC_A, MAC_B))
    assert reached(plane, "p1", "p3") == {"p3": 2}
    assert plane.drops("p1") == {"no_port": 2}
    plane.port("p2", L2)
    plane.datapath.revalidate()
    plane.send("p1", frame(MAC_A, TO_ALL))
    assert reached(plane) == {"p2": 1, "p3": 1}


def test_learning_is_limited(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vdp.forwarding.bridge.MOST_ADDRESSES", 3)
    for number in range(6):
        plane.send("p1", frame(b"\x02\0\0\0\1" + bytes([number]), TO_ALL))
    assert len(plane.datapath.forwarding.bridges["br0"].stations) == 3


def test_bridges_keep_to_themselves(plane: Plane) -> None:
    plane.port("q1", L2)
    plane.port("q2", L2)
    plane.bridge("br1", "q1", "q2")
    plane.send("p2", frame(MAC_B, TO_ALL))
    plane.send("q1", frame(MAC_A, MAC_B))
    assert reached(plane, "p1", "p2", "p3", "q1", "q2") == {"p1": 1, "p3": 1, "q2": 1}


@pytest.mark.conformance("E9")
def test_frames_are_bridged_into_and_out_of_gretap(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.port("underlay", L3)
    plane.port("lan", L2)
    plane.link("gt1", "gretap", local=A, remote=B)
    plane.bridge("br0", "lan", "gt1")
    plane.send("underlay", ipv4(B, A, gre(frame(MAC_B, TO_ALL), 0x6558), protocol=47))
    assert plane.received("lan") == [frame(MAC_B, TO_ALL)]
    plane.send("lan", frame(MAC_A, MAC_B))
    (out,) = plane.received("underlay")
    assert out[24:] == frame(MAC_A, MAC_B)
    assert plane.datapath.forwarding.bridges["br0"].stations[MAC_B].member == "gt1"


def test_what_comes_from_one_tunnel_is_flooded_into_the_others(make_plane: MakePlane) -> None:
    """Each copy has its own headers; vdp has no split horizon unless a rule makes one."""
    plane = make_plane()
    plane.port("underlay", L3)
    plane.port("lan", L2)
    remotes = ("192.0.2.2", "192.0.2.3", "192.0.2.4")
    for number, remote in enumerate(remotes):
        plane.link(f"gt{number}", "gretap", local=A, remote=remote, key=number)
    plane.bridge("br0", "lan", "gt0", "gt1", "gt2")
    plane.send("underlay", ipv4(remotes[0], A, gre(frame(MAC_B, TO_ALL), 0x6558, key=0), protocol=47))
    assert plane.received("lan") == [frame(MAC_B, TO_ALL)]
    out = plane.received("underlay")
    assert sorted((data[16:20], data[24:28]) for data in out) == [
        (b"\xc0\0\2\3", b"\0\0\0\1"), (b"\xc0\0\2\4", b"\0\0\0\2"),
    ]  # fmt: skip


def test_an_underlay_can_be_bridged_as_well(make_plane: MakePlane) -> None:
    """What is for the tunnels goes to them; everything else is bridged as if there were none."""
    plane = make_plane()
    plane.port("underlay", L2)
    plane.port("p2", L2)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.connect("lan", "gre1")
    plane.bridge("br0", "underlay", "p2")
    inner = ipv4("10.0.0.2", "10.0.0.1", b"x" * 8, protocol=99)
    plane.send("underlay", MAC_A + MAC_B + b"\x08\0" + ipv4(B, A, gre(inner), protocol=47))
    assert (plane.received("lan"), plane.received("p2")) == ([inner], [])
    other = MAC_A + MAC_B + b"\x08\0" + ipv4(B, A, b"y" * 20, protocol=99)
    plane.send("underlay", other, frame(MAC_B, MAC_A))
    assert plane.received("p2") == [other, frame(MAC_B, MAC_A)]


def test_members_change_and_what_was_learned_of_the_others_stays(plane: Plane) -> None:
    plane.port("p4", L2)
    plane.send("p1", frame(MAC_A, TO_ALL))
    plane.send("p2", frame(MAC_B, TO_ALL))
    plane.send("p1", frame(MAC_A, MAC_B))
    reached(plane)
    forwarding, upcalls = plane.datapath.forwarding, plane.upcalls
    forwarding.change_bridge("br0", ("p1", "p2", "p4"), 60, 5)
    plane.datapath.revalidate()
    assert set(forwarding.bridges["br0"].stations) == {MAC_A, MAC_B}
    plane.send("p1", frame(MAC_A, MAC_B))
    assert reached(plane, "p1", "p2", "p3", "p4") == {"p2": 1}
    plane.send("p1", frame(MAC_A, TO_ALL))
    assert reached(plane, "p1", "p2", "p3", "p4") == {"p2": 1, "p4": 1}
    assert plane.upcalls == upcalls
    plane.send("p3", frame(MAC_A, TO_ALL))
    assert plane.drops("p3") == {"no_forwarding": 1}
    forwarding.change_bridge("br0", ("p2", "p4"), 60, 5)
    plane.datapath.revalidate()
    assert set(forwarding.bridges["br0"].stations) == {MAC_B}
    plane.send("p2", frame(MAC_B, MAC_A))
    assert reached(plane, "p1", "p2", "p3", "p4") == {"p4": 1}
