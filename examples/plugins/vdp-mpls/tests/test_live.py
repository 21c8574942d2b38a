"""A daemon and real packets: the kernel behind a TUN device pings through MPLS, scapy is the far router.

All of it in a network namespace of its own, which goes with the process that it was made for.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from scapy.arch.linux import L2Socket
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import GRE, Ether

DEADLINE_S = 20.0
COUNT = 3
CONFIG = """
[plugins]
load = ["gre", "mpls"]
strict = true

[[port]]
name = "underlay"
type = "raw"
interface = "v0"

[[port]]
name = "tun0"
type = "tun"
address = ["10.0.0.1/24"]

[[link]]
name = "vpn"
kind = "mpls"
local = "192.0.2.1"
remote = "192.0.2.2"
underlay = "underlay"
label = 100
push = [16, 200]

[[connect]]
members = ["tun0", "vpn"]

[metrics]
enabled = false
"""
WIRES = """
sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
ip link set lo up
ip link add v0 type veth peer name v1
ip address add 192.0.2.1/24 dev v0
ip link set v0 up
ip link set v1 up
ip neigh replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev v0 nud permanent
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a network namespace, a TUN device, a raw socket")
@pytest.mark.skipif(shutil.which("ping") is None, reason="needs ping")
def test_a_ping_goes_out_with_two_labels_and_comes_back_with_one(tmp_path: Path) -> None:
    command = ["unshare", "--net", sys.executable, __file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3 * DEADLINE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["labels"] == [[[16, 64], [200, 64]]] * COUNT
    assert said["answered"] == COUNT
    assert (said["counters"]["tx_packets"], said["counters"]["rx_packets"]) == (COUNT, COUNT)


def main(folder: Path) -> None:
    """What runs in the namespace."""
    subprocess.run(["sh", "-e", "-c", WIRES], check=True)
    wire = L2Socket(iface="v1")
    wire.ins.settimeout(DEADLINE_S)
    command = ["ping", "-n", "-c", str(COUNT), "-i", "0.05", "-W", "5", "10.0.0.2"]
    with daemon(folder) as socket, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ping:
        labels = answer(wire)
        said, _ = ping.communicate(timeout=DEADLINE_S)
        (link,) = ask(socket, "link", "show", "vpn")
    answered = said.count("bytes from 10.0.0.2")
    print(json.dumps({"labels": labels, "answered": answered, "counters": link["counters"]}))


@contextmanager
def daemon(folder: Path) -> Iterator[str]:
    """A vdp that is ready; its socket."""
    socket = f"{folder}/vdp.sock"
    (folder / "vdp.toml").write_text(f'{CONFIG}\n[control]\nsocket = "{socket}"\n')
    with subprocess.Popen([sys.executable, "-m", "vdp", "-c", f"{folder}/vdp.toml"]) as process:
        try:
            until = time.monotonic() + DEADLINE_S
            while not os.path.exists(socket) or not ask(socket, "status")["ready"]:
                assert process.poll() is None, "vdp has ended"
                assert time.monotonic() < until, "vdp is not ready"
                time.sleep(0.02)
            yield socket
        finally:
            process.terminate()


def ask(socket: str, *words: str) -> Any:
    """What a command of vdp prints."""
    command = [sys.executable, "-m", "vdp", *words, "--json", "--socket", socket]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def answer(wire: Any) -> list[list[tuple[int, int]]]:
    """Answer as many echo requests in MPLS as are to come; label and TTL of the entries of each."""
    seen: list[list[tuple[int, int]]] = []
    while len(seen) < COUNT:
        frame = wire.recv()
        if frame is None or MPLS not in frame or ICMP not in frame:
            continue
        entries = (frame.getlayer(MPLS, number) for number in (1, 2, 3))
        seen.append([(entry.label, entry.ttl) for entry in entries if entry is not None])
        request = frame[ICMP]
        reply = IP(src="10.0.0.2", dst="10.0.0.1") / ICMP(type=0, id=request.id, seq=request.seq)
        outer = Ether(src=frame.dst, dst=frame.src) / IP(src="192.0.2.2", dst="192.0.2.1")
        wire.send(outer / GRE(proto=0x8847) / MPLS(label=100, s=1, ttl=64) / reply / request.payload)
    return seen


if __name__ == "__main__":
    main(Path(sys.argv[1]))
