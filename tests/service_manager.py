"""A service manager in small: it starts a service, hears its notify socket, keeps its descriptors.

What systemd does of sd_notify(3) and sd_listen_fds(3), for one service.  A process that ends is
started again after `restart_s`, unless it was stopped; it gets what is in the store as descriptors
3, 4, …, with LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.lab import REPOSITORY, Daemon, Host, Lab, LabError, wait_for

#: As the unit says it: milliseconds.
_UNIT = REPOSITORY / "etc" / "systemd" / "vdp.service"
RESTART_S = int(_UNIT.read_text().split("RestartSec=")[1].split("ms")[0]) / 1000
_HIGH = 500


class ServiceManager:
    """Of one service.  command: what is run, in an environment with these variables added."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        restart_s: float = RESTART_S,
        watchdog_s: float = 0.0,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.name = "vdp-service"
        self.command = list(command)
        self.restart_s = restart_s
        self.log = folder / f"service-{id(self):x}.log"
        self.store: dict[str, int] = {}
        self.states: list[str] = []
        self.starts: list[float] = []
        self.readies: list[float] = []
        #: Ends of the process that was to go on, and how many of them somebody asked for.
        self.ends: list[int] = []
        self.asked = 0
        self.dogs = self.barks = 0
        self.watchdog_s = watchdog_s
        self.heard = 0.0
        self._is_watching = False
        self._environment = {**os.environ, **(environment or {})}
        self._address = str(folder / f"notify-{id(self):x}")
        self._environment["NOTIFY_SOCKET"] = self._address
        if watchdog_s:
            self._environment["WATCHDOG_USEC"] = str(round(watchdog_s * 1_000_000))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.bind(self._address)
        self._socket.settimeout(0.1)
        self._lock = threading.Lock()
        self._is_stopping = threading.Event()
        self._is_closed = threading.Event()
        self._popen: subprocess.Popen[bytes] | None = None
        self._hears = threading.Thread(target=self._hear, name="hears")
        self._watches = threading.Thread(target=self._watch, name="watches")

    # -- what a process has (tests.lab.Process) ------------------------------------------------

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs, or will."""
        return self._popen.poll() if self._popen and self._is_stopping.is_set() else None

    @property
    def crashes(self) -> int:
        """How often the process ended though nobody had ended it."""
        return max(0, len(self.ends) - self.asked)

    def said(self, size: int = 6000) -> str:
        return f"--- {self.name}\n{self.log.read_text(errors='replace')[-size:].rstrip()}"

    def stop(self, timeout: float = 10.0, with_signal: int = signal.SIGTERM) -> int:
        """End it for good: its exit status.  What is in the store is closed, as by `systemctl stop`."""
        self._is_stopping.set()
        status = 0
        if self._popen is not None:
            status = self._end(timeout, with_signal)
        self._is_closed.set()
        for thread in (self._watches, self._hears):
            if thread.is_alive():
                thread.join()
        self._socket.close()
        with self._lock:
            for fd in self.store.values():
                os.close(fd)
            self.store.clear()
        return status

    # -- what is done with it -------------------------------------------------------------------

    def start(self) -> None:
        """Run it."""
        self._run()
        self._hears.start()
        self._watches.start()

    def kill(self) -> float:
        """kill -9, as a crash: when that was, by the monotonic clock."""
        at = time.monotonic()
        self.asked += 1
        os.kill(self.pid, signal.SIGKILL)
        return at

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """End a process that is silent for too long, while the block runs (WatchdogSec=)."""
        self.heard, self._is_watching = time.monotonic(), True
        try:
            yield
        finally:
            self._is_watching = False

    @contextlib.contextmanager
    def environment(self, **variables: str) -> Iterator[None]:
        """Processes that are started while the block runs have these variables."""
        before = dict(self._environment)
        self._environment.update(variables)
        try:
            yield
        finally:
            self._environment = before

    def restart(self, timeout: float = 10.0) -> float:
        """`systemctl restart`: how long it took to end."""
        before = time.monotonic()
        count = len(self.starts)
        pid = self.pid
        self.asked += 1
        os.kill(pid, signal.SIGTERM)
        wait_for("the service to be started again", lambda: len(self.starts) > count, timeout)
        return self.starts[-1] - before

    def wait_ready(self, starts: int, timeout: float = 20.0) -> None:
        """Until READY=1 was said by the process that was started as number `starts`."""
        wait_for(
            f"READY=1 of start {starts}",
            lambda: len(self.starts) >= starts and len(self.readies) >= starts,
            timeout,
        )

    def _end(self, timeout: float, with_signal: int) -> int:
        assert self._popen is not None
        if self._popen.poll() is None:
            self._popen.send_signal(with_signal)
            try:
                self._popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
                raise LabError(f"{self.name} did not end in {timeout:g} s\n{self.said()}") from None
        return self._popen.returncode

    def _run(self) -> None:
        with self._lock:
            kept = list(self.store.items())
            environment = dict(self._environment)
            if kept:
                environment["LISTEN_FDS"] = str(len(kept))
                environment["LISTEN_FDNAMES"] = ":".join(name for name, _ in kept)
            fds = [fd for _, fd in kept]

            def place() -> None:
                high = [fcntl.fcntl(fd, fcntl.F_DUPFD, _HIGH) for fd in fds]
                for number, fd in enumerate(high):
                    os.dup2(fd, 3 + number, inheritable=True)

            with self.log.open("ab") as log:
                self._popen = subprocess.Popen(
                    ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *self.command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    preexec_fn=place,
                    pass_fds=range(3, 3 + len(fds)),
                )
        self.starts.append(time.monotonic())

    def _watch(self) -> None:
        while not self._is_closed.is_set():
            assert self._popen is not None
            self._bark()
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._popen.wait(0.01)
                if not self._is_stopping.is_set():
                    self.ends.append(status)
                if self._is_stopping.wait(self.restart_s):
                    return
                self._run()

    def _bark(self) -> None:
        """End a process that was ready and is silent for too long, as WatchdogSec= does."""
        is_ready = len(self.readies) >= len(self.starts)
        if self._is_watching and is_ready and time.monotonic() - self.heard > self.watchdog_s:
            self.barks += 1
            self.asked += 1
            self.heard = time.monotonic()
            assert self._popen is not None
            self._popen.send_signal(signal.SIGABRT)

    # -- the notify socket --------------------------------------------------------------------

    def _hear(self) -> None:
        while not self._is_closed.is_set():
            try:
                text, fds, _, _ = socket.recv_fds(self._socket, 4096, 16)
            except TimeoutError:
                continue
            for fd in fds:
                os.set_inheritable(fd, False)
            self._take(text.decode().splitlines(), fds)

    def _take(self, lines: Sequence[str], fds: list[int]) -> None:
        said = dict(line.partition("=")[::2] for line in lines)
        name = said.get("FDNAME", "stored")
        with self._lock:
            if "FDSTORE" in said and fds:
                kept = fds.pop(0)
                old = self.store.pop(name, None)
                if old is not None:
                    os.close(old)
                self.store[name] = kept
            if "FDSTOREREMOVE" in said and name in self.store:
                os.close(self.store.pop(name))
        if "READY" in said or "WATCHDOG" in said:
            self.heard = time.monotonic()
        if "READY" in said:
            self.readies.append(time.monotonic())
        if "WATCHDOG" in said:
            self.dogs += 1
        self.states += [line for line in lines if line.partition("=")[0] in ("READY", "STOPPING", "STATUS")]
        for fd in fds:  # of BARRIER=1: closed when all before it is done
            os.close(fd)


def serve(
    lab: Lab, host: Host, configuration: str, *, restart_s: float = RESTART_S, watchdog_s: float = 0.0
) -> tuple[ServiceManager, Daemon]:
    """Run `vdp -c FILE` in the host as a service until it is ready; it ends with the laboratory."""
    manager, daemon = service(lab, host, configuration, restart_s=restart_s, watchdog_s=watchdog_s)
    manager.wait_ready(1)
    return manager, daemon


def service(
    lab: Lab, host: Host, configuration: str, *, restart_s: float = RESTART_S, watchdog_s: float = 0.0
) -> tuple[ServiceManager, Daemon]:
    """The same, and nobody waits for it."""
    number = f"{id(configuration):x}"
    socket_path, file = lab.folder / f"{number}.sock", lab.folder / f"{number}.toml"
    file.write_text(f'{configuration}\n[control]\nsocket = "{socket_path}"\n')
    command = host.command(_python(), "-X", "faulthandler", "-m", "vdp", "-c", str(file))
    path = ":".join(map(str, (REPOSITORY, REPOSITORY / "plugins", *lab.packages)))
    manager = ServiceManager(
        command, lab.folder, restart_s=restart_s, watchdog_s=watchdog_s,
        environment={"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    daemon = Daemon(host, manager, socket_path)  # type: ignore[arg-type]
    lab.adopt(manager)  # type: ignore[arg-type]
    manager.start()
    return manager, daemon


def _python() -> str:
    import sys

    return sys.executable
