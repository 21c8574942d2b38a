"""vdp against the kernel's own ip_gre: gre and gretap, every option, both raw port forms."""

from __future__ import annotations

from typing import Any

import pytest

from tests.interop.kernel import GUEST_ADDRESS, HOST_ADDRESS, Guest
from tests.lab import Lab, wait_for
from tests.tunnels import (
    INNER_MTU,
    KINDS,
    OPTIONS,
    UNDERLAYS,
    Tunnel,
    assert_books_balance,
    received_bytes,
)

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("underlay", UNDERLAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_traffic_passes_both_ways(
    lab: Lab, kernel_guest: Guest, kind: str, underlay: str, options: dict[str, Any]
) -> None:
    inner = lab.host("inner")
    end = Tunnel(
        kind, underlay, HOST_ADDRESS, GUEST_ADDRESS, inner.name, "10.0.0.1/24", options, kernel_guest.device
    )
    with kernel_guest.tunnel(kind, "10.0.0.2/24", options, INNER_MTU):
        daemon = lab.vdp(kernel_guest.host, end.toml())
        inner.wait_ping("10.0.0.2")
        assert inner.ping("10.0.0.2", 5, timeout=10) == 5
        assert inner.ping("10.0.0.2", 5, size=1400, timeout=10) == 5
        kernel_guest.sh("ping -q -c 3 -i 0.1 -W 5 10.0.0.1")
        if kind == "gretap":
            mac = kernel_guest.sh("cat /sys/class/net/t0/address").strip()
            assert mac in inner.ip("neigh", "show", "10.0.0.2")
        for reverse in (False, True):
            server = kernel_guest.spawn("iperf3 -s -1 -B 10.0.0.2")
            try:
                wait_for("iperf3 in the guest", lambda: "5201" in kernel_guest.sh("ss -Hltn"), 20)
                report = inner.iperf_client("10.0.0.2", 5201, seconds=1, reverse=reverse)
            finally:
                server.stop()
            assert received_bytes(report) > 1 << 20
        counted = kernel_guest.statistics()
        assert counted["rx_errors"] == 0
        assert counted["rx_packets"] > 0
        assert_books_balance(daemon)
        assert daemon.stop() == 0


def test_the_kernel_counts_no_sequence_errors(lab: Lab, kernel_guest: Guest) -> None:
    """Sequence numbers start and count as the kernel expects; a fresh daemon starts at 0 again."""
    inner = lab.host("inner")
    options = {"seq": True}
    end = Tunnel(
        "gretap", "interface", HOST_ADDRESS, GUEST_ADDRESS, inner.name, "10.0.0.1/24", options,
        kernel_guest.device,
    )  # fmt: skip
    with kernel_guest.tunnel("gretap", "10.0.0.2/24", options, INNER_MTU):
        daemon = lab.vdp(kernel_guest.host, end.toml())
        inner.wait_ping("10.0.0.2")
        assert inner.ping("10.0.0.2", 50, timeout=20) == 50
        counted = kernel_guest.statistics()
        assert {name: n for name, n in counted.items() if name.endswith("errors") and n} == {}
        assert daemon.stop() == 0


def test_a_packet_of_a_wrong_key_is_refused_by_both(lab: Lab, kernel_guest: Guest) -> None:
    inner = lab.host("inner")
    end = Tunnel(
        "gretap", "interface", HOST_ADDRESS, GUEST_ADDRESS, inner.name, "10.0.0.1/24", {"key": 1},
        kernel_guest.device,
    )  # fmt: skip
    with kernel_guest.tunnel("gretap", "10.0.0.2/24", {"key": 2}, INNER_MTU):
        daemon = lab.vdp(kernel_guest.host, end.toml())
        assert inner.ping("10.0.0.2", 2, timeout=1) == 0
        assert kernel_guest.statistics()["rx_packets"] == 0
        assert_books_balance(daemon)
