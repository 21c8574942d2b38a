"""Two vdp processes in two namespaces joined by veth, over IPv6: both kinds, both raw port forms."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab import Daemon, Host, Lab, wait_for
from tests.tunnels import OPTIONS, UNDERLAYS, Tunnel, TwoVdp, assert_books_balance, received_bytes, udp_loss

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]

LEFT, RIGHT = "2001:db8::1", "2001:db8::2"
#: Fits into 1500 with every option: 40 IPv6 + 8 limit + 16 GRE + 14 Ethernet.
INNER_MTU = 1420


def host6(lab: Lab, label: str) -> Host:
    """A host that speaks IPv6, without router discovery and the wait for duplicate addresses."""
    host = lab.host(label)
    for what in ("all", "default"):
        host.run(
            "sysctl", "-q", "-w", f"net.ipv6.conf.{what}.disable_ipv6=0", f"net.ipv6.conf.{what}.accept_ra=0",
            f"net.ipv6.conf.{what}.accept_dad=0", f"net.ipv6.conf.{what}.router_solicitations=0",
        )  # fmt: skip
    return host


def two_vdp6(
    lab: Lab, kind: str, underlay: str, options: dict[str, Any], ends: tuple[str, str] = (LEFT, RIGHT)
) -> TwoVdp:
    """Bring up both ends; the hosts have LEFT and RIGHT, the tunnel is between `ends`."""
    left, right = host6(lab, "left"), host6(lab, "right")
    left_inner, right_inner = lab.host("a"), lab.host("b")
    lab.cable(left, "", right, "")
    for host, address, other in ((left, LEFT, ends[1]), (right, RIGHT, ends[0])):
        host.ip("-6", "address", "add", f"{address}/64", "dev", "eth0", "nodad")
        if ends != (LEFT, RIGHT):
            host.ip("-6", "route", "add", other, "dev", "eth0")
    daemons: list[Daemon] = [
        lab.vdp(
            host,
            Tunnel(kind, underlay, local, remote, inner.name, address, options, mtu=INNER_MTU).toml(),
            wait=False,
        )
        for host, local, remote, inner, address in (
            (left, *ends, left_inner, "10.0.0.1/24"),
            (right, *reversed(ends), right_inner, "10.0.0.2/24"),
        )
    ]
    for daemon in daemons:
        daemon.wait_ready()
    return TwoVdp(daemons[0], daemons[1], left_inner, right_inner, left, right)


@pytest.mark.parametrize("options", [OPTIONS["plain"], OPTIONS["all"]], ids=["plain", "all"])
@pytest.mark.parametrize("underlay", UNDERLAYS)
@pytest.mark.parametrize("kind", ["ip6gretap", "ip6gre"])
def test_traffic_passes_both_ways(lab: Lab, kind: str, underlay: str, options: dict[str, Any]) -> None:
    net = two_vdp6(lab, kind, underlay, options)
    a, b = net.left_inner, net.right_inner
    a.wait_ping("10.0.0.2")
    assert a.ping("10.0.0.2", 5) == 5
    assert b.ping("10.0.0.1", 5, size=INNER_MTU - 28, M="do") == 5
    for reverse in (False, True):
        assert received_bytes(a.iperf(b, "10.0.0.2", transfer="16M", reverse=reverse)) > 4 << 20
    assert udp_loss(a, b, "10.0.0.2") < 1
    (link,) = net.left.ask("link.show")
    assert (link["kind"], link["local"], link["remote"], link["underlay"]) == (kind, LEFT, RIGHT, "underlay")
    assert net.left.ports()["underlay"]["type"] == "raw"
    for daemon in (net.left, net.right):
        assert_books_balance(daemon)
        assert daemon.stop() == 0


@pytest.mark.parametrize("underlay", UNDERLAYS)
def test_the_wire_carries_limit_and_options(lab: Lab, underlay: str) -> None:
    """Seen by tcpdump and decoded by scapy; the kernel on the way finds nothing to object to."""
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import GRE
    from scapy.utils import checksum

    net = two_vdp6(lab, "ip6gre", underlay, {**OPTIONS["all"], "tos": 0x28, "ttl": 9})
    net.left_inner.wait_ping("10.0.0.2")
    with net.right_host.capture("eth0", "ip6") as wire:
        assert net.left_inner.ping("10.0.0.2", 5) == 5
    packets = [
        p[IPv6] for p in wire.packets() if p.haslayer(IPv6) and p[IPv6].src == LEFT and p[IPv6].nh == 60
    ]
    assert len(packets) >= 5
    numbers = []
    for ip in packets:
        assert (ip.tc, ip.hlim, ip.dst) == (0x28, 9, RIGHT)
        assert bytes(ip)[40:48] == bytes((47, 0, 4, 1, 4, 1, 1, 0))
        header = GRE(bytes(ip)[48 : 40 + ip.plen])
        assert (header.proto, header.key, checksum(bytes(header))) == (0x0800, 42, 0)
        numbers.append(header.sequence_number)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_neither_host_need_have_the_tunnels_addresses(lab: Lab) -> None:
    """Each vdp answers solicitations for its own, and asks for the other's through the kernel."""
    net = two_vdp6(lab, "ip6gretap", "interface", {}, ("2001:db8:1::1", "2001:db8:1::2"))
    net.left_inner.wait_ping("10.0.0.2")
    assert net.left_inner.ping("10.0.0.2", 5) == 5
    mac = net.right_host.run("cat", "/sys/class/net/eth0/address").strip()
    assert mac in net.left_host.ip("-6", "neigh", "show", "2001:db8:1::2")


@pytest.mark.parametrize("underlay", UNDERLAYS)
def test_the_kernel_does_not_refuse_what_the_tunnel_carries(lab: Lab, underlay: str) -> None:
    """A packet that no link takes is answered by vdp (port unreachable), by the kernel never."""
    from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6ParamProblem

    net = two_vdp6(lab, "ip6gre", underlay, {"ikey": 1, "okey": 2})
    with net.left_host.capture("eth0", "icmp6") as wire:
        net.left_inner.ping("10.0.0.2", 2, timeout=1)
        wait_for(
            "the answer",
            lambda: any(p.haslayer(ICMPv6DestUnreach) for p in wire.packets()),
        )
    packets = wire.packets()
    assert all(p[ICMPv6DestUnreach].code == 4 for p in packets if p.haslayer(ICMPv6DestUnreach))
    assert not any(p.haslayer(ICMPv6ParamProblem) for p in packets)
