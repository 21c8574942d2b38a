"""The example plugins as their users have them: installed into a clean environment, beside the wheel of vdp.

Each has its own tests pass there, is what its tools and `vdp plugin test` want it to be, and the
configuration of its README can be copied.  Then one daemon runs with all of them.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clean import Clean
from tests.examples.tree import PREFIX, folder, names
from tests.lab import Daemon, Lab, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
TOML = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BUILT = shutil.ignore_patterns("__pycache__", ".*_cache", ".hypothesis", "dist")


@pytest.fixture(scope="module")
def installed(clean: Clean, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Copies of all of them, installed; they go again, so that other tests have vdp alone."""
    copies = tmp_path_factory.mktemp("examples")
    for name in names():
        shutil.copytree(folder(name), copies / f"{PREFIX}{name}", ignore=BUILT)
    clean.shell(f"pip install {' '.join(f'./{PREFIX}{name}' for name in names())}", copies)
    yield copies
    distributions = " ".join(f"{PREFIX}{name}" for name in names())
    clean.shell(
        f"{sys.executable} -m pip --python {clean.bin / 'python'} uninstall -q -y {distributions}", copies
    )


def test_there_are_four() -> None:
    assert names() == ["audit", "gue", "mpls", "vxlan"]


@pytest.mark.parametrize("name", names())
def test_its_own_tests_pass(clean: Clean, installed: Path, name: str) -> None:
    said = clean.shell("pytest -q", installed / f"{PREFIX}{name}")
    assert re.search(r"^\d+ passed( in|,? \d+ warning)", said, re.MULTILINE), said
    assert " skipped" not in said or os.geteuid() != 0


@pytest.mark.parametrize("name", names())
def test_it_is_what_every_plugin_must_be(clean: Clean, installed: Path, name: str) -> None:
    clean.shell("ruff check . && ruff format --check . && mypy", installed / f"{PREFIX}{name}")
    clean.shell(f"vdp plugin test {name} --packets 5000 --strict", installed)


@pytest.mark.parametrize("name", names())
def test_the_configurations_of_its_readme_are_right(
    clean: Clean, installed: Path, tmp_path: Path, name: str
) -> None:
    page = (installed / f"{PREFIX}{name}" / "README.md").read_text()
    found = [text for text in TOML.findall(page) if "[plugins]" in text]
    assert found, "a README has a configuration to copy"
    for text in found:
        (tmp_path / "vdp.toml").write_text(text)
        assert "vdp.toml: ok" in clean.shell("vdp check -c vdp.toml", tmp_path)


ENDS = 'local = "192.0.2.1"\nremote = "192.0.2.2"\nunderlay = "underlay"'
#: A tunnel of each plugin that has any, from a device of the kernel's.
TUNNELS = {
    "mpls": ("tun", "mpls", "label = 100"),
    "vxlan": ("tap", "vxlan", "vni = 7"),
    "gue": ("tun", "gue", ""),
}


def configuration(inner: str) -> str:
    """A dataplane with a tunnel of each, all between the same two ends, and all of it audited."""
    parts = [
        '[plugins]\nload = ["gre", "gretap", "audit", "gue", "mpls", "vxlan"]\nstrict = true',
        '[[port]]\nname = "underlay"\ntype = "raw"\ninterface = "eth0"',
        '[metrics]\nlisten = "127.0.0.1:9479"',
    ]
    for number, (name, (device, kind, options)) in enumerate(TUNNELS.items(), 1):
        port = f"{device}-{name}"
        parts += [
            f'[[port]]\nname = "{port}"\ntype = "{device}"\nnetns = "{inner}"\n'
            f'address = ["10.0.{number}.1/24"]',
            f'[[link]]\nname = "{name}1"\nkind = "{kind}"\n{ENDS}\n{options}',
            f'[[connect]]\nmembers = ["{port}", "{name}1"]',
        ]
    return "\n\n".join(parts)


@needs_root
@pytest.mark.root
def test_one_daemon_runs_with_all_of_them(clean: Clean, installed: Path) -> None:
    with Lab() as lab:
        near, far, inner = lab.host("near"), lab.host("far"), lab.host("inner")
        lab.cable(near, "192.0.2.1/24", far, "192.0.2.2/24")
        with far.capture("eth0", "ip") as capture:
            daemon = start(lab, near, configuration(inner.name), clean)
            states = {row["name"]: row["state"] for row in daemon.ask("plugin.list")}
            assert {states[name] for name in names()} == {"loaded"}
            for number in range(1, 1 + len(TUNNELS)):
                inner.run("ping", "-n", "-c", "1", "-W", "1", "-Q", "184", f"10.0.{number}.2", check=False)
            audited = wait_for("all tunnels to be audited", lambda: ready_series(daemon))
        assert set(audited) == {"mpls1", "gue1", "vxlan1", "underlay"}
        seen = {outer(packet) for packet in capture.packets()}
        assert {("gre", 0x8847), ("udp", 4789), ("udp", 6080)} <= seen
        said = clean.shell(f"vdp plugin info audit --socket {daemon.socket}", installed)
        assert re.search(r"^vdp_plugin_audit_sent +egress=mpls1,dscp=EF +1 +84$", said, re.MULTILINE)


def start(lab: Lab, host: Any, configuration: str, clean: Clean) -> Daemon:
    """The installed vdp, not that of the tree."""
    socket, file = lab.folder / "all.sock", lab.folder / "all.toml"
    file.write_text(f'{configuration}\n\n[control]\nsocket = "{socket}"\n')
    process = host.start(str(clean.bin / "vdp"), "-c", str(file), name="vdp", PYTHONPATH="")
    daemon = Daemon(host, process, socket)
    daemon.wait_ready()
    return daemon


def ready_series(daemon: Daemon) -> list[str] | None:
    """Where packets were counted, as soon as that is by all tunnels."""
    (row,) = daemon.ask("plugin.list", name="audit")
    counted = [each["labels"]["egress"] for each in row["counters"] if each["packets"]]
    return sorted(set(counted)) if {f"{name}1" for name in TUNNELS} <= set(counted) else None


def outer(packet: Any) -> tuple[str, int]:
    """What is around a captured packet: GRE and its protocol type, or UDP and its port."""
    from scapy.layers.inet import UDP
    from scapy.layers.l2 import GRE

    if GRE in packet:
        return "gre", int(packet[GRE].proto)
    return ("udp", int(packet[UDP].dport)) if UDP in packet else ("", 0)
