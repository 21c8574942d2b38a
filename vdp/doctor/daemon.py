"""The daemon that runs: does it answer, is it whole, what does it complain of?"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vdp import __version__
from vdp.control.client import call
from vdp.control.errors import ControlError, DaemonUnreachable
from vdp.control.remote import RemoteView
from vdp.doctor.result import Result
from vdp.netlink import namespaces
from vdp.status.findings import findings
from vdp.status.sample import Sample, rates

#: Between two looks, for rates.
LOOK_S = 0.3


@dataclass(frozen=True, slots=True)
class Running:
    """The daemon that runs, and the file that it was started with."""

    pid: int
    config: Path

    def has(self, file: Path) -> bool:
        """Whether that is its configuration."""
        return self.config.resolve() == file.resolve()


def running(path: str) -> Running | None:
    """The daemon at a socket; None where none answers."""
    try:
        status = call(path, "status")
    except (ControlError, DaemonUnreachable):
        return None
    pid, file = int(status["pid"]), Path(status["config"])
    with suppress(OSError):  # of another user, whose folder is not to be known
        file = Path(f"/proc/{pid}/cwd").readlink() / file
    return Running(pid, file)


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


def daemon(path: str) -> Iterator[Result]:
    """Every check of the daemon at a socket."""
    try:
        view = RemoteView(path)
        before = Sample.take(view, time.monotonic())
        time.sleep(LOOK_S)
        now = Sample.take(view, time.monotonic())
    except DaemonUnreachable as error:
        if os.path.exists(path):
            fix = error.hint or "look at its log, and start it anew: vdp -c FILE"
            yield Result("daemon", "fail", str(error), fix)
        else:
            yield Result("daemon", "ok", f"none runs here: {error}")
        return
    except ControlError as error:
        yield Result("daemon", "fail", f"the daemon does not say how it is: {error.message}", "vdp status")
        return
    yield from _version(now)
    yield from _rings(now)
    yield from _complaints(now, before)


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


def _complaints(now: Sample, before: Sample) -> Iterator[Result]:
    for each in findings(now, rates(now, before)):
        sentence = f"{each.subject}: {each.sentence}"
        yield Result("running", "fail" if each.severity == "bad" else "warn", sentence, each.command)
