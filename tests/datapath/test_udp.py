"""GRE-in-UDP between two vdp processes: traffic, what the wire shows, and who else is on the host."""

from __future__ import annotations

import json
import socket
import subprocess
from typing import Any

import pytest

from tests.datapath.test_two_vdp_ip6 import two_vdp6
from tests.lab import Host, Lab
from tests.tunnels import OPTIONS, Tunnel, TwoVdp, assert_books_balance, received_bytes, two_vdp, udp_loss
from vdp.netlink import namespaces

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]

UDP = {"encap": "udp"}
FORMS: dict[str, dict[str, Any]] = {
    "plain": UDP,
    "all": UDP | OPTIONS["all"],
    "no-checksum": UDP | {"encap_csum": False},
    "port": UDP | {"encap_dport": 6635, "encap_sport": 50001},
}
KINDS = ("gretap", "gre", "ip6gretap", "ip6gre")
INNER_MTU = 1410


def two(lab: Lab, kind: str, options: dict[str, Any]) -> TwoVdp:
    if kind.startswith("ip6"):
        return two_vdp6(lab, kind, "interface", options)
    return two_vdp(lab, kind, "interface", options, INNER_MTU)


def joined(net: TwoVdp) -> float:
    """Datagrams that came in one packet, on average, at the right end's underlay."""
    counters = net.right.ports()["underlay"]["counters"]
    return float(counters["rx_segments"] / counters["rx_packets"])


@pytest.mark.conformance("B5", "L13", "E12")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_traffic_passes_both_ways(lab: Lab, kind: str, form: str) -> None:
    net = two(lab, kind, FORMS[form])
    a, b = net.left_inner, net.right_inner
    a.wait_ping("10.0.0.2")
    assert a.ping("10.0.0.2", 5) == 5
    assert b.ping("10.0.0.1", 5, size=1300) == 5
    for reverse in (False, True):
        assert received_bytes(a.iperf(b, "10.0.0.2", transfer="16M", reverse=reverse)) > 4 << 20
    assert udp_loss(a, b, "10.0.0.2") < 1
    if form in ("plain", "port"):
        a.iperf(b, "10.0.0.2", transfer="64M")
        assert joined(net) > 4, "the kernel was handed datagrams by the dozen"
    for daemon in (net.left, net.right):
        assert_books_balance(daemon)
        assert daemon.stop() == 0


@pytest.mark.parametrize("kind", ["gretap", "ip6gretap"])
def test_ipv6_inside(lab: Lab, kind: str) -> None:
    net = two(lab, kind, UDP)
    a, b = net.left_inner, net.right_inner
    for host, device, address in ((a, "tap0", "fd00::1/64"), (b, "tap0", "fd00::2/64")):
        host.run("sysctl", "-q", "-w", f"net.ipv6.conf.{device}.disable_ipv6=0")
        host.ip("-6", "address", "add", address, "dev", device, "nodad")
    a.wait_ping("fd00::2")
    assert received_bytes(a.iperf(b, "fd00::2", transfer="16M")) > 4 << 20
    for daemon in (net.left, net.right):
        assert_books_balance(daemon)


def decoded(capture: str, port: int) -> list[dict[str, Any]]:
    """tshark's layers of each packet."""
    words = ["tshark", "-r", capture, "-T", "json", "-d", f"udp.port=={port},gre"]
    words += ["-o", "udp.check_checksum:TRUE"]
    text = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    return [packet["_source"]["layers"] for packet in json.loads(text)]


@pytest.mark.conformance("L13")
@pytest.mark.parametrize("kind", ["gretap", "ip6gre"])
def test_the_wire_carries_gre_in_udp(lab: Lab, kind: str) -> None:
    """Seen by tcpdump and decoded by tshark."""
    net = two(lab, kind, UDP | {"key": 42, "csum": True})
    net.left_inner.wait_ping("10.0.0.2")
    net.right_host.run("ethtool", "-K", "eth0", "tx", "off")
    net.left_host.run("ethtool", "-K", "eth0", "tx", "off")
    with net.right_host.capture("eth0", "udp port 4754 or ip6[6] == 60") as wire:
        assert net.left_inner.ping("10.0.0.2", 5) == 5
    packets = decoded(str(wire.path), 4754)
    assert len(packets) >= 10
    for packet in packets:
        assert packet["udp"]["udp.dstport"] == "4754"
        assert int(packet["udp"]["udp.srcport"]) >= 49152
        assert packet["udp"]["udp.checksum.status"] == "1", "good"
        assert packet["gre"]["gre.key"] == "0x0000002a"
        assert packet["gre"]["gre.checksum.status"] == "1"
        assert "icmp" in packet


@pytest.mark.conformance("L13")
def test_the_host_refuses_nothing_and_keeps_its_own(lab: Lab) -> None:
    """No port unreachable for what the tunnel takes; what is the host's comes to the host."""
    net = two_vdp(lab, "gretap", "interface", UDP, INNER_MTU)
    net.left_inner.wait_ping("10.0.0.2")

    def listen() -> socket.socket:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    with (
        namespaces.run_in(net.right_host.name, listen) as mine,
        net.left_host.capture("eth0", "icmp") as wire,
    ):
        mine.bind(("192.0.2.2", 4000))
        mine.settimeout(10)
        assert net.left_inner.ping("10.0.0.2", 20) == 20
        with namespaces.run_in(net.left_host.name, listen) as other:
            other.sendto(b"hello", ("192.0.2.2", 4000))
        assert mine.recv(100) == b"hello"
    assert wire.packets() == []


@pytest.mark.parametrize("kind", ["gretap", "ip6gretap"])
def test_a_port_that_is_in_use_is_said(lab: Lab, kind: str) -> None:
    left, inner = lab.host("left"), lab.host("a")
    lab.cable(left, "192.0.2.1/24", lab.host("right"), "192.0.2.2/24")
    family = socket.AF_INET6 if kind == "ip6gretap" else socket.AF_INET
    ends = ("2001:db8::1", "2001:db8::2") if kind == "ip6gretap" else ("192.0.2.1", "192.0.2.2")
    with namespaces.run_in(left.name, lambda: socket.socket(family, socket.SOCK_DGRAM)) as taken:
        taken.bind(("", 4754))
        daemon = start(lab, left, Tunnel(kind, "interface", *ends, inner.name, "10.0.0.1/24", UDP))
        assert daemon.process.wait() == 1
    assert "UDP port 4754, on which its tunnels listen, is in use" in daemon.process.said()


def start(lab: Lab, host: Host, end: Tunnel) -> Any:
    return lab.vdp(host, end.toml(), wait=False)
