"""Descriptors that outlive the process: the service manager's file descriptor store.

A TAP whose descriptor is held by somebody keeps its carrier, addresses and routes, and what is
sent to it waits (txqueuelen frames); a packet socket keeps its ring.  The manager holds a copy of
each, and hands all of them to the next process (LISTEN_FDS, LISTEN_FDNAMES): whether vdp was
killed, crashed, or was restarted.

    put ─► the manager ─► next process: take what is of use as it is; `sweep` lets the rest go

Without a manager everything here does nothing.  Names say what a descriptor is; who takes one
looks at what it really is besides.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, MutableMapping

from vdp.service.notify import Notify

FIRST_FD = 3  # SD_LISTEN_FDS_START
NAME_MOST = 255


class FdStore:
    """What is in the store.  found: by name, what the last process left there; they are this object's."""

    def __init__(self, notify: Notify | None = None, found: Iterable[tuple[str, int]] = ()) -> None:
        self._notify = notify or Notify()
        self._found: dict[str, int] = {}
        self._twice: list[int] = []
        self._is_leaving = False
        for name, fd in found:
            if name in self._found:
                self._twice.append(fd)
            else:
                self._found[name] = fd

    @classmethod
    def from_environment(cls, notify: Notify, environment: MutableMapping[str, str] = os.environ) -> FdStore:
        """As LISTEN_FDS and LISTEN_FDNAMES say; children inherit neither them nor the descriptors."""
        count = environment.pop("LISTEN_FDS", "0")
        names = environment.pop("LISTEN_FDNAMES", "").split(":")
        is_for_us = environment.pop("LISTEN_PID", "") == str(os.getpid())
        if not is_for_us or not count.isdecimal():
            return cls(notify)
        fds = range(FIRST_FD, FIRST_FD + int(count))
        for fd in fds:
            with contextlib.suppress(OSError):
                os.set_inheritable(fd, False)
        names += ["unknown"] * len(fds)
        return cls(notify, zip(names, fds, strict=False))

    @property
    def is_there(self) -> bool:
        """Whether anything is kept."""
        return self._notify.is_there

    @property
    def names(self) -> frozenset[str]:
        """Of what the last process left and nobody has taken."""
        return frozenset(self._found)

    def take(self, name: str) -> int | None:
        """The descriptor of that name, the caller's from now on; it stays in the store."""
        return self._found.pop(name, None)

    def put(self, name: str, fd: int) -> None:
        """Have a copy kept under that name.  What has one already is kept once."""
        assert len(name) <= NAME_MOST
        assert name.isascii()
        assert name.isprintable()
        assert ":" not in name
        # FDPOLL=0: a socket whose device went down is in error, and of use all the same.
        self._notify.tell("FDSTORE=1", f"FDNAME={name}", "FDPOLL=0", fds=[fd])

    def remove(self, *names: str) -> None:
        """Have what is kept under these names closed."""
        if self._is_leaving:
            return
        for name in names:
            self._notify.tell("FDSTOREREMOVE=1", f"FDNAME={name}")

    def discard(self, *names: str) -> None:
        """Let these go now, and wait until nobody has them: a device goes with its last descriptor."""
        for name in names:
            fd = self._found.pop(name, None)
            if fd is not None:
                os.close(fd)
        if names:
            self.remove(*names)
            self._notify.barrier()

    def sweep(self) -> list[str]:
        """Let go what nobody took: the names."""
        names = sorted(self._found)
        for fd in (*self._found.values(), *self._twice):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._found.clear()
        self._twice.clear()
        self.remove(*names)
        return names

    def leave(self) -> None:
        """From now on nothing is taken out: this process ends, and the next one gets what is there."""
        self._is_leaving = True
