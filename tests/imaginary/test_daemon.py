"""`vdp trace` and `vdp flow dump` of a daemon as it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import REPOSITORY, wait_for
from tests.plane import A, B
from vdp.cli import exits
from vdp.control.client import call
from vdp.control.errors import DaemonUnreachable

CONFIG = f"""
[[port]]
name = "underlay"
type = "memory"
packet_type = "l3"

[[port]]
name = "lan"
type = "memory"
packet_type = "l3"

[[link]]
name = "gre1"
kind = "gre"
underlay = "underlay"
local = "{A}"
remote = "{B}"
key = 7

[[connect]]
members = ["lan", "gre1"]

[plugins]
load = ["gre"]

[metrics]
enabled = false

[control]
socket = "SOCKET"
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY}/plugins"}
VDP = (sys.executable, "-m", "vdp")


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A daemon's control socket."""
    folder = tmp_path_factory.mktemp("daemon")
    path = folder / "vdp.sock"
    configuration = folder / "vdp.toml"
    configuration.write_text(CONFIG.replace("SOCKET", str(path)))
    with (folder / "log").open("w") as log:
        daemon = subprocess.Popen([*VDP, "-c", str(configuration)], stderr=log, env=ENVIRONMENT)
        try:
            wait_for("the daemon", lambda: is_ready(path) or None, 30)
            yield str(path)
        finally:
            daemon.terminate()
            assert daemon.wait(20) == 0, (folder / "log").read_text()


def is_ready(path: Path) -> bool:
    try:
        return bool(call(str(path), "status")["ready"])
    except DaemonUnreachable:
        return False


def vdp(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*VDP, *arguments], capture_output=True, text=True, timeout=30, check=False, env=ENVIRONMENT
    )


def test_a_trace_says_the_fate_and_leaves_no_trace(socket: str) -> None:
    before = call(socket, "port.show"), call(socket, "handler.list"), call(socket, "link.show")
    result = vdp("trace", "--socket", socket, "--in", "underlay", "ip/gre/ip/udp")
    assert (result.returncode, result.stderr) == (exits.OK, "")
    assert result.stdout.splitlines()[-1] == "forwarded to lan"
    result = vdp("trace", "--socket", socket, "--in", "underlay", "ip/gre(key=8)/ip/udp")
    assert (result.returncode, result.stderr) == (exits.DROPPED, "")
    assert (call(socket, "port.show"), call(socket, "handler.list"), call(socket, "link.show")) == before
    assert call(socket, "flow.dump") == []


def test_a_dump_takes_a_filter(socket: str) -> None:
    result = vdp(
        "flow", "dump", "--socket", socket, "--filter", "ip.proto=gre", "--sort", "packets", "--limit", "3"
    )
    assert (result.returncode, result.stdout, result.stderr) == (exits.OK, "", "")
    result = vdp("flow", "dump", "--socket", socket, "--filter", "ip.protoo=gre")
    assert result.returncode == exits.USAGE
    assert "column 1: ip has no field 'protoo'" in result.stderr
