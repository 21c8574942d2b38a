"""Tunnels to a group, between two hosts: who is a member, what goes over the wire, and what comes back."""

from __future__ import annotations

import pytest

from tests.datapath.test_two_vdp_ip6 import INNER_MTU, LEFT, RIGHT, host6
from tests.lab import Daemon, Host, Lab, wait_for
from tests.tunnels import KINDS, UNDERLAYS, Tunnel, assert_books_balance

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]

GROUP, GROUP6 = "239.1.1.1", "ff05::77"


def is_member(host: Host, group: str = GROUP) -> bool:
    return group in host.ip("maddress", "show", "dev", "eth0").split()


def end(lab: Lab, host: Host, address: str, inner: Host, inner_address: str, **more: str) -> Daemon:
    tunnel = Tunnel(
        more.get("kind", "gre"), more.get("underlay", "protocol"), address, GROUP, inner.name, inner_address
    )
    return lab.vdp(host, tunnel.toml())


@pytest.mark.conformance("B15", "B21", "E1")
@pytest.mark.parametrize("underlay", UNDERLAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_both_ends_are_members_and_hear_each_other(lab: Lab, kind: str, underlay: str) -> None:
    """Without a route to the group: the local address says by which device it leaves, as in the kernel."""
    left, right, a, b = (lab.host(label) for label in ("left", "right", "a", "b"))
    lab.cable(left, "192.0.2.1/24", right, "192.0.2.2/24")
    with right.capture("eth0", "igmp") as wire:
        one = end(lab, left, "192.0.2.1", a, "10.0.0.1/24", kind=kind, underlay=underlay)
        assert is_member(left)
        wait_for("a report", lambda: f"gaddr {GROUP}" in right.run("tcpdump", "-nvr", str(wire.path)))
    other = end(lab, right, "192.0.2.2", b, "10.0.0.2/24", kind=kind, underlay=underlay)
    a.wait_ping("10.0.0.2")
    assert a.ping("10.0.0.2", 5) == 5
    assert b.ping("10.0.0.1", 5) == 5
    for daemon in (one, other):
        (link,) = daemon.ask("link.show")
        counters = link["counters"]
        assert counters["multicast"] == counters["rx_packets"] >= 10
        assert "tunnel_loopback" not in {row["reason"] for row in daemon.ask("drop.show")}
        assert_books_balance(daemon)
        assert daemon.stop() == 0
    assert not is_member(left)
    assert not is_member(right)


@pytest.mark.conformance("B21")
def test_a_device_that_comes_back_is_joined_again(lab: Lab) -> None:
    left, right, a, b = (lab.host(label) for label in ("left", "right", "a", "b"))
    lab.cable(left, "192.0.2.1/24", right, "192.0.2.2/24")
    daemons = [
        end(lab, left, "192.0.2.1", a, "10.0.0.1/24"),
        end(lab, right, "192.0.2.2", b, "10.0.0.2/24"),
    ]
    a.wait_ping("10.0.0.2")
    left.ip("link", "set", "eth0", "down")
    left.ip("link", "set", "eth0", "up")
    a.wait_ping("10.0.0.2")
    left.ip("link", "delete", "eth0")
    lab.cable(left, "192.0.2.1/24", right, "192.0.2.2/24")
    wait_for("both to be members", lambda: is_member(left) and is_member(right))
    a.wait_ping("10.0.0.2")
    assert [daemon.stop() for daemon in daemons] == [0, 0]


@pytest.mark.conformance("B21")
def test_without_a_way_to_the_group_vdp_does_not_start(lab: Lab) -> None:
    left, inner = lab.host("left"), lab.host("a")
    tunnel = Tunnel("gre", "protocol", "192.0.2.1", GROUP, inner.name, "10.0.0.1/24")
    daemon = lab.vdp(left, tunnel.toml(), wait=False)
    assert daemon.process.wait(20) == 1
    assert f"error: link t0: no way leads to the group {GROUP}" in daemon.process.said()


@pytest.mark.conformance("B21")
def test_a_device_without_ipv4_takes_no_group(lab: Lab) -> None:
    """Below an MTU of 68 the kernel has no IPv4 on a device."""
    left, inner = lab.host("left"), lab.host("a")
    left.ip("route", "add", "local", "192.0.2.1", "dev", "lo")
    left.ip("route", "add", f"{GROUP}/32", "dev", "lo")
    left.ip("link", "set", "lo", "mtu", "60")
    tunnel = Tunnel("gre", "interface", "192.0.2.1", GROUP, inner.name, "10.0.0.1/24", interface="lo")
    daemon = lab.vdp(left, tunnel.toml(), wait=False)
    assert daemon.process.wait(20) == 1
    assert GROUP in daemon.process.said()


@pytest.mark.conformance("B21", "L18")
@pytest.mark.parametrize("underlay", UNDERLAYS)
def test_ipv6_groups_are_joined_as_well(lab: Lab, underlay: str) -> None:
    """Linux's ip6gre leaves that to the operator."""
    left, right = host6(lab, "left"), host6(lab, "right")
    a, b = lab.host("a"), lab.host("b")
    lab.cable(left, "", right, "")
    daemons = []
    for host, address, inner, inside in ((left, LEFT, a, "10.0.0.1/24"), (right, RIGHT, b, "10.0.0.2/24")):
        host.ip("-6", "address", "add", f"{address}/64", "dev", "eth0", "nodad")
        tunnel = Tunnel("ip6gre", underlay, address, GROUP6, inner.name, inside, mtu=INNER_MTU)
        daemons.append(lab.vdp(host, tunnel.toml()))
        assert is_member(host, GROUP6)
    a.wait_ping("10.0.0.2")
    assert b.ping("10.0.0.1", 5) == 5
    assert [daemon.stop() for daemon in daemons] == [0, 0]
    assert not is_member(left, GROUP6)
