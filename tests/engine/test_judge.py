"""judge_sequence says beforehand what RequireSequence will, and changes nothing; read_header reads."""

from __future__ import annotations

import random

import pytest

from tests.conftest import EngineFactory
from vdp.engine.interface import Engine, PacketType, PortConfig, PortType, meta_of
from vdp.engine.program import Drop, Output, RequireSequence

DROPPED = (Drop(1),)
META = meta_of(PacketType.L3, 0x0800)


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("window", [0, 8])
@pytest.mark.parametrize("start", [0, 0xFFFFFFF0])
def test_the_judgement_is_that_of_the_action(
    make_engine: EngineFactory, explicit: bool, late: bool, window: int, start: int
) -> None:
    engine = make_engine()
    port = engine.add_port(PortConfig("p", PortType.MEMORY, PacketType.L3))
    state = engine.new_window(window) if window else engine.new_state()
    engine.write_state(state, start)
    chance, verdicts = random.Random(1), set()
    for step in range(200):
        number = (start + step + chance.choice((0, 0, 1, -1, -3, -20))) % (1 << 32)
        foretold = [
            engine.judge_sequence(state, number, explicit=explicit, late=late, waited=False) for _ in range(3)
        ]
        before = engine.read_state(state)
        program = (RequireSequence(0, state, DROPPED, explicit, late), Output(port))
        engine.execute(0, port, number.to_bytes(4, "big"), program, META)
        engine.poll()
        passed = engine.collect(port) is not None
        assert foretold == [passed] * 3, (step, number, before)
        verdicts.add(passed)
    assert verdicts == {False, True}


def test_a_state_that_is_not_there(engine: Engine) -> None:
    with pytest.raises(OSError, match=r"(?i)no such file|state"):
        engine.judge_sequence(99, 1, explicit=False, late=False, waited=False)


def test_a_header_is_read_as_it_was_written(engine: Engine) -> None:
    header = engine.new_header(b"abc")
    assert engine.read_header(header) == b"abc"
    engine.write_header(header, b"xyz")
    assert engine.read_header(header) == b"xyz"
    engine.free_header(header)
