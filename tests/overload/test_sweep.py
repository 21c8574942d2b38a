"""Who loses flows when there are too many: who has more than his part, and what was idle longest."""

from __future__ import annotations

import pytest

from tests.plane import L3, A, MakePlane, Plane
from vdp.flow_limit import FlowLimit
from vdp.testing.builders import gre, ipv4, udp

INNER = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2))


@pytest.fixture
def crowd(make_plane: MakePlane) -> Plane:
    """20 flows of port `heavy`, two of port `light`, and a limit that the test may move."""
    plane = make_plane(flows=64)
    for name in ("heavy", "light"):
        plane.port(name, L3)
        plane.link(f"of-{name}", "gre", local=A, underlay=name)
    plane.datapath.slowpath.sweeper.limit = FlowLimit(64)
    for name, count in (("heavy", 20), ("light", 2)):
        plane.send(name, *(packet(n) for n in range(count)))
    return plane


def packet(number: int) -> bytes:
    return ipv4(f"198.51.100.{number}", A, gre(INNER), protocol=47)


def counts(plane: Plane) -> tuple[int, int]:
    return len(plane.flows("heavy")), len(plane.flows("light"))


def sweep(plane: Plane, keep: int = 64) -> None:
    plane.datapath.slowpath.sweep(10, keep)


def test_below_the_limit_nothing_goes_before_its_time(crowd: Plane) -> None:
    crowd.pass_time(5)
    sweep(crowd)
    assert counts(crowd) == (20, 2)


def test_above_it_those_of_who_has_more_than_his_part_go_after_a_tenth_of_a_second(crowd: Plane) -> None:
    crowd.datapath.slowpath.limit.value = 21
    crowd.pass_time(0.2)
    crowd.send("heavy", packet(3))
    sweep(crowd)
    assert counts(crowd) == (1, 2)
    assert crowd.datapath.slowpath.limit.steps["kill"] == 0


def test_above_twice_all_of_his_flows_go(crowd: Plane) -> None:
    crowd.datapath.slowpath.limit.value = 10
    sweep(crowd)
    assert counts(crowd) == (0, 2)
    assert crowd.datapath.slowpath.limit.steps["kill"] == 1


def test_at_the_limit_new_flows_of_his_are_kept_by_chance_and_others_always(crowd: Plane) -> None:
    slowpath = crowd.datapath.slowpath
    slowpath.limit.value = 10
    crowd.send("heavy", *(packet(n) for n in range(100, 130)))
    crowd.send("light", *(packet(n) for n in range(100, 105)))
    heavy, light = counts(crowd)
    assert light == 7
    assert 20 <= heavy < 45
    assert slowpath.refusals["limit"] == slowpath.limit.steps["hit"] == 50 - heavy
    assert crowd.stats("of-heavy").rx_packets == 50, "packets of flows that are not kept pass all the same"


def test_a_full_table_loses_the_idle_flows_of_who_has_more_than_his_part(crowd: Plane) -> None:
    crowd.pass_time(1)
    crowd.send("heavy", *(packet(n) for n in range(5, 20)))
    crowd.datapath.slowpath.sweeper.is_full = True
    total = sum(counts(crowd)) + 1  # and that behind the cell
    sweep(crowd, keep=total)
    heavy, light = counts(crowd)
    assert light == 2
    assert heavy == 20 - total // 8 or heavy == 20 - total // 8 - 1
    assert {flow.data[15] for flow in crowd.flows("heavy")} >= set(range(5, 20)), "what was of use stays"


def test_flows_remember_what_was_looked_at_whichever_was_first(crowd: Plane) -> None:
    flows = crowd.flows("heavy")
    assert flows[0].looks is flows[1].looks, "they share it"
    for flow in flows:
        source = next(guard for guard in flow.guards if guard.label == "ipv4.source" or guard.offset == 12)
        assert source.value == flow.data[12:16]
