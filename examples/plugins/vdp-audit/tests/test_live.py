"""A daemon and real packets: what the kernel sends with a DSCP is in the scrape, and in `vdp plugin info`.

All of it in a network namespace of its own, which goes with the process that it was made for.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from scapy.arch.linux import L2Socket
from scapy.layers.inet import IP
from scapy.layers.l2 import GRE

DEADLINE_S = 20.0
COUNT = 3
EF = 46
CONFIG = """
[plugins]
load = ["gre", "audit"]
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
name = "gre1"
kind = "gre"
local = "192.0.2.1"
remote = "192.0.2.2"
underlay = "underlay"
tos = "inherit"

[[connect]]
members = ["tun0", "gre1"]

[metrics]
listen = "127.0.0.1:9479"
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
def test_what_the_kernel_sends_is_accounted_for(tmp_path: Path) -> None:
    command = ["unshare", "--net", sys.executable, __file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3 * DEADLINE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    inner = 28 + 5
    assert said["wire"] == [[EF, EF]] * COUNT
    for egress, size in (("gre1", inner), ("underlay", inner + 24)):
        for unit, count in (("packets", COUNT), ("bytes", COUNT * size)):
            line = f'vdp_plugin_audit_sent_{unit}_total{{dscp="EF",egress="{egress}"}} {float(count)}'
            assert line in said["scrape"], said["scrape"]
        row = ["vdp_plugin_audit_sent", f"egress={egress},dscp=EF", str(COUNT), str(COUNT * size)]
        assert row in said["info"], said["info"]


def main(folder: Path) -> None:
    """What runs in the namespace."""
    subprocess.run(["sh", "-e", "-c", WIRES], check=True)
    wire = L2Socket(iface="v1")
    wire.ins.settimeout(DEADLINE_S)
    with daemon(folder) as control, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, EF << 2)
        for _ in range(COUNT):
            sender.sendto(b"hello", ("10.0.0.2", 9))
        seen: list[list[int]] = []
        while len(seen) < COUNT:
            frame = wire.recv()
            if frame is not None and GRE in frame:
                seen.append([frame[IP].tos >> 2, frame[GRE].payload.tos >> 2])
        with urlopen("http://127.0.0.1:9479/metrics", timeout=DEADLINE_S) as answer:
            scrape = [line for line in answer.read().decode().splitlines() if "plugin_audit" in line]
        info = run("plugin", "info", "audit", "--socket", control).splitlines()
    print(json.dumps({"wire": seen, "scrape": scrape, "info": [line.split() for line in info]}))


@contextmanager
def daemon(folder: Path) -> Iterator[str]:
    """A vdp that is ready; its socket."""
    control = f"{folder}/vdp.sock"
    (folder / "vdp.toml").write_text(f'{CONFIG}\n[control]\nsocket = "{control}"\n')
    with subprocess.Popen([sys.executable, "-m", "vdp", "-c", f"{folder}/vdp.toml"]) as process:
        try:
            until = time.monotonic() + DEADLINE_S
            while not os.path.exists(control) or not status(control)["ready"]:
                assert process.poll() is None, "vdp has ended"
                assert time.monotonic() < until, "vdp is not ready"
                time.sleep(0.02)
            yield control
        finally:
            process.terminate()


def status(control: str) -> Any:
    return json.loads(run("status", "--json", "--socket", control))


def run(*words: str) -> str:
    """What a command of vdp prints."""
    command = [sys.executable, "-m", "vdp", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]))
