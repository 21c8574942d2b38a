"""Plugins of a whole daemon: refused at the start, interrupted, put out, mended and reloaded by command."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import native_engine
from tests.plane import A, B
from tests.plugins.test_change import META, Source, packet, source
from vdp import daemon as module
from vdp.config import load
from vdp.control.client import call
from vdp.daemon import Daemon
from vdp.engine.interface import MemoryPacket
from vdp.loader import Plugins
from vdp.quarantine import MOST_FAILURES

__all__ = ["source"]

DEADLINE_S = 30
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

[[connect]]
members = ["lan", "gre1"]

[plugins]
load = ["gre", "mine"]
soft_limit_ms = 20

[metrics]
enabled = false

[control]
socket = "SOCKET"
"""
HANG = """
def ends(packet, info, port):
    if int.from_bytes(packet.read(info.header_size + 22, 2), "big") == port:
        while True:
            pass
    from vdp.api import Verdict
    return Verdict.REJECT
"""

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    native_engine()
    path = tmp_path / "vdp.toml"
    path.write_text(CONFIG.replace("SOCKET", str(tmp_path / "vdp.sock")))
    return path


def run(path: Path, tell: Callable[[Daemon, Ask], Awaitable[None]]) -> None:
    """The daemon of a configuration, on this (the main) thread, while `tell` says what happens."""
    plugins = Plugins()

    def kinds(section: Any) -> Any:
        plugins.load(section.load, strict=True)
        return plugins.kinds

    async def both() -> None:
        made = Daemon(load(path, kinds, plugins.settings), plugins)
        socket = made._config.control.socket
        running = asyncio.create_task(made.run())

        async def ask(method: str, **params: str) -> Any:
            return await asyncio.to_thread(call, socket, method, params)

        try:
            async with asyncio.timeout(DEADLINE_S):
                while made._inspector is None or not made._inspector.is_started:
                    assert not running.done(), running.exception()
                    await asyncio.sleep(0.01)
                await tell(made, ask)
        finally:
            made._stopping.set()
            await running

    asyncio.run(both())


def send(made: Daemon, *packets: bytes) -> None:
    number = made.datapath.ports["underlay"].number
    for data in packets:
        made._engine.inject(number, MemoryPacket(data, META))


@pytest.mark.conformance("A14")
def test_a_handler_that_hangs_is_put_out_mended_and_reloaded_while_the_daemon_runs(
    path: Path, source: Callable[[str], Source]
) -> None:
    mine = source("mine")
    mine.write(owner="mine")
    (mine.folder / "rules.py").write_text(HANG)

    async def story(made: Daemon, ask: Ask) -> None:
        async def mine_rcv() -> Any:
            return next(row for row in await ask("handler.list") if row["name"] == "mine_rcv")

        def arrived() -> int:
            return made._engine.port_stats(made.datapath.ports["lan"].number).offered

        async def until(true: Callable[[], Awaitable[bool]]) -> None:
            while not await true():
                await asyncio.sleep(0.01)

        async def all_arrived(count: int) -> bool:
            return arrived() >= count

        send(made, *(packet(8, flow) for flow in range(1, 9)))
        await until(lambda: all_arrived(8))
        send(made, *(packet(7, flow) for flow in range(1, MOST_FAILURES + 1)))
        row = await mine_rcv()
        while row["state"] == "asked":
            send(made, *(packet(8, flow) for flow in range(1, 9)))
            row = await mine_rcv()
        assert row["verdicts"]["timeout"] == MOST_FAILURES
        assert "it ran for more than 20 ms (mine_package/rules.py:" in row["last_error"]
        (plugin,) = [row for row in await ask("plugin.list") if row["name"] == "mine"]
        assert plugin["passed_over"] == ["mine_rcv"]
        drops = {row["reason"]: row["packets"] for row in await ask("drop.show", name="underlay")}
        assert drops == {"handler_timeout": MOST_FAILURES}
        # It is let out by itself, fails again, and is mended without a restart.
        await until(lambda: was_asked(mine_rcv))
        mine.write(owner="mine")
        (plugin,) = await ask("plugin.reload", name="mine")
        assert (plugin["state"], plugin["passed_over"]) == ("loaded", [])
        send(made, packet(7))

        async def is_dropped() -> bool:
            rows = await ask("drop.show", name="underlay")
            return any(row["reason"] == "plugin_mine_colour" for row in rows)

        await until(is_dropped)
        assert (await mine_rcv())["state"] == "asked"

    async def was_asked(row: Callable[[], Awaitable[Any]]) -> bool:
        return bool((await row())["state"] == "asked")

    run(path, story)
    assert not [thread for thread in threading.enumerate() if thread.name == "vdp-time-limit"]


@pytest.mark.conformance("A14")
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("priority", "more", "words"),
    [
        (1, "import nothing_of_that_name", "can not be imported: ModuleNotFoundError: No module named"),
        (1, "vdp_api = 99", "is made for API version 99; this vdp has 1"),
        (
            300,
            "",
            "failed: gre_cisco: priority 300, wanted by mine_rcv of somebody, is taken by ipgre_rcv of gre",
        ),
    ],
    ids=["import", "api", "priority"],
)
def test_a_plugin_that_does_not_load_is_one_line_and_the_dataplane_starts_unless_strict(
    path: Path,
    source: Callable[[str], Source],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    priority: int,
    more: str,
    words: str,
    strict: bool,
) -> None:
    source("mine").write(priority=priority, more=more)
    monkeypatch.setattr(module, "configure", lambda level, style: None)
    caplog.set_level(logging.INFO)
    made = Daemon.run

    async def briefly(self: Daemon) -> None:
        self._stopping.set()
        await made(self)

    monkeypatch.setattr(Daemon, "run", briefly)
    started = time.monotonic()
    code = module.run(path, strict=strict)
    assert time.monotonic() - started < DEADLINE_S
    lines = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(lines) == 1
    assert lines[0].getMessage().startswith(f"plugin mine {words}")
    assert "\n" not in lines[0].getMessage()
    assert lines[0].exc_info is None
    assert ("ready" in [record.getMessage() for record in caplog.records]) is not strict
    assert (code == 0) is not strict
