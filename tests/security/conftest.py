"""Dataplanes on both engines (tests.plane)."""

from tests.plane import make_plane, plane

__all__ = ["make_plane", "plane"]
