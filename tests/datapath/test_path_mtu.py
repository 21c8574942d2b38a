"""A narrow link on the way: the router's ICMP error lowers the link's MTU, and the sender is told."""

from __future__ import annotations

import pytest

from tests.lab import Daemon, Host, Lab, wait_for
from tests.tunnels import UNDERLAYS, Tunnel

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]

NARROW = 1300
LEFT, RIGHT = "192.0.2.1", "198.51.100.1"


def end(lab: Lab, host: Host, underlay: str, local: str, remote: str, address: str, inner: Host) -> Daemon:
    tunnel = Tunnel("gre", underlay, local, remote, inner.name, address)
    return lab.vdp(host, tunnel.toml())


@pytest.mark.conformance("I", "B9")
@pytest.mark.parametrize("underlay", UNDERLAYS)
def test_a_narrow_link_on_the_way_lowers_the_mtu(lab: Lab, underlay: str) -> None:
    left, router, right = lab.host("left"), lab.host("router"), lab.host("right")
    left_inner, right_inner = lab.host("a"), lab.host("b")
    lab.cable(left, f"{LEFT}/24", router, "192.0.2.254/24")
    names = ("eth1", "eth0")
    lab.cable(router, "198.51.100.254/24", right, f"{RIGHT}/24", names=names, mtu=NARROW)
    router.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    left.ip("route", "add", "default", "via", "192.0.2.254")
    right.ip("route", "add", "default", "via", "198.51.100.254")
    daemon = end(lab, left, underlay, LEFT, RIGHT, "10.0.0.1/24", left_inner)
    end(lab, right, underlay, RIGHT, LEFT, "10.0.0.2/24", right_inner)
    left_inner.wait_ping("10.0.0.2")
    assert mtu(daemon) == 1476
    # Too large for the narrow link, with DF outside: the router says so.
    assert left_inner.ping("10.0.0.2", 1, size=1400) == 0
    wait_for("the path MTU", lambda: mtu(daemon) == NARROW - 24 or None, timeout=30)
    # The next one is too large for the link: its sender is told, and from then on cuts what it sends.
    left_inner.ping("10.0.0.2", 1, size=1400)
    assert left_inner.ping("10.0.0.2", 3, size=1400) == 3


def mtu(daemon: Daemon) -> int:
    (link,) = daemon.ask("link.show")
    return int(link["mtu"])
