"""What one upcall sets off does not cost those that are served with it, nor the flows they make."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.plane import L2, L3, A, B, MakePlane, Plane
from vdp import slowpath
from vdp.testing.builders import gre, ipv4, udp
from vdp.testing.paths import StaticPaths

INNER = ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, b"hello"))
RECEIVED = ipv4(B, A, gre(INNER), protocol=47)


def squares(plane: Plane) -> Plane:
    """Two pairs of L3 ports, each connected."""
    for name in "abcd":
        plane.port(name, L3)
    plane.connect("a", "b")
    plane.connect("c", "d")
    return plane


def at_stage(plane: Plane, egress: str, apply: Callable[[Any], None]) -> None:
    """Have `apply` called for packets that leave by `egress`."""
    plane.datapath.pipeline.add(
        lambda packet, to: apply(packet) if to.name == egress else None, priority=3, name="t", owner="test"
    )


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_what_an_upcall_changes_concerns_flows_decided_before_it_in_the_same_batch(
    plane: Plane, order: str
) -> None:
    """A control message takes effect between a miss and the installing of its flow."""
    squares(plane)
    todo: list[Callable[[], None]] = []
    cookie = plane.datapath.add_cookie(lambda upcall: todo.pop()() if todo else None)
    at_stage(plane, "a", lambda packet: packet.upcall(cookie))
    plane.send("b", INNER)

    def rewire() -> None:
        plane.datapath.forwarding.disconnect("a")
        plane.connect("a", "c")
        plane.datapath.revalidate()

    todo.append(rewire)
    for port in order:
        plane.arrive(port, INNER)
    plane.settle()
    for port in "bc":
        plane.received(port)
    plane.send("a", INNER)
    assert (plane.received("b"), plane.received("c")) == ([], [INNER])


def test_a_program_that_is_none_costs_its_own_packet_only(plane: Plane) -> None:
    squares(plane)
    plane.faults = True
    at_stage(plane, "b", lambda packet: packet.trim(2, 0, None))
    plane.arrive("a", INNER)
    plane.arrive("c", INNER)
    plane.settle()
    assert plane.drops("a") == {"handler_error": 1}
    assert plane.received("d") == [INNER]
    assert (plane.stats("a").held, plane.stats("c").held) == (0, 0)


def test_a_handler_that_wants_to_end_the_program_does_not(plane: Plane) -> None:
    squares(plane)
    plane.faults = True
    plane.port("underlay", L3)

    def leave(packet: Any, *rest: Any) -> Any:
        raise SystemExit(1)

    plane.datapath.registry.list("gre_cisco").add(leave, priority=1, name="leave", owner="test")
    plane.link("gre1", "gre", local=A, remote=B)
    at_stage(plane, "b", leave)
    plane.arrive("underlay", RECEIVED)
    plane.arrive("a", INNER)
    plane.settle()
    assert plane.drops("a") == {"handler_error": 1}
    assert plane.verdicts()["leave"] == {"error": 1}
    assert (plane.stats("a").held, plane.stats("underlay").held) == (0, 0)


def test_a_link_over_a_port_that_had_none_gets_what_is_for_it(plane: Plane) -> None:
    squares(plane)
    plane.send("a", RECEIVED)
    plane.link("gre1", "gre", underlay="a", local=A, remote=B)
    plane.datapath.forwarding.disconnect("c")
    plane.connect("gre1", "d")
    plane.datapath.revalidate()
    plane.send("a", RECEIVED)
    assert (len(plane.received("b")), plane.received("d")) == (1, [INNER])


def test_a_port_that_comes_back_as_another_type_is_sent_to(plane: Plane) -> None:
    plane.port("a", L3)
    plane.port("b", L2)
    plane.connect("a", "b")
    plane.send("a", INNER)
    assert plane.drops("a") == {"packet_type": 1}
    plane.datapath.remove_port("b")
    plane.port("b", L3)
    plane.datapath.revalidate()
    plane.send("a", INNER)
    assert plane.received("b") == [INNER]


def test_many_next_hops_that_do_not_answer_leave_others_their_upcalls(make_plane: MakePlane) -> None:
    remotes = [f"198.51.100.{number}" for number in range(1, 21)]
    plane = make_plane(paths=StaticPaths(silent={IPv4Address(remote) for remote in remotes}), packets=512)
    plane.port("underlay", L2)
    squares(plane)
    for number, remote in enumerate(remotes):
        plane.port(f"lan{number}", L3)
        plane.link(f"gre{number}", "gre", local=A, remote=remote)
        plane.connect(f"lan{number}", f"gre{number}")
        plane.send(f"lan{number}", *[INNER] * 40)
    plane.send("a", INNER)
    assert plane.received("b") == [INNER]
    assert plane.drops("a") == {}


def test_of_very_many_flows_those_in_use_are_traced_again(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others go: the loop does not stand still for as long as somebody made flows."""
    monkeypatch.setattr(slowpath, "MOST_RETRACED", 5)
    plane.port("underlay", L3)
    plane.link("gre1", "gre", local=A, remote=B)
    for number in range(20):
        plane.send("underlay", ipv4(f"198.51.100.{number}", A, gre(INNER), protocol=47))
    plane.pass_time(1)
    plane.send("underlay", ipv4("198.51.100.3", A, gre(INNER), protocol=47))
    plane.datapath.slowpath.sweep(1000, 1000)
    plane.datapath.invalidate(("underlay", "underlay"))
    plane.datapath.revalidate()
    index = plane.datapath.slowpath.index
    assert len(index) == 5
    assert {key[1] for key in index.flows} == {stats.id for stats in plane.engine.dump(0)}
    misses = plane.stats("underlay").misses
    plane.send("underlay", ipv4("198.51.100.3", A, gre(INNER), protocol=47))
    assert plane.stats("underlay").misses == misses
