"""A dataplane whose worker runs, and a control socket that captures what it does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Result, Vdp, vdp
from tests.lab import wait_for
from vdp.capture.feed import capture_table
from vdp.cli import main
from vdp.control.server import ControlServer
from vdp.engine.interface import EngineConfig, PacketType
from vdp.engine.native import NativeEngine
from vdp.testing import builders
from vdp.testing.dataplane import Dataplane

LOCAL, REMOTE = "192.0.2.1", "192.0.2.2"
INNER = builders.ipv4("10.0.0.2", "10.0.0.1", builders.udp(4000, 53, b"hello"))


def gre_packet(*, key: int = 7, inner: bytes = INNER) -> bytes:
    return builders.ipv4(REMOTE, LOCAL, builders.gre(inner, key=key), protocol=47)


@dataclass
class Site:
    """`plane`, on whose engine packets pass by themselves, and the control socket at `path`."""

    plane: Dataplane
    path: str
    opened: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def arrive(self, port: str, *packets: bytes) -> None:
        self.plane.arrive(port, *packets)

    def run(self, traffic: Callable[[], None], *arguments: str) -> int:
        """`vdp ARGUMENTS`, with the traffic once its tap is open; the exit code."""
        codes: list[int] = []
        command = threading.Thread(target=lambda: codes.append(main([*arguments, "--socket", self.path])))
        command.start()
        assert self.opened.acquire(timeout=10)
        traffic()
        command.join(20)
        assert not command.is_alive()
        return codes[0]

    def collect(self, port: str) -> None:
        """Make room where packets leave."""
        while self.plane.engine.collect(self.plane.datapath.ports[port].number) is not None:
            pass

    def sent(self, port: str) -> int:
        return self.plane.stats(port).tx_packets


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A gre link with key 7 over `underlay`, connected with `lan`; its flows are there."""
    plane = Dataplane(NativeEngine(EngineConfig()), ("gre",))
    plane.port("underlay", PacketType.L3)
    plane.port("lan", PacketType.L3)
    plane.port("alone", PacketType.L3)
    plane.link("gre1", "gre", local=LOCAL, remote=REMOTE, key=7)
    plane.connect("lan", "gre1")
    plane.send("underlay", gre_packet(), gre_packet(key=8))
    plane.send("lan", INNER)
    site = Site(plane, str(tmp_path / "vdp.sock"))
    methods = capture_table(plane.datapath)

    def capture(params: dict[str, Any]) -> object:
        made = methods["capture"](params)
        site.opened.release()
        return made

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = ControlServer(site.path, {**methods, "capture": capture})
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    plane.engine.start()
    try:
        yield site
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
        plane.close()


__all__ = ["Result", "Site", "Vdp", "gre_packet", "site", "vdp", "wait_for"]
