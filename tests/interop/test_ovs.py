"""vdp against Open vSwitch's user-space datapath: gretap and plain GRE, both raw port forms."""

from __future__ import annotations

from typing import Any

import pytest

from tests.interop.ovs import OvsPeer
from tests.lab import Lab
from tests.tunnels import (
    KINDS,
    OPTIONS,
    UNDERLAYS,
    Tunnel,
    assert_books_balance,
    received_bytes,
    udp_loss,
)

pytestmark = [pytest.mark.root, pytest.mark.timeout(120), pytest.mark.usefixtures("ovs_installed")]

#: Open vSwitch sends no sequence numbers and asks for none.
OVS_OPTIONS = {
    "plain": OPTIONS["plain"],
    "key": OPTIONS["key"],
    "csum": OPTIONS["csum"],
    "key-csum": {"key": 42, "csum": True},
}


@pytest.mark.parametrize("options", OVS_OPTIONS.values(), ids=OVS_OPTIONS)
@pytest.mark.parametrize("underlay", UNDERLAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_traffic_passes_both_ways(lab: Lab, kind: str, underlay: str, options: dict[str, Any]) -> None:
    exchange(lab, kind, underlay, options)


@pytest.mark.parametrize("kind", KINDS)
def test_the_device_may_be_told_to_cut_super_packets(lab: Lab, kind: str) -> None:
    exchange(lab, kind, "interface", {}, by_ethtool=True)


def exchange(
    lab: Lab, kind: str, underlay: str, options: dict[str, Any], *, by_ethtool: bool = False
) -> None:
    """Open vSwitch hears by a packet socket without virtio_net_hdr: no super-packets for it."""
    left, right, inner = lab.host("vdp"), lab.host("ovs"), lab.host("inner")
    lab.cable(left, "192.0.2.1/24", right, "")
    peer = OvsPeer(right, "eth0", "192.0.2.2/24")
    peer.add_tunnel("192.0.2.1", "10.0.0.2/24", layer3=kind == "gre", **options)
    ends = ("192.0.2.1", "192.0.2.2", inner.name, "10.0.0.1/24", options)
    end = Tunnel(kind, underlay, *ends, offload=by_ethtool)
    if by_ethtool:
        left.run("ethtool", "-K", "eth0", "tx", "off")
    daemon = lab.vdp(left, end.toml())
    inner.wait_ping("10.0.0.2")
    assert inner.ping("10.0.0.2", 5) == 5
    assert inner.ping("10.0.0.2", 5, size=1400) == 5
    assert right.ping("10.0.0.1", 5) == 5
    if kind == "gretap":
        mac = right.run("cat", "/sys/class/net/br-int/address").strip()
        assert mac in inner.ip("neigh", "show", "10.0.0.2")
    for reverse in (False, True):
        assert received_bytes(inner.iperf(right, "10.0.0.2", transfer="8M", reverse=reverse)) > 2 << 20
    assert udp_loss(inner, right, "10.0.0.2", transfer="300K", rate="5M") < 1
    assert_books_balance(daemon)
    assert daemon.stop() == 0


@pytest.mark.parametrize("layer3", [False, True], ids=["gretap", "gre"])
def test_two_of_them_reach_each_other(lab: Lab, layer3: bool) -> None:
    """The laboratory's own check: what fails above fails because of vdp."""
    left, right = lab.host("left"), lab.host("right")
    lab.cable(left, "", right, "")
    ends = [OvsPeer(left, "eth0", "192.0.2.1/24"), OvsPeer(right, "eth0", "192.0.2.2/24")]
    ends[0].add_tunnel("192.0.2.2", "10.0.0.1/24", layer3=layer3, key=5, csum=True)
    ends[1].add_tunnel("192.0.2.1", "10.0.0.2/24", layer3=layer3, key=5, csum=True)
    left.wait_ping("10.0.0.2")
    assert left.ping("10.0.0.2", size=1400) == 3
