"""What is imported, and when: most of the time that a command or the daemon's start takes is that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import native_engine
from vdp.cli import exits

#: Not for who asks a daemon, or asks for help.
FOR_THE_DAEMON = {
    "_cffi_backend", "asyncio", "ctypes", "dataclasses", "importlib.metadata", "inspect", "logging",
    "pluggy", "prometheus_client", "pydantic", "pyroute2", "pytun", "rich", "tomllib", "vdp.config",
    "vdp.loader", "vdp.engine",
}  # fmt: skip
#: Not before packets pass: what looks at the dataplane, changes it, or is of no use to it.
FOR_LATER = {
    "http.server", "prometheus_client", "rich", "urllib.request", "vdp.control.server", "vdp.inspector",
    "vdp.metrics", "vdp.plugin_change", "vdp.reload", "vdp.testing", "wsgiref",
}  # fmt: skip
#: Of pyroute2, which has a hundred modules more: what AsyncIPRoute has nothing to do with.
LEFT_OUT = {"ndb", "ipdb", "ipset", "ipvs", "nslink", "conntrack", "nftables", "plan9", "ethtool", "dhcp"}

COMMAND = """
import json, sys
from vdp.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
DAEMON = """
import gc, json, sys
from vdp.engine.native import NativeEngine
from vdp.cli import main

start = NativeEngine.start

def noted(engine):
    print(json.dumps({"modules": sorted(sys.modules), "collects": gc.isenabled()}), flush=True)
    start(engine)

NativeEngine.start = noted
sys.exit(main(sys.argv[1:]))
"""
CONFIG = """
[[port]]
name = "underlay"
type = "memory"
packet_type = "l3"

[[port]]
name = "lan"
type = "memory"

[[link]]
name = "t0"
kind = "gretap"
local = "192.0.2.1"
remote = "192.0.2.2"
underlay = "underlay"

[[bridge]]
name = "br0"
members = ["lan", "t0"]

[plugins]
load = ["gretap"]

[metrics]
listen = "127.0.0.1:0"

[control]
socket = "SOCKET"
"""


@pytest.mark.parametrize("words", ["port show", "status", "flow dump --json", "--help", "port --help"])
def test_a_command_imports_nothing_of_the_daemon(tmp_path: Path, words: str) -> None:
    arguments = words.split()
    if "--help" not in arguments:
        arguments += ["--socket", str(tmp_path / "nobody.sock")]
    result = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments], capture_output=True, text=True, timeout=30
    )
    modules = json.loads(result.stderr.splitlines()[-1])
    assert sorted(FOR_THE_DAEMON & set(modules)) == []


def test_packets_pass_before_what_looks_at_them_is_imported(tmp_path: Path) -> None:
    native_engine()
    file = tmp_path / "vdp.toml"
    file.write_text(CONFIG.replace("SOCKET", str(tmp_path / "vdp.sock")))
    with subprocess.Popen(
        [sys.executable, "-c", DAEMON, "-c", str(file)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as daemon:  # fmt: skip
        assert daemon.stdout is not None
        assert daemon.stderr is not None
        try:
            line = daemon.stdout.readline()
            assert line, daemon.stderr.read()
            noted = json.loads(line)
            said = []
            for line in daemon.stderr:
                said.append(line.strip())
                if said[-1] == "info: ready":
                    break
        finally:
            daemon.terminate()
            code = daemon.wait(30)
    modules = set(noted["modules"])
    assert code == exits.OK
    assert said[-1] == "info: ready"
    assert any("metrics on http://" in line for line in said)  # which came later, but before that
    assert sorted(FOR_LATER & modules) == []
    assert sorted({f"pyroute2.{name}" for name in LEFT_OUT} & modules) == []
    assert "pyroute2.iproute.linux" in modules
    assert not noted["collects"]


def test_a_plugin_has_all_of_pyroute2_all_the_same() -> None:
    code = (
        "import sys, vdp.netlink\n"
        "assert 'pyroute2.ndb' not in sys.modules\n"
        "import pyroute2, pyroute2.netns\n"
        "assert not hasattr(pyroute2, 'nothing_of_the_kind')\n"
        "from pyroute2 import NDB, AsyncIPRoute\n"
        "assert AsyncIPRoute is vdp.netlink.netlink.AsyncIPRoute\n"
        "assert NDB.__module__ == 'pyroute2.ndb.main' and pyroute2.__version__\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (result.returncode, result.stderr) == (0, "")
