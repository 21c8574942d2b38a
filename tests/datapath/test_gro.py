"""What a link's cell joins on real traffic: TCP and UDP, or nothing where `gro` is off."""

from __future__ import annotations

import pytest

from tests.lab import Daemon, Lab
from tests.tunnels import TwoVdp, assert_books_balance, received_bytes, two_vdp, udp_loss

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]


#: With numbers of their own, no super-packets are on the wire.
SEQ = {"seq": True}


def merged(daemon: Daemon) -> int:
    return int(daemon.ports()["t0"]["counters"]["merged"])


def tcp(net: TwoVdp) -> None:
    net.left_inner.wait_ping("10.0.0.2")
    report = net.left_inner.iperf(net.right_inner, "10.0.0.2", transfer="16M")
    assert received_bytes(report) > 4 << 20


@pytest.mark.conformance("F3")
def test_a_link_without_gro_joins_nothing(lab: Lab) -> None:
    net = two_vdp(lab, "gretap", "interface", SEQ | {"gro": False})
    tcp(net)
    assert merged(net.right) == merged(net.left) == 0
    (link,) = net.right.ask("link.show")
    assert link["config"]["gro"] is False
    assert_books_balance(net.right)


@pytest.mark.conformance("F3", "F10")
def test_a_link_with_gro_joins_segments_and_datagrams(lab: Lab) -> None:
    net = two_vdp(lab, "gretap", "interface", SEQ)
    tcp(net)
    after_tcp = merged(net.right)
    assert after_tcp > 100
    # As fast as it goes: in what is received a batch, there are several.
    net.left_inner.iperf(net.right_inner, "10.0.0.2", transfer="20M", udp_rate="0", size=1200)
    assert merged(net.right) - after_tcp > 100
    assert udp_loss(net.left_inner, net.right_inner, "10.0.0.2") < 1
    assert_books_balance(net.right)
