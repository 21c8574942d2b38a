"""Groups: a packet goes to many ports, some of them at a time, and nothing else waits for that."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable

import pytest

from tests.engine.conftest import POLICY, Bench, refused
from tests.engine.streams import segment4, super_packet
from vdp.engine.interface import Resolution, Resolve
from vdp.engine.program import Account, Clone, Drop, Group, Meta, Output, Pull, Push, encode

BATCH = 64
MakeBench = Callable[..., Bench]


def memories(bench: Bench, count: int) -> list[int]:
    return [bench.memory(name=f"m{number}") for number in range(count)]


def test_each_port_but_one_gets_a_copy(bench: Bench) -> None:
    ports = memories(bench, 5)
    group = bench.engine.new_group(ports)
    bench.flow(bench.a, Pull(1), Push(b"hello "), Group(group, ports[2]))
    bench.send(bench.a, b"-world")
    assert [bench.sent(port) for port in ports] == [[b"hello world"]] * 2 + [[]] + [[b"hello world"]] * 2
    stats = bench.engine.port_stats(bench.a)
    assert (stats.cloned, stats.forwarded, stats.held, stats.dropped) == (3, 4, 0, 0)


@pytest.mark.parametrize("besides", [0, 999])
def test_all_get_one_where_the_other_port_is_none_of_the_group(bench: Bench, besides: int) -> None:
    ports = memories(bench, 3)
    bench.flow(bench.a, Group(bench.engine.new_group(ports), besides))
    bench.send(bench.a, b"frame")
    assert [bench.sent(port) for port in ports] == [[b"frame"]] * 3


def test_a_copy_has_the_offload_state_and_metadata(bench: Bench) -> None:
    bench.flow(bench.x, Meta(3, 77), Group(bench.engine.new_group([bench.y] * 2)))
    bench.send(bench.x, super_packet(segment4(bytes(3000)), 1000))
    first, second = bench.collect(bench.y)
    assert first == second
    assert first.offload.gso_size == 1000
    assert first.meta[12:16] == (77).to_bytes(4, "big")


def test_a_group_ends_a_clone_too(bench: Bench) -> None:
    ports = memories(bench, 2)
    group = bench.engine.new_group(ports)
    bench.flow(bench.a, Clone((Push(b"c"), Group(group))), Output(bench.b))
    bench.send(bench.a, b"frame")
    assert [bench.sent(port) for port in (*ports, bench.b)] == [[b"cframe"], [b"cframe"], [b"frame"]]


def test_what_becomes_of_the_packet_is_told_once(bench: Bench) -> None:
    ports = memories(bench, 3)
    sent, lost = bench.engine.new_counter(), bench.engine.new_counter()
    bench.flow(bench.a, Account(sent, lost), Group(bench.engine.new_group(ports)))
    bench.send(bench.a, b"frame")
    assert bench.engine.read_counter(sent).packets == 1
    assert bench.engine.read_counter(lost).packets == 0


def test_an_iteration_makes_so_many_copies(bench: Bench) -> None:
    bench.flow(bench.a, Group(bench.engine.new_group([bench.b] * (BATCH + 10))))
    bench.inject(bench.a, b"frame")
    assert bench.engine.poll() == 1 + BATCH
    assert len(bench.sent(bench.b)) == BATCH
    assert bench.engine.port_stats(bench.a).held == 1
    assert bench.engine.poll() == 10
    assert len(bench.sent(bench.b)) == 10
    assert bench.engine.poll() == 0
    assert bench.engine.port_stats(bench.a).held == 0


def test_others_need_not_wait_and_who_waits_keeps_its_turn(bench: Bench) -> None:
    many = bench.engine.new_group([bench.b] * (2 * BATCH))
    bench.flow(bench.a, Group(many))
    bench.flow(bench.x, Output(bench.y))
    bench.inject(bench.a, b"one", b"two")
    bench.engine.poll()
    bench.inject(bench.x, b"other")
    bench.engine.poll()
    assert bench.sent(bench.y) == [b"other"]
    assert bench.sent(bench.b) == [b"one"] * (2 * BATCH)
    bench.settle()
    assert bench.sent(bench.b) == [b"two"] * (2 * BATCH)


def test_a_full_line_drops(make_bench: MakeBench) -> None:
    bench = make_bench(packets=256)  # an eighth of which may wait
    bench.flow(bench.a, Group(bench.engine.new_group([bench.b] * 3)))
    bench.send(bench.a, *[b"frame"] * 33)
    assert len(bench.sent(bench.b)) == 32 * 3
    assert bench.drops(bench.a) == {"group_queue_full": 1}
    bench.send(bench.a, *[b"frame"] * 32)
    assert len(bench.sent(bench.b)) == 32 * 3


def test_no_port_is_no_port(bench: Bench) -> None:
    group = bench.engine.new_group([])
    bench.flow(bench.a, Group(group))
    bench.flow(bench.x, Group(group + 1))
    bench.send(bench.a, b"frame")
    bench.send(bench.x, b"packet")
    assert bench.drops(bench.a) == bench.drops(bench.x) == {"no_port": 1}
    bench.engine.write_group(group, [bench.b, 999])
    bench.send(bench.a, b"frame")
    assert bench.sent(bench.b) == [b"frame"]
    assert bench.drops(bench.a) == {"no_port": 2}
    bench.engine.write_group(group, [999, bench.b])
    bench.send(bench.a, b"frame")
    assert bench.sent(bench.b) == [b"frame"]
    assert bench.drops(bench.a) == {"no_port": 3}


def test_a_group_of_the_in_port_alone_drops(bench: Bench) -> None:
    bench.flow(bench.a, Group(bench.engine.new_group([bench.a]), bench.a))
    bench.send(bench.a, b"frame")
    assert bench.drops(bench.a) == {"no_port": 1}


def test_a_group_can_be_exchanged_while_packets_are_copied(bench: Bench) -> None:
    group = bench.engine.new_group([bench.b] * (2 * BATCH))
    bench.flow(bench.a, Group(group))
    bench.inject(bench.a, b"frame")
    bench.engine.poll()
    bench.engine.write_group(group, [bench.b] * (BATCH + 1))
    bench.settle()
    assert len(bench.sent(bench.b)) == BATCH + 1
    bench.inject(bench.a, *[b"frame"] * 2)
    bench.engine.poll()
    bench.engine.free_group(group)
    assert bench.engine.new_group([bench.x] * 2) == group  # another one, which gets none of them
    bench.settle()
    assert len(bench.sent(bench.b)) == BATCH
    assert not bench.sent(bench.x)
    assert bench.drops(bench.a) == {"no_port": 2}


def test_numbers_of_groups_come_again(bench: Bench) -> None:
    one, other = (bench.engine.new_group([bench.b]) for _ in range(2))
    assert one != other
    bench.engine.free_group(one)
    for call in (bench.engine.free_group, lambda group: bench.engine.write_group(group, [])):
        for number in (one, 0, 5000):
            with refused(errno.ENOENT):
                call(number)
    assert bench.engine.new_group([]) == one


def test_copies_that_miss_stop_the_line_at_a_quarter_of_the_pool(make_bench: MakeBench) -> None:
    bench = make_bench(packets=256, upcall_rate=0, upcall_queue=1)
    cells = [bench.cell() for _ in range(90)]
    bench.flow(bench.x, Group(bench.engine.new_group(cells)))
    bench.send(bench.x, b"packet")
    bench.settle()
    upcalls = bench.upcalls(100)
    assert [upcall.in_port for upcall in upcalls] == cells[:64]
    bench.resolve(*(Resolution(upcall.token, Resolve.CONSUME) for upcall in upcalls))
    bench.settle()
    assert [upcall.in_port for upcall in bench.upcalls(100)] == cells[64:]


def test_a_port_that_goes_takes_its_packets_along(bench: Bench) -> None:
    group = bench.engine.new_group([bench.b] * (3 * BATCH))
    bench.flow(bench.a, Group(group))
    bench.flow(bench.x, Clone((Drop(POLICY),)), Group(bench.engine.new_group([bench.y] * 2)))
    bench.inject(bench.a, b"frame", b"frame")
    bench.engine.poll()
    bench.inject(bench.x, b"packet")
    bench.engine.poll()
    bench.engine.remove_port(bench.a)
    bench.settle()
    assert len(bench.sent(bench.b)) == 2 * BATCH
    assert bench.sent(bench.y) == [b"packet"] * 2


def test_groups_in_a_circle_end(bench: Bench) -> None:
    cell = bench.cell()
    bench.flow(bench.x, Output(cell))
    bench.flow(cell, Group(bench.engine.new_group([cell, bench.y])))
    bench.send(bench.x, b"packet")
    assert bench.sent(bench.y) == [b"packet"] * 8
    assert bench.drops(cell) == {"loop_guard": 1}


def test_a_started_engine_goes_on_by_itself(bench: Bench) -> None:
    count = 5 * BATCH + 1
    bench.flow(bench.a, Group(bench.engine.new_group([bench.b] * count)))
    bench.engine.start()
    bench.inject(bench.a, b"frame")
    found, deadline = 0, time.monotonic() + 10
    while found < count and time.monotonic() < deadline:
        found += len(bench.sent(bench.b))
    bench.engine.stop()
    assert found == count


def test_a_run_ends_with_it() -> None:
    assert encode((Group(7, 3),)).count == 1
    with pytest.raises(ValueError, match="must end in"):
        encode((Group(7, 3), Pull(1)))
