"""The example plugins vdp-vxlan and vdp-gue, installed, between two vdp processes: pings, TCP, the wire."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.datapath.test_two_vdp_ip6 import two_vdp6
from tests.installed import install
from tests.lab import Lab, wait_for
from tests.tunnels import Tunnel, TwoVdp, assert_books_balance, received_bytes, two_vdp

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]

INNER_MTU = 1410
CASES: list[tuple[str, dict[str, Any]]] = [
    ("vxlan", {"vni": 42}),
    ("vxlan", {"vni": 42, "udpcsum": True}),
    ("vxlan6", {"vni": 42}),
    ("gue", {}),
    ("gue", {"variant": 1}),
    ("gue6", {}),
    ("guetap", {"key": 7}),
]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("packages"), "vxlan", "gue")


@pytest.fixture
def equipped(lab: Lab, packages: Path) -> Lab:
    """A laboratory whose daemons have both plugins."""
    lab.packages.append(packages)
    return lab


def two(lab: Lab, kind: str, options: dict[str, Any]) -> TwoVdp:
    if kind.endswith("6"):
        return two_vdp6(lab, kind, "interface", options)
    return two_vdp(lab, kind, "interface", options, INNER_MTU)


@pytest.mark.conformance("L15")
@pytest.mark.parametrize(("kind", "options"), CASES, ids=[f"{kind}-{'-'.join(on)}" for kind, on in CASES])
def test_traffic_passes_both_ways(equipped: Lab, kind: str, options: dict[str, Any]) -> None:
    net = two(equipped, kind, options)
    a, b = net.left_inner, net.right_inner
    a.wait_ping("10.0.0.2")
    assert a.ping("10.0.0.2", 5) == 5
    assert b.ping("10.0.0.1", 5, size=INNER_MTU - 28, M="do") == 5
    for reverse in (False, True):
        assert received_bytes(a.iperf(b, "10.0.0.2", transfer="16M", reverse=reverse)) > 4 << 20
    (link,) = net.left.ask("link.show")
    assert link["kind"] == kind
    for daemon in (net.left, net.right):
        assert_books_balance(daemon)
        assert daemon.stop() == 0


@pytest.mark.conformance("L15")
def test_a_port_of_the_plugins_own_settings_is_heard(equipped: Lab) -> None:
    """`ip fou add port 6080 gue`: a plain gretap link gets what comes in GUE, and nobody refuses it."""
    left, right, a, b = (equipped.host(name) for name in ("left", "right", "a", "b"))
    equipped.cable(left, "192.0.2.1/24", right, "192.0.2.2/24")
    one = Tunnel("guetap", "interface", "192.0.2.1", "192.0.2.2", a.name, "10.0.0.1/24", mtu=INNER_MTU)
    two = Tunnel("gretap", "interface", "192.0.2.2", "192.0.2.1", b.name, "10.0.0.2/24", mtu=INNER_MTU)
    decoding = two.toml().replace('"gretap"]', '"gretap", "gue"]') + "[plugin.gue]\nports = [6080]\n"
    daemons = [equipped.vdp(left, one.toml()), equipped.vdp(right, decoding)]
    with left.capture("eth0", "icmp and src 192.0.2.2") as wire:
        a.ping("10.0.0.2", 1, timeout=1)  # what it asks, and is answered in plain GRE, is not for guetap
        wait_for("a frame", lambda: daemons[1].ask("link.show")[0]["counters"]["rx_packets"] > 0)
    assert wire.packets() == []
    for daemon in daemons:
        assert_books_balance(daemon)
        assert daemon.stop() == 0


def decoded(capture: Path) -> list[dict[str, Any]]:
    """tshark's layers of each packet."""
    words = ["tshark", "-r", str(capture), "-T", "json", "-o", "udp.check_checksum:TRUE"]
    text = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    return [packet["_source"]["layers"] for packet in json.loads(text)]


@pytest.mark.parametrize("kind", ["vxlan", "vxlan6"])
def test_tshark_reads_what_is_on_the_wire(equipped: Lab, kind: str) -> None:
    net = two(equipped, kind, {"vni": 0xABCDEF, "udpcsum": True})
    net.left_inner.wait_ping("10.0.0.2")
    for host in (net.left_host, net.right_host):
        host.run("ethtool", "-K", "eth0", "tx", "off")
    with net.right_host.capture("eth0", "udp port 4789") as wire:
        assert net.left_inner.ping("10.0.0.2", 5) == 5
    packets = decoded(wire.path)
    assert len(packets) >= 10
    for packet in packets:
        assert packet["vxlan"]["vxlan.vni"] == str(0xABCDEF)
        assert packet["vxlan"]["vxlan.flags"] == "0x0800"
        assert int(packet["udp"]["udp.srcport"]) >= 49152
        assert packet["udp"]["udp.checksum.status"] == "1", "good"
        assert "icmp" in packet


def test_frames_are_flooded_until_it_is_known_who_is_where(equipped: Lab) -> None:
    """Three VTEPs on one wire, one link each: flood, learn, and then send to one only."""
    hosts = [equipped.host(name) for name in ("one", "two", "three")]
    inners = [equipped.host(name) for name in ("a", "b", "c")]
    switch = equipped.host("switch")
    switch.ip("link", "add", "br0", "type", "bridge")
    switch.ip("link", "set", "br0", "up")
    for number, host in enumerate(hosts, 1):
        equipped.cable(host, f"192.0.2.{number}/24", switch, "", names=("eth0", f"p{number}"))
        switch.ip("link", "set", f"p{number}", "master", "br0")
    daemons = [
        equipped.vdp(host, vtep(number, inner.name), wait=False)
        for number, (host, inner) in enumerate(zip(hosts, inners, strict=True), 1)
    ]
    for daemon in daemons:
        daemon.wait_ready()
    for number in (2, 3):
        inners[0].wait_ping(f"10.0.0.{number}")
    inners[1].wait_ping("10.0.0.3")
    (link,) = wait_for(
        "both stations", lambda: [row for row in daemons[0].ask("link.show") if row["info"]["stations"] >= 2]
    )
    assert link["info"]["flood"] == ["192.0.2.3"]
    with hosts[2].capture("eth0", "udp port 4789") as wire:
        assert inners[0].ping("10.0.0.2", 10) == 10
    assert not [packet for packet in wire.packets() if b"\x08\x00" in bytes(packet)[64:66]]
    for daemon in daemons:
        assert_books_balance(daemon)
        assert daemon.stop() == 0


def vtep(number: int, inner: str) -> str:
    """The configuration of one of three."""
    others = [f"192.0.2.{other}" for other in (1, 2, 3) if other != number]
    return f"""
[[port]]
name = "underlay"
type = "raw"
interface = "eth0"

[[port]]
name = "tap0"
type = "tap"
netns = "{inner}"
address = ["10.0.0.{number}/24"]
mtu = {INNER_MTU}

[[link]]
name = "vx0"
kind = "vxlan"
underlay = "underlay"
vni = 42
local = "192.0.2.{number}"
remote = "{others[0]}"
flood = ["{others[1]}"]

[[bridge]]
name = "br0"
members = ["tap0", "vx0"]

[plugins]
load = ["vxlan"]
"""
