"""A dataplane on the engine in C, which alone can be timed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.plane import L2, L3, A, B, Plane
from vdp.engine.interface import EngineConfig
from vdp.engine.native import NativeEngine


@pytest.fixture
def plane() -> Iterator[Plane]:
    """A gre link over an Ethernet underlay, connected with a LAN."""
    plane = Plane(NativeEngine(EngineConfig()), ("gre", "gretap", "wccp"))
    try:
        plane.port("underlay", L2)
        plane.port("lan", L3)
        plane.link("gre1", "gre", local=A, remote=B)
        plane.connect("lan", "gre1")
        yield plane
    finally:
        plane.close()
