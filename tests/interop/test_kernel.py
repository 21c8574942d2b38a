"""vdp against the kernel's own ip_gre: gre and gretap, every option, both raw port forms."""

from __future__ import annotations

from typing import Any

import pytest

from tests.interop.kernel import GUEST_ADDRESS, GUEST_ADDRESS6, HOST_ADDRESS, HOST_ADDRESS6, Guest
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

#: Fits into 1500 with every option, over IPv6 (40 IPv6 + 8 limit + 16 GRE + 14 Ethernet), and with ERSPAN.
LIVE_MTU = 1410
CASES: list[tuple[str, dict[str, Any]]] = [
    *((kind, options) for kind in KINDS for options in OPTIONS.values()),
    *((kind, OPTIONS[name]) for kind in ("ip6gre", "ip6gretap") for name in ("plain", "all")),
    *((kind, {"key": 5, "seq": True, "erspan_ver": 1}) for kind in ("erspan", "ip6erspan")),
    ("ip6erspan", {"key": 5, "seq": True, "erspan_ver": 2}),
]


@pytest.mark.conformance("E12", "H6")
@pytest.mark.parametrize("underlay", UNDERLAYS)
@pytest.mark.parametrize(("kind", "options"), CASES, ids=[f"{kind}-{'-'.join(on)}" for kind, on in CASES])
def test_traffic_passes_both_ways(
    lab: Lab, kernel_guest: Guest, kind: str, underlay: str, options: dict[str, Any]
) -> None:
    inner = lab.host("inner")
    ends = (HOST_ADDRESS6, GUEST_ADDRESS6) if kind.startswith("ip6") else (HOST_ADDRESS, GUEST_ADDRESS)
    end = Tunnel(
        kind, underlay, *ends, inner.name, "10.0.0.1/24", options, kernel_guest.device, LIVE_MTU
    )  # fmt: skip
    with kernel_guest.tunnel(kind, "10.0.0.2/24", options, LIVE_MTU):
        daemon = lab.vdp(kernel_guest.host, end.toml())
        inner.wait_ping("10.0.0.2")
        assert inner.ping("10.0.0.2", 5, timeout=10) == 5
        assert inner.ping("10.0.0.2", 5, size=LIVE_MTU - 28, timeout=10, M="do") == 5
        kernel_guest.sh("ping -q -c 3 -i 0.1 -W 5 10.0.0.1")
        if end.device == "tap0":
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


@pytest.mark.conformance("G4")
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
