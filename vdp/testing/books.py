"""What must hold when a test is done: the books balance, and no handler has failed.

The law of struct vdp_port_stats: no packet vanishes, and each one is counted once.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vdp.engine.interface import Engine, PortConfig, PortStats, PortType

if TYPE_CHECKING:
    from vdp.datapath import Datapath

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
    """Assert that the books of all ports balance, and sum up.  Adds a port."""
    ports = present_ports(engine)
    check_balance(engine, ports)
    # The next number says how many ports there ever were: what a removed one took or gave is gone.
    if engine.add_port(PortConfig("probe", PortType.MEMORY)) == len(ports) + 1:
        assert sum(s.forwarded for s in ports.values()) == sum(s.offered for s in ports.values())


def check_balance(engine: Engine, ports: Mapping[int, PortStats]) -> None:
    """Assert that each port's books balance, by what `present_ports` says of them."""
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


def check_faults(datapath: Datapath) -> None:
    """Assert that no handler has raised: REJECT, which that counts as, hides it from a test."""
    for each in datapath.registry:
        failed = sum(count[how] for count in (each.verdicts, each.errors) for how in ("error", "timeout"))
        assert not failed, f"handler {each.name} of {each.owner} raised {failed} times: {each.last_error}"
    reason = datapath.drops.code("handler_error")
    for name in [*datapath.ports, *datapath.links]:
        lost = datapath.engine.port_drops(datapath.number_of(name))[reason]
        assert not lost, f"{lost} packets of {name} were dropped as handler_error"
