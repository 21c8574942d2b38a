"""A laboratory of network namespaces: hosts, cables, programs, and vdp daemons in them.

    with Lab() as lab:
        left, right = lab.host("left"), lab.host("right")
        lab.cable(left, "192.0.2.1/24", right, "192.0.2.2/24")
        assert left.ping("192.0.2.2") == 3

Everything made here has a name of this process, and goes when the lab closes, whatever
happened in between: processes by their own pid, then namespaces.  Nothing here sleeps
for a fixed time: `wait_for` polls until a deadline.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from vdp.control import client
from vdp.control.errors import ControlError, DaemonUnreachable
from vdp.netlink import namespaces

REPOSITORY = Path(__file__).resolve().parent.parent
_numbers = itertools.count(1)
_T = TypeVar("_T")


class LabError(AssertionError):
    """Something in the laboratory did not do what the test needs; says what was seen."""


def wait_for(what: str, predicate: Callable[[], _T | None], timeout: float = 10.0) -> _T:
    """The first true answer of `predicate`, asked again and again; LabError past the deadline."""
    deadline = time.monotonic() + timeout
    pause = 0.002
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise LabError(f"waited {timeout:g} s for {what}; the last answer was {answer!r}")
        time.sleep(pause)
        pause = min(pause * 2, 0.1)


class Process:
    """A program that runs beside the test; its output goes to files that stay readable."""

    def __init__(self, command: Sequence[str], folder: Path, name: str, **environment: str) -> None:
        self.name = name
        number = next(_numbers)
        self.out = folder / f"{number}-{name}.out"
        self.err = folder / f"{number}-{name}.err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self._popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**os.environ, **environment}
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs."""
        return self._popen.poll()

    def wait(self, timeout: float = 10.0) -> int:
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} still runs after {timeout:g} s\n{self.said()}") from None

    def stop(self, timeout: float = 10.0, with_signal: int = signal.SIGTERM) -> int:
        """End it; its exit status.  LabError when it has to be killed."""
        if self._popen.poll() is None:
            self._popen.send_signal(with_signal)
            try:
                self._popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
                raise LabError(f"{self.name} did not end in {timeout:g} s\n{self.said()}") from None
        return self._popen.returncode

    def said(self, size: int = 6000) -> str:
        """The end of what it wrote, for messages."""
        parts = []
        for title, path in (("stdout", self.out), ("stderr", self.err)):
            text = path.read_text(errors="replace")[-size:]
            if text.strip():
                parts.append(f"--- {self.name} {title}\n{text.rstrip()}")
        return "\n".join(parts)


class Host:
    """A network namespace, used as a computer of its own."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.name = name

    def command(self, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *command]

    def run(self, *command: str, timeout: float = 30.0, check: bool = True) -> str:
        """The standard output of a command run here; LabError when it fails, unless `check` is off."""
        done = subprocess.run(
            self.command(*command), capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode != 0:
            raise LabError(f"{self.name}: {' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self, *command: str, name: str = "", **environment: str) -> Process:
        return self.lab.adopt(
            Process(self.command(*command), self.lab.folder, name or Path(command[0]).name, **environment)
        )

    def ip(self, *arguments: str, check: bool = True) -> str:
        return self.run("ip", *arguments, check=check)

    def has_carrier(self, device: str) -> bool:
        return "LOWER_UP" in self.ip("link", "show", device)

    def ping(self, address: str, count: int = 3, size: int = 56, timeout: float = 5.0, **options: str) -> int:
        """How many of `count` echo requests were answered.  options: `I="tap0"` becomes `-I tap0`."""
        extra = [word for key, value in options.items() for word in (f"-{key}", value)]
        limit = str(int(timeout))
        said = self.run(
            "ping", "-q", "-n", "-c", str(count), "-i", "0.02", "-W", limit, "-w", limit,
            "-s", str(size), *extra, address, timeout=timeout + 10, check=False,
        )  # fmt: skip
        found = re.search(r"(\d+) received", said)
        # With -w it goes on until that many answers came, and may have sent more by then.
        return min(count, int(found.group(1))) if found else 0

    def wait_ping(self, address: str, timeout: float = 15.0) -> None:
        """Until an echo comes back."""
        wait_for(
            f"a ping of {address} from {self.name}", lambda: self.ping(address, 1, timeout=1) == 1, timeout
        )

    def iperf(
        self,
        server: Host,
        address: str,
        *,
        seconds: int = 1,
        reverse: bool = False,
        udp_rate: str | None = None,
        size: int | None = None,
        transfer: str | None = None,
        streams: int = 1,
    ) -> dict[str, Any]:
        """iperf3's own report of one run from here to `server`, which listens on `address`.

        seconds: whole ones, iperf3 has no other.  transfer: end when that many bytes are
        sent instead ("4M"); iperf3 does not wait for all of them to arrive.
        udp_rate: UDP at this rate ("50M", "0" for all there is).  reverse: the server sends.
        """
        port = 20000 + next(_numbers) % 20000
        listening = server.start(
            "iperf3", "-s", "-1", "-B", address, "-p", str(port), "--forceflush", name="iperf3-s"
        )
        wait_for(
            "iperf3 to listen",
            lambda: "listening" in listening.out.read_text() or listening.status is not None,
        )
        try:
            return self.iperf_client(
                address, port, seconds=seconds, reverse=reverse, udp_rate=udp_rate, size=size,
                transfer=transfer, streams=streams,
            )  # fmt: skip
        finally:
            with contextlib.suppress(LabError):
                listening.wait(2)
            listening.stop()

    def iperf_client(
        self,
        address: str,
        port: int,
        *,
        seconds: int = 1,
        reverse: bool = False,
        udp_rate: str | None = None,
        size: int | None = None,
        transfer: str | None = None,
        streams: int = 1,
    ) -> dict[str, Any]:
        """The same with a server that listens already."""
        command = ["iperf3", "-c", address, "-p", str(port), "-J", "--connect-timeout", "5000"]
        command += ["-P", str(streams)]
        command += ["-n", transfer] if transfer else ["-t", str(seconds)]
        command += ["-R"] if reverse else []
        command += ["-u", "-b", udp_rate] if udp_rate is not None else []
        command += ["-l", str(size)] if size is not None else []
        try:
            text = self.run(*command, timeout=seconds + 30, check=False)
        except subprocess.TimeoutExpired:
            raise LabError(f"iperf3 {self.name} -> {address} hangs") from None
        report: dict[str, Any] = json.loads(text)
        if "error" in report:
            raise LabError(f"iperf3 {self.name} -> {address}: {report['error']}")
        return report

    @contextlib.contextmanager
    def capture(self, interface: str, expression: str = "") -> Iterator[Capture]:
        """Frames on the interface while the block runs, with tcpdump; read them after it."""
        capture = Capture(self.lab.folder / f"{next(_numbers)}-{interface}.pcap")
        tcpdump = self.start(
            "tcpdump", "-i", interface, "-n", "-U", "--immediate-mode", "-w", str(capture.path),
            *expression.split(),
        )  # fmt: skip
        wait_for(
            "tcpdump to listen",
            lambda: "listening on" in tcpdump.err.read_text() or tcpdump.status is not None,
        )
        if tcpdump.status is not None:
            raise LabError(tcpdump.said())
        try:
            yield capture
        finally:
            tcpdump.stop(with_signal=signal.SIGINT)


class Capture:
    """What was seen on an interface."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def packets(self) -> list[Any]:
        """The frames, decoded by scapy."""
        import scapy.layers.inet
        import scapy.layers.l2  # noqa: F401  importing them is what makes scapy decode
        from scapy.utils import rdpcap

        return list(rdpcap(str(self.path)))


class Daemon:
    """A vdp that serves a configuration in a host."""

    def __init__(self, host: Host, process: Process, socket: Path) -> None:
        self.host = host
        self.process = process
        self.socket = socket

    def ask(self, method: str, **parameters: Any) -> Any:
        """What `vdp … --json` prints: `ask("port.show")`."""
        return client.call(str(self.socket), method, parameters)

    def ports(self) -> dict[str, dict[str, Any]]:
        """The ports by name, as `vdp port show --json` has them."""
        shown = self.ask("port.show")
        rows = shown["ports"] if isinstance(shown, dict) and "ports" in shown else shown
        return {row["name"]: row for row in rows}

    def wait_ready(self, timeout: float = 60.0) -> None:
        def ready() -> bool:
            if self.process.status is not None:
                raise LabError(f"vdp ended with {self.process.status}\n{self.process.said()}")
            return client.answers(str(self.socket))

        wait_for("vdp's control socket", ready, timeout)

    def losses(self) -> str:
        """What it dropped, and its ports' counters, for messages; "" when it does not answer."""
        if self.process.status is not None:
            return ""
        try:
            lines = [str(row) for row in self.ask("drop.show")]
            lines += [
                f"{name}: {port['counters']} {port['error'] or ''}" for name, port in self.ports().items()
            ]
        except (ControlError, DaemonUnreachable):
            return ""
        return "\n".join((f"--- {self.process.name} ports and drops", *lines))

    def stop(self) -> int:
        return self.process.stop()


class Lab:
    """Makes hosts, cables and processes; takes all of them away."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vdp-lab-"))
        self._hosts: list[Host] = []
        self._processes: list[Process] = []
        self._daemons: list[Daemon] = []
        self._undo: list[Callable[[], None]] = []
        #: Folders with what its daemons find installed, beside the tree.
        self.packages: list[Path] = []

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if value is not None:
            value.add_note(self.story())
        self.close()

    def close(self) -> None:
        for process in reversed(self._processes):
            with contextlib.suppress(LabError):
                process.stop(timeout=5)
        for undo in reversed(self._undo):
            undo()
        for host in self._hosts:
            with contextlib.suppress(FileNotFoundError):
                namespaces.remove(host.name)
        self._hosts.clear()
        self._processes.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def story(self) -> str:
        """What the processes said and the daemons dropped, for a failure's message."""
        return "\n".join(
            filter(None, (*(p.said() for p in self._processes), *(d.losses() for d in self._daemons)))
        )

    def adopt(self, process: Process) -> Process:
        self._processes.append(process)
        return process

    def on_close(self, undo: Callable[[], None]) -> None:
        self._undo.append(undo)

    def host(self, label: str = "host") -> Host:
        """A namespace with its loopback up, without IPv6 (its own packets would blur counts)."""
        host = Host(self, f"vdp-{os.getpid()}-{next(_numbers)}-{label}")
        namespaces.create(host.name)
        self._hosts.append(host)
        host.run(
            "sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"
        )
        host.ip("link", "set", "lo", "up")
        return host

    def cable(
        self,
        left: Host,
        left_address: str,
        right: Host,
        right_address: str,
        *,
        names: tuple[str, str] = ("eth0", "eth0"),
        mtu: int = 1500,
    ) -> None:
        """A veth pair between two hosts, with addresses ("" for none), up."""
        left.ip(
            "link", "add", names[0], "mtu", str(mtu), "type", "veth",
            "peer", "name", names[1], "mtu", str(mtu), "netns", right.name,
        )  # fmt: skip
        for host, name, address in ((left, names[0], left_address), (right, names[1], right_address)):
            if address:
                host.ip("address", "add", address, "dev", name)
            host.ip("link", "set", name, "up")
        for host, name in ((left, names[0]), (right, names[1])):
            wait_for(f"carrier on {name}", partial(host.has_carrier, name))

    def vdp(self, host: Host, configuration: str, *, wait: bool = True, control: str = "") -> Daemon:
        """Start `vdp -c FILE` there; `[control]` is added to the configuration, and `control` to that."""
        number = next(_numbers)
        socket = self.folder / f"{number}.sock"
        file = self.folder / f"{number}.toml"
        file.write_text(f'{configuration}\n[control]\nsocket = "{socket}"\n{control}\n')
        command = host.command(sys.executable, "-X", "faulthandler", "-m", "vdp", "-c", str(file))
        path = ":".join(map(str, (REPOSITORY, REPOSITORY / "plugins", *self.packages)))
        # Ours, also where the host is another laboratory's: it ends with the test.
        process = self.adopt(
            Process(command, self.folder, f"vdp-{number}", PYTHONPATH=path, PYTHONUNBUFFERED="1")
        )
        daemon = Daemon(host, process, socket)
        self._daemons.append(daemon)
        if wait:
            daemon.wait_ready()
        return daemon
