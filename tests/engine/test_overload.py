"""What both engines do while there is too much to do: masks, lines, control traffic, fair queues, tuning."""

from __future__ import annotations

import errno

import pytest

from tests.conftest import START_NS
from tests.engine.conftest import POLICY, Bench, refused
from vdp.engine.interface import PacketType, PortConfig, PortType, Tuning
from vdp.engine.program import Drop, Output
from vdp.testing.builders import arp, ethernet, gre, icmp, icmp6, ipv4, ipv6, udp

SECOND = 1_000_000_000
PLAIN = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"data"))
PING = ipv4("10.0.0.1", "10.0.0.2", icmp(8), protocol=1)
ARP = ethernet(arp(1, "02:00:00:00:00:0a", "10.0.0.1", "00:00:00:00:00:00", "10.0.0.2"), ethertype=0x0806)
ANSWER = ipv4("192.0.2.2", "192.0.2.1", gre(b"", 0), protocol=47)  # what a keepalive asks for
TAGGED = ARP[:12] + b"\x81\x00\x00\x05" + ARP[12:]


def mask(number: int) -> dict[str, str]:
    return {"mask": (bytes(number) + b"\xff").hex(), "value": (bytes(number) + b"\x01").hex()}


def test_all_in_ports_together_have_so_many_masks_but_each_has_its_first_few(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(masks=3, port_masks=8)
    for number in range(3):
        bench.flow(bench.x, Drop(POLICY), **mask(number))
    assert bench.engine.worker_stats(0).different_masks == 3
    with refused(errno.E2BIG):
        bench.flow(bench.x, Drop(POLICY), **mask(3))
    for number in (4, 5):  # a quarter of eight
        bench.flow(bench.y, Drop(POLICY), **mask(number))
    with refused(errno.E2BIG):
        bench.flow(bench.y, Drop(POLICY), **mask(6))
    bench.flow(bench.y, Drop(POLICY), **mask(0))  # which others have already
    stats = bench.engine.worker_stats(0)
    assert (stats.masks, stats.different_masks) == (6, 5)


def test_masks_that_are_no_more_count_no_more(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(masks=1, port_masks=8)
    flows = [bench.flow(port, Drop(POLICY), **mask(1)) for port in (bench.x, bench.y)]
    for flow, left in zip(flows, (1, 0), strict=True):
        bench.engine.remove(0, [flow])
        assert bench.engine.worker_stats(0).different_masks == left


def test_a_scan_sees_each_flow_once_whatever_the_size_of_its_parts(bench: Bench) -> None:
    ids = {bench.flow(bench.x, Drop(POLICY), mask="ffff", value=f"{n:04x}") for n in range(20)}
    for size in (1, 7, 1000000):
        seen, slot = [], 0
        while True:
            part, slot = bench.engine.scan(0, slot, size)
            seen += [stats.id for stats in part]
            if not slot:
                break
        assert sorted(seen) == sorted(ids)


@pytest.mark.parametrize(
    ("port", "packet"),
    [
        ("a", ARP), ("a", TAGGED), ("a", ethernet(PING)), ("x", PING),
        ("x", ipv6("fe80::1", "fe80::2", icmp6(135, payload=bytes(16)))),
        ("x", ipv4("192.0.2.1", "192.0.2.2", gre(ANSWER), protocol=47)),
        ("x", ANSWER),
        ("x", ipv4("192.0.2.1", "192.0.2.2", gre(b"", 0, key=4), protocol=47)),
    ],
)  # fmt: skip
def test_control_traffic_is_ahead_in_its_port_s_line(bench: Bench, port: str, packet: bytes) -> None:
    number = getattr(bench, port)
    plain = ethernet(PLAIN) if port == "a" else PLAIN
    bench.send(number, plain, plain, packet)
    assert [upcall.data for upcall in bench.upcalls(2)] == [packet, plain]


@pytest.mark.parametrize(
    "packet",
    [
        PLAIN, b"", b"\x45", PING[:9],
        ipv4("192.0.2.1", "192.0.2.2", gre(PLAIN), protocol=47),
        ipv4("192.0.2.1", "192.0.2.2", gre(b"", 0, sequence=4), protocol=47),
        ipv4("192.0.2.1", "192.0.2.2", gre(b"", 0)[:3], protocol=47),
        PING[:6] + b"\x00\x01" + PING[8:],
    ],
)  # fmt: skip
def test_all_else_waits_in_its_turn(bench: Bench, packet: bytes) -> None:
    bench.send(bench.x, PLAIN, packet)
    assert [upcall.data for upcall in bench.upcalls()] == [PLAIN, packet]


def test_control_traffic_finds_room_where_the_line_is_full_up_to_its_own_rate(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(upcall_queue=4, upcall_rate=6, control_rate=3)
    bench.send(bench.x, *[PLAIN] * 8)
    assert bench.drops(bench.x) == {"upcall_queue_full": 2, "upcall_rate": 2}
    bench.send(bench.x, *[PING] * 4)
    assert bench.drops(bench.x) == {"upcall_queue_full": 2, "upcall_rate": 3}
    assert [upcall.data for upcall in bench.upcalls(3)] == [PING] * 3
    bench.engine.set_clock(START_NS + SECOND)
    bench.send(bench.x, PING)
    assert bench.upcalls(1)[0].data == PING


def test_without_a_rate_of_its_own_control_traffic_is_as_all_else(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(control_rate=0)
    bench.send(bench.x, PLAIN, PING)
    assert [upcall.data for upcall in bench.upcalls()] == [PLAIN, PING]


def test_ports_that_flood_leave_room_for_the_others_lines(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(packets=256, upcall_queue=512)
    for _ in range(4):
        for port in (bench.a, bench.b, bench.x):
            bench.send(port, *[PLAIN] * 40)
    bench.send(bench.y, PLAIN)
    assert bench.drops(bench.y) == {}
    assert bench.engine.port_stats(bench.y).held == 1


def blocked(bench: Bench, size: int = 64) -> int:
    """A port with a transmit queue that nobody empties: what is sent to it waits."""
    port = bench.engine.add_port(PortConfig("slow", PortType.MEMORY, PacketType.L3, tx_queue=size))
    for source in (bench.x, bench.y):
        bench.flow(source, Output(port))
    bench.send(bench.x, *[PLAIN] * size)  # which its other end takes, and reads no more
    assert bench.engine.port_stats(port).tx_queued == 0
    return port


def test_a_full_queue_loses_whoever_comes_last(bench: Bench) -> None:
    port = blocked(bench)
    bench.send(bench.x, *[PLAIN] * 64)
    bench.send(bench.y, *[PLAIN] * 8)
    assert bench.drops(port) == {"tx_queue_full": 8}
    assert bench.engine.worker_stats(0).queue_lost == 8


def test_a_fair_queue_loses_who_has_his_part_and_keeps_room_for_control_traffic(bench: Bench) -> None:
    port = blocked(bench)
    bench.engine.tune(Tuning(fair_queues=True))
    bench.send(bench.x, *[PLAIN] * 64)
    assert bench.drops(port) == {"overload_shed": 8}, "the last eighth is for control traffic"
    bench.send(bench.x, *[PING] * 8)
    assert bench.drops(port) == {"overload_shed": 8}
    assert bench.engine.worker_stats(0).queue_lost == 8
    assert bench.engine.port_stats(port).tx_queued == 64


def test_in_a_fair_queue_who_sends_little_is_not_lost(bench: Bench) -> None:
    port = blocked(bench)
    bench.engine.tune(Tuning(fair_queues=True))
    bench.send(bench.x, *[PLAIN] * 30)
    bench.send(bench.y, *[PLAIN] * 2)
    bench.send(bench.x, *[PLAIN] * 30)
    shed = bench.drops(port)["overload_shed"]
    assert shed == 30, "of 32 packets x has its half of 56"
    bench.send(bench.y, *[PLAIN] * 20)
    assert bench.drops(port) == {"overload_shed": shed}


def test_a_queue_that_becomes_fair_knows_what_waits_already(bench: Bench) -> None:
    port = blocked(bench)
    bench.send(bench.x, *[PLAIN] * 60)
    bench.engine.tune(Tuning(fair_queues=True))
    bench.send(bench.x, PLAIN)
    assert bench.drops(port) == {"overload_shed": 1}
    bench.engine.tune(Tuning())
    bench.send(bench.x, *[PLAIN] * 4)
    assert bench.drops(port) == {"overload_shed": 1}
    bench.send(bench.x, PLAIN)
    assert bench.drops(port) == {"overload_shed": 1, "tx_queue_full": 1}


def test_another_rate_of_misses_is_in_force_at_once_and_until_it_is_over(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(upcall_rate=50)
    bench.engine.tune(Tuning(upcall_rate=5))
    bench.send(bench.x, *[PLAIN] * 8)
    assert bench.drops(bench.x) == {"upcall_rate": 3}
    late = bench.memory()
    bench.send(late, *[PLAIN] * 8)
    assert bench.drops(late) == {"upcall_rate": 3}
    bench.engine.tune(Tuning())
    bench.engine.set_clock(START_NS + SECOND)
    bench.send(bench.x, *[PLAIN] * 50)
    assert bench.drops(bench.x) == {"upcall_rate": 3}
