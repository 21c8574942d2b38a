"""TCP super-packets inside GRE between two vdp: handed on whole by a veth, or cut by the kernel."""

from __future__ import annotations

import pytest

from tests.lab import Daemon, Host, Lab
from tests.tunnels import KINDS, assert_books_balance, received_bytes, two_vdp

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]

#: What makes the kernel cut: GRE alone, all TCP, or whatever lacks a checksum.
UDP = {"encap": "udp"}
INNER_MTU = 1410
CUTTERS = {"gre": ("tx-gre-segmentation", "off"), "tso": ("tso", "off"), "checksums": ("tx", "off")}


def mean_size(daemon: Daemon, port: str, way: str) -> float:
    """Segments in a packet, of those that went through a port."""
    counters = daemon.ports()[port]["counters"]
    return float(counters[f"{way}_segments"] / counters[f"{way}_packets"])


def exchange(one: Host, other: Host) -> None:
    one.wait_ping("10.0.0.2")
    for reverse in (False, True):
        assert received_bytes(one.iperf(other, "10.0.0.2", transfer="64M", reverse=reverse)) > 16 << 20


@pytest.mark.conformance("B19", "H1", "H6")
@pytest.mark.parametrize(
    "options",
    [{}, {"ikey": 7, "okey": 7}, {"csum": True}, {"csum": True, "ikey": 7, "okey": 7}],
    ids=["plain", "key", "csum", "key-csum"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_they_go_all_the_way_uncut(lab: Lab, kind: str, options: dict[str, int]) -> None:
    net = two_vdp(lab, kind, "interface", options)
    device = "tap0" if kind == "gretap" else "tun0"
    exchange(net.left_inner, net.right_inner)
    for daemon in (net.left, net.right):
        assert "gre_tso" in daemon.ports()["underlay"]["features"]
        # Half of what a port carries are acknowledgements of the other direction.
        for port, way in (("underlay", "tx"), ("underlay", "rx"), (device, "tx")):
            assert mean_size(daemon, port, way) > 3, (port, way)
        counters = daemon.ports()[device]["counters"]
        # With checksums a last segment that is shorter goes alone; there are few such.
        assert counters["segmented"] <= (counters["rx_packets"] // 4 if "csum" in options else 0)
        assert_books_balance(daemon)


@pytest.mark.conformance("H1", "H4")
@pytest.mark.parametrize("cutter", CUTTERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("csum", [False, True], ids=["plain", "csum"])
def test_the_kernel_cuts_them_where_the_device_does_not(lab: Lab, kind: str, cutter: str, csum: bool) -> None:
    net = two_vdp(lab, kind, "interface", {"csum": csum})
    for host in (net.left_host, net.right_host):
        host.run("ethtool", "-K", "eth0", *CUTTERS[cutter])
    exchange(net.left_inner, net.right_inner)
    for daemon in (net.left, net.right):
        assert mean_size(daemon, "underlay", "tx") > 3
        assert mean_size(daemon, "underlay", "rx") == 1
        assert_books_balance(daemon)


@pytest.mark.conformance("L13", "H1", "H6")
@pytest.mark.parametrize("options", [UDP, UDP | {"csum": True, "key": 7}], ids=["plain", "csum"])
@pytest.mark.parametrize("kind", KINDS)
def test_in_udp_too(lab: Lab, kind: str, options: dict[str, object]) -> None:
    """Whole by a veth; then cut by the kernel behind UDP, and put together again by the other side's cell."""
    net = two_vdp(lab, kind, "interface", options, INNER_MTU)
    exchange(net.left_inner, net.right_inner)
    for daemon in (net.left, net.right):
        assert mean_size(daemon, "underlay", "tx") > 3
        assert mean_size(daemon, "underlay", "rx") > 3
        # Cut are last segments that are shorter, no more: UDP has a checksum.
        counters = daemon.ports()["tap0" if kind == "gretap" else "tun0"]["counters"]
        assert counters["segmented"] <= counters["rx_packets"] // 4
    for host in (net.left_host, net.right_host):
        host.run("ethtool", "-K", "eth0", "tx", "off", "tx-udp_tnl-segmentation", "off")
    exchange(net.left_inner, net.right_inner)
    for daemon in (net.left, net.right):
        assert_books_balance(daemon)
        drops = {row["reason"] for row in daemon.ask("drop.show")}
        assert not drops & {"l4_checksum", "tunnel_checksum", "gso_invalid", "gso_unsupported"}


def test_a_link_with_numbers_cuts_by_itself(lab: Lab) -> None:
    net = two_vdp(lab, "gretap", "interface", {"seq": True})
    exchange(net.left_inner, net.right_inner)
    for daemon in (net.left, net.right):
        assert mean_size(daemon, "underlay", "tx") == mean_size(daemon, "underlay", "rx") == 1
        assert_books_balance(daemon)
