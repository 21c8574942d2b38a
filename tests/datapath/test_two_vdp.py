"""Two vdp processes in two namespaces, joined by veth: every kind, option and raw port form."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab import Lab, wait_for
from tests.tunnels import (
    KINDS,
    OPTIONS,
    UNDERLAYS,
    assert_books_balance,
    received_bytes,
    two_vdp,
    udp_loss,
)

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("underlay", UNDERLAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_traffic_passes_both_ways(lab: Lab, kind: str, underlay: str, options: dict[str, Any]) -> None:
    net = two_vdp(lab, kind, underlay, options)
    a, b = net.left_inner, net.right_inner
    a.wait_ping("10.0.0.2")
    assert a.ping("10.0.0.2", 5) == 5
    assert b.ping("10.0.0.1", 5, size=1400) == 5
    if kind == "gretap":
        mac = b.run("cat", "/sys/class/net/tap0/address").strip()
        assert mac in a.ip("neigh", "show", "10.0.0.2")  # ARP went through the tunnel
    for reverse in (False, True):
        assert received_bytes(a.iperf(b, "10.0.0.2", transfer="16M", reverse=reverse)) > 4 << 20
    assert udp_loss(a, b, "10.0.0.2") < 1
    for daemon in (net.left, net.right):
        assert_books_balance(daemon)
        assert daemon.stop() == 0


@pytest.mark.parametrize("underlay", UNDERLAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_wire_carries_the_options(lab: Lab, kind: str, underlay: str) -> None:
    """Seen by tcpdump and decoded by scapy: flags, key, a good checksum, a sequence that counts."""
    from scapy.layers.inet import IP
    from scapy.layers.l2 import GRE
    from scapy.utils import checksum

    net = two_vdp(lab, kind, underlay, OPTIONS["all"])
    net.left_inner.wait_ping("10.0.0.2")
    with net.right_host.capture("eth0", "ip proto 47") as wire:
        assert net.left_inner.ping("10.0.0.2", 5) == 5
    packets = [p for p in wire.packets() if p[IP].src == "192.0.2.1"]
    assert len(packets) >= 5
    for packet in packets:
        header = packet[GRE]
        assert (header.chksum_present, header.key_present, header.seqnum_present) == (1, 1, 1)
        assert header.proto == (0x6558 if kind == "gretap" else 0x0800)
        assert header.key == 42
        assert checksum(bytes(header)) == 0
        assert packet[IP].len == len(packet) - 14
    numbers = [packet[GRE].sequence_number for packet in packets]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_differs_lets_nothing_through(lab: Lab, kind: str) -> None:
    net = two_vdp(lab, kind, "interface", {"ikey": 1, "okey": 2})  # each sends 2 and takes 1
    assert net.left_inner.ping("10.0.0.2", 3, timeout=1) == 0
    for daemon in (net.left, net.right):
        assert_books_balance(daemon)


@pytest.mark.parametrize("underlay", UNDERLAYS)
def test_python_sees_the_first_packets_of_a_flow_only(lab: Lab, underlay: str) -> None:
    net = two_vdp(lab, "gretap", underlay, {})
    a, b = net.left_inner, net.right_inner
    a.wait_ping("10.0.0.2")
    a.iperf(b, "10.0.0.2", transfer="8M")

    def upcalls() -> int:
        return sum(p["counters"]["upcalls"] for d in (net.left, net.right) for p in d.ports().values())

    def frames() -> int:
        return sum(p["counters"]["rx_segments"] for p in net.left.ports().values())

    before, frames_before = upcalls(), frames()
    a.iperf(b, "10.0.0.2", transfer="128M")
    assert frames() - frames_before > 40_000
    assert upcalls() - before < 60  # two connections, ARP, and whatever the kernel says meanwhile


@pytest.mark.conformance("A1")
@pytest.mark.parametrize("kind", KINDS)
def test_a_daemon_that_ends_leaves_nothing_behind(lab: Lab, kind: str) -> None:
    net = two_vdp(lab, kind, "protocol", {})
    device = "tap0" if kind == "gretap" else "tun0"
    assert device in net.left_inner.ip("link")
    assert net.left.stop() == 0
    assert device not in net.left_inner.ip("link")
    assert not net.left.socket.exists()


def test_the_other_end_may_come_later(lab: Lab) -> None:
    """The neighbour and the peer are not there at first; nothing has to be restarted."""
    net = two_vdp(lab, "gretap", "interface", {})
    net.right_host.ip("link", "set", "eth0", "down")
    assert net.left_inner.ping("10.0.0.2", 1, timeout=1) == 0
    net.right_host.ip("link", "set", "eth0", "up")
    wait_for("the tunnel to work again", lambda: net.left_inner.ping("10.0.0.2", 1, timeout=1) == 1, 20)
