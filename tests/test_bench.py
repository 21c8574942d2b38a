"""The benchmarks run, clean up, and say what docs/performance.md says that they do.

Each for a fraction of a second, without a look at the figures: this machine may be busy.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab import REPOSITORY

ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}"}
NAMES = (
    *("books", "engine", "explosion", "latency", "overload", "packets", "plugins", "scale", "start"),
    *("tunnel", "upcalls"),
)
needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *words]
    return subprocess.run(
        command, cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True, timeout=120
    )


def measure(*words: str, seconds: float = 0.05) -> dict[str, Any]:
    """One round of a benchmark, as its JSON object."""
    done = run(*words, "--json", "--rounds", "1", "--seconds", str(seconds))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["rounds"] == 1
    assert found["cpus"] == os.cpu_count()
    for target in found["targets"].values():
        assert target["met"] in (True, False)
    return found


def numbers(found: dict[str, Any], pattern: str) -> list[float]:
    """The figures whose names match; there are some, and none is zero."""
    values = [value for name, value in found.items() if re.fullmatch(pattern, name)]
    assert values
    assert all(value > 0 for value in values), found
    return values


@needs_cc
@pytest.mark.timeout(180)
def test_engine() -> None:
    found = measure("engine")
    numbers(found, r"(de|en)capsulation(_lookup)?_ns|(segment|fragment|coalesce|scapy|dpkt|memcpy_1400)_ns")
    numbers(found, r"(read|checksum)_gbytes")
    assert set(found["targets"]) == {
        "decapsulation_to_memcpy", "checksum_to_read", "scapy_to_decapsulation", "dpkt_to_decapsulation",
    }  # fmt: skip


@needs_cc
@pytest.mark.timeout(180)
@pytest.mark.conformance("J")
def test_books() -> None:
    """Every packet is accounted for, and all the ways to lose one that this is about were met."""
    done = run("books", "--json", "--packets", "1000000", "--seed", "2")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["packets"], found["difference"]) == (1_000_000, 0)
    assert found["equations"] > 300
    for how in ("injected", "cloned", "segmented", "merged", "transmitted", "consumed"):
        assert found[how] > 0, how
    assert found["reasons"].keys() >= {
        "port_down", "tx_queue_full", "cell_full", "group_queue_full", "upcall_queue_full", "upcall_rate",
        "no_buffer", "gso_invalid", "gso_unsupported", "vnet_hdr_invalid", "packet_type", "loop_guard",
        "parse_truncated", "ip_checksum", "ttl_expired", "mtu_exceeded", "no_port", "policy_rule",
    }  # fmt: skip


@needs_cc
@pytest.mark.timeout(180)
def test_plugins() -> None:
    found = measure("plugins")
    assert len(numbers(found, r"(de|en)capsulation_(gre|mpls|mpls_uniform)_ns")) == 6
    assert set(found["targets"]) == {"decapsulation_mpls_to_gre", "encapsulation_mpls_to_gre"}


@needs_cc
@pytest.mark.timeout(180)
def test_scale() -> None:
    found = measure("scale", "--tunnels", "40", "--only", "memory")
    assert len(numbers(found, r"(de|en)capsulation_(1|40)_ns")) == 4
    assert len(numbers(found, r"flows_(1|100|10000|200000)_ns")) == 4
    assert len(numbers(found, r"masks_(1|8|32)_ns")) == 3
    assert len(numbers(found, r"(workers|numbers)_[12]_mpps")) == 4
    assert found["workers_2_undisturbed"] >= 0
    assert set(found["workers_by"].values()) <= {"clock", "processor time"}
    assert set(found["links"]) == {"1", "40"}


@needs_cc
@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_scale_live() -> None:
    found = measure("scale", "--tunnels", "40", "--only", "live")
    assert len(numbers(found, r"live_(de|en)capsulation_(1|40)_ns")) == 4
    assert len(numbers(found, r"live_(de|en)capsulation_(1|40)_pps")) == 4
    assert len(numbers(found, r"live_(de|en)capsulation_ratio")) == 2
    assert found["next_hop_40_s"] >= 0
    assert set(found["targets"]) == {
        f"live_{way}_at_40_tunnels" for way in ("decapsulation", "encapsulation")
    }


@needs_cc
@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_packets() -> None:
    found = measure("packets", "--no-ovs", seconds=0.3)  # longer than a processor may be somebody else's
    for way in ("decapsulation", "encapsulation"):
        numbers(found[way], r"(vdp|forwarder|offered)_pps|ratio_forwarder")


@needs_root
@pytest.mark.root
@pytest.mark.skipif(shutil.which("iperf3") is None, reason="needs iperf3")
@pytest.mark.timeout(180)
def test_tunnel() -> None:
    found = measure("tunnel", "--no-ovs", "--variants", "plain")
    numbers(found["plain"], r"(vdp|veth)_gbps|ratio_veth")
    assert set(found["targets"]) == {"plain_to_veth"}


@needs_cc
@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_start() -> None:
    found = measure("start", "--no-ovs")
    numbers(found, "vdp_s|vdp_mbytes")


@needs_cc
@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_upcalls() -> None:
    found = measure("upcalls", "--no-ovs")
    numbers(found, r"vdp_(flows|p50_us|p99_us)")
    assert "vdp_lost_percent" in found


@needs_cc
@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_overload() -> None:
    found = measure("overload")
    numbers(found, "goodput|offered|most|answer_ms")
    assert found["steps_taken"].keys() == {"watchers", "admission", "shedding", "memory"}


@needs_cc
@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_explosion() -> None:
    found = measure("explosion", "--no-ovs", "--warm", "0.5")
    numbers(found, "vdp_(alone|attacked|masks|p99_us)")


@needs_cc
@needs_root
@pytest.mark.root
@pytest.mark.skipif(shutil.which("iperf3") is None, reason="needs iperf3")
@pytest.mark.timeout(180)
def test_latency() -> None:
    found = measure("latency", "--no-ovs")
    assert len(numbers(found, r"(idle|loaded)_(vdp|veth)_p(50|99)_us")) == 8


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "PATH", "/nonexistent")
    done = run("packets")
    assert done.returncode == 2
    assert "root" in done.stderr if os.geteuid() != 0 else "cc, ip, ethtool" in done.stderr


def test_the_page_has_a_section_for_each() -> None:
    page = (REPOSITORY / "docs" / "performance.md").read_text()
    modules = {
        path.stem for path in (REPOSITORY / "bench").glob("*.py") if "def add_command" in path.read_text()
    }
    assert modules == set(NAMES)
    assert not [name for name in NAMES if f"## `{name}`" not in page]
    assert Path(REPOSITORY / "bench" / "c").is_dir()
