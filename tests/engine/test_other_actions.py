"""Actions that count, copy, send and drop."""

from __future__ import annotations

from tests.engine.conftest import POLICY, Bench
from vdp.engine.interface import NO_META, Count, PacketType, UpcallReason
from vdp.engine.program import Account, Clone, Drop, Fragment, Meta, Output, Pull, Push, RequireLength, Upcall
from vdp.engine.program import Count as CountAction
from vdp.testing.builders import ipv4


def test_drop_counts_its_reason_at_the_in_port(bench: Bench) -> None:
    bench.flow(bench.x, Drop(POLICY))
    bench.send(bench.x, b"data")
    assert bench.drops(bench.x) == {"policy_rule": 1}
    assert bench.engine.port_stats(bench.x).dropped == 1


def test_drop_takes_a_plugin_s_reason(bench: Bench) -> None:
    bench.flow(bench.x, Drop(127))
    bench.send(bench.x, b"data")
    assert bench.engine.port_drops(bench.x)[127] == 1


def test_output_sends_the_packet_and_ends_the_run(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y), Drop(POLICY))
    bench.send(bench.x, b"data")
    assert bench.sent(bench.y) == [b"data"]
    stats = bench.engine.port_stats(bench.y)
    assert (stats.offered, stats.tx_packets, stats.tx_bytes, stats.tx_segments) == (1, 1, 4, 1)
    assert bench.engine.port_stats(bench.x).forwarded == 1


def test_output_to_a_port_that_is_not_there_drops_the_packet(bench: Bench) -> None:
    bench.flow(bench.x, Output(77777))
    bench.send(bench.x, b"data")
    assert bench.drops(bench.x) == {"no_port": 1}


def test_output_keeps_the_order(bench: Bench) -> None:
    bench.flow(bench.x, Output(bench.y))
    packets = [bytes([n]) for n in range(200)]
    bench.send(bench.x, *packets)
    assert bench.sent(bench.y) == packets


def test_count_adds_a_packet_and_its_present_length(bench: Bench) -> None:
    counter = bench.engine.new_counter()
    bench.flow(bench.x, CountAction(counter), Push(b"12345"), CountAction(counter), Output(bench.y))
    bench.send(bench.x, b"data")
    assert bench.engine.read_counter(counter) == Count(2, 4 + 9)


def test_count_adds_its_addend_to_the_bytes(bench: Bench) -> None:
    counter = bench.engine.new_counter()
    bench.flow(bench.x, CountAction(counter, -3), Output(bench.y))
    bench.send(bench.x, b"data", b"data")
    assert bench.engine.read_counter(counter) == Count(2, 2)


def test_a_new_counter_starts_at_zero_though_its_number_was_used(bench: Bench) -> None:
    first = bench.engine.new_counter()
    flow = bench.flow(bench.x, CountAction(first), Output(bench.y))
    bench.send(bench.x, b"data")
    bench.engine.remove(0, [flow])
    bench.engine.free_counter(first)
    again = bench.engine.new_counter()
    assert again == first
    assert bench.engine.read_counter(again) == Count(0, 0)


def test_clone_runs_a_copy_first_and_goes_on_with_the_original(bench: Bench) -> None:
    program = [Clone((Push(b"copy "), Output(bench.y))), Push(b"original "), Output(bench.y)]
    assert bench.run(program, b"x") == [b"copy x", b"original x"]


def test_what_happens_to_a_clone_does_not_touch_the_original(bench: Bench) -> None:
    bench.flow(
        bench.x, Clone((Pull(2), Meta(0, PacketType.L2), Output(bench.a))), Clone((Drop(1),)), Output(bench.y)
    )
    bench.send(bench.x, b"\1ata")
    (copy,), (original,) = bench.collect(bench.a), bench.collect(bench.y)
    assert (copy.data, copy.meta) == (b"ta", NO_META)
    assert (original.data, original.meta[3]) == (b"\1ata", PacketType.L3)
    assert bench.engine.port_stats(bench.x).cloned == 2


def test_a_clone_that_is_dropped_is_counted_like_a_packet(bench: Bench) -> None:
    bench.flow(bench.x, Clone((Pull(9), Output(bench.y))), Output(bench.y))
    bench.send(bench.x, b"data")
    stats = bench.engine.port_stats(bench.x)
    assert (stats.rx_packets, stats.cloned, stats.forwarded, stats.dropped) == (1, 1, 1, 1)


def test_sixty_four_copies_of_one_packet(bench: Bench) -> None:
    body = tuple(Clone((Output(bench.y),)) for _ in range(64))
    assert len(bench.run([*body, Output(bench.y)], b"x")) == 65


def test_upcall_sends_a_copy_with_its_cookie_and_goes_on(bench: Bench) -> None:
    bench.flow(bench.x, Push(b">"), Meta(2, 42), Upcall(0xC00C1E), Pull(1), Output(bench.y))
    bench.send(bench.x, b"data")
    assert bench.sent(bench.y) == [b"data"]
    (upcall,) = bench.upcalls()
    assert (upcall.reason, upcall.cookie, upcall.data) == (UpcallReason.ACTION, 0xC00C1E, b">data")
    assert (upcall.in_port, upcall.length, upcall.meta[11]) == (bench.x, 5, 42)
    stats = bench.engine.port_stats(bench.x)
    assert (stats.upcalls, stats.cloned, stats.held) == (1, 1, 1)


def test_an_upcall_with_a_state_is_made_as_often_as_the_state_says(bench: Bench) -> None:
    state = bench.engine.new_state(2)
    bench.flow(bench.x, Upcall(7, state), Output(bench.y))
    bench.send(bench.x, b"1", b"2", b"3")
    assert bench.sent(bench.y) == [b"1", b"2", b"3"]
    assert [(upcall.cookie, upcall.data) for upcall in bench.upcalls()] == [(7, b"1"), (7, b"2")]
    assert bench.engine.read_state(state) == 0
    bench.engine.write_state(state, 1)
    bench.send(bench.x, b"4", b"5")
    assert [upcall.data for upcall in bench.upcalls()] == [b"4"]


def test_an_upcall_that_the_rate_suppresses_takes_from_the_state_all_the_same(make_bench) -> None:  # type: ignore[no-untyped-def]
    bench = make_bench(action_rate=2)
    state = bench.engine.new_state(5)
    bench.flow(bench.x, Upcall(7, state), Output(bench.y))
    bench.send(bench.x, *[b"data"] * 3)
    assert bench.engine.read_state(state) == 2
    assert len(bench.upcalls()) < 3


def test_actions_behind_the_end_never_run(bench: Bench) -> None:
    state = bench.engine.new_counter()
    bench.run([RequireLength(0, 9, (Drop(1), CountAction(state), Drop(1))), Output(bench.y)], b"0123456789")
    assert bench.engine.read_counter(state) == Count(0, 0)


# -- account ---------------------------------------------------------------------------------


def accounts(bench: Bench) -> tuple[int, int, int]:
    """Counters: sent, lost, lost too."""
    return bench.engine.new_counter(), bench.engine.new_counter(), bench.engine.new_counter()


def told(bench: Bench, counters: tuple[int, ...]) -> list[Count]:
    return [bench.engine.read_counter(counter) for counter in counters]


NOTHING = Count(0, 0)


def test_an_account_of_a_packet_that_is_sent(bench: Bench) -> None:
    counters = accounts(bench)
    bench.flow(bench.x, Push(b"12"), Account(*counters, skip=3), Push(b"header"), Output(bench.y))
    bench.send(bench.x, b"data", b"")
    assert told(bench, counters) == [Count(2, 3 + 0), NOTHING, NOTHING]


def test_an_account_of_a_packet_that_is_dropped(bench: Bench) -> None:
    counters = accounts(bench)
    bench.flow(bench.x, Account(*counters), Push(b"header"), Drop(POLICY))
    bench.send(bench.x, b"data")
    assert told(bench, counters) == [NOTHING, Count(1, 4), Count(1, 4)]


def test_an_account_of_a_packet_that_an_action_loses(bench: Bench) -> None:
    counters = accounts(bench)
    bench.flow(bench.x, Account(*counters), Pull(9), Output(bench.y))
    bench.send(bench.x, b"data")
    assert told(bench, counters) == [NOTHING, Count(1, 4), Count(1, 4)]
    assert bench.drops(bench.x) == {"parse_truncated": 1}


def test_an_account_of_a_packet_that_the_output_refuses(bench: Bench) -> None:
    counters = accounts(bench)
    bench.flow(bench.x, Account(*counters), Output(bench.y))
    bench.engine.set_port_up(bench.y, False)
    bench.send(bench.x, b"data")
    assert told(bench, counters) == [NOTHING, Count(1, 4), Count(1, 4)]


def test_an_account_of_a_packet_for_a_port_that_is_not_there(bench: Bench) -> None:
    counters = accounts(bench)
    bench.flow(bench.x, Account(*counters), Output(77777))
    bench.send(bench.x, b"data")
    assert told(bench, counters) == [NOTHING, Count(1, 4), Count(1, 4)]


def test_an_account_without_counters_tells_nobody(bench: Bench) -> None:
    bench.flow(bench.x, Account(0, 0), Output(bench.y))
    bench.send(bench.x, b"data")
    assert bench.sent(bench.y) == [b"data"]


def test_who_takes_the_account_over_has_sent_it_for_the_one_before(bench: Bench) -> None:
    first, second = accounts(bench), accounts(bench)
    bench.flow(bench.x, Account(*first), Push(b"1"), Account(*second), Drop(POLICY))
    bench.send(bench.x, b"data")
    assert told(bench, first) == [Count(1, 4), NOTHING, NOTHING]
    assert told(bench, second) == [NOTHING, Count(1, 5), Count(1, 5)]


def test_a_clone_is_not_on_the_account(bench: Bench) -> None:
    counters = accounts(bench)
    clones = Clone((Drop(POLICY),)), Clone((Output(bench.y),))
    bench.flow(bench.x, Account(*counters), *clones, Output(bench.y))
    bench.send(bench.x, b"data")
    assert told(bench, counters) == [Count(1, 4), NOTHING, NOTHING]


def test_of_fragments_the_first_is_on_the_account(bench: Bench) -> None:
    counters = accounts(bench)
    packet = ipv4("192.0.2.1", "192.0.2.2", bytes(1000), protocol=1, flags=0)
    bench.flow(bench.x, Account(*counters), Fragment(0, 500, (Drop(POLICY),)), Output(bench.y))
    bench.send(bench.x, packet)
    assert len(bench.sent(bench.y)) == 3
    assert told(bench, counters) == [Count(1, 1020), NOTHING, NOTHING]
    whole = ipv4("192.0.2.1", "192.0.2.2", bytes(480), protocol=1, flags=0)
    bench.send(bench.x, whole)
    assert told(bench, counters) == [Count(2, 1520), NOTHING, NOTHING]
