"""The socket by which a service tells its manager how it is (sd_notify(3)).

    READY=1 · RELOADING=1 · STOPPING=1 · STATUS=a sentence · WATCHDOG=1
    FDSTORE=1, FDNAME=… with a descriptor · FDSTOREREMOVE=1, FDNAME=… · BARRIER=1 with a pipe

Datagrams to the socket that NOTIFY_SOCKET names; systemd reads them, and so does any program that
makes such a socket.  Without NOTIFY_SOCKET nothing is sent.  A manager that does not read for a
second is not waited for: what was to be said is lost, and said once in the log.
"""

from __future__ import annotations

import logging
import os
import select
import socket
from collections.abc import MutableMapping, Sequence

log = logging.getLogger("vdp")

SEND_S = 1.0
#: How long the manager may take to have read all that was sent before.
BARRIER_S = 5.0
US = 1_000_000


class Notify:
    """One connection to the manager.  address: None, and there is none."""

    def __init__(self, address: str | None = None, watchdog_s: float = 0.0) -> None:
        self._socket: socket.socket | None = None
        #: How often it wants to hear WATCHDOG=1; 0: it does not.
        self.watchdog_s = watchdog_s
        self._has_failed = False
        if not address:
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(SEND_S)
        try:
            self._socket.connect("\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:
            log.warning("the service manager's socket %s: %s; it hears nothing", address, error.strerror)
            self.close()

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] = os.environ) -> Notify:
        """As NOTIFY_SOCKET and WATCHDOG_USEC say; children do not inherit them."""
        address = environment.pop("NOTIFY_SOCKET", None)
        every_us = environment.pop("WATCHDOG_USEC", "0")
        is_for_us = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watchdog_s = int(every_us) / US if every_us.isdecimal() and is_for_us else 0.0
        return cls(address, watchdog_s)

    @property
    def is_there(self) -> bool:
        """Whether somebody listens."""
        return self._socket is not None

    def tell(self, *lines: str, fds: Sequence[int] = ()) -> bool:
        """Send these assignments in one message; whether the manager has it."""
        if self._socket is None:
            return False
        text = "\n".join(line.replace("\n", " ") for line in lines).encode()
        try:
            if fds:
                socket.send_fds(self._socket, [text], list(fds))
            else:
                self._socket.send(text)
        except OSError as error:
            if not self._has_failed:
                log.warning("the service manager does not hear: %s", error.strerror or error)
            self._has_failed = True
            return False
        self._has_failed = False
        return True

    def barrier(self) -> bool:
        """Wait until the manager has done all it was told; whether it did in time."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                said = self.tell("BARRIER=1", fds=[writing])
            finally:
                os.close(writing)
            poll = select.poll()
            poll.register(reading, 0)
            return said and bool(poll.poll(BARRIER_S * 1000))
        finally:
            os.close(reading)

    def close(self) -> None:
        """Say nothing any more.  May be called twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
