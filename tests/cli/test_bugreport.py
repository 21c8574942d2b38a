"""`vdp bugreport`: all that is needed is in it, and no secret."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Daemon, Vdp
from vdp.cli import exits
from vdp.cli.bugreport import METHODS, MOST_ROWS

KEY = 0xDEADBEEF
CONFIG = f"""\
[[link]]
name = "gt1"
kind = "gretap"
key = {KEY}                   # of the customer
underlay = "underlay"
[plugin.radius]
shared_secret = "correct horse battery"
server = {{ password = "hunter22222", host = "192.0.2.1" }}
token = "with, a comma # and more"
community = [
  "of several lines",
]
passphrase = '''of two
lines'''
"""
#: Before a reload: flows that were made with it stay for a while, and the log says what it was.
EARLIER = 0xCAFE1234
LOG = f"info: reload: link gt1 changed: ttl 3 -> 4, key {EARLIER} -> {KEY}\ninfo: ready\n"
SECRETS = (
    str(KEY), f"{KEY:08x}", "correct horse", "hunter22222", "a comma", "and more", "several lines", "of two",
    str(EARLIER), f"{EARLIER:08x}",
)  # fmt: skip


def unpacked(archive: Path) -> dict[str, str]:
    with tarfile.open(archive) as opened:
        files = {entry.name: opened.extractfile(entry) for entry in opened.getmembers()}
        return {
            name.removeprefix("vdp-bugreport/"): each.read().decode() for name, each in files.items() if each
        }


def plant(daemon: Daemon, folder: Path) -> None:
    """The key, wherever a daemon shows it."""
    config = folder / "vdp.toml"
    config.write_text(CONFIG)
    view: Any = daemon.view
    view.state["config"] = str(config)
    view.links[0] |= {"ikey": KEY, "okey": KEY}
    view.links[0]["config"]["key"] = KEY
    guard = {"value": f"00002000{KEY:08x}", "text": f"gre.key={KEY:08x}"}
    earlier = {"field": "GreKey.key", "value": f"{EARLIER:08x}", "text": f"GreKey.key={EARLIER:08x}"}
    view.flows[0]["match"] += [view.flows[0]["match"][0] | guard, view.flows[0]["match"][0] | earlier]


def test_no_secret_is_in_it_and_what_is_needed_is(
    vdp: Vdp, daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(daemon, tmp_path)
    monkeypatch.setattr("vdp.cli.bugreport._log", lambda: LOG)
    archive = tmp_path / "report.tar.gz"
    result = vdp("bugreport", "--socket", daemon.socket, "-o", str(archive))
    assert result.code == exits.OK, result.err
    files = unpacked(archive)
    assert {f"{method}.json" for method in METHODS} | {
        "vdp.toml",
        "doctor.json",
        "versions.txt",
    } <= files.keys()
    assert [line.split()[1] for line in result.out.splitlines()] == list(files)
    for name, text in files.items():
        for secret in SECRETS:
            assert secret not in text, name
    assert "192.0.2.2" in files["link.show.json"]
    assert "# of the customer" in files["vdp.toml"]
    assert files["vdp.toml"].count("\n") == CONFIG.count("\n"), "lines keep their numbers"
    assert "host" in files["vdp.toml"]
    assert archive.stat().st_mode & 0o777 == 0o600
    assert files["log.txt"] == "info: reload: link gt1 changed: ttl 3 -> 4, key REDACTED\ninfo: ready\n"


def test_a_configuration_that_can_not_be_read_is_reported(vdp: Vdp, tmp_path: Path) -> None:
    config, archive = tmp_path / "vdp.toml", tmp_path / "report.tar.gz"
    config.write_text("[port\nkey = 'mine'\n")
    assert vdp("bugreport", "-c", str(config), "-o", str(archive)).code == exits.OK
    assert unpacked(archive)["vdp.toml"] == '[port\nkey = "REDACTED"\n'


def test_lists_are_bounded(vdp: Vdp, daemon: Daemon, tmp_path: Path) -> None:
    daemon.view.flows = daemon.view.flows * (MOST_ROWS + 100)
    archive = tmp_path / "report.tar.gz"
    vdp("bugreport", "--socket", daemon.socket, "-o", str(archive))
    assert len(json.loads(unpacked(archive)["flow.dump.json"])) == MOST_ROWS


def test_without_a_daemon_there_is_the_machine(vdp: Vdp, tmp_path: Path) -> None:
    archive = tmp_path / "report.tar.gz"
    socket = str(tmp_path / "none.sock")
    assert vdp("bugreport", "--socket", socket, "-o", str(archive)).code == exits.OK
    assert {"versions.txt", "daemon.txt", "doctor.json"} <= unpacked(archive).keys()
    again = vdp("bugreport", "--socket", socket, "-o", str(archive))
    assert (again.code, "is there already" in again.err) == (exits.FAILED, True)
