"""Outer fragments: the kernel puts them together in front of a raw IP socket; a packet port counts them."""

from __future__ import annotations

import pytest

from tests.lab import Daemon, Lab, wait_for
from tests.tunnels import Tunnel, assert_books_balance

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]

#: No DF outside, so that what is larger than the wire is cut there (G19).
CUT = {"pmtudisc": False, "ignore_df": True, "mtu": 1450}


def received(daemon: Daemon) -> int:
    (link,) = daemon.ask("link.show")
    return int(link["counters"]["rx_packets"])


def dropped(daemon: Daemon) -> dict[str, int]:
    return {row["reason"]: row["packets"] for row in daemon.ask("drop.show")}


@pytest.mark.conformance("C20", "G19")
@pytest.mark.parametrize("underlay", ["protocol", "interface"])
def test_outer_fragments(lab: Lab, underlay: str) -> None:
    left, right, a, b = (lab.host(label) for label in ("left", "right", "a", "b"))
    lab.cable(left, "192.0.2.1/24", right, "192.0.2.2/24", mtu=600)
    ends = (
        (left, Tunnel("gre", "interface", "192.0.2.1", "192.0.2.2", a.name, "10.0.0.1/24", CUT)),
        (right, Tunnel("gre", underlay, "192.0.2.2", "192.0.2.1", b.name, "10.0.0.2/24", CUT)),
    )
    one, other = (lab.vdp(host, tunnel.toml()) for host, tunnel in ends)
    a.wait_ping("10.0.0.2")
    before = received(other)
    a.run("ping", "-q", "-c", "3", "-i", "0.02", "-W", "1", "-s", "1300", "10.0.0.2", check=False)
    if underlay == "protocol":
        wait_for("the whole packets", lambda: received(other) == before + 3)
        wait_for("the answers, at a packet port", lambda: dropped(one).get("fragment_policy", 0) == 9)
        assert "fragment_policy" not in dropped(other)
    else:
        wait_for("the fragments", lambda: dropped(other).get("fragment_policy", 0) == 9)
        assert received(other) == before
    for daemon in (one, other):
        assert_books_balance(daemon)
