"""What is done to the devices under the ports while vdp runs: other MTU, other address, gone."""

from __future__ import annotations

import pytest

from tests.lab import Lab, wait_for
from tests.tunnels import assert_books_balance, two_vdp

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]


def test_an_interface_with_another_mac_address_still_receives(lab: Lab) -> None:
    net = two_vdp(lab, "gretap", "interface", {})
    net.left_inner.wait_ping("10.0.0.2")
    net.right_host.ip("link", "set", "eth0", "address", "02:11:22:33:44:55")
    net.left_inner.wait_ping("10.0.0.2")
    assert net.left_inner.ping("10.0.0.2", 5) == 5


@pytest.mark.conformance("B9")
def test_a_larger_mtu_is_used_and_a_smaller_one_minded(lab: Lab) -> None:
    """Links follow the interface; the ports themselves do, too, or they would refuse what links send."""
    net = two_vdp(lab, "gretap", "interface", {})
    net.left_inner.wait_ping("10.0.0.2")
    for host in (net.left_host, net.right_host):
        host.ip("link", "set", "eth0", "mtu", "9000")
    for inner in (net.left_inner, net.right_inner):
        inner.ip("link", "set", "tap0", "mtu", "8000")

    def follow(*mtus: int) -> bool:
        return all(
            {port["mtu"] for port in daemon.ports().values()} == set(mtus) for daemon in (net.left, net.right)
        )

    wait_for("vdp to follow", lambda: follow(9000, 8962, 8000))
    assert net.left_inner.ping("10.0.0.2", 3, size=7000, M="do") == 3
    for host in (net.left_host, net.right_host):
        host.ip("link", "set", "eth0", "mtu", "1500")
    wait_for("vdp to follow", lambda: follow(1500, 1462, 8000))
    assert net.left_inner.ping("10.0.0.2", 3, size=7000, M="do") == 0
    assert net.left_inner.ping("10.0.0.2", 3, size=1400, M="do") == 3


def test_an_interface_that_goes_is_said_and_the_rest_goes_on(lab: Lab) -> None:
    net = two_vdp(lab, "gretap", "interface", {})
    net.left_inner.wait_ping("10.0.0.2")
    net.right_host.ip("link", "delete", "eth0")
    wait_for("vdp to notice", lambda: not net.right.ports()["underlay"]["up"])
    assert "its device eth0 is gone" in net.right.process.said()
    assert_books_balance(net.right)
    assert net.right.stop() == 0


def test_a_tap_that_goes_is_said_and_made_again(lab: Lab) -> None:
    net = two_vdp(lab, "gretap", "interface", {})
    net.left_inner.wait_ping("10.0.0.2")
    net.right_inner.ip("link", "delete", "tap0")
    wait_for("vdp to notice", lambda: "its device tap0 is gone" in net.right.process.said())
    net.left_inner.wait_ping("10.0.0.2")
    assert_books_balance(net.right)
    assert net.right.stop() == 0
