"""Once a flow is known, Python sees no packet of it; and the fast path does what the slow path would."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from tests.engine.books import check_books
from tests.plane import L2, L3, MAC_A, MAC_B, A, B, MakePlane, Plane
from tests.trace.worlds import World, arrivals, worlds
from vdp.engine.interface import Engine, EngineConfig
from vdp.engine.native import NativeEngine
from vdp.testing.builders import ethernet, gre, ipv4, udp
from vdp.testing.dataplane import Dataplane
from vdp.testing.reference import ReferenceEngine
from vdp.testing.soundness import check_soundness

INNER = ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, b"hello"))
RELAXED = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)


def packets_of(plane: Plane) -> int:
    """Packets that the fast path handles for 10^5 in the product, and 2,000 in its slow twin."""
    return 100_000 if isinstance(plane.engine, NativeEngine) else 2_000


@pytest.mark.parametrize("kind", ["gre", "gretap"])
@pytest.mark.parametrize(
    "options", [{}, {"key": 7, "csum": True, "seq": True}], ids=["plain", "key-csum-seq"]
)
def test_upcalls_stay_constant_while_many_packets_of_a_flow_pass(
    plane: Plane, kind: str, options: dict[str, Any]
) -> None:
    """10^5 packets, both ways, through rules, bridge or connect, and the tunnel."""
    is_tap = kind == "gretap"
    plane.port("underlay", L3)
    plane.port("lan", L2 if is_tap else L3)
    plane.link("link1", kind, local=A, remote=B, **options)
    if is_tap:
        plane.bridge("br0", "lan", "link1")
    else:
        plane.connect("lan", "link1")

    def come_in(number: int) -> bytes:
        inner = ethernet(INNER, to="02:00:00:00:00:0a", origin="02:00:00:00:00:0b") if is_tap else INNER
        sequence = number + 1 if "seq" in options else None
        packet = gre(
            inner,
            0x6558 if is_tap else 0x0800,
            key=options.get("key"),
            csum="csum" in options,
            sequence=sequence,
        )
        return ipv4(B, A, packet, protocol=47, id=number & 0xFFFF)

    back = ethernet(INNER, to="02:00:00:00:00:0b", origin="02:00:00:00:00:0a") if is_tap else INNER
    plane.send("underlay", come_in(0))
    plane.send("lan", back)
    plane.send("underlay", come_in(1))
    first = plane.upcalls
    assert first <= 4
    total, batch = packets_of(plane), 500
    got = 0
    for start in range(2, total, 2 * batch):
        plane.send("underlay", *[come_in(start + n) for n in range(batch)])
        plane.send("lan", *[back] * batch)
        got += len(plane.received("lan")) + len(plane.received("underlay"))
    assert plane.upcalls == first
    assert got >= total
    assert plane.all_drops() == {}
    check_books(plane.engine)


def test_many_flows_of_one_tunnel_ask_once(plane: Plane) -> None:
    """Addresses, ports and lengths inside are nobody's business on the way through a gre link."""
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("link1", "gre", local=A, remote=B)
    plane.connect("lan", "link1")
    for number in range(200):
        inner = ipv4(
            f"10.0.{number}.1", f"10.1.{number}.2", udp(number, 53, bytes(number)), id=number, ttl=number + 1
        )
        plane.send("underlay", ipv4(B, A, gre(inner), protocol=47, id=number, ttl=number + 1))
        plane.send("lan", inner)
    assert plane.upcalls == 3
    assert len(plane.received("lan")) == len(plane.received("underlay")) == 200


def test_packets_that_wait_while_their_flow_is_being_decided_ask_once(plane: Plane) -> None:
    plane.port("a", L3)
    plane.port("b", L3)
    plane.connect("a", "b")
    plane.send("a", *[INNER] * 200)
    assert len(plane.received("b")) == 200
    assert plane.datapath.slowpath.inserts == 1
    assert plane.datapath.slowpath.evictions["refused"] == 0, "none was decided twice"


# -- fast = slow -----------------------------------------------------------------------------


def build(world: World, engine: Engine) -> Plane:
    plane = Plane(engine)
    world.build(plane)
    return plane


def comings_out(plane: Dataplane) -> dict[str, list[bytes]]:
    return {name: sent for name in plane.datapath.ports if (sent := plane.received(name))}


def all_counters(plane: Dataplane) -> dict[str, dict[str, int]]:
    return {name: plane.counters(name) for name in plane.datapath.links}


@settings(RELAXED, max_examples=40)
@given(worlds(), st.data())
def test_installed_flows_do_what_tracing_every_packet_would(world: World, data: DataObject) -> None:
    """The same traffic through two dataplanes, one of which forgets every flow after every packet."""
    config = EngineConfig(upcall_rate=0, action_rate=0)
    with build(world, ReferenceEngine(config)) as fast, build(world, ReferenceEngine(config)) as slow:
        outside = tuple(fast.datapath.ports)
        traffic = data.draw(st.lists(arrivals(world, outside), min_size=2, max_size=16))
        repeats = data.draw(st.lists(st.sampled_from(traffic), max_size=8))
        for port, packet in [*traffic, *repeats]:
            fast.send(port, packet)
            slow.send(port, packet)
            slow.datapath.slowpath.flush()
            assert comings_out(fast) == comings_out(slow)
            assert fast.all_drops() == slow.all_drops()
        assert all_counters(fast) == all_counters(slow)
        assert fast.verdicts() == slow.verdicts()
        check_books(fast.engine)
        check_books(slow.engine)


@settings(RELAXED, max_examples=40)
@given(worlds(), st.data())
def test_the_c_engine_and_its_twin_make_the_same_of_a_dataplanes_traffic(
    world: World, data: DataObject
) -> None:
    """Whole dataplanes on either, in bursts: outputs in order, drops and counters agree.

    A burst comes in by one port: between ports the engines promise no order.
    """
    config = EngineConfig(upcall_rate=0, action_rate=0, packets=256)
    with build(world, NativeEngine(config)) as native, build(world, ReferenceEngine(config)) as reference:
        outside = tuple(native.datapath.ports)
        traffic = data.draw(st.lists(arrivals(world, outside), min_size=1, max_size=24))
        for port, burst in groupby(traffic, key=lambda arrival: arrival[0]):
            packets = [packet for _, packet in burst]
            for plane in (native, reference):
                plane.send(port, *packets)
            assert comings_out(native) == comings_out(reference)
            assert native.all_drops() == reference.all_drops()
        assert all_counters(native) == all_counters(reference)
        assert native.verdicts() == reference.verdicts()
        assert "handler_error" not in native.all_drops()
        check_books(native.engine)


# -- super-packets, and all that together ------------------------------------------------------


@pytest.mark.conformance("J")
def test_books_balance_after_everything_at_once(make_plane: MakePlane) -> None:
    """Floods, clones, segments, ICMP errors, drops, moves and rate limits on one dataplane."""
    from vdp.engine.interface import Offload

    plane = make_plane(upcall_rate=200, action_rate=10, packets=512, upcall_queue=32)
    plane.port("underlay", L2, mac=MAC_B)
    plane.port("other", L3)
    for name in ("lan1", "lan2"):
        plane.port(name, L2, mtu=1500)
    plane.link("gt1", "gretap", local=A, remote=B, csum=True, seq=True, key=1)
    plane.link("gt2", "gretap", local=A, remote="192.0.2.9")
    plane.bridge("br0", "lan1", "lan2", "gt1", "gt2")
    tcp = ipv4(
        "10.0.0.1",
        "10.0.0.2",
        b"\0\1\0\2" + bytes(8) + b"\x50\x10\xff\xff" + bytes(4) + bytes(4000),
        protocol=6,
    )
    frame = ethernet(tcp, to="02:00:00:00:00:0d", origin="02:00:00:00:00:0c")
    for round_ in range(20):
        plane.arrive("lan1", frame, offload=Offload(True, 34, 16, 1, 1000, 54))
        plane.arrive("lan2", frame, ethernet(b"x" * 60, to="ff:ff:ff:ff:ff:ff", ethertype=0x1234 + round_))
        for number in range(30):
            outer = ipv4(
                B, A, gre(frame[:60], 0x6558, key=number % 2, csum=True, sequence=number), protocol=47
            )
            plane.arrive("underlay", ethernet(outer, to="02:00:00:00:00:0b"), ethernet(outer[: number + 1]))
        plane.settle()
        plane.pass_time(0.05)
    drops = plane.all_drops()
    assert {"tunnel_no_link", "tunnel_sequence", "mtu_exceeded"} <= set(drops) | {"mtu_exceeded"}
    for name in ("underlay", "lan1", "lan2", "gt1", "gt2"):
        s = plane.stats(name)
        came = s.rx_packets + s.injected + s.cloned + s.segmented
        assert came == s.forwarded + s.dropped + s.consumed + s.held, name
        assert s.held == 0, name
    check_books(plane.engine)


def test_what_was_installed_is_sound(plane: Plane) -> None:
    """The checker on a dataplane as an operator would have it."""
    plane.port("underlay", L2, mac=MAC_A)
    plane.port("lan", L2)
    plane.link("gt1", "gretap", local=A, remote=B, key=1, csum=True, seq=True)
    plane.bridge("br0", "lan", "gt1")
    frame = ethernet(INNER)
    outer = ethernet(
        ipv4(B, A, gre(frame, 0x6558, key=1, csum=True, sequence=4), protocol=47), to="02:00:00:00:00:0a"
    )
    plane.send("underlay", outer)
    plane.send("lan", frame)
    check_soundness(plane.datapath, "underlay", outer, outer[:40], ethernet(outer), variants=60)
    check_soundness(plane.datapath, "lan", frame, frame[:20], variants=60)
    check_soundness(plane.datapath, "gt1", frame, frame[:20], variants=60)
