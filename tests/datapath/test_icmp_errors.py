"""Routers between two vdp: what their ICMP errors do to the tunnel, on every form of underlay."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.datapath.test_two_vdp_ip6 import host6
from tests.lab import Daemon, Host, Lab, wait_for
from tests.tunnels import UNDERLAYS, assert_books_balance, received_bytes

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]

NARROW = 1400
#: By IP version: both ends, and the router's addresses towards them.
ENDS = {
    4: ("192.0.2.1", "198.51.100.1", "192.0.2.254", "198.51.100.254"),
    6: ("2001:db8:1::1", "2001:db8:2::1", "2001:db8:1::fe", "2001:db8:2::fe"),
}
#: An address of the tunnel that no host has: vdp answers for it, and no kernel hears of errors.
FOREIGN = "192.0.2.77"
FORMS = [*UNDERLAYS, "foreign"]
CASES = [(4, form) for form in FORMS] + [(6, form) for form in UNDERLAYS]


@dataclass
class Net:
    """left - router - right, the second link narrow; a tunnel between left and right, for a and b."""

    left: Daemon
    router: Host
    right_host: Host
    a: Host
    b: Host

    def link(self) -> dict[str, Any]:
        (link,) = self.left.ask("link.show")
        return dict(link)

    def effects(self) -> dict[str, int]:
        """ICMP errors that the link believed, by effect."""
        return dict(self.link()["icmp_errors"])

    def ping_large(self) -> int:
        return self.a.ping("10.0.0.2", 1, size=1380, timeout=1)


def configuration(
    version: int, form: str, ends: tuple[str, str], inner: Host, address: str, workers: int
) -> str:
    family = '\nfamily = "ipv6"' if version == 6 else ""
    raw = f'protocol = "gre"{family}' if form == "protocol" else 'interface = "eth0"'
    kind = "gre" if version == 4 else "ip6gre"
    more = "" if version == 4 else '\nencaplimit = "none"'
    return f"""
[[port]]
name = "underlay"
type = "raw"
{raw}

[[port]]
name = "tun0"
type = "tun"
netns = "{inner.name}"
address = ["{address}"]
mtu = 1450
queues = {workers}

[[link]]
name = "t0"
kind = "{kind}"
underlay = "underlay"
local = {json.dumps(ends[0])}
remote = {json.dumps(ends[1])}{more}

[[connect]]
members = ["tun0", "t0"]

[engine]
workers = {workers}

[plugins]
load = ["gre", "ip6gre"]
"""


def build(lab: Lab, version: int, form: str, narrow: int = NARROW, workers: int = 1) -> Net:
    make: Callable[[Lab, str], Host] = host6 if version == 6 else lambda lab, label: lab.host(label)
    left, router, right = (make(lab, label) for label in ("left", "router", "right"))
    a, b = lab.host("a"), lab.host("b")
    one, two, near, far = ENDS[version]
    prefix = 24 if version == 4 else 64
    lab.cable(left, "", router, "", names=("eth0", "eth0"))
    lab.cable(router, "", right, "", names=("eth1", "eth0"), mtu=narrow)
    flag = f"-{version}"
    nodad = ["nodad"] if version == 6 else []
    for host, device, address in (
        (left, "eth0", one), (router, "eth0", near), (router, "eth1", far), (right, "eth0", two)
    ):  # fmt: skip
        host.ip(flag, "address", "add", f"{address}/{prefix}", "dev", device, *nodad)
    forwarding = "net.ipv4.ip_forward=1" if version == 4 else "net.ipv6.conf.all.forwarding=1"
    router.run("sysctl", "-q", "-w", forwarding, "net.ipv4.icmp_ratemask=0", "net.ipv6.icmp.ratelimit=0")
    left.ip(flag, "route", "add", "default", "via", near)
    right.ip(flag, "route", "add", "default", "via", far)
    local = FOREIGN if form == "foreign" else one
    form = "interface" if form == "foreign" else form
    first = lab.vdp(left, configuration(version, form, (local, two), a, "10.0.0.1/24", workers))
    lab.vdp(right, configuration(version, form, (two, local), b, "10.0.0.2/24", 1))
    a.wait_ping("10.0.0.2")
    return Net(first, router, right, a, b)


@pytest.mark.conformance("I", "G15")
@pytest.mark.parametrize(("version", "form"), CASES)
def test_the_path_mtu_is_learned_within_two_seconds(lab: Lab, version: int, form: str) -> None:
    net = build(lab, version, form)
    header = 24 if version == 4 else 44
    assert net.link()["mtu"] == 1500 - header
    began = time.monotonic()
    assert net.ping_large() == 0
    wait_for("the path MTU", lambda: net.link()["mtu"] == NARROW - header or None, timeout=5)
    assert time.monotonic() - began < 1 + 2, "a second of which is the ping's"
    assert net.effects()["path_mtu"] >= 1
    # The sender is told with its next packet, and cuts from then on.
    net.ping_large()
    assert net.a.ping("10.0.0.2", 3, size=1380) == 3


@pytest.mark.conformance("I", "G16")
@pytest.mark.parametrize(("version", "form"), CASES)
def test_an_unreachable_remote_is_told_to_the_inner_sender(lab: Lab, version: int, form: str) -> None:
    net = build(lab, version, form)
    refused = ENDS[version][1]
    net.router.ip(f"-{version}", "route", "add", "unreachable", refused)

    def count() -> bool:
        net.a.ping("10.0.0.2", 1, timeout=1)
        return net.effects()["failure"] > 0

    wait_for("an ICMP error that counts", count, timeout=20)
    said = ""

    def told() -> bool:
        nonlocal said
        said = net.a.run("ping", "-n", "-c", "3", "-i", "0.3", "-W", "1", "10.0.0.2", check=False)
        return "Destination Host Unreachable" in said

    wait_for("host unreachable from behind the tunnel", told, timeout=20)
    assert "From 10.0.0.2" in said
    net.router.ip(f"-{version}", "route", "del", "unreachable", refused)
    net.a.wait_ping("10.0.0.2")


@pytest.mark.parametrize("version", [4, 6])
def test_the_socket_for_errors_sends_for_the_second_worker(lab: Lab, version: int) -> None:
    """Each worker sends by a socket of its own: flows of the TUN's second queue by that one."""
    net = build(lab, version, "protocol", narrow=1500, workers=2)
    report = net.a.iperf(net.b, "10.0.0.2", transfer="16M", streams=8)
    assert all(stream["sender"]["bytes"] > 0 for stream in report["end"]["streams"])
    assert received_bytes(report) > 4 << 20
    assert net.left.ports()["underlay"]["queues"] == 1
    assert_books_balance(net.left)
