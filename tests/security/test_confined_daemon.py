"""A daemon that runs: what its threads may do, what it would pass on, and who may ask it what."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import REPOSITORY, Daemon, Host, Lab, wait_for
from vdp.capabilities import NUMBERS

pytestmark = pytest.mark.root

#: Who has no name here: a user, and the group that may ask.
STRANGER, READERS = 64_321, 64_322

CONFIGURATION = """
[[port]]
name = "wan"
type = "raw"
protocol = "gre"
[[port]]
name = "lan"
type = "tun"
address = ["10.9.0.1/24"]
[[link]]
name = "g1"
kind = "gre"
local = "192.0.2.1"
remote = "192.0.2.2"
underlay = "wan"
[[connect]]
members = ["lan", "g1"]
[plugins]
load = ["gre"]
[engine]
workers = 2
[metrics]
listen = "127.0.0.1:0"
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def host(lab: Lab) -> Host:
    here, there = lab.host("here"), lab.host("there")
    lab.cable(here, "192.0.2.1/24", there, "192.0.2.2/24")
    return here


@pytest.fixture(scope="module")
def daemon(lab: Lab, host: Host) -> Daemon:
    lab.folder.chmod(0o755)  # it is who may use the socket that is looked at
    return lab.vdp(host, CONFIGURATION, control=f'group = "{READERS}"')


def threads(daemon: Daemon) -> Iterator[tuple[str, dict[str, str]]]:
    """Name and status of each."""
    for path in sorted(Path(f"/proc/{daemon.process.pid}/task").iterdir()):
        lines = (path / "status").read_text().splitlines()
        fields = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
        yield fields["Name"], fields


def test_workers_may_nothing_and_the_rest_what_the_configuration_takes(daemon: Daemon) -> None:
    kept = 1 << NUMBERS["CAP_NET_ADMIN"] | 1 << NUMBERS["CAP_NET_RAW"]
    seen = {"worker": 0, "control": 0}
    for name, fields in threads(daemon):
        is_worker = name.startswith("vdp-worker")
        seen["worker" if is_worker else "control"] += 1
        for which in ("CapPrm", "CapEff", "CapAmb", "CapInh"):
            assert int(fields[which], 16) & ~(0 if is_worker else kept) == 0, (name, which)
        assert int(fields["CapBnd"], 16) & ~kept == 0
        assert fields["NoNewPrivs"] == "1"
        assert fields["Seccomp"] == ("2" if is_worker else "0")
    assert seen["worker"] == 2
    assert seen["control"] >= 1


def test_no_descriptor_is_passed_on(daemon: Daemon) -> None:
    """All are closed by exec, but for the standard streams."""
    flags = {}
    for path in Path(f"/proc/{daemon.process.pid}/fdinfo").iterdir():
        lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        flags[int(path.name)] = int(lines["flags"], 8)
    assert len(flags) > 8
    assert not [fd for fd, value in flags.items() if fd > 2 and not value & 0o2000000]


def test_forwarding_asks_for_nothing_that_it_may_not(daemon: Daemon, host: Host) -> None:
    host.run("ping", "-q", "-c", "20", "-i", "0.002", "-W", "1", "10.9.0.2", check=False)
    wait_for("what was sent", lambda: daemon.ask("link.show")[0]["counters"]["tx_packets"] >= 20)
    workers = daemon.ask("status")["workers"]
    assert sum(worker["iterations"] for worker in workers) > 0
    assert [worker["calls_refused"] for worker in workers] == [0, 0]


def asked(daemon: Daemon, method: str, groups: list[int], **params: Any) -> dict[str, Any]:
    """What a stranger's request gets, who is of those groups, too; or why there was none."""
    request = json.dumps({"id": 1, "method": method, "params": params}).encode() + b"\n"
    answers, answer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups)
            os.setgid(STRANGER)
            os.setuid(STRANGER)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(daemon.socket))
                with contextlib.suppress(BrokenPipeError):  # it is answered before it asked
                    client.sendall(request)
                os.write(answer, client.makefile("rb").readline())
        except OSError as error:
            os.write(answer, json.dumps({"kept out": error.strerror}).encode())
        finally:
            os._exit(0)
    os.close(answer)
    with os.fdopen(answers, "rb") as stream:
        said = stream.read()
    os.waitpid(child, 0)
    found: dict[str, Any] = json.loads(said)
    return found


def test_members_of_the_group_may_ask_and_change_nothing(daemon: Daemon) -> None:
    assert asked(daemon, "status", [READERS])["result"]["ready"] is True
    for method, params in (
        ("handler.disable", {"name": "ipgre_rcv"}),
        ("plugin.unload", {"name": "gre"}),
        ("plugin.call", {"name": "gre"}),
        ("log.set", {}),
        ("capture", {}),
        ("reload", {}),
    ):
        answer = asked(daemon, method, [READERS], **params)
        assert answer["error"]["code"] == "refused", method
    assert [row["name"] for row in daemon.ask("plugin.list", name="gre")] == ["gre"]


def test_others_are_kept_from_the_socket(daemon: Daemon) -> None:
    assert asked(daemon, "status", []) == {"kept out": "Permission denied"}
    mode = Path(daemon.socket).stat()
    assert (mode.st_mode & 0o777, mode.st_gid) == (0o660, READERS)


def test_others_are_not_answered_either_where_the_socket_lets_them(daemon: Daemon) -> None:
    daemon.socket.chmod(0o666)
    try:
        assert asked(daemon, "status", [])["error"]["code"] == "refused"
    finally:
        daemon.socket.chmod(0o660)


def test_the_extension_that_runs_is_the_trees() -> None:
    from vdp.engine import _native

    assert Path(_native.__file__).is_relative_to(REPOSITORY)
