"""`vdp demo` as a user runs it: traffic flows, one can look at it, and nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import REPOSITORY, wait_for
from vdp.control.client import call
from vdp.demo.configuration import configuration
from vdp.demo.site import LEFT, LOCK, RIGHT
from vdp.netlink import namespaces

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


def started(tmp_path: Path, *arguments: str, path: str | None = None) -> subprocess.Popen[str]:
    """path: where programs are looked for, else where they are."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}",
        "PYTHONUNBUFFERED": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "vdp", "demo", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env=environment | ({} if path is None else {"PATH": path}), start_new_session=True,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    left = [name for name in (LEFT, RIGHT) if namespaces.exists(name)]
    for name in left:
        namespaces.remove(name)
    assert not left
    assert not LOCK.exists()


def looked_at(process: subprocess.Popen[str]) -> tuple[str, list[str]]:
    """The left side's socket and the pages that it says to look at, once tunnels carry something."""
    assert process.stderr is not None
    said = ""
    while "configurations" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    socket = re.search(r"vdp top --socket (\S+)", said)
    assert socket

    def carried() -> bool:
        counts = [row["counters"]["rx_packets"] for row in call(socket.group(1), "link.show")]
        return len(counts) == 3 and min(counts) > 20

    wait_for("traffic in all tunnels", carried, 30)
    return socket.group(1), re.findall(r"http://\S+/(?= |$)", said, re.M)


def test_one_can_look_at_it_until_ctrl_c(tmp_path: Path) -> None:
    process = started(tmp_path, "--no-view")
    try:
        socket, pages = looked_at(process)
        assert len(pages) == 2
        for page in pages:
            with urllib.request.urlopen(page, timeout=10) as answer:
                assert b"gt0" in answer.read()
        again = started(tmp_path)
        assert again.wait(60) == 1
        assert again.stderr is not None
        assert "a demo runs on this machine already" in again.stderr.read()
        drops = {row["reason"] for row in call(socket, "drop.show")}
        assert "policy_rule" in drops
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert re.search(r"received: [\d,]+ over gretap, [\d,]+ over gre, [\d,]+ redirected by the router", err)


def test_killed_and_started_anew_without_iperf3(tmp_path: Path) -> None:
    """What a killed one has left is taken away by the next; which brings its own sender."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("ip", "ping"):
        found = subprocess.run(["which", name], check=True, capture_output=True, text=True).stdout.strip()
        (tools / name).symlink_to(found)
    process = started(tmp_path, "--no-view", path=str(tools))
    socket, _ = looked_at(process)
    children = {call(socket, "status")["pid"], call(socket.replace("left", "right"), "status")["pid"]}
    process.kill()
    process.communicate()
    assert namespaces.exists(LEFT)
    wait_for("its daemons to end", lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    again = started(tmp_path, "--seconds", "3", path=str(tools))
    out, err = again.communicate(timeout=90)
    assert again.returncode == 0, out + err
    assert "TCP by its own sender" in err
    assert out.startswith("rx ")


@pytest.mark.parametrize("side", [LEFT, RIGHT])
def test_its_configurations_are_right(tmp_path: Path, side: str) -> None:
    file = tmp_path / "vdp.toml"
    file.write_text(configuration(side, tmp_path / "vdp.sock", 9479))
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}"}
    command = [sys.executable, "-m", "vdp", "check", "-c", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
