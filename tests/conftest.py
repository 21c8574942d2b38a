"""The engine that a test runs on, the C engine and its readable twin in turn; and vdp as it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clean import Clean, copied
from vdp import capabilities
from vdp.engine.interface import Engine, EngineConfig
from vdp.testing.reference import ReferenceEngine

EngineFactory = Callable[..., Engine]
START_NS = 1_000_000_000


def native_engine() -> Callable[[EngineConfig], Engine]:
    """The C engine's class; skips the test where the extension has not been built."""
    try:
        from vdp.engine.native import NativeEngine
    except ImportError as error:
        pytest.skip(f"the C engine is not built: {error}")
    return NativeEngine


@pytest.fixture(autouse=True)
def keeps_its_capabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that a test runs in this process must not take from the tests what they need."""
    monkeypatch.setattr(capabilities, "give_up", lambda config: capabilities.effective())


@pytest.fixture(params=["native", "reference"])
def engine_class(request: pytest.FixtureRequest) -> Callable[[EngineConfig], Engine]:
    return native_engine() if request.param == "native" else ReferenceEngine


@pytest.fixture
def make_engine(engine_class: Callable[[EngineConfig], Engine]) -> Iterator[EngineFactory]:
    """Engines by configuration, with a stopped clock; their books are checked and they are closed."""
    from tests.engine.books import check_books

    made: list[Engine] = []

    def make(**config: int) -> Engine:
        engine = engine_class(EngineConfig(**config))
        engine.set_clock(START_NS)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.stop()
    try:
        for engine in made:
            check_books(engine)
    finally:
        for engine in made:
            engine.close()


@pytest.fixture
def engine(make_engine: EngineFactory) -> Engine:
    """One engine with the default configuration."""
    return make_engine()


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this tree as it is now: builds of it are of the same, whoever edits meanwhile."""
    return copied(tmp_path_factory.mktemp("snapshot") / "tree")


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory, snapshot: Path) -> Clean:
    """A virtualenv with the wheel of this tree; plugins may be installed into it."""
    return Clean(tmp_path_factory.mktemp("clean"), snapshot)
