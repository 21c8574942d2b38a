"""A fake daemon on a control socket, and `vdp` run as users run it, or in process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.control.fake_view import FakeView
from vdp.cli import main
from vdp.cli.commands import COMMANDS
from vdp.control.methods import method_table
from vdp.control.server import ControlServer, Method
from vdp.status import History
from vdp.status.method import finding_table


def changes(view: FakeView) -> dict[str, Method]:
    """Methods that change: what they were asked to is noted, and all rows are the answer."""

    def made(method: str, rows: Any) -> Method:
        def change(params: dict[str, Any]) -> Any:
            view.asked.append((method, params["name"]))
            return rows

        return change

    return {
        command.method: made(command.method, view.plugins if command.noun == "plugin" else view.handlers)
        for command in COMMANDS
        if command.changes
    }


@dataclass
class Daemon:
    """What answers at `socket`; tests change `view`."""

    socket: str
    view: FakeView


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A control server on a thread of its own, with a fake view."""
    view = FakeView()
    path = tmp_path / "vdp.sock"
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> ControlServer:
        methods = method_table(view) | changes(view) | {"perf.show": lambda params: {"seconds": 1.0}}
        methods |= finding_table(History(view, count().__next__))
        server = ControlServer(path, methods)
        await server.start()
        return server

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield Daemon(str(path), view)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


class Vdp:
    """`vdp` in this process: its exit code and what it wrote."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Result:
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        captured = self._capsys.readouterr()
        return Result(code, captured.out, captured.err)


@pytest.fixture
def vdp(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Vdp:
    monkeypatch.delenv("VDP_SOCKET", raising=False)
    return Vdp(capsys)
