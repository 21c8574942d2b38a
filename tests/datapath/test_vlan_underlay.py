"""VLAN tags at an underlay: one that only says a priority is none, any other is not for the card."""

from __future__ import annotations

import sys

import pytest

from tests.lab import Lab, wait_for
from tests.tunnels import Tunnel

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]


@pytest.mark.conformance("C23")
@pytest.mark.parametrize("vid", [0, 6])
def test_a_tag_of_vlan_0_is_no_vlan_and_any_other_is_not_for_the_card(lab: Lab, vid: int) -> None:
    """Frames with a tag, sent to a tunnel on the card itself by a packet socket at the other end."""
    left, right, b = lab.host("left"), lab.host("right"), lab.host("b")
    lab.cable(left, "192.0.2.1/24", right, "192.0.2.2/24")
    tunnel = Tunnel("gre", "interface", "192.0.2.2", "192.0.2.1", b.name, "10.0.0.2/24")
    daemon = lab.vdp(right, tunnel.toml())
    mac = right.run("cat", "/sys/class/net/eth0/address").strip()
    script = f"""
from scapy.all import ICMP, IP, Dot1Q, Ether, GRE, sendp
inner = IP(src="10.0.0.1", dst="10.0.0.2") / ICMP()
frame = Ether(dst="{mac}") / Dot1Q(vlan={vid}, prio=5) / IP(src="192.0.2.1", dst="192.0.2.2") / GRE() / inner
sendp([frame] * 3, iface="eth0", verbose=False)
plain = Ether(dst="{mac}") / IP(src="192.0.2.1", dst="192.0.2.2") / GRE() / inner
sendp([plain] * 2, iface="eth0", verbose=False)
"""
    left.run(sys.executable, "-c", script)
    taken = 5 if vid == 0 else 2

    def counted(name: str) -> int:
        (link,) = daemon.ask("link.show")
        return int(link["counters"][name])

    wait_for("the tunnel to take them", lambda: counted("rx_packets") >= taken)
    wait_for("answers", lambda: counted("tx_packets") >= taken)
    assert counted("rx_packets") == taken
    dropped = {row["reason"]: row["packets"] for row in daemon.ask("drop.show")}
    assert (dropped.get("not_for_us", 0) >= 3) is (vid != 0)
