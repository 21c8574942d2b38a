"""Several workers and one tunnel's numbers: what each of them knows of the order, on both engines."""

from __future__ import annotations

import pytest

from tests.engine.conftest import POLICY, Bench, EngineFactory
from vdp.engine.program import Drop, Output, RequireSequence


class Receivers:
    """Workers that receive packets of one tunnel, in an order that is the test's."""

    def __init__(self, bench: Bench, late: bool = False) -> None:
        self.bench = bench
        state = bench.engine.new_window(64)
        self.program = [RequireSequence(0, state, (Drop(POLICY),), late=late), Output(bench.b)]

    def passes(self, worker: int, number: int) -> bool:
        self.bench.engine.execute(worker, self.bench.a, number.to_bytes(4, "big"), self.program)
        return bool(self.bench.sent(self.bench.b))


@pytest.mark.conformance("E4")
def test_a_number_is_behind_those_that_its_own_worker_took(make_engine: EngineFactory) -> None:
    """Frames are spread over sockets by flow: what another worker took says nothing of the order."""
    receivers = Receivers(Bench(make_engine(workers=3)))
    assert receivers.passes(0, 100)
    assert receivers.passes(1, 99)
    assert not receivers.passes(1, 98)
    assert not receivers.passes(0, 99)
    assert receivers.passes(0, 5000)
    assert receivers.passes(1, 101)  # beyond the window
    assert not receivers.passes(1, 101)
    assert not receivers.passes(2, 5000)  # came in already
    far = 5000 + 3 * (1 << 16)
    assert receivers.passes(0, far)
    assert receivers.passes(2, far - (1 << 16))
    assert not receivers.passes(1, far - (1 << 16) - 1)


def test_one_worker_knows_the_order_of_all(make_engine: EngineFactory) -> None:
    receivers = Receivers(Bench(make_engine(workers=1)))
    assert receivers.passes(0, 100)
    assert not receivers.passes(0, 99)
