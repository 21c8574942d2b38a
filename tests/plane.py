"""Dataplanes for tests: on the engine under test, books checked, handlers' faults not overlooked.

The folders that use them import the fixtures into their conftest.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.engine.books import check_books
from vdp.engine.interface import Engine, EngineConfig, PacketType
from vdp.registry import Registered
from vdp.testing.dataplane import Dataplane

A, B = "192.0.2.1", "192.0.2.2"  # local and remote of the tunnels
L2, L3 = PacketType.L2, PacketType.L3
MAC_A, MAC_B, MAC_C = (bytes.fromhex(f"02000000000{n}") for n in "abc")


class Plane(Dataplane):
    """A Dataplane whose handlers are expected to be in order, unless `faults` says otherwise."""

    faults = False

    def all_drops(self) -> dict[str, int]:
        """Packets lost anywhere, by reason."""
        found: dict[str, int] = {}
        for name in [*self.datapath.ports, *self.datapath.links]:
            for reason, count in self.drops(name).items():
                found[reason] = found.get(reason, 0) + count
        return found

    def verdicts(self) -> dict[str, dict[str, int]]:
        """What became of the packets that each handler was offered, zeros left out."""
        read = self.engine.read_counter
        found = {}
        for item in self.datapath.registry:
            counts = {outcome: read(number).packets for outcome, number in item.counters.items()}
            found[item.name] = {outcome: count for outcome, count in counts.items() if count}
        return found

    def handler(self, name: str) -> Registered:
        return next(item for item in self.datapath.registry if item.name == name)

    def flows(self, port: str) -> list[Any]:
        """The megaflows of what comes in by a port or link."""
        number = self.datapath.egress(port).number  # type: ignore[attr-defined]
        return [f for f in self.datapath.slowpath.index.flows.values() if f.match.in_port == number]


MakePlane = Callable[..., Plane]


@pytest.fixture
def make_plane(engine_class: Callable[[EngineConfig], Engine]) -> Iterator[MakePlane]:
    """Dataplanes by engine configuration and Dataplane arguments; books are checked at the end."""
    made: list[Plane] = []

    def make(
        plugins: tuple[str, ...] = ("gre", "gretap", "wccp"),
        paths: Any = None,
        settings: Any = None,
        **config: int,
    ) -> Plane:
        engine = engine_class(EngineConfig(**config))
        made.append(Plane(engine, plugins, paths, settings))
        return made[-1]

    yield make
    try:
        for plane in made:
            check_books(plane.engine)
            if not plane.faults:
                assert "handler_error" not in plane.all_drops()
    finally:
        for plane in made:
            plane.close()


@pytest.fixture
def plane(make_plane: MakePlane) -> Plane:
    """A dataplane with the three built-in plugins, and nothing else yet."""
    return make_plane()


@pytest.fixture
def stopped_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """time.monotonic stands still; the function that the test gets moves it."""
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move
