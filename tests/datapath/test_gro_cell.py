"""A GRO cell as a port of its own: what a rule puts in is coalesced, and comes in again by it."""

from __future__ import annotations

import pytest

from tests.lab import Lab, wait_for

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]


@pytest.mark.conformance("E12", "F4")
def test_tcp_passes_a_cell_and_is_joined_there(lab: Lab) -> None:
    host, left, right = lab.host("vdp"), lab.host("left"), lab.host("right")
    daemon = lab.vdp(
        host,
        f"""
[[port]]
name = "tun0"
type = "tun"
netns = "{left.name}"
address = ["10.0.0.1/24"]
offload = false
[[port]]
name = "tun1"
type = "tun"
netns = "{right.name}"
address = ["10.0.0.2/24"]
[[port]]
name = "cell0"
type = "gro-cell"
packet_type = "l3"
[[connect]]
members = ["tun0", "tun1"]
[[rule]]
match = {{ in_port = "tun0" }}
actions = ["output:cell0"]
[[rule]]
match = {{ in_port = "cell0" }}
actions = ["output:tun1"]
""",
    )
    left.wait_ping("10.0.0.2")
    result = right.start("iperf3", "-s", "-1")
    wait_for("the server", lambda: ":5201" in right.run("ss", "-ltn") or None)
    left.run("iperf3", "-c", "10.0.0.2", "-t", "1")
    assert result.wait() == 0
    cell = daemon.ports()["cell0"]["counters"]
    assert cell["merged"] > 0
    assert cell["offered"] == cell["rx_packets"] + cell["merged"] + cell["tx_dropped"] + cell["tx_queued"]
