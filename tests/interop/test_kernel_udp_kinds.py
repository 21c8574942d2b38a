"""The example plugins vdp-vxlan and vdp-gue against the kernel: vxlan both ways, GUE as `ip fou` takes it.

Debian builds no kernel whose tunnels send in GUE (CONFIG_NET_FOU_IP_TUNNELS), so that is one way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.installed import install
from tests.interop.kernel import GUEST_ADDRESS, GUEST_ADDRESS6, HOST_ADDRESS, HOST_ADDRESS6, Guest
from tests.interop.test_kernel_udp import echoes
from tests.lab import Lab, wait_for
from tests.tunnels import Tunnel, assert_books_balance, received_bytes

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

MTU = 1400
COUNT = 5
VNI = 0xABCDEF
VXLAN: list[tuple[str, dict[str, Any], str]] = [
    ("vxlan", {}, "noudpcsum"),
    ("vxlan", {"udpcsum": True}, "udpcsum"),
    ("vxlan6", {}, ""),
    ("vxlan6", {"udpcsum": False}, "udp6zerocsumtx udp6zerocsumrx"),
]
#: The kernel's device behind its GUE port, and what vdp sends to it.
GUE: list[tuple[str, dict[str, Any], str, str]] = [
    ("gue", {}, "ipip", "10.0.0.2"),
    ("gue", {"variant": 1}, "ipip", "10.0.0.2"),
    ("gue", {"encap_csum": False}, "ipip", "10.0.0.2"),
    ("gue", {}, "sit", "fd00::2"),
    ("guetap", {}, "gretap", "10.0.0.2"),
    ("guetap", {"key": 7}, "gretap key 7", "10.0.0.2"),
]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("packages"), "vxlan", "gue")


@contextlib.contextmanager
def device(guest: Guest, words: str) -> Iterator[None]:
    """A link t0 of the kernel's."""
    guest.sh(
        f"ip link add t0 type {words} && ip link set t0 mtu {MTU} && ip addr add 10.0.0.2/24 dev t0"
        " && sysctl -qw net.ipv6.conf.t0.disable_ipv6=0 net.ipv6.conf.t0.accept_dad=0"
        " && ip addr add fd00::2/64 dev t0 nodad && ip link set t0 up"
    )
    try:
        yield
    finally:
        guest.sh("ip link del t0")


@pytest.mark.parametrize(("kind", "options", "words"), VXLAN)
def test_vxlan_traffic_passes_both_ways(
    lab: Lab, packages: Path, kernel_guest: Guest, kind: str, options: dict[str, Any], words: str
) -> None:
    lab.packages.append(packages)
    inner = lab.host("inner")
    ends = (HOST_ADDRESS6, GUEST_ADDRESS6) if kind == "vxlan6" else (HOST_ADDRESS, GUEST_ADDRESS)
    end = Tunnel(
        kind, "interface", *ends, inner.name, "10.0.0.1/24", {"vni": VNI} | options, kernel_guest.device, MTU
    )  # fmt: skip
    kernel = f"vxlan id {VNI} local {ends[1]} remote {ends[0]} dstport 4789 {words}"
    with device(kernel_guest, kernel):
        daemon = lab.vdp(kernel_guest.host, end.toml())
        inner.wait_ping("10.0.0.2")
        assert inner.ping("10.0.0.2", COUNT, size=MTU - 28, timeout=10, M="do") == COUNT
        kernel_guest.sh("ping -q -c 3 -i 0.1 -W 5 10.0.0.1")
        mac = kernel_guest.sh("cat /sys/class/net/t0/address").strip()
        assert mac in inner.ip("neigh", "show", "10.0.0.2")
        for reverse in (False, True):
            server = kernel_guest.spawn("iperf3 -s -1 -B 10.0.0.2")
            try:
                wait_for("iperf3 in the guest", lambda: "5201" in kernel_guest.sh("ss -Hltn"), 20)
                report = inner.iperf_client("10.0.0.2", 5201, seconds=1, reverse=reverse)
            finally:
                server.stop()
            assert received_bytes(report) > 1 << 20
        statistics = kernel_guest.statistics()
        assert (statistics["rx_errors"], statistics["rx_dropped"]) == (0, 0)
        assert_books_balance(daemon)
        assert daemon.stop() == 0


@pytest.mark.conformance("L15")
@pytest.mark.parametrize(("kind", "options", "words", "address"), GUE)
def test_the_kernel_takes_gue(
    lab: Lab,
    packages: Path,
    kernel_guest: Guest,
    kind: str,
    options: dict[str, Any],
    words: str,
    address: str,
) -> None:
    lab.packages.append(packages)
    inner = lab.host("inner")
    end = Tunnel(
        kind, "interface", HOST_ADDRESS, GUEST_ADDRESS, inner.name, "10.0.0.1/24", options,
        kernel_guest.device, MTU,
    )  # fmt: skip
    kernel_guest.sh("modprobe fou; ip fou add port 6080 gue")
    try:
        with device(kernel_guest, f"{words} local {GUEST_ADDRESS} remote {HOST_ADDRESS}"):
            daemon = lab.vdp(kernel_guest.host, end.toml())
            if kind == "guetap":  # it is answered in plain GRE, to nobody: not even ARP
                mac = kernel_guest.sh("cat /sys/class/net/t0/address").strip()
                inner.ip("neigh", "replace", "10.0.0.2", "lladdr", mac, "dev", "tap0")
            if ":" in address:
                inner.run("sysctl", "-q", "-w", "net.ipv6.conf.tun0.disable_ipv6=0")
                inner.ip("-6", "address", "add", "fd00::1/64", "dev", "tun0", "nodad")
            before = received(kernel_guest, address)
            inner.ping(address, COUNT, size=MTU - 48, timeout=1)
            wait_for("the echo requests", lambda: received(kernel_guest, address) - before >= COUNT, 20)
            assert kernel_guest.statistics()["rx_errors"] == 0
            assert_books_balance(daemon)
            assert daemon.stop() == 0
    finally:
        kernel_guest.sh("ip fou del port 6080")


def received(guest: Guest, address: str) -> int:
    """Echo requests that came to the guest."""
    if ":" not in address:
        return echoes(guest)
    (line,) = guest.sh("nstat -az Icmp6InEchos | grep Icmp6InEchos").splitlines()
    return int(line.split()[1])
