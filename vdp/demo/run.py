"""The demo from its beginning to its end."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vdp.control.client import call
from vdp.control.errors import ControlError, DaemonUnreachable
from vdp.demo.configuration import configuration
from vdp.demo.site import LEFT, RIGHT, DemoError, end_with_parent, site
from vdp.demo.traffic import Traffic

START_S = 30.0
LOOPBACK = "127.0.0.1"
#: Loopback ports of the sides' metrics: vdp's own and the next, or the first that are free after it.
METRICS = range(9479, 9579)


@dataclass(frozen=True)
class Side:
    """A running vdp: what it was configured with, and where it answers."""

    name: str
    file: Path
    socket: Path
    log: Path
    page: str
    process: subprocess.Popen[bytes]


@dataclass(frozen=True)
class Outcome:
    """What the demo moved: packets by link of the left side, and its drops by reason."""

    received: dict[str, int]
    drops: dict[str, int]

    @property
    def is_good(self) -> bool:
        """Each tunnel carried something."""
        return all(self.received.get(name, 0) > 0 for name in ("gt0", "g0", "w0"))


def run(show: Callable[[dict[str, Side], Traffic], None]) -> Outcome:
    """Make everything, `show` it until that returns, and take everything away.

    Raises DemoError where it can not be had.
    """
    if os.geteuid() != 0:
        raise DemoError("it makes network namespaces: run it as root")
    with site(), tempfile.TemporaryDirectory(prefix="vdp-demo-") as folder, _sides(Path(folder)) as sides:
        traffic = Traffic()
        try:
            traffic.start()
            show(sides, traffic)
            return _outcome(sides[LEFT])
        finally:
            traffic.stop()


@contextlib.contextmanager
def _sides(folder: Path) -> Iterator[dict[str, Side]]:
    sides: dict[str, Side] = {}
    try:
        for name, metrics in zip((LEFT, RIGHT), _free_ports(2), strict=True):
            sides[name] = _started(folder, name, metrics)
        for side in sides.values():
            _wait_ready(side)
        yield sides
    finally:
        for side in sides.values():
            side.process.terminate()
        for side in sides.values():
            try:
                side.process.wait(10)
            except subprocess.TimeoutExpired:
                side.process.kill()
                side.process.wait()


def _free_ports(count: int) -> list[int]:
    """A vdp that runs here, or another program, keeps its own."""
    found: list[int] = []
    for port in METRICS:
        with contextlib.suppress(OSError):
            socket.create_server((LOOPBACK, port)).close()
            found.append(port)
        if len(found) == count:
            return found
    raise DemoError(f"of the ports {METRICS[0]} to {METRICS[-1]} of {LOOPBACK} no {count} are free")


def _started(folder: Path, name: str, metrics: int) -> Side:
    word = name.removeprefix("vdp-demo-")
    file, control, log = (folder / f"{word}.{suffix}" for suffix in ("toml", "sock", "log"))
    file.write_text(configuration(name, control, metrics))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "vdp", "-c", str(file)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            preexec_fn=end_with_parent,
        )  # fmt: skip
    return Side(name, file, control, log, f"http://{LOOPBACK}:{metrics}/", process)


def _wait_ready(side: Side) -> None:
    deadline = time.monotonic() + START_S
    while side.process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(ControlError, DaemonUnreachable):
            if call(str(side.socket), "status")["ready"]:
                return
        time.sleep(0.02)
    said = side.log.read_text(errors="replace").strip()
    raise DemoError(f"vdp of {side.name} does not come up:\n{said}")


def _outcome(side: Side) -> Outcome:
    try:
        links = call(str(side.socket), "link.show")
        drops = call(str(side.socket), "drop.show")
    except (ControlError, DaemonUnreachable) as error:
        raise DemoError(f"vdp of {side.name} ended: {error}") from None
    found: dict[str, int] = {}
    for row in drops:
        found[row["reason"]] = found.get(row["reason"], 0) + row["packets"]
    return Outcome({row["name"]: row["counters"]["rx_packets"] for row in links}, found)
