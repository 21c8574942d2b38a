"""`vdp reload` and SIGHUP in namespaces: all else changes while a stream of numbered datagrams loses none."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import REPOSITORY, Daemon, Host, Lab, wait_for
from vdp.netlink import namespaces

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

PORT = 5001
PACE_S = 0.0005
END = """
[[port]]
name = "underlay"
type = "raw"
interface = "eth0"
[[port]]
name = "tap0"
type = "tap"
netns = "INNER"
address = ["10.0.0.SELF/24"]
mtu = 1400
[[link]]
name = "gt0"
kind = "gretap"
local = "192.0.2.SELF"
remote = "192.0.2.PEER"
underlay = "underlay"
key = 7
[[bridge]]
name = "br0"
members = ["tap0", "gt0"]
[plugins]
load = ["gre", "gretap"]
[metrics]
enabled = false
"""
SECOND = """
[[port]]
name = "tap1"
type = "tap"
netns = "INNER"
address = ["10.1.0.SELF/24"]
mtu = 1400
[[link]]
name = "gt1"
kind = "gretap"
local = "192.0.2.SELF"
remote = "192.0.2.PEER"
underlay = "underlay"
encap = "udp"
[[bridge]]
name = "br1"
members = ["tap1", "gt1"]
"""


@dataclass
class Site:
    """A vdp, the host it runs in, and the one behind its TAP devices."""

    host: Host
    inner: Host
    daemon: Daemon
    own: str
    peer: str

    def text(self, text: str) -> str:
        return text.replace("SELF", self.own).replace("PEER", self.peer).replace("INNER", self.inner.name)

    def write(self, text: str) -> None:
        path = self.daemon.socket.with_suffix(".toml")
        path.write_text(f'{self.text(text)}\n[control]\nsocket = "{self.daemon.socket}"\n')

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "vdp", *arguments, "--socket", str(self.daemon.socket)],
            capture_output=True, text=True, timeout=60,
            env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}"},
        )  # fmt: skip

    def reload(self, text: str) -> dict[str, list[dict[str, str]]]:
        self.write(text)
        answer: dict[str, list[dict[str, str]]] = self.daemon.ask("reload")
        assert answer["result"] in ("applied", "unchanged"), answer
        return answer


@pytest.fixture
def sites(lab: Lab) -> tuple[Site, Site]:
    hosts = [lab.host(name) for name in ("left", "right")]
    lab.cable(hosts[0], "192.0.2.1/24", hosts[1], "192.0.2.2/24")
    found = []
    for host, own, peer, text in ((hosts[0], "1", "2", END), (hosts[1], "2", "1", END + SECOND)):
        site = Site(host, lab.host(f"inner{own}"), None, own, peer)  # type: ignore[arg-type]
        site.daemon = lab.vdp(host, site.text(text))
        found.append(site)
    found[0].inner.wait_ping("10.0.0.2")
    return found[0], found[1]


class Stream:
    """Numbered datagrams from one host to another, as long as it is wanted."""

    def __init__(self, sender: Host, receiver: Host) -> None:
        self.sent = 0
        self.received: set[int] = set()
        self._stop = threading.Event()
        self._out = namespaces.run_in(sender.name, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._in = namespaces.run_in(receiver.name, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._in.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        self._in.bind(("10.0.0.2", PORT))
        self._in.settimeout(0.1)
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]

    def _send(self) -> None:
        while not self._stop.is_set():
            self._out.sendto(self.sent.to_bytes(8, "big") + bytes(200), ("10.0.0.2", PORT))
            self.sent += 1
            time.sleep(PACE_S)

    def _receive(self) -> None:
        while not self._stop.is_set() or len(self.received) < self.sent:
            try:
                self.received.add(int.from_bytes(self._in.recv(2000)[:8], "big"))
            except TimeoutError:
                if self._stop.is_set():
                    return

    @contextmanager
    def running(self) -> Iterator[Stream]:
        for thread in self._threads:
            thread.start()
        try:
            wait_for("the stream", lambda: len(self.received) > 100)
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(20)
            self._out.close()
            self._in.close()

    def goes_on(self) -> None:
        count = len(self.received)
        wait_for("more of the stream", lambda: len(self.received) > count + 50)


def index_of(host: Host, device: str) -> str:
    """Its ifindex; "" while it is not there."""
    return host.run("cat", f"/sys/class/net/{device}/ifindex", check=False).strip()


@pytest.mark.conformance("A14")
def test_a_stream_loses_nothing_while_all_else_changes(sites: tuple[Site, Site]) -> None:
    left, right = sites
    tap0 = index_of(left.inner, "tap0")
    numbers = {name: row["number"] for name, row in left.daemon.ports().items()}
    with Stream(left.inner, right.inner).running() as stream:
        left.write(END + SECOND)
        dry = left.command("reload", "--dry-run")
        assert (dry.returncode, dry.stdout.splitlines()) == (
            0,
            [
                "~ port underlay: carries UDP port 4754, too",
                f"+ port tap1: tap in namespace {left.inner.name}",
                "+ link gt1: gretap, local 192.0.2.1, remote 192.0.2.2, over underlay",
                "+ bridge br1: tap1 gt1",
                "= 2 plugins, 1 port, 1 link, 1 bridge",
            ],
        ), dry.stderr
        assert "this was a dry run" in dry.stderr
        assert "tap1" not in left.daemon.ports()
        done = left.command("reload")
        assert (done.returncode, done.stdout) == (0, dry.stdout), done.stderr
        left.inner.wait_ping("10.1.0.2")
        stream.goes_on()
        # Once more for everything about the second tunnel.
        assert [
            c["sign"] for c in left.reload(END + SECOND.replace('encap = "udp"', "ttl = 9"))["changes"]
        ] == [
            "~",
            "-/+",
        ]
        left.reload(END + SECOND.replace("10.1.0.SELF/24", "10.1.1.SELF/24").replace("1400", "1300"))
        assert "10.1.1.1/24" in left.inner.ip("-o", "address", "show", "tap1")
        assert "10.1.0.1/24" not in left.inner.ip("-o", "address", "show", "tap1")
        assert "mtu 1300" in left.inner.ip("link", "show", "tap1")
        # The queue is made longer and shorter under the port, and is as long again in a device made anew.
        before, longer = index_of(left.inner, "tap1"), SECOND.replace("1400", "1400\ntxqueuelen = 5000")
        for text, length in ((longer, 5000), (SECOND, 1000)):
            left.reload(END + text)
            assert f"qlen {length}" in left.inner.ip("link", "show", "tap1")
            assert left.daemon.ports()["tap1"]["txqueuelen"] == length
        assert index_of(left.inner, "tap1") == before
        rule = "[[rule]]\nmatch = { in_port = 'tap1' }\nactions = ['drop']\n"
        left.reload(END.replace('["gre",', '["wccp", "keepalive", "gre",') + SECOND + rule)
        stream.goes_on()
        left.reload(END + longer)
        # A device that somebody took away comes back by itself.
        before = index_of(left.inner, "tap1")
        left.inner.ip("link", "del", "tap1")
        wait_for("another tap1", lambda: index_of(left.inner, "tap1") not in ("", before))
        left.inner.wait_ping("10.1.0.2")
        assert "qlen 5000" in left.inner.ip("link", "show", "tap1")
        # A file that is wrong, and one that needs a restart.
        left.write(END.replace("gretap", "gretab", 1))
        bad = left.command("reload")
        assert bad.returncode == 4
        assert '.toml:14:8: error: link[0].kind: found "gretab", expected a kind of link' in bad.stderr
        left.write(END + "[engine]\nworkers = 2\n")
        assert left.command("reload").returncode == 1
        left.write(END)
        os.kill(left.daemon.process.pid, signal.SIGHUP)
        wait_for("tap1 to go", lambda: "tap1" not in left.daemon.ports())
        right.reload(END)
        stream.goes_on()
    assert stream.received == set(range(stream.sent))
    assert index_of(left.inner, "tap0") == tap0
    ports = left.daemon.ports()
    assert {name: row["number"] for name, row in ports.items()} == numbers
    assert ports["tap0"]["counters"]["rx_packets"] >= stream.sent
    (gt0,) = left.daemon.ask("link.show")
    assert gt0["counters"]["tx_packets"] >= stream.sent
    assert left.daemon.stop() == 0


def test_a_link_that_is_changed_forwards_by_its_new_key(sites: tuple[Site, Site]) -> None:
    left, right = sites
    other = END.replace("key = 7", "key = 8\nttl = 33")
    assert left.reload(other)["changes"][0]["text"] == "ttl inherit -> 33, key 7 -> 8"
    assert left.inner.ping("10.0.0.2", 2, timeout=1) == 0
    right.reload(other)
    left.inner.wait_ping("10.0.0.2")
    with right.host.capture("eth0", "ip proto 47") as wire:
        assert left.inner.ping("10.0.0.2", 3) == 3
    from scapy.layers.inet import IP
    from scapy.layers.l2 import GRE

    packets = [packet for packet in wire.packets() if packet[IP].src == "192.0.2.1"]
    assert {(packet[IP].ttl, packet[GRE].key) for packet in packets} == {(33, 8)}


def test_an_underlay_that_is_made_anew_takes_its_links_with_it(sites: tuple[Site, Site]) -> None:
    left, _ = sites
    by_protocol = END.replace('interface = "eth0"', 'protocol = "gre"')
    answer = left.reload(by_protocol)
    assert [(c["sign"], c["name"]) for c in answer["changes"]] == [("-/+", "underlay"), ("-/+", "gt0")]
    left.inner.wait_ping("10.0.0.2")
    left.reload(END.replace("key = 7", "key = 7\ngro = false").replace('"eth0"', '"eth0"\nexclusive = false'))
    left.inner.wait_ping("10.0.0.2")
    assert left.daemon.process.status is None
    said = Path(left.daemon.process.err).read_text()
    assert "Traceback" not in said
