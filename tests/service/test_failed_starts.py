"""A service that can not start is not started again and again without a pause."""

from __future__ import annotations

import os

import pytest

from tests.conftest import native_engine
from tests.lab import Lab, wait_for
from tests.service_manager import service

CONFIGURATION = """
[[port]]
name = "wan"
type = "raw"
interface = "eth0"
[[port]]
name = "lan"
type = "raw"
interface = "eth1"
[[connect]]
members = ["wan", "lan"]
[metrics]
enabled = false
"""


def test_starts_that_fail_are_further_and_further_apart() -> None:
    native_engine()
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    with Lab() as lab:
        host = lab.host("start")
        manager, _ = service(lab, host, CONFIGURATION)
        sentence = "starts that failed in a row: 3, see above; the next begins in 0.8 s"
        wait_for("the fourth start", lambda: sentence in manager.said(), 20)
        assert "there is no interface eth0" in manager.said()
        wait_for("its status", lambda: "STATUS=waits 0.8 s, failed starts: 3" in manager.states)
        host.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
        for name in ("eth0", "eth1"):
            host.ip("link", "set", name, "up")
        wait_for("READY=1", lambda: manager.readies)
        before = manager.said().count("failed in a row")
        manager.kill()
        wait_for("READY=1 once more", lambda: len(manager.readies) == 2)
        assert manager.said().count("failed in a row") == before, "one that was ready did not fail to start"


def test_starts_that_fail_before_anything_is_opened_count_as_well() -> None:
    native_engine()
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    with Lab() as lab:
        manager, _ = service(lab, lab.host("start"), CONFIGURATION + "no such line\n")
        wait_for("the third start", lambda: "failed in a row: 2, see above" in manager.said(), 20)
        assert "not TOML" in manager.said()
