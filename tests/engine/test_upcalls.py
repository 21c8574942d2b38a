"""The slow path's side: taking upcalls, and what becomes of them."""

from __future__ import annotations

import errno
import select

import pytest

from tests.engine.conftest import POLICY, Bench, refused
from vdp.engine.interface import MemoryPacket, Offload, Resolution, Resolve, UpcallReason
from vdp.engine.program import Drop, Output, Push, Upcall
from vdp.testing.builders import ipv4, tcp


def numbered(*numbers: int) -> list[bytes]:
    return [bytes([n]) for n in numbers]


def test_a_miss_is_held_until_it_is_resolved(bench: Bench) -> None:
    bench.send(bench.x, b"\1packet")
    (upcall,) = bench.upcalls()
    assert (upcall.reason, upcall.in_port, upcall.data) == (UpcallReason.MISS, bench.x, b"\1packet")
    assert bench.upcalls() == []
    stats = bench.engine.port_stats(bench.x)
    assert (stats.held, stats.upcalls, stats.misses) == (1, 1, 1)
    bench.resolve(Resolution(upcall.token, Resolve.CONSUME))
    stats = bench.engine.port_stats(bench.x)
    assert (stats.held, stats.consumed) == (0, 1)


def test_an_upcall_shows_the_first_bytes_and_the_length(bench: Bench) -> None:
    bench.send(bench.x, bytes(range(256)) * 20)
    (upcall,) = bench.upcalls()
    assert (upcall.length, upcall.data) == (5120, bytes(range(256)) * 8)


def test_an_upcall_shows_metadata_and_what_it_is_as_a_super_packet(bench: Bench) -> None:
    packet = ipv4("10.0.0.1", "10.0.0.2", tcp(1, 2, bytes(500)))
    bench.send(bench.x, MemoryPacket(packet, bytes(28) + b"\0\0\0\7", Offload(True, 20, 16, 1, 100)))
    (upcall,) = bench.upcalls()
    assert (upcall.gso_type, upcall.gso_size, upcall.meta[31]) == (1, 100, 7)
    bench.consume()


def test_install_runs_the_program_on_the_packet_and_takes_the_next_one(bench: Bench) -> None:
    bench.send(bench.x, b"\1")
    (upcall,) = bench.upcalls()
    (flow,) = bench.resolve(bench.installed(upcall, Push(b"!"), Output(bench.y)))
    bench.send(bench.x, b"\2")
    assert bench.sent(bench.y) == [b"!\1", b"!\2"]
    assert [(stats.id, stats.packets) for stats in bench.engine.dump(0)] == [(flow, 2)]
    assert bench.engine.port_stats(bench.x).upcalls == 1


def test_waiting_packets_of_the_new_flow_run_in_order_before_later_ones(bench: Bench) -> None:
    bench.send(bench.x, *numbered(1, 2, 3))
    (upcall,) = bench.upcalls(1)
    bench.inject(bench.x, *numbered(4))
    bench.resolve(bench.installed(upcall, Output(bench.y)))
    bench.settle()
    assert bench.sent(bench.y) == numbered(1, 2, 3, 4)
    assert bench.upcalls() == []


def test_waiting_packets_that_the_new_flow_does_not_take_stay_in_line(bench: Bench) -> None:
    bench.send(bench.x, *numbered(0x11, 0x21, 0x12, 0x22))
    (upcall,) = bench.upcalls(1)
    bench.resolve(bench.installed(upcall, Output(bench.y), mask="f0", value="10"))
    assert bench.sent(bench.y) == numbered(0x11, 0x12)
    assert [other.data for other in bench.upcalls()] == numbered(0x21, 0x22)
    assert bench.engine.port_stats(bench.x).held == 2
    bench.settle()


def test_install_from_the_control_side_runs_waiting_packets_too(bench: Bench) -> None:
    bench.send(bench.x, *numbered(1, 2))
    bench.flow(bench.x, Output(bench.y))
    assert bench.sent(bench.y) == numbered(1, 2)
    assert bench.upcalls() == []


def test_packets_of_one_flow_taken_together_run_in_order(bench: Bench) -> None:
    bench.send(bench.x, *numbered(1, 2, 3, 4))
    first, second = bench.upcalls(2)
    results = bench.resolve(bench.installed(first, Output(bench.y)), bench.installed(second, Output(bench.y)))
    assert results[0] > 0
    assert results[1] == -errno.EEXIST
    assert bench.sent(bench.y) == numbered(1, 2, 3, 4)


def test_a_waiting_copy_of_an_upcall_action_is_not_a_miss(bench: Bench) -> None:
    flow = bench.flow(bench.x, Upcall(9), Drop(POLICY))
    bench.send(bench.x, b"\1")
    bench.engine.remove(0, [flow])
    bench.flow(bench.x, Output(bench.y))
    assert bench.sent(bench.y) == []
    (upcall,) = bench.upcalls()
    assert upcall.cookie == 9
    bench.resolve(Resolution(upcall.token, Resolve.CONSUME))


def test_execute_runs_the_program_once(bench: Bench) -> None:
    bench.send(bench.x, b"\1")
    (upcall,) = bench.upcalls()
    resolution = Resolution(upcall.token, Resolve.EXECUTE, program=[Push(b"!"), Output(bench.y)])
    assert bench.resolve(resolution) == [0]
    assert bench.sent(bench.y) == [b"!\1"]
    bench.send(bench.x, b"\2")
    assert bench.sent(bench.y) == []
    assert len(bench.upcalls()) == 1


def test_drop_counts_the_reason(bench: Bench) -> None:
    bench.send(bench.x, b"\1")
    (upcall,) = bench.upcalls()
    assert bench.resolve(Resolution(upcall.token, Resolve.DROP, reason=POLICY)) == [0]
    assert bench.drops(bench.x) == {"policy_rule": 1}


def test_retry_runs_the_flow_that_takes_it_now(bench: Bench) -> None:
    bench.send(bench.x, b"\1")
    (upcall,) = bench.upcalls()
    bench.flow(bench.x, Output(bench.y))
    assert bench.resolve(Resolution(upcall.token, Resolve.RETRY)) == [0]
    assert bench.sent(bench.y) == [b"\1"]


def test_retry_that_misses_again_goes_back_in_line(bench: Bench) -> None:
    bench.send(bench.x, *numbered(1, 2))
    (first,) = bench.upcalls(1)
    assert bench.resolve(Resolution(first.token, Resolve.RETRY)) == [0]
    assert bench.engine.port_stats(bench.x).held == 2
    assert [upcall.data for upcall in bench.upcalls()] == numbered(2, 1)


def test_retry_of_a_copy_makes_it_a_miss(bench: Bench) -> None:
    flow = bench.flow(bench.x, Upcall(9), Drop(POLICY))
    bench.send(bench.x, b"\1")
    bench.engine.remove(0, [flow])
    (upcall,) = bench.upcalls()
    bench.resolve(Resolution(upcall.token, Resolve.RETRY))
    (again,) = bench.upcalls()
    assert (again.reason, again.data) == (UpcallReason.MISS, b"\1")


def test_a_token_is_good_for_one_resolution(bench: Bench) -> None:
    bench.send(bench.x, b"\1")
    (upcall,) = bench.upcalls()
    consume = Resolution(upcall.token, Resolve.CONSUME)
    assert bench.resolve(consume, consume) == [0, -errno.EINVAL]
    assert bench.resolve(consume, Resolution(0, Resolve.CONSUME)) == [-errno.EINVAL, -errno.EINVAL]
    assert bench.engine.port_stats(bench.x).consumed == 1


@pytest.mark.parametrize(
    ("config", "error"), [({"flows": 1}, errno.ENOSPC), ({"port_masks": 1}, errno.E2BIG)]
)
def test_a_flow_that_finds_no_room_still_runs_its_program_once(  # type: ignore[no-untyped-def]
    make_bench, config: dict[str, int], error: int
) -> None:
    bench = make_bench(**config)
    bench.flow(bench.x, Drop(POLICY), mask="ff", value="99")
    bench.send(bench.x, *numbered(1, 2))
    (upcall,) = bench.upcalls(1)
    assert bench.resolve(bench.installed(upcall, Output(bench.y), mask="f0", value="00")) == [-error]
    assert bench.sent(bench.y) == numbered(1)
    assert len(bench.upcalls()) == 1  # the other one still waits


def test_a_bad_match_drops_the_packet_as_handler_error(bench: Bench) -> None:
    bench.send(bench.x, b"\1")
    (upcall,) = bench.upcalls()
    resolution = bench.installed(upcall, Output(bench.y), mask="00", value="01")
    assert bench.resolve(resolution) == [-errno.EINVAL]
    assert bench.drops(bench.x) == {"handler_error": 1}


def test_ports_take_turns(bench: Bench) -> None:
    bench.send(bench.x, *numbered(1, 2, 3, 4))
    bench.send(bench.a, *numbered(5, 6))
    bench.send(bench.b, *numbered(7))
    order = [upcall.data[0] for upcall in bench.upcalls()]
    assert order == [1, 5, 7, 2, 6, 3, 4]


def test_turns_go_on_over_several_takes(bench: Bench) -> None:
    bench.send(bench.x, *numbered(1, 2, 3, 4))
    bench.send(bench.a, *numbered(5, 6))
    order = [upcall.data[0] for _ in range(6) for upcall in bench.upcalls(1)]
    assert order == [1, 5, 2, 6, 3, 4]


def test_a_port_in_a_flood_does_not_keep_another_one_waiting(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(upcall_queue=100)
    for _ in range(5):
        bench.send(bench.x, *[b"flood"] * 60)
    bench.send(bench.a, b"quiet")
    assert b"quiet" in [upcall.data for upcall in bench.upcalls(2)]


def test_the_event_is_readable_when_upcalls_wait(bench: Bench) -> None:
    event = bench.engine.event_fd()
    assert select.select([event], [], [], 0)[0] == []
    bench.send(bench.x, b"\1")
    assert select.select([event], [], [], 0)[0] == [event]
    bench.consume()


def test_upcalls_in_hand_when_their_port_goes_cannot_be_resolved(bench: Bench) -> None:
    bench.send(bench.x, *numbered(1, 2))
    (taken,) = bench.upcalls(1)
    bench.engine.remove_port(bench.x)
    assert bench.upcalls() == []
    assert bench.resolve(Resolution(taken.token, Resolve.CONSUME)) == [-errno.EINVAL]


def test_a_packet_of_the_control_side_is_injected_and_charged_to_its_in_port(bench: Bench) -> None:
    meta = bytes(3) + b"\1" + bytes(28)
    bench.engine.execute(0, bench.x, b"\1made", [Push(b"!"), Output(bench.y)], meta)
    bench.engine.execute(0, bench.x, b"\1made", [Drop(POLICY)], meta)
    bench.engine.execute(0, bench.a, b"frame", [Output(bench.b)])
    assert bench.sent(bench.y) == [b"!\1made"]
    assert bench.sent(bench.b) == [b"frame"]
    stats = bench.engine.port_stats(bench.x)
    assert (stats.injected, stats.forwarded, stats.dropped, stats.rx_packets) == (2, 1, 1, 0)


def test_a_packet_for_a_port_that_is_not_there_is_not_injected(bench: Bench) -> None:
    with refused(errno.ENODEV):
        bench.engine.execute(0, 7777, b"frame", [Output(bench.b)])
