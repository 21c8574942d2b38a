"""Traffic whose loss is known: numbered datagrams, and a TCP stream, between hosts outside vdp."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.program import program
from tests.lab import Host, LabError, wait_for

_ports = itertools.count(30000)
MS = 1_000_000
#: When nothing more is under way.
STILL_S = 0.3


class Asked:
    """A program in a host that answers a line with a JSON object."""

    def __init__(self, host: Host, *command: str) -> None:
        self._popen = subprocess.Popen(
            host.command(*command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        host.lab.on_close(self.close)

    def ask(self) -> dict[str, Any]:
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        try:
            self._popen.stdin.write("\n")
            self._popen.stdin.flush()
        except BrokenPipeError:
            raise LabError(f"{self._popen.args!r} has ended with {self._popen.poll()}") from None
        answer: dict[str, Any] = json.loads(self._popen.stdout.readline())
        return answer

    def close(self) -> None:
        if self._popen.poll() is None:
            self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()


@dataclass(frozen=True)
class Window:
    """What became of datagrams between two looks.  silence_ms: the longest time in which none came."""

    sent: int
    lost: int
    silence_ms: float
    seconds: float

    @property
    def rate(self) -> float:
        """That came, a second."""
        return (self.sent - self.lost) / self.seconds


class Datagrams:
    """A flow of numbered datagrams, `rate` a second, until it is closed."""

    def __init__(self, left: Host, right: Host, address: str, rate: int, size: int = 200) -> None:
        port, numbered = str(next(_ports)), str(program("numbered"))
        self.rate = rate
        self._receiver = Asked(right, numbered, "receive", port)
        self._silence_ns = 0
        self._ask()
        self._sender = Asked(left, numbered, "send", address, port, str(rate), str(size))
        self._before = (0, 0, time.monotonic())

    def wait(self, timeout: float = 10.0) -> None:
        """Until they come."""
        wait_for("numbered datagrams", lambda: self._ask()["came"], timeout)

    def begin(self) -> None:
        """Look from here on."""
        self._before = self._look()
        self._silence_ns = 0

    def end(self) -> Window:
        """What became of those since `begin`, or the `end` before."""
        sent, different, at = self._look()
        was_sent, was_different, began = self._before
        self._before = sent, different, at
        count, silence_ns = sent - was_sent, self._silence_ns
        self._silence_ns = 0
        return Window(count, count - (different - was_different), silence_ns / MS, at - began)

    def is_flowing(self) -> bool:
        """Whether one came within the last 20 ms, which a rate of 1,000 and more has it do."""
        answer = self._ask()
        return bool(answer["came"]) and time.monotonic_ns() - answer["last_ns"] < 20 * MS

    def _ask(self) -> dict[str, Any]:
        answer = self._receiver.ask()
        self._silence_ns = max(self._silence_ns, answer["silence_ns"])
        return answer

    def _look(self) -> tuple[int, int, float]:
        """The sender goes on: those that are under way when it is asked are let arrive."""
        sender = self._sender.ask()
        deadline = time.monotonic() + STILL_S
        answer = {"highest": -1, "different": 0}
        while answer["highest"] < sender["sent"] and time.monotonic() < deadline:
            time.sleep(0.002)
            answer = self._ask()
        if answer.get("no_room"):
            raise LabError(f"the receiver itself had no room for {answer['no_room']} datagrams")
        # Those above the number of then are not counted: they are of the next window.
        early = max(0, answer["highest"] + 1 - sender["sent"])
        return sender["sent"], answer["different"] - early, time.monotonic()

    def close(self) -> None:
        self._sender.close()
        self._receiver.close()


class Stream:
    """A TCP stream, until it is closed."""

    def __init__(self, left: Host, right: Host, address: str) -> None:
        port, script = str(next(_ports)), str(Path(__file__).with_name("stream.py"))
        python: Sequence[str] = (sys.executable, "-S", script)
        self._receiver = Asked(right, *python, "receive", port)
        self._receiver.ask()
        wait_for("a listener", lambda: f":{port}" in right.run("ss", "-Hltn"))
        self._sender = Asked(left, *python, "send", address, port)

    def bytes(self) -> int:
        """That came so far.  LabError where it ended, or came otherwise than it was sent."""
        for side in (self._receiver, self._sender):
            answer = side.ask()
            if answer["ended"] or answer["bad"]:
                raise LabError(f"the TCP stream: {answer}")
        return int(self._receiver.ask()["bytes"])

    def wait(self, timeout: float = 15.0) -> None:
        """Until something more came."""
        before = self.bytes()
        wait_for("the TCP stream to go on", lambda: self.bytes() > before, timeout)

    def close(self) -> None:
        self._sender.close()
        self._receiver.close()
