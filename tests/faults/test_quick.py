"""The short part of the fault matrix, each fault once, in one world (make faults has the rest)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import native_engine
from tests.lab import wait_for
from tools.faults import devices, hosts, restart, world
from tools.faults.catalogue import FAULTS, Outcome
from tools.faults.world import World
from vdp.cli import exits

assert devices
assert hosts
assert restart
QUICK = [name for name, each in FAULTS.items() if each.quick]
#: The machine has other work to do.
PATIENCE = 5.0


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    native_engine()
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    before, world.RATE, world.OTHERS_RATE = (world.RATE, world.OTHERS_RATE), 1000, 1000
    one = World(PATIENCE)
    try:
        yield one
    finally:
        one.close()
        world.RATE, world.OTHERS_RATE = before


def told(made: World) -> tuple[int, dict[str, Any]]:
    """What `vdp status` says: its exit code, and its JSON."""
    command = [sys.executable, "-m", "vdp", "status", "--json", "--socket", str(made.daemon.socket)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return result.returncode, json.loads(result.stdout)


def dropped(made: World) -> int:
    return sum(row["packets"] for row in made.daemon.ask("drop.show"))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", QUICK)
def test_fault(name: str, made: World) -> None:
    outcome = Outcome(patience=PATIENCE)
    FAULTS[name].run(made, outcome, 1)
    outcome.ended(made.manager.crashes)
    assert not outcome.shorts, f"{outcome.shorts}\n{made.manager.said()}"


def test_an_interface_that_is_not_there_at_a_restart_is_waited_for(made: World) -> None:
    made.ready()
    made.near.ip("link", "del", "eth1")
    starts = len(made.manager.starts)
    made.manager.kill()
    made.manager.wait_ready(starts + 1)
    assert made.finds("port pa: It can not be opened: there is no interface eth1")
    (trouble,) = made.daemon.ask("status")["troubles"]
    assert trouble.startswith("port pa: it can not be opened: there is no interface eth1")
    code, status = told(made)
    assert (code, status["ready"], status["missing"]) == (exits.DEGRADED, False, ["port pa"])
    assert {"severity": "bad", "subject": "port pa"}.items() <= next(
        row.items() for row in status["findings"] if row["subject"] == "port pa"
    )
    made.cable_p()
    assert made.is_over("port pa")
    made.ready()
    code, status = told(made)
    assert (code, status["ready"], status["missing"]) == (exits.OK, True, [])


def test_a_port_is_missing_while_its_device_is_gone_and_not_while_it_is_down(made: World) -> None:
    made.ready()
    before = dropped(made)
    made.near.ip("link", "set", "eth1", "down")
    assert made.finds("port pa: Its device eth1 has no carrier")
    made.q.ping("10.2.0.1", 1, timeout=1)
    assert dropped(made) > before, "packets for a device that is down"
    assert told(made)[1]["ready"]
    made.near.ip("link", "del", "eth1")
    wait_for("vdp not to be ready", lambda: told(made)[0] == exits.DEGRADED)
    assert told(made)[1]["missing"] == ["port pa"]
    made.cable_p()
    wait_for("pa to be there again", lambda: told(made)[0] == exits.OK)
    made.ready()


def test_a_configuration_that_changed_gets_devices_of_its_own(made: World) -> None:
    """What was kept of another section is let go, so that the name is free."""
    made.ready()
    index = made.left.run("cat", "/sys/class/net/tap0/ifindex")
    devices.write(made, made.configuration.replace("mtu = 1400", "mtu = 1390", 1))
    starts = len(made.manager.starts)
    made.manager.restart()
    made.manager.wait_ready(starts + 1)
    assert made.left.run("cat", "/sys/class/net/tap0/ifindex") != index
    assert made.left.run("cat", "/sys/class/net/tap0/mtu").strip() == "1390"
    devices.write(made, made.configuration)
    made.manager.restart()
    made.manager.wait_ready(starts + 2)
    wait_for("the first MTU", lambda: made.daemon.ports()["tap0"]["mtu"] == 1400)


def test_a_kept_queue_that_somebody_made_shorter_is_as_configured_again(made: World) -> None:
    made.ready()
    index = made.left.run("cat", "/sys/class/net/tap0/ifindex")
    devices.reload(made, made.configuration.replace("mtu = 1400", "mtu = 1400\ntxqueuelen = 5000", 1))
    made.left.ip("link", "set", "tap0", "txqueuelen", "100")
    wait_for("vdp to hear", lambda: made.daemon.ports()["tap0"]["txqueuelen"] == 100)
    starts = len(made.manager.starts)
    made.manager.restart()
    made.manager.wait_ready(starts + 1)
    assert made.left.run("cat", "/sys/class/net/tap0/tx_queue_len").strip() == "5000"
    assert made.left.run("cat", "/sys/class/net/tap0/ifindex") == index
    made.ready()
    devices.reload(made, made.configuration)
    assert made.left.run("cat", "/sys/class/net/tap0/tx_queue_len").strip() == "1000"


def test_every_fault_is_in_the_catalogue_once() -> None:
    from tools.faults import overload, plugins

    assert plugins
    assert overload
    assert sorted(FAULTS, key=lambda name: int(name[1:])) == [f"F{number}" for number in range(1, 25)]
