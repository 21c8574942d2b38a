"""vdp.engine.native: what the binding adds to the engine, lifetime and threads."""

from __future__ import annotations

import errno
import select
import threading
from collections.abc import Iterator

import pytest

from vdp.engine.interface import (
    Engine,
    EngineConfig,
    Match,
    MemoryPacket,
    PortConfig,
    PortType,
    Resolution,
    Resolve,
)
from vdp.engine.native import NativeEngine
from vdp.engine.program import Output, Pull


@pytest.fixture
def engine() -> Iterator[NativeEngine]:
    with NativeEngine() as made:
        yield made


def test_it_is_an_engine(engine: NativeEngine) -> None:
    same: Engine = engine
    assert same.workers == 1


def test_a_closed_engine_says_so(engine: NativeEngine) -> None:
    engine.close()
    engine.close()
    with pytest.raises(OSError, match="closed") as error:
        engine.poll()
    assert error.value.errno == errno.EBADFD


def test_a_configuration_beyond_the_limits_is_refused() -> None:
    with pytest.raises(OSError) as error:
        NativeEngine(EngineConfig(workers=17))
    assert error.value.errno == errno.EINVAL


def test_errors_carry_the_engine_s_errno(engine: NativeEngine) -> None:
    for call in (lambda: engine.port_stats(1), lambda: engine.worker_stats(1), lambda: engine.remove(9, [])):
        with pytest.raises(OSError) as error:
            call()
        assert error.value.errno == errno.ENODEV
    port = engine.add_port(PortConfig("a", PortType.MEMORY))
    with pytest.raises(OSError) as error:
        engine.install(0, Match(port, b"", b""), (Pull(1),))
    assert error.value.errno == errno.EINVAL


def test_a_started_engine_answers_from_its_own_thread(engine: NativeEngine) -> None:
    into, out = (engine.add_port(PortConfig(name, PortType.MEMORY)) for name in "io")
    engine.start()
    names = {line.strip() for line in _thread_names()}
    assert "vdp-worker-0" in names
    engine.inject(into, MemoryPacket(b"hello"))
    assert select.select([engine.event_fd()], [], [], 10)[0]
    (upcall,) = engine.take_upcalls(0)
    match = Match(into, b"\xff", b"h", 1)
    engine.resolve(0, [Resolution(upcall.token, Resolve.INSTALL, match, (Output(out),))])
    received = engine.collect(out)
    assert received is not None
    assert received.data == b"hello"
    engine.stop()


def test_calls_of_several_threads_take_turns(engine: NativeEngine) -> None:
    """The contract asks for one control thread; two must not do harm all the same."""
    port = engine.add_port(PortConfig("a", PortType.MEMORY))
    engine.start()
    failures: list[BaseException] = []

    def install(first: int) -> None:
        try:
            for number in range(200):
                match = Match(port, b"\xff\xff", bytes([first, number]), 2)
                flow = engine.install(0, match, (Output(port),))
                assert engine.remove(0, [flow]) == 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=install, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert engine.dump(0) == []


def test_expire_tells_all_of_more_flows_than_it_asks_for_at_once(engine: NativeEngine) -> None:
    port = engine.add_port(PortConfig("a", PortType.MEMORY))
    flows = [
        engine.install(0, Match(port, b"\xff\xff", number.to_bytes(2, "big"), 2), (Output(port),))
        for number in range(2500)
    ]
    assert sorted(engine.expire(0, 0, 0)) == sorted(flows)


def _thread_names() -> list[str]:
    from pathlib import Path

    return [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
