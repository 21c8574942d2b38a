"""`vdp log set`: a module's level, which goes back by itself."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Vdp
from tests.lab import wait_for
from vdp.cli import exits
from vdp.control.log_calls import log_table
from vdp.control.server import ControlServer

NAME = "vdp.test_log_levels"


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[str]:
    """A control server that has the method, as the daemon's."""
    logging.getLogger(NAME)
    path = tmp_path / "vdp.sock"
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = ControlServer(path, log_table())
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    try:
        yield str(path)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
        logging.getLogger(NAME).setLevel(logging.NOTSET)


def test_a_level_goes_back_by_itself(vdp: Vdp, socket: str) -> None:
    result = vdp("log", "set", f"{NAME}=debug", "--for", "0.3s", "--socket", socket)
    assert (result.code, result.err) == (exits.OK, "")
    assert "debug" in result.out
    assert logging.getLogger(NAME).level == logging.DEBUG
    wait_for("the level to go back", lambda: logging.getLogger(NAME).level == logging.NOTSET)
    assert json.loads(vdp("log", "set", "--json", "--socket", socket).out) == []


def test_a_level_of_its_own_comes_back(vdp: Vdp, socket: str) -> None:
    logging.getLogger(NAME).setLevel(logging.WARNING)
    for level in ("debug", "error"):
        vdp("log", "set", f"{NAME}={level}", "--socket", socket)
    for _ in range(2):
        assert vdp("log", "set", NAME, "--socket", socket).code == exits.OK
        assert logging.getLogger(NAME).level == logging.WARNING


def test_the_last_word_counts(vdp: Vdp, socket: str) -> None:
    vdp("log", "set", f"{NAME}=debug", "--for", "0.2", "--socket", socket)
    (row,) = json.loads(vdp("log", "set", f"{NAME}=ERROR", "--json", "--socket", socket).out)
    assert row == {"module": NAME, "level": "error", "left_s": None}
    (timed,) = json.loads(vdp("log", "set", f"{NAME}=debug", "--for", "2m", "--json", "--socket", socket).out)
    assert 100 < timed["left_s"] <= 120
    back = vdp("log", "set", NAME, "--socket", socket)
    assert (back.out, logging.getLogger(NAME).level) == (
        "every module logs as the configuration says\n",
        logging.NOTSET,
    )


def test_what_is_wrong_is_said(vdp: Vdp, socket: str) -> None:
    unknown = vdp("log", "set", "vdp.test_log_lvels=debug", "--socket", socket)
    assert (unknown.code, f'did you mean "{NAME}"?' in unknown.err) == (exits.NOT_FOUND, True)
    level = vdp("log", "set", f"{NAME}=loud", "--socket", socket)
    assert (level.code, "one of debug, info" in level.err) == (exits.USAGE, True)
    time = vdp("log", "set", f"{NAME}=debug", "--for", "soon", "--socket", socket)
    assert (time.code, "such as 60s" in time.err) == (exits.USAGE, True)
    assert vdp("log", "set", "vdp=debug", "--socket", "/nonexistent.sock").code == exits.UNREACHABLE
