"""Several workers on real traffic: queues of both ports, flows in order, numbers in order."""

from __future__ import annotations

import pytest

from tests.lab import Daemon, Lab
from tests.tunnels import OPTIONS, TwoVdp, assert_books_balance, received_bytes, two_vdp

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]

WORKERS = 2


def drops(daemon: Daemon) -> dict[str, int]:
    """By reason, of all ports and links."""
    return {row["reason"]: row["packets"] for row in daemon.ask("drop.show")}


def counters(daemon: Daemon) -> dict[str, int]:
    (link,) = daemon.ask("link.show")
    return dict(link["counters"])


def both_ways(net: TwoVdp) -> None:
    for reverse in (False, True):
        report = net.left_inner.iperf(net.right_inner, "10.0.0.2", transfer="64M", streams=8, reverse=reverse)
        assert received_bytes(report) > 16 << 20


@pytest.mark.conformance("B19", "B27", "E4")
@pytest.mark.parametrize("options", ["plain", "all"])
@pytest.mark.parametrize("kind", ["gretap", "gre"])
def test_flows_are_spread_and_no_number_comes_too_late(lab: Lab, kind: str, options: str) -> None:
    net = two_vdp(lab, kind, "interface", OPTIONS[options], workers=WORKERS)
    net.left_inner.wait_ping("10.0.0.2")
    both_ways(net)
    for daemon in (net.left, net.right):
        assert_books_balance(daemon)
        # Sixteen connections: that all fall to one worker happens once in thousands of years.
        assert [worker["lookups"] > 50 for worker in daemon.ask("status")["workers"]] == [True] * WORKERS
        assert drops(daemon).get("tunnel_sequence", 0) == 0
    # Counters are kept by worker, and summed up when read.
    sent, received = counters(net.left), counters(net.right)
    assert received["rx_packets"] == sent["tx_packets"]
    assert received["rx_bytes"] > 16 << 20
    for daemon in (net.left, net.right):
        assert daemon.stop() == 0
