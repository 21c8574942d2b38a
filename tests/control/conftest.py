"""Dataplanes on both engines (tests.plane)."""

from tests.plane import make_plane

__all__ = ["make_plane"]
