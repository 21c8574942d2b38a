"""`link` over a raw IP socket: two cables between the same two hosts, and a tunnel bound to each of them.

The tunnels have the same ends.  What they send leaves by their own device, whatever the route
says, and what comes in by a device is its tunnel's (IP_PKTINFO, both ways).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.lab import Daemon, Host, Lab, wait_for
from vdp.netlink import namespaces
from vdp.testing.builders import gre, ipv4, udp

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]

LEFT, RIGHT = "192.0.2.1", "192.0.2.2"
CONFIGURATION = """
[[port]]
name = "underlay"
type = "raw"
protocol = "gre"

{ports}

[plugins]
load = ["gre"]
"""
ENDS = f'kind = "gre"\nunderlay = "underlay"\nlocal = "{LEFT}"\nremote = "{RIGHT}"'


@pytest.fixture
def hosts(lab: Lab) -> tuple[Host, Host]:
    left, right = lab.host("left"), lab.host("right")
    lab.cable(left, f"{LEFT}/24", right, f"{RIGHT}/24")
    lab.cable(left, "198.51.100.1/24", right, "198.51.100.2/24", names=("eth1", "eth1"), mtu=1400)
    for host in (left, right):
        for scope in ("all", "eth0", "eth1"):
            host.run("sysctl", "-q", "-w", f"net.ipv4.conf.{scope}.rp_filter=0")
    left.ip("route", "add", RIGHT, "dev", "eth1", "metric", "50")
    return left, right


@pytest.fixture
def inners(lab: Lab) -> list[Host]:
    return [lab.host(f"inner{number}") for number in (0, 1)]


@pytest.fixture
def daemon(lab: Lab, hosts: tuple[Host, Host], inners: list[Host]) -> Daemon:
    """Tunnels t0 and t1, bound to eth0 and eth1, behind tun0 and tun1 in namespaces of their own."""
    ports = ""
    for number, inner in enumerate(inners):
        ports += f"""
[[port]]
name = "tun{number}"
type = "tun"
netns = "{inner.name}"
address = ["10.0.{number}.1/24"]

[[link]]
name = "t{number}"
{ENDS}
link = "eth{number}"

[[connect]]
members = ["tun{number}", "t{number}"]
"""
    return lab.vdp(hosts[0], CONFIGURATION.format(ports=ports))


def links(daemon: Daemon) -> dict[str, dict[str, int]]:
    return {row["name"]: row["counters"] for row in daemon.ask("link.show")}


@pytest.fixture
def senders(hosts: tuple[Host, Host]) -> Iterator[dict[str, socket.socket]]:
    """Of the other host: a socket for GRE by each device."""
    made = {}
    for device in ("eth0", "eth1"):

        def opened(device: str = device) -> socket.socket:
            one = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_GRE)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            one.bind((RIGHT, 0))
            return one

        made[device] = namespaces.run_in(hosts[1].name, opened)
    yield made
    for one in made.values():
        one.close()


@pytest.mark.conformance("B10", "B9", "B26")
def test_each_sends_by_its_own_device(hosts: tuple[Host, Host], inners: list[Host], daemon: Daemon) -> None:
    rows = {row["name"]: row for row in daemon.ask("link.show")}
    assert [rows[name]["mtu"] for name in ("t0", "t1")] == [1476, 1376]
    assert [rows[name]["info"]["interface"] for name in ("t0", "t1")] == ["eth0", "eth1"]
    for number, inner in enumerate(inners):
        with hosts[1].capture("eth0", "proto gre") as first, hosts[1].capture("eth1", "proto gre") as second:
            inner.run("ping", "-c", "3", "-i", "0.2", "-W", "1", f"10.0.{number}.2", check=False)
            mine, other = (first, second) if number == 0 else (second, first)
            wait_for("what was sent", lambda mine=mine: len(mine.packets()) >= 3 or None)  # type: ignore[misc]
        assert other.packets() == []


@pytest.mark.conformance("D6")
def test_each_is_given_what_comes_by_its_own_device(
    daemon: Daemon, senders: dict[str, socket.socket]
) -> None:
    inner = ipv4("10.9.0.1", "10.9.0.2", udp(1, 2, b"hello"))
    for device, taker, other in (("eth1", "t1", "t0"), ("eth0", "t0", "t1"), ("eth1", "t1", "t0")):
        before = links(daemon)
        for _ in range(4):
            senders[device].sendto(gre(inner), (LEFT, 0))
        wait_for(
            "four packets",
            lambda before=before, taker=taker: (
                links(daemon)[taker]["rx_packets"]  # type: ignore[misc]
                == before[taker]["rx_packets"] + 4
                or None
            ),
        )
        assert links(daemon)[other]["rx_packets"] == before[other]["rx_packets"]


@pytest.mark.conformance("B12", "B22")
def test_the_mtu_follows_the_device(hosts: tuple[Host, Host], daemon: Daemon) -> None:
    hosts[0].ip("link", "set", "eth1", "mtu", "1300")
    # At once by the event, at the latest with the look at all ways every ten seconds.
    wait_for("another MTU", lambda: {row["mtu"] for row in daemon.ask("link.show")} == {1476, 1276}, 25)


def test_a_device_that_is_not_there_stops_the_start(lab: Lab, hosts: tuple[Host, Host]) -> None:
    text = CONFIGURATION.format(ports=f'[[link]]\nname = "t0"\n{ENDS}\nlink = "eth7"')
    daemon = lab.vdp(hosts[0], text, wait=False)
    assert daemon.process.wait() == 1
    assert "t0: there is no device eth7 to bind it to (No such device)" in daemon.process.said()
    lab._daemons.remove(daemon)
