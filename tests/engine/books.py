"""The law of struct vdp_port_stats, which vdp.testing ships."""

from __future__ import annotations

from vdp.testing.books import MOST_PORTS, check_books, present_ports

__all__ = ["MOST_PORTS", "check_books", "present_ports"]
