"""The daemon that runs: does it answer, is it whole, what does it complain of?"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from vdp import __version__
from vdp.control.client import call
from vdp.control.errors import UNKNOWN_METHOD, ControlError, DaemonUnreachable
from vdp.control.remote import RemoteView
from vdp.control.view import FindingRow
from vdp.doctor.result import NO_DAEMON, Result
from vdp.netlink import namespaces
from vdp.status.findings import findings
from vdp.status.sample import Sample, rates

#: Between two looks, for rates of a daemon that does not say by itself what is wrong.
LOOK_S = 0.3


@dataclass(frozen=True, slots=True)
class Running:
    """The daemon that runs, and the file that it was started with.

    taps: its devices that are named as ports, each with its namespace; metrics: where it listens for
    them, "" where nowhere.  Both as seen from here: what it has in another namespace takes nothing of ours.
    """

    pid: int
    config: Path
    taps: frozenset[tuple[str, str | None]] = frozenset()
    metrics: str = ""

    def has(self, file: Path) -> bool:
        """Whether that is its configuration."""
        return self.config.resolve() == file.resolve()


def running(path: str) -> Running | None:
    """The daemon at a socket; None where none answers."""
    try:
        status, ports = call(path, "status"), call(path, "port.show")
    except (ControlError, DaemonUnreachable):
        return None
    pid, file = int(status["pid"]), Path(status["config"])
    with suppress(OSError):  # of another user, whose folder is not to be known
        file = Path(f"/proc/{pid}/cwd").readlink() / file
    is_here = namespaces.is_ours(pid)
    taps = {
        (row["name"], row["netns"])
        for row in ports
        if row["type"] in ("tap", "tun") and (is_here or row["netns"] is not None)
    }
    return Running(pid, file, frozenset(taps), urlsplit(status["metrics"]).netloc if is_here else "")


def looked_at(daemon: Running | None, look: Callable[[], list[Result]]) -> list[Result]:
    """What `look` finds, from where the daemon runs: its network namespace may be another than ours."""
    if daemon is None or namespaces.is_ours(daemon.pid):
        return look()
    sentence = f"the daemon (pid {daemon.pid}) runs in another network namespace than this command"
    inside = f"nsenter -t {daemon.pid} -n"
    try:
        found = namespaces.run_as(daemon.pid, look)
    except OSError as error:
        sentence += f", which can not be entered: {error.strerror}; what follows is about this one"
        return [Result("netns", "warn", sentence, f"{inside} vdp doctor, as root"), *look()]
    return [Result("netns", "ok", f"{sentence}: looked at from there; to mend it: {inside} COMMAND"), *found]


def daemon(path: str, *, expected: bool = True) -> Iterator[Result]:
    """Every check of the daemon at a socket.  expected: it is a fault that none was ever started there."""
    try:
        view = RemoteView(path)
        now = Sample.take(view, time.monotonic())
        found = _findings(view, now)
    except DaemonUnreachable as error:
        yield _absent(path, error, expected)
        return
    except ControlError as error:
        yield Result("daemon", "fail", f"the daemon does not say how it is: {error.message}", "vdp status")
        return
    yield from _version(now)
    yield from _rings(now)
    yield from _complaints(found)


def _absent(path: str, error: DaemonUnreachable, expected: bool) -> Result:
    try:
        os.stat(path)
    except FileNotFoundError:
        sentence = f"no daemon answers at {path}"
        if not expected:
            return Result(NO_DAEMON, "ok", f"{sentence}, and none has to for a look at a file")
        return Result(NO_DAEMON, "fail", sentence, "vdp -c FILE, or systemctl status vdp")
    except OSError:  # who may not know whether it is there is told so by `error`
        pass
    return Result(NO_DAEMON, "fail", str(error), error.hint or "its log says why; start it anew: vdp -c FILE")


def _findings(view: RemoteView, before: Sample) -> list[FindingRow]:
    """What the daemon finds wrong with itself: it knows rates, and who was heard when, for longer than we."""
    try:
        return view.findings()
    except ControlError as error:
        if error.code != UNKNOWN_METHOD:
            raise
    time.sleep(LOOK_S)
    now = Sample.take(view, time.monotonic())
    return [cast("FindingRow", asdict(each)) for each in findings(now, rates(now, before))]


def _version(now: Sample) -> Iterator[Result]:
    theirs = now.status["version"]
    if theirs != __version__:
        sentence = f"vdp {theirs} runs, and this is {__version__}"
        yield Result("versions", "warn", sentence, "restart the daemon")
    else:
        yield Result("daemon", "ok", f"vdp {theirs} answers, for {now.status['uptime_s']:.0f} s")


def _rings(now: Sample) -> Iterator[Result]:
    for name, port in now.ports.items():
        by_interface = port["type"] == "raw" and port["packet_type"] == "l2"
        if by_interface and port["up"] and not port["rx_ring"]:
            sentence = f"port {name} receives by a system call for each batch: no ring could be made"
            yield Result("ring", "warn", sentence, "ulimit -l unlimited, or LimitMEMLOCK=infinity; restart")


def _complaints(found: list[FindingRow]) -> Iterator[Result]:
    for each in found:
        sentence = f"{each['subject']}: {each['sentence']}"
        yield Result("running", "fail" if each["severity"] == "bad" else "warn", sentence, each["command"])
