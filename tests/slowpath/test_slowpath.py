"""An upcall's way to a megaflow, waiting for a way, and what becomes of flows when the world changes."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, ip_network
from typing import Any

import pytest

from tests.plane import L2, L3, MAC_A, A, B, MakePlane, Plane
from vdp.config.model import RuleSection
from vdp.engine import program as act
from vdp.forwarding.routes import Route
from vdp.forwarding.rules import compile_rule
from vdp.slowpath import MOST_HELD
from vdp.testing.builders import ethernet, gre, ipv4, udp
from vdp.testing.paths import StaticPaths

INNER = ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, b"hello"))
RECEIVED = ipv4(B, A, gre(INNER), protocol=47)


@pytest.fixture
def plane(plane: Plane) -> Plane:
    """Underlay, lan and a third port (all L3), link gre1, connected to lan."""
    for name in ("underlay", "lan", "third"):
        plane.port(name, L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.connect("lan", "gre1")
    return plane


def rule(match: dict[str, Any], *actions: str, priority: int = 1) -> Any:
    return compile_rule(
        RuleSection.model_validate({"priority": priority, "match": match, "actions": list(actions)})
    )


def warm(plane: Plane) -> None:
    """Both directions have flows, and nothing is left to be collected."""
    plane.send("underlay", RECEIVED)
    plane.send("lan", INNER)
    assert (len(plane.received("lan")), len(plane.received("underlay"))) == (1, 1)


# -- invalidation: every kind of change --------------------------------------------------------


def add_rule(plane: Plane) -> None:
    plane.datapath.forwarding.rules = (rule({"in_port": "lan"}, "drop"), rule({"in_port": "gre1"}, "drop"))


def disconnect(plane: Plane) -> None:
    plane.datapath.forwarding.disconnect("lan")


def route_elsewhere(plane: Plane) -> None:
    plane.datapath.forwarding.disconnect("lan")
    plane.route(Route(ip_network("10.0.0.0/8"), "third"))


def link_down(plane: Plane) -> None:
    plane.datapath.set_link_up("gre1", False)


def remove_link(plane: Plane) -> None:
    plane.remove_link("gre1")


def reject_all(plane: Plane) -> None:
    plane.datapath.registry.remove_owner("gre")

    def wall(packet: Any, egress: Any) -> None:
        if egress.name == "gre1":
            packet.drop("policy_rule")

    plane.datapath.pipeline.add(wall, priority=1, name="wall", owner="test")


def remove_port(plane: Plane) -> None:
    plane.datapath.remove_port("lan")


@pytest.mark.parametrize(
    ("change", "drops"),
    [
        (add_rule, {"gre1": "policy_rule", "lan": "policy_rule"}),
        (disconnect, {"gre1": "no_forwarding", "lan": "no_forwarding"}),
        (route_elsewhere, {}),
        (link_down, {"underlay": "tunnel_no_link", "lan": "link_down"}),
        (remove_link, {"underlay": "no_forwarding", "lan": "no_port"}),
        (reject_all, {"underlay": "tunnel_no_link", "lan": "policy_rule"}),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_change_concerns_flows_that_run_already(
    plane: Plane, change: Callable[[Plane], None], drops: dict[str, str]
) -> None:
    """Not one packet more is treated as before it."""
    warm(plane)
    change(plane)
    plane.datapath.revalidate()
    plane.send("underlay", RECEIVED)
    plane.send("lan", INNER)
    assert plane.received("lan") == []
    assert len(plane.received("third")) == (2 if change is route_elsewhere else 0)
    for name in [*plane.datapath.ports, *plane.datapath.links]:
        assert plane.drops(name) == ({drops[name]: 1} if name in drops else {})


@pytest.mark.conformance("B23")
def test_a_removed_port_receives_nothing_more(plane: Plane) -> None:
    warm(plane)
    remove_port(plane)
    plane.send("underlay", RECEIVED)
    assert plane.drops("gre1") == {"no_port": 1}


def test_a_change_that_changes_nothing_for_a_flow_leaves_it(plane: Plane) -> None:
    warm(plane)
    before = {flow.id: flow for flow in plane.datapath.slowpath.index.flows.values()}
    upcalls = plane.upcalls
    plane.datapath.forwarding.rules = (rule({"in_port": "third"}, "drop"),)
    plane.datapath.revalidate()
    warm(plane)
    assert set(before) == {flow.id for flow in plane.datapath.slowpath.index.flows.values()}
    assert plane.upcalls == upcalls
    assert plane.datapath.slowpath.evictions["revalidated"] == 0


def test_only_flows_that_rest_on_what_changed_are_traced_again(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm(plane)
    traced: list[int] = []
    trace = plane.datapath.trace

    def watched(port: int, *rest: Any) -> Any:
        traced.append(port)
        return trace(port, *rest)

    monkeypatch.setattr(plane.datapath, "trace", watched)
    plane.datapath.invalidate(("member", "lan"))
    plane.datapath.revalidate()
    assert traced == [plane.datapath.ports["lan"].number]


def test_a_first_packet_is_decided_once_also_right_after_a_change(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changed before it was decided is known to the decision."""
    traced: list[int] = []
    trace = plane.datapath.trace

    def watched(port: int, *rest: Any) -> Any:
        traced.append(port)
        return trace(port, *rest)

    monkeypatch.setattr(plane.datapath, "trace", watched)
    plane.datapath.forwarding.disconnect("lan")
    plane.connect("lan", "third")
    plane.send("lan", INNER)
    assert traced == [plane.datapath.ports["lan"].number]


def test_a_changed_program_is_exchanged_without_a_miss(plane: Plane) -> None:
    plane.port("fourth", L3)
    plane.connect("third", "fourth")
    plane.send("third", INNER)
    assert plane.received("fourth") == [INNER]
    upcalls, hits = plane.upcalls, plane.stats("third").hits
    plane.datapath.forwarding.disconnect("third")
    plane.connect("third", "lan")
    plane.datapath.revalidate()
    plane.send("third", INNER)
    assert plane.received("lan") == [INNER]
    assert (plane.upcalls, plane.stats("third").hits) == (upcalls, hits + 1)


def test_a_changed_mask_is_another_flow_and_no_packet_asks(plane: Plane) -> None:
    warm(plane)
    upcalls = plane.upcalls
    plane.datapath.forwarding.rules = (rule({"in_port": "lan", "ip_src": "10.0.0.0/24"}, "output:third"),)
    plane.datapath.revalidate()
    plane.send("lan", INNER)
    assert plane.received("third") == [INNER]
    assert plane.upcalls == upcalls
    assert plane.datapath.slowpath.evictions["revalidated"] == 1
    other = ipv4("10.0.1.1", "10.0.0.2", udp(1, 2, b"hello"))
    plane.send("lan", other)
    assert plane.received("third") == []
    assert plane.upcalls == upcalls + 1


def test_flows_that_come_to_the_same_match_become_one(plane: Plane) -> None:
    """What told them apart is not looked at any more; a third packet finds that flow."""
    plane.datapath.forwarding.rules = (rule({"in_port": "lan", "ip_src": "10.0.0.9"}, "drop"),)
    packets = [ipv4(f"10.0.{n}.1", "10.0.0.2", udp(1, 2, b"hello")) for n in (1, 2, 3)]
    plane.send("lan", *packets[:2])
    assert len(plane.flows("lan")) == 2
    upcalls = plane.upcalls
    plane.datapath.forwarding.rules = ()
    plane.datapath.revalidate()
    assert len(plane.flows("lan")) == len(plane.engine.dump(0)) - len(plane.flows("gre1")) == 1
    plane.send("lan", *packets)
    assert plane.upcalls == upcalls


def test_a_change_made_while_packets_wait_is_minded(plane: Plane) -> None:
    """Between the miss and its answer the rules change: what is installed is the new decision."""
    plane.arrive("lan", INNER)
    plane.engine.poll()
    plane.datapath.forwarding.disconnect("lan")
    plane.connect("lan", "third")
    plane.settle()
    plane.send("lan", INNER)
    assert plane.received("third") == [INNER] * 2


def test_a_flow_longer_than_the_window_can_be_traced_again(plane: Plane) -> None:
    packet = ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, bytes(1200)))
    plane.send("lan", packet)
    plane.datapath.invalidate(("member", "lan"))
    plane.datapath.revalidate()
    assert len(plane.flows("lan")) == 1
    assert plane.flows("lan")[0].length == len(packet)


def test_a_new_stage_sees_flows_that_run_already(plane: Plane) -> None:
    warm(plane)
    seen: list[str] = []
    plane.datapath.pipeline.add(
        lambda packet, egress: seen.append(egress.name), priority=7, name="watch", owner="test"
    )
    assert set(seen) == {"lan", "gre1", "underlay"}


# -- the index -------------------------------------------------------------------------------


def test_the_index_knows_what_the_engine_has(plane: Plane) -> None:
    warm(plane)
    index = plane.datapath.slowpath.index
    assert {flow.id for flow in index.flows.values()} == {stats.id for stats in plane.engine.dump(0)}
    plane.datapath.slowpath.flush()
    assert (len(index), plane.engine.dump(0)) == (0, [])
    assert plane.datapath.slowpath.evictions["flush"] == 3


def test_idle_flows_go_and_used_ones_stay(plane: Plane) -> None:
    warm(plane)
    plane.pass_time(10)
    plane.send("lan", INNER)
    plane.pass_time(5)
    plane.datapath.slowpath.sweep(idle_s=10, keep=100)
    assert [flow.match.in_port for flow in plane.datapath.slowpath.index.flows.values()] == [
        plane.datapath.ports["lan"].number
    ]
    assert plane.datapath.slowpath.evictions["idle"] == 2


def test_above_the_limit_the_longest_idle_go(plane: Plane) -> None:
    plane.send("underlay", RECEIVED)
    plane.pass_time(1)
    plane.send("lan", INNER)
    plane.datapath.slowpath.sweep(idle_s=1000, keep=1)
    assert [flow.match.in_port for flow in plane.datapath.slowpath.index.flows.values()] == [
        plane.datapath.ports["lan"].number
    ]


def test_when_the_table_is_full_packets_still_pass_one_by_one(make_plane: MakePlane) -> None:
    plane = make_plane(flows=1)
    for name in ("a", "b"):
        plane.port(name, L3)
    plane.connect("a", "b")
    plane.send("a", INNER)
    plane.send("b", INNER, INNER)
    plane.send("b", INNER)
    assert len(plane.received("a")) == 3
    assert len(plane.datapath.slowpath.index) == 1
    assert plane.datapath.slowpath.evictions["refused"] >= 2


def test_when_masks_are_full_packets_still_pass_one_by_one(make_plane: MakePlane) -> None:
    plane = make_plane(port_masks=1)
    for name in ("a", "b"):
        plane.port(name, L3)
    plane.route(Route(ip_network("10.0.0.0/24"), "b"), Route(ip_network("0.0.0.0/0"), "b"))
    plane.send("a", INNER, ipv4("10.0.0.1", "11.0.0.1", udp(1, 2)))
    assert len(plane.received("b")) == 2


def test_a_refused_program_drops_its_packet_and_no_other(
    plane: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    plane.faults = True

    def stage(packet: Any, egress: Any) -> None:
        if egress.name == "underlay":
            packet.push(bytes(300))

    plane.datapath.pipeline.add(stage, priority=5, name="too-much", owner="test")
    plane.send("lan", INNER)
    assert plane.drops("lan") == {"handler_error": 1}
    assert "the engine refused a program" in caplog.text
    plane.send("underlay", RECEIVED)
    assert plane.received("lan") == [INNER]


# -- effects ---------------------------------------------------------------------------------


def test_effects_run_once_a_trace_is_used_and_never_for_an_imaginary_packet(plane: Plane) -> None:
    done: list[str] = []
    plane.datapath.pipeline.add(
        lambda packet, egress: packet.on_commit(lambda: done.append(egress.name)),
        priority=3,
        name="note",
        owner="test",
    )
    lan = plane.datapath.ports["lan"].number
    plane.datapath.trace(lan, INNER, len(INNER), b"\0\0\0\1\0\0\x08\0" + bytes(24))
    assert done == []
    plane.send("lan", INNER)
    assert set(done) == {"gre1", "underlay"}
    once = list(done)
    plane.send("lan", INNER)
    plane.datapath.invalidate(("stages",))
    plane.datapath.revalidate()
    assert done == once


def test_effects_of_a_packet_that_turns_out_to_be_cut_short_do_not_run(plane: Plane) -> None:
    done: list[str] = []

    def stage(packet: Any, egress: Any) -> None:
        packet.on_commit(lambda: done.append(egress.name))
        packet.read(len(INNER), 1)

    plane.datapath.pipeline.add(stage, priority=5, name="reads-on", owner="test")
    plane.send("lan", INNER)
    assert plane.drops("lan") == {"parse_truncated": 1}
    assert done == []


def test_touches_are_told_of_hits_once_for_each_sweep(plane: Plane) -> None:
    told: list[int] = []
    plane.datapath.pipeline.add(
        lambda packet, egress: packet.on_hit(told.append) if egress.name == "gre1" else None,
        priority=3, name="note", owner="test",
    )  # fmt: skip
    plane.send("lan", INNER)
    plane.datapath.slowpath.sweep(1000, 100)
    assert told == [plane.now_ns]
    plane.datapath.slowpath.sweep(1000, 100)
    assert len(told) == 1
    plane.pass_time(1)
    plane.send("lan", INNER)
    plane.datapath.slowpath.sweep(1000, 100)
    assert told[1:] == [plane.now_ns]


# -- waiting for a way -------------------------------------------------------------------------


@pytest.fixture
def silent(make_plane: MakePlane) -> Plane:
    """An Ethernet underlay whose next hop does not answer (yet)."""
    plane = make_plane(paths=StaticPaths(silent={IPv4Address(B)}), packets=1024)
    plane.port("underlay", L2)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.connect("lan", "gre1")
    return plane


def answer(plane: Plane) -> None:
    """The next hop answers, and the kernel says so."""
    plane.paths.silent.clear()  # type: ignore[attr-defined]
    plane._runner.run(plane.datapath.paths.refresh())
    plane.settle()


def test_packets_wait_for_the_next_hop_and_leave_in_order(silent: Plane) -> None:
    packets = [ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, bytes([n])), id=n) for n in range(5)]
    silent.send("lan", *packets)
    assert silent.received("underlay") == []
    assert silent.stats("lan").held == 5
    answer(silent)
    assert [frame[38:] for frame in silent.received("underlay")] == packets
    assert silent.stats("lan").held == 0


def test_only_some_packets_are_held_for_a_next_hop(silent: Plane) -> None:
    silent.send("lan", *[INNER] * (MOST_HELD + 6))
    silent.settle()
    assert silent.stats("lan").held == MOST_HELD
    assert silent.drops("lan") == {"neighbour_failed": 6}


def test_packets_are_not_held_for_ever(silent: Plane, stopped_time: Callable[[float], None]) -> None:
    silent.send("lan", INNER)
    stopped_time(2.9)
    silent.datapath.slowpath.expire_held()
    assert silent.stats("lan").held == 1
    stopped_time(0.2)
    silent.datapath.slowpath.expire_held()
    assert silent.stats("lan").held == 0
    assert silent.drops("lan") == {"neighbour_failed": 1}


def test_a_remote_without_a_route_is_known_as_such_at_once(make_plane: MakePlane) -> None:
    """Also where it was never asked for before: the packet is no_route, not one that waits in vain."""
    paths = StaticPaths(unreachable={IPv4Address(B)})
    plane = make_plane(paths=paths)
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.connect("lan", "gre1")
    plane.datapath.paths.forget(plane.datapath.ports["underlay"])
    plane.send("lan", INNER)
    assert plane.stats("lan").held == 0
    assert plane.drops("lan") == {"no_route": 1}


def test_a_route_that_comes_is_used_and_one_that_goes_is_missed(make_plane: MakePlane) -> None:
    paths = StaticPaths(unreachable={IPv4Address(B)})
    plane = make_plane(paths=paths)
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.connect("lan", "gre1")
    plane.send("lan", INNER)
    assert plane.drops("lan") == {"no_route": 1}
    paths.unreachable.clear()
    plane._runner.run(plane.datapath.paths.refresh())
    plane.send("lan", INNER)
    assert len(plane.received("underlay")) == 1
    paths.unreachable.add(IPv4Address(B))
    plane._runner.run(plane.datapath.paths.refresh())
    plane.send("lan", INNER)
    assert plane.received("underlay") == []
    assert plane.drops("lan") == {"no_route": 2}


def test_a_next_hop_with_another_mac_address_is_addressed_so_at_once(
    make_plane: MakePlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = make_plane()
    plane.port("underlay", L2)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.connect("lan", "gre1")
    plane.send("lan", INNER)
    upcalls = plane.upcalls
    monkeypatch.setattr("vdp.testing.paths.NEXT_HOP_MAC", MAC_A)
    plane._runner.run(plane.datapath.paths.refresh())
    plane.send("lan", INNER)
    assert [frame[:6] for frame in plane.received("underlay")][1] == MAC_A
    assert plane.upcalls == upcalls


def test_a_flood_does_not_wait_for_a_silent_next_hop(make_plane: MakePlane) -> None:
    """The other members get theirs at once; the tunnel gets its from when the hop answers."""
    plane = make_plane(paths=StaticPaths(silent={IPv4Address(B)}))
    plane.port("underlay", L2)
    for name in ("p1", "p2"):
        plane.port(name, L2)
    plane.link("gt1", "gretap", local=A, remote=B)
    plane.bridge("br0", "p1", "gt1", "p2")
    frame = ethernet(INNER, to="ff:ff:ff:ff:ff:ff")
    plane.send("p1", frame)
    assert plane.received("p2") == [frame]
    assert plane.drops("p1") == {"neighbour_failed": 1}
    answer(plane)
    plane.send("p1", frame)
    assert plane.received("p2") == [frame]
    assert len(plane.received("underlay")) == 1


# -- faults ----------------------------------------------------------------------------------


def test_a_fault_while_tracing_costs_its_own_packets_only(
    plane: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    plane.faults = True

    def fail(packet: Any, egress: Any) -> None:
        if egress.name == "underlay":
            raise ZeroDivisionError("in a stage")

    plane.datapath.pipeline.add(fail, priority=5, name="broken", owner="test")
    plane.send("lan", *[INNER] * 3)
    plane.send("underlay", RECEIVED)
    assert plane.drops("lan") == {"handler_error": 3}
    assert plane.received("lan") == [INNER]
    assert plane.flows("lan") == [], "a fault may be gone the next time: it is not cached"
    assert "a packet was dropped: ZeroDivisionError: in a stage (slowpath/test_slowpath.py:" in caplog.text


def test_a_failing_upcall_action_costs_its_copy_only(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    def fail(upcall: Any) -> None:
        raise ZeroDivisionError("in an action")

    cookie = plane.datapath.add_cookie(fail)
    plane.datapath.pipeline.add(
        lambda packet, egress: packet.upcall(cookie) if egress.name == "gre1" else None,
        priority=5,
        name="tell",
        owner="test",
    )
    plane.send("lan", INNER, INNER)
    assert len(plane.received("underlay")) == 2
    assert plane.stats("lan").consumed == 2
    assert ".fail: ZeroDivisionError: in an action (slowpath/test_slowpath.py:" in caplog.text


def test_an_effect_that_fails_costs_nothing_else(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    """The flow is known all the same, later effects run, and so do the packets of the same batch."""
    done: list[str] = []

    def fail(*now_ns: int) -> None:
        raise ZeroDivisionError("in an effect")

    def stage(packet: Any, egress: Any) -> None:
        if egress.name == "gre1":
            packet.on_commit(fail)
            packet.on_commit(lambda: done.append("commit"))
            packet.on_hit(fail)
            packet.on_hit(lambda now_ns: done.append("hit"))

    plane.datapath.pipeline.add(stage, priority=5, name="effects", owner="test")
    plane.arrive("lan", INNER, INNER)
    plane.arrive("underlay", RECEIVED)
    plane.settle()
    assert (len(plane.received("underlay")), len(plane.received("lan"))) == (2, 1)
    assert {flow.id for flow in plane.datapath.slowpath.index.flows.values()} == {
        stats.id for stats in plane.engine.dump(0)
    }
    plane.datapath.slowpath.sweep(1000, 100)
    assert done == ["commit", "hit"]
    assert "an effect failed: ZeroDivisionError: in an effect (slowpath/test_slowpath.py:" in caplog.text


def test_stage_priorities_are_taken_once(plane: Plane) -> None:
    plane.datapath.pipeline.add(lambda packet, egress: None, priority=5, name="one", owner="alpha")
    with pytest.raises(ValueError, match="stage priority 5, wanted by two of beta, is taken by one of alpha"):
        plane.datapath.pipeline.add(lambda packet, egress: None, priority=5, name="two", owner="beta")


def test_an_unknown_port_is_a_named_drop(plane: Plane) -> None:
    trace, program = plane.datapath.trace(999, INNER, len(INNER), bytes(32))
    assert [action.name for action in program] == ["drop"]
    assert program[0] == act.Drop(plane.datapath.drops.code("no_port"))
    assert trace.cacheable
