"""The law of struct vdp_port_stats: no packet vanishes, and each is counted once."""

from __future__ import annotations

import errno

from vdp.engine.interface import Engine, PortConfig, PortStats, PortType

MOST_PORTS = 100


def present_ports(engine: Engine) -> dict[int, PortStats]:
    """Statistics of every port that is there, by number."""
    found = {}
    for port in range(1, MOST_PORTS):
        try:
            found[port] = engine.port_stats(port)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
    return found


def check_books(engine: Engine) -> None:
    """Assert that the books of all ports balance.  Adds a port."""
    ports = present_ports(engine)
    for port, s in ports.items():
        came = s.rx_packets + s.injected + s.cloned + s.segmented
        assert came == s.forwarded + s.dropped + s.consumed + s.held, f"port {port}: in-port side of {s}"
        # A cell sends into the engine: what leaves it is received from it.
        left = s.tx_packets + s.merged + s.tx_dropped + s.tx_queued
        cell = s.offered and not s.tx_packets and s.offered != left
        assert s.offered == left + (s.rx_packets if cell else 0), f"port {port}: output side of {s}"
        drops = engine.port_drops(port)
        assert sum(drops) == s.dropped + s.tx_dropped, f"port {port}: reasons {drops} of {s}"
        assert s.hits + s.misses <= s.rx_packets
    # The next number says how many ports there ever were: what a removed one took or gave is gone.
    if engine.add_port(PortConfig("probe", PortType.MEMORY)) == len(ports) + 1:
        assert sum(s.forwarded for s in ports.values()) == sum(s.offered for s in ports.values())
