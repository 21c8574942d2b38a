"""The two hosts and the cable between them: network namespaces, and nothing outside of them."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from vdp.netlink import namespaces

LEFT, RIGHT = "vdp-demo-left", "vdp-demo-right"
UNDERLAY = {LEFT: "192.0.2.1", RIGHT: "192.0.2.2"}
#: Held while there is a demo: who has it may take away what an earlier one, killed, has left.
LOCK = Path("/run/vdp-demo.lock")
_PR_SET_PDEATHSIG = 1


class DemoError(Exception):
    """The demo can not be shown; says why."""


@contextlib.contextmanager
def site() -> Iterator[None]:
    """While it is entered, there are two hosts with a cable."""
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError("a demo runs on this machine already: end it first, with Ctrl-C") from None
        _remove()
        try:
            _make()
            yield
        finally:
            _remove()
            LOCK.unlink(missing_ok=True)


def _make() -> None:
    for name in (LEFT, RIGHT):
        namespaces.create(name)
    ip("link", "add", "eth0", "netns", LEFT, "type", "veth", "peer", "name", "eth0", "netns", RIGHT)
    for name, address in UNDERLAY.items():
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "address", "add", f"{address}/30", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")


def _remove() -> None:
    for name in (LEFT, RIGHT):
        if namespaces.exists(name):
            namespaces.remove(name)


def ip(*arguments: str) -> None:
    """ip(8); DemoError with what it says when it fails."""
    try:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        raise DemoError("ip is not installed: apt install iproute2") from None
    except subprocess.CalledProcessError as error:
        raise DemoError(f"ip {' '.join(arguments)}: {error.stderr.strip()}") from None


def end_with_parent() -> None:
    """For a child, before it is what it will be: SIGTERM to it when who started it is gone, however."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
