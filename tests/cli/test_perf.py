"""`vdp perf show`: tables for people, the whole answer as JSON."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator

import pytest

from tests.cli.conftest import Vdp
from tests.plane import L3, Plane
from vdp.cli import exits
from vdp.control.server import ControlServer
from vdp.engine.interface import EngineConfig
from vdp.engine.native import NativeEngine
from vdp.perf.method import perf_table
from vdp.testing.builders import ipv4, udp


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A control server of a dataplane that has forwarded packets."""
    plane = Plane(NativeEngine(EngineConfig()), ("gre",))
    plane.port("one", L3)
    plane.port("other", L3)
    plane.connect("one", "other")
    for _ in range(3):
        plane.send("one", ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, b"hello")))
    path = tmp_path_factory.mktemp("perf") / "vdp.sock"
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = ControlServer(path, perf_table(plane.datapath))
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    try:
        yield str(path)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
        plane.close()


def test_all_since_the_start_without_stages(vdp: Vdp, socket: str) -> None:
    for words in (["perf", "show"], ["perf"]):
        result = vdp(*words, "--socket", socket)
        assert (result.code, result.err) == (exits.OK, "")
        assert re.search(r"^LOOKUPS .*\n +3 .* 66\.7% ", result.out, re.MULTILINE)
        assert "vdp perf show --for 5s" in result.out


def test_measured_for_a_time_with_stages_and_sizes(vdp: Vdp, socket: str) -> None:
    result = vdp("perf", "show", "--for", "0.1s", "-H", "--socket", socket)
    assert (result.code, result.err) == (exits.OK, "")
    titles = re.findall(r"^(\w[\w ]*).*:$", result.out, re.MULTILINE)
    assert titles == ["workers", "stages of all workers", "batches received", "flow cache", "slow path"]
    assert result.out.startswith("Nothing limits: ")
    for stage in ("wait", "receive", "lookup", "execute", "transmit"):
        assert re.search(rf"^{stage} .*%", result.out, re.MULTILINE)


def test_json_has_the_whole_answer(vdp: Vdp, socket: str) -> None:
    answer = json.loads(vdp("perf", "show", "--json", "--socket", socket).out)
    assert answer["cache"]["lookups"] == 3
    assert answer["workers"][0]["packets"] == 3
    assert answer["upcalls"]["count"] == 1


def test_what_is_wrong_is_said(vdp: Vdp, socket: str) -> None:
    sizes = vdp("perf", "show", "-H", "--socket", socket)
    assert (sizes.code, "hint: vdp perf show -H --for 5s" in sizes.err) == (exits.USAGE, True)
    assert vdp("perf", "show", "--for", "soon", "--socket", socket).code == exits.USAGE
    long = vdp("perf", "show", "--for", "5h", "--socket", socket)
    assert (long.code, "0.1 to 600 seconds" in long.err) == (exits.USAGE, True)
    assert vdp("perf", "show", "--socket", "/nonexistent.sock").code == exits.UNREACHABLE
