"""Dataplanes on both engines (tests.plane)."""

from tests.plane import make_plane, plane, stopped_time

__all__ = ["make_plane", "plane", "stopped_time"]
