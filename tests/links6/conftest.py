"""Dataplanes on both engines with IPv6 tunnels: link1 of a kind between port lan and an underlay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.links6.packets import LOCAL, REMOTE
from tests.plane import L2, L3, MakePlane, Plane, make_plane, stopped_time

__all__ = ["make_plane", "stopped_time"]

PLUGINS = ("gre", "gretap", "ip6gre")


@pytest.fixture
def tunnel(make_plane: MakePlane) -> Callable[..., Plane]:
    """A plane with that tunnel; `underlay` is the packet type of its underlay, the rest is the link's."""

    def make(kind: str = "ip6gre", underlay: Any = L3, paths: Any = None, **parameters: Any) -> Plane:
        plane = make_plane(PLUGINS, paths=paths)
        plane.port("underlay", underlay)
        plane.port("lan", L2 if kind == "ip6gretap" else L3)
        plane.link("link1", kind, **{"local": LOCAL, "remote": REMOTE, **parameters})
        if kind == "ip6gretap":
            plane.bridge("br0", "lan", "link1")
        else:
            plane.connect("lan", "link1")
        return plane

    return make
