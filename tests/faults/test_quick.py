"""The short part of the fault matrix, each fault once, in one world (make faults has the rest)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import native_engine
from tests.lab import wait_for
from tools import score
from tools.faults import devices, hosts, restart, world
from tools.faults.catalogue import FAULTS, Outcome
from tools.faults.world import World

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


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", QUICK)
def test_fault(name: str, made: World) -> None:
    outcome = Outcome(patience=PATIENCE)
    FAULTS[name].run(made, outcome, 1)
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
    made.cable_p()
    assert made.is_over("port pa")
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


def test_every_fault_is_in_the_catalogue_once() -> None:
    from tools.faults import overload, plugins

    assert plugins
    assert overload
    assert sorted(FAULTS, key=lambda name: int(name[1:])) == [f"F{number}" for number in range(1, 25)]


def test_a_score_that_nobody_measured_is_short(tmp_path: Path) -> None:
    lines = [score.line(row, tmp_path) for row in score.ROWS]
    assert [each.row.id for each in lines] == [f"R{number}" for number in range(1, 15)]
    assert not any(each.is_met for each in lines)
    (tmp_path / "soak.json").write_text('{"R9": {"figure": 0}, "R10": {"figure": "9 MB/h", "met": false}}')
    found = {each.row.id: each for each in (score.line(row, tmp_path) for row in score.ROWS)}
    assert str(found["R9"]) == "R9 0 0 met"
    assert str(found["R10"]) == "R10 9 MB/h <= 1 MB/h, 0 short"


def test_the_table_is_written_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{score.BEGIN}\nold\n{score.END}\nafter\n")
    score.write([score.line(row, tmp_path) for row in score.ROWS], page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert text.count("| R") == len(score.ROWS)
