"""Megaflow soundness: what a trace did not look at can not change what it decides."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from tests.trace.worlds import World, arrivals, worlds
from vdp.engine.interface import EngineConfig
from vdp.testing.dataplane import Dataplane
from vdp.testing.reference import ReferenceEngine
from vdp.testing.soundness import Sample, check_soundness, sample_of

RELAXED = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)


def build(world: World) -> Dataplane:
    plane = Dataplane(ReferenceEngine(EngineConfig(upcall_rate=0, action_rate=0)))
    world.build(plane)
    return plane


def members(plane: Dataplane, world: World) -> tuple[str, ...]:
    known = {**plane.datapath.ports, **plane.datapath.links}
    return tuple(name for name in world.ports() if name in known)


@settings(RELAXED, max_examples=60)
@given(worlds(), st.data(), st.integers(0, 2**32))
def test_any_packet_of_a_megaflow_comes_to_that_megaflow(world: World, data: DataObject, seed: int) -> None:
    """Random configurations, random packets, random bits and lengths that the trace did not look at."""
    with build(world) as plane:
        one = arrivals(world, members(plane, world))
        found = data.draw(st.lists(one, min_size=1, max_size=8))
        samples = [sample_of(plane.datapath, port, packet) for port, packet in found]
        check_soundness(plane.datapath, "underlay", *samples, chance=random.Random(seed), variants=12)


@settings(RELAXED, max_examples=30)
@given(worlds(), st.data(), st.integers(0, 2**32))
def test_soundness_holds_for_a_dataplane_that_has_learned(world: World, data: DataObject, seed: int) -> None:
    """The same after traffic: stations learned, sequence states advanced, flows installed."""
    with build(world) as plane:
        ports = members(plane, world)
        outside = tuple(port for port in ports if port in plane.datapath.ports)
        for port, packet in data.draw(st.lists(arrivals(world, outside), min_size=1, max_size=8)):
            plane.send(port, packet)
        found = data.draw(st.lists(arrivals(world, ports), min_size=1, max_size=5))
        samples = [sample_of(plane.datapath, port, packet) for port, packet in found]
        samples += [
            Sample(flow.match.in_port, flow.data.ljust(flow.length, b"\0"), flow.meta)
            for flow in plane.datapath.slowpath.index.flows.values()
        ]
        check_soundness(plane.datapath, "underlay", *samples, chance=random.Random(seed), variants=8)
