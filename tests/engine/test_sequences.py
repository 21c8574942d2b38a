"""Sequence numbers in both engines: Linux's rule, the explicit one, and windows, beside a model.

The model keeps every number that passed, for ever, by its place on a line without wraps; it
shares nothing with either engine.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import native_engine
from tests.engine.conftest import POLICY, Bench, refused
from vdp.engine.interface import EngineConfig
from vdp.engine.program import Drop, Output, RequireSequence, State32
from vdp.testing.reference import ReferenceEngine

OTHERWISE = (Drop(POLICY),)
LAST = 0xFFFFFFFF
WINDOWS = [1, 2, 31, 32, 33, 64, 100, 1024]


class Gate:
    """A flow of a bench that lets in-sequence packets through."""

    def __init__(self, bench: Bench, state: int, explicit: bool = True, late: bool = True) -> None:
        self.bench = bench
        self.state = state
        bench.flow(bench.x, RequireSequence(0, state, OTHERWISE, explicit, late), Output(bench.y))

    def passed(self, *numbers: int) -> list[int]:
        """Which of these packets came out."""
        self.bench.send(self.bench.x, *(struct.pack("!I", number % (1 << 32)) for number in numbers))
        return [struct.unpack("!I", data)[0] for data in self.bench.sent(self.bench.y)]


@dataclass
class Model:
    """RFC 2890 2.2 with unbounded numbers: `newest` so far, and all that passed."""

    window: int
    newest: int | None = None
    seen: set[int] = field(default_factory=set)

    def passes(self, number: int) -> bool:
        if self.newest is None:
            place = number + (1 << 40)
        else:
            # The place nearest to the next one that has this number.
            following = self.newest + 1
            place = following + (number - following + (1 << 31)) % (1 << 32) - (1 << 31)
            if place in self.seen or place < self.newest - self.window:
                return False
        self.seen.add(place)
        self.newest = place if self.newest is None else max(self.newest, place)
        return True


def gate(bench: Bench, window: int) -> Gate:
    return Gate(bench, bench.engine.new_window(window) if window else bench.engine.new_state())


@pytest.mark.conformance("E4")
def test_linux_takes_anything_when_the_number_is_zero(bench: Bench) -> None:
    linux = Gate(bench, bench.engine.new_state(), explicit=False)
    assert linux.passed(LAST, 0x80000001, 0x80000001) == [LAST, 0x80000001]


@pytest.mark.conformance("E4")
@pytest.mark.parametrize("window", [0, 64])
def test_explicit_takes_anything_once(bench: Bench, window: int) -> None:
    explicit = gate(bench, window)
    assert explicit.passed(LAST, 0x80000001, 0x80000001) == [LAST]
    assert explicit.passed(0, 1, LAST, 0) == [0, 1]


@pytest.mark.conformance("E4")
@pytest.mark.parametrize("first", [0, 1, 5, 1 << 31, LAST])
def test_the_first_may_have_any_number(bench: Bench, first: int) -> None:
    explicit = gate(bench, 0)
    assert explicit.passed(first, first, first - 1, first + 1) == [first, (first + 1) % (1 << 32)]


@pytest.mark.conformance("E4")
@pytest.mark.parametrize("window", WINDOWS)
def test_the_edge_of_a_window_is_exact(bench: Bench, window: int) -> None:
    late = gate(bench, window)
    assert late.passed(5000, 5000 - window - 1, 5000 - window, 5000 - window) == [5000, 5000 - window]
    assert late.passed(5001, 5001 - window - 1) == [5001]
    assert late.passed(5000 - window + 1) == ([5001 - window] if window > 1 else [])


@pytest.mark.conformance("E4")
@pytest.mark.parametrize("window", WINDOWS)
def test_a_window_spans_the_wrap(bench: Bench, window: int) -> None:
    late = gate(bench, window)
    assert late.passed(window - 1, 0, LAST, LAST - 1) == list(dict.fromkeys([window - 1, 0, LAST]))


@pytest.mark.conformance("E4")
def test_a_jump_beyond_the_window_leaves_no_memory(bench: Bench) -> None:
    late = gate(bench, 64)
    assert late.passed(10, 10 + 64 * 50, 10 + 64 * 49, 10) == [10, 3210, 3146]


@pytest.mark.conformance("E4")
def test_half_way_round_is_old(bench: Bench) -> None:
    late = gate(bench, 1024)
    assert late.passed(0, 0x80000001, 0x80000000) == [0, 0x80000000]


@pytest.mark.conformance("E4")
def test_all_orders_of_a_window_pass(bench: Bench) -> None:
    late = gate(bench, 64)
    numbers = list(range(LAST - 20, LAST + 45))
    Random(7).shuffle(numbers)
    wanted = [number % (1 << 32) for number in numbers]
    assert late.passed(*numbers) == wanted
    assert late.passed(*numbers) == []


def test_writing_a_window_makes_it_new(bench: Bench) -> None:
    late = gate(bench, 64)
    late.passed(100, 99)
    bench.engine.write_state(late.state, 0)
    assert late.passed(100, 99, 98, 100) == [100, 99, 98]


def test_the_number_of_a_window_is_the_next_one(bench: Bench) -> None:
    late = gate(bench, 64)
    late.passed(LAST - 1, LAST - 30)
    assert bench.engine.read_state(late.state) == LAST
    late.passed(LAST)
    assert bench.engine.read_state(late.state) == 0


@pytest.mark.parametrize(("state", "addend", "written"), [(7, 0, 7), (0, -1, LAST), (LAST, 1, 0), (5, -5, 0)])
def test_a_number_is_written_and_stays(bench: Bench, state: int, addend: int, written: int) -> None:
    kept = bench.engine.new_state(state)
    assert bench.run([State32(2, kept, addend), Output(bench.y)], b"abcdefg") == [
        b"ab" + written.to_bytes(4, "big") + b"g"
    ]
    assert bench.engine.read_state(kept) == state


def test_a_number_of_no_state_is_an_error(bench: Bench) -> None:
    assert bench.run([State32(0, 1 << 30), Output(bench.y)], b"abcd") == []
    assert bench.drops(bench.x) == {"handler_error": 1}


@pytest.mark.parametrize("size", [0, 1025, 1 << 31])
def test_windows_have_bounds(bench: Bench, size: int) -> None:
    with refused(errno.EINVAL):
        bench.engine.new_window(size)


def steps(chance: Random) -> list[int]:
    """Numbers near the last one, late by about a window, and far away; for many rounds."""
    at, numbers = chance.choice([0, 1, LAST, 1 << 31, chance.getrandbits(32)]), []
    for _ in range(120):
        near = chance.randrange(-4, 6)
        far = chance.choice([32, 33, 64, 65, 1024, 1025, 2000]) * chance.choice([-1, -1, 1])
        wild = chance.choice([(1 << 31) - 1, 1 << 31, (1 << 31) + 1, chance.getrandbits(32)])
        step = chance.choices([1, near, far, wild], [8, 6, 3, 1])[0]
        numbers.append((at + step) % (1 << 32))
        if step > 0:
            at += step
    return numbers


@pytest.mark.conformance("E4")
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from([0, *WINDOWS]), st.randoms(use_true_random=False))
@pytest.mark.parametrize("native", [True, False], ids=["native", "reference"])
def test_an_engine_does_as_the_model(native: bool, window: int, chance: Random) -> None:
    numbers = steps(chance)
    model = Model(window)
    wanted = [number for number in numbers if model.passes(number)]
    engine = (native_engine() if native else ReferenceEngine)(EngineConfig(packets=512))
    try:
        assert gate(Bench(engine), window).passed(*numbers) == wanted
    finally:
        engine.close()
