"""Every action on a packet too short for it: parse_truncated, and nothing else happens."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.engine.conftest import POLICY, Bench
from vdp.engine.interface import Count
from vdp.engine.program import (
    Action,
    Checksum,
    Copy,
    Drop,
    Id,
    Length,
    MetaLoad,
    Output,
    Pull,
    RequireChecksum,
    RequireSequence,
    Sequence32,
    Set,
    State32,
    Trim,
    Ttl,
)
from vdp.engine.program import Count as CountAction

OTHERWISE = (Drop(POLICY),)

# name: the action for a state, and the least length with which it runs
ACTIONS: dict[str, tuple[Callable[[int], Action], int]] = {
    "pull": (lambda state: Pull(10), 10),
    "set": (lambda state: Set(8, b"\xff" * 4, b"1234"), 12),
    "set_sixteen": (lambda state: Set(0, b"\xff" * 16, b"1" * 16), 16),
    "set_checksum": (lambda state: Set(0, b"\xff", b"1", 10), 12),
    "copy_to": (lambda state: Copy(7, 0), 8),
    "copy_from": (lambda state: Copy(0, 7), 8),
    "length_field": (lambda state: Length(6), 8),
    "length_start": (lambda state: Length(0, 9), 9),
    "id": (lambda state: Id(4, state), 6),
    "sequence": (lambda state: Sequence32(4, state), 8),
    "checksum_field": (lambda state: Checksum(6, 0, 4), 8),
    "checksum_range": (lambda state: Checksum(0, 4, 10), 14),
    "checksum_start": (lambda state: Checksum(0, 4), 4),
    "trim": (lambda state: Trim(4, 0, OTHERWISE), 6),
    "require_checksum": (lambda state: RequireChecksum(2, 6, OTHERWISE), 8),
    "require_checksum_to_the_end": (lambda state: RequireChecksum(6, 0, OTHERWISE), 6),
    "require_sequence": (lambda state: RequireSequence(4, state, OTHERWISE), 8),
    "require_sequence_explicit": (lambda state: RequireSequence(4, state, OTHERWISE, True), 8),
    "state": (lambda state: State32(4, state), 8),
    "ttl_ipv4": (lambda state: Ttl(4, 2, OTHERWISE), 22),
    "ttl_ipv6": (lambda state: Ttl(6, 2, OTHERWISE), 42),
    "meta_load": (lambda state: MetaLoad(3, 4), 8),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_beyond_the_packet_drops_it_and_does_nothing_else(bench: Bench, name: str) -> None:
    build, least = ACTIONS[name]
    state, counter = bench.engine.new_state(7), bench.engine.new_counter()
    assert bench.run([build(state), CountAction(counter), Output(bench.y)], b"\x45" * (least - 1)) == []
    assert bench.drops(bench.x) == {"parse_truncated": 1}
    assert bench.engine.read_counter(counter) == Count(0, 0)
    assert bench.engine.read_state(state) == 7


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_that_just_fits_runs(bench: Bench, name: str) -> None:
    build, least = ACTIONS[name]
    state = bench.engine.new_state(7)
    bench.run([build(state), Output(bench.y)], b"\x45" * least)
    assert "parse_truncated" not in bench.drops(bench.x)


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_on_an_empty_packet_drops_it(bench: Bench, name: str) -> None:
    build, _ = ACTIONS[name]
    assert bench.run([build(bench.engine.new_state(7)), Output(bench.y)], b"") == []
    assert bench.drops(bench.x) == {"parse_truncated": 1}


def test_offsets_count_from_where_the_front_is_then(bench: Bench) -> None:
    assert bench.run([Pull(4), Set(4, b"\xff", b"!"), Output(bench.y)], b"01234567") == []
    assert bench.run([Pull(4), Set(3, b"\xff", b"!"), Output(bench.y)], b"01234567") == [b"456!"]
