"""Captured packets, one after the other, from a daemon over its control socket.

Light: socket, json and struct.  Names come along with the records; who was asked about a
packet is asked for once a flow, over a connection of its own.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from vdp.control.client import call, unreachable
from vdp.control.errors import INTERNAL, ControlError, DaemonUnreachable
from vdp.control.stream import END, FRAME, RECORDS, TOLD
from vdp.engine.tap import TapPoint, TapRecord, records

POINTS = tuple(point.name.lower() for point in TapPoint if point.name)
_POINT_NAMES = {int(point): name for point, name in zip(TapPoint, POINTS, strict=True)}
ANSWER_S = 10.0
CLOSE_S = 5.0
LOOK_S = 0.2  # how often somebody without packets is asked whether he has had enough
#: Flows that the daemon said of who was asked; more than that are forgotten, and asked for again.
_FLOWS_MOST = 100_000


class Seen(NamedTuple):
    """A packet at a point, in names.  reason and text: of a drop; link: "" where none is known."""

    record: TapRecord
    point: str
    port: str
    in_port: str
    link: str
    reason: str
    text: str
    asked: str  # handlers and their verdicts, in order

    @property
    def number(self) -> str:
        """The packet's, from rx to tx; of several workers with the worker's in front."""
        return f"{self.record.worker}.{self.record.packet}"

    @property
    def comment(self) -> str:
        """What happened to it, in a line."""
        words = [
            f"dropped at {self.port}: {self.reason}: {self.text}"
            if self.reason
            else f"{self.point} {self.port}"
        ]
        words += [f"link {self.link}"] if self.link else []
        words += [f"in by {self.in_port}"] if self.in_port != self.port else []
        words += [self.asked] if self.asked else []
        return "; ".join([*words, f"packet {self.number}"])


class Source:
    """A capture under way.  A context manager.  ControlError, DaemonUnreachable."""

    def __init__(self, path: str, wanted: Mapping[str, Any]) -> None:
        self._path = path
        self._names: dict[str, Any] = {"ports": {}, "links": {}, "reasons": []}
        self._link_of_counter: dict[int, str] = {}
        self._asked: dict[int, str] = {}
        self._buffer = bytearray()
        self._is_ending = False
        #: What was lost for want of room, by point and port; known when it has ended.
        self.losses: dict[tuple[str, str], int] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(ANSWER_S)
            self._socket.connect(path)
            request = {"id": 1, "method": "capture", "params": dict(wanted)}
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(self._line())
        except OSError as error:
            self._socket.close()
            raise unreachable(path, error) from None
        except BaseException:
            self._socket.close()
            raise
        refusal = answer.get("error")
        if refusal is not None:
            self._socket.close()
            raise ControlError(
                refusal.get("code", INTERNAL), refusal.get("message", ""), refusal.get("hint", "")
            )

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def end(self) -> None:
        """Have the daemon stop: `packets` gives what is left, and then ends."""
        if not self._is_ending:
            self._is_ending = True
            with contextlib.suppress(OSError):  # it is gone: `packets` ends by itself
                self._socket.sendall(b"\n")

    def packets(self, seconds: float | None = None) -> Iterator[list[Seen]]:
        """Packets as they come, some at a time; an empty list now and then.

        Ends after `seconds`, or when `end` was called, or the daemon goes.
        """
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            while (one := self._frame()) is not None:  # of what came with the answer, too
                kind, payload = one
                if kind == RECORDS:
                    yield self._name(list(records(payload)))
                elif kind == TOLD:
                    self._learn(json.loads(payload))
                elif kind == END:
                    self._count_losses(json.loads(payload)["losses"])
                    return
            now = time.monotonic()
            if until is not None and now >= until:
                self.end()
            is_ending = self._is_ending  # a signal may have it end while we wait
            if is_ending:
                self._socket.settimeout(CLOSE_S)
            else:
                self._socket.settimeout(min(LOOK_S, until - now) if until is not None else LOOK_S)
            try:
                arrived = self._socket.recv(1 << 18)
            except TimeoutError:
                if is_ending:
                    return
                yield []
                continue
            except OSError:
                return
            if not arrived:
                return
            self._buffer += arrived

    def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            arrived = self._socket.recv(1 << 16)
            if not arrived:
                raise DaemonUnreachable(f"the daemon at {self._path} hung up in the middle of its answer")
            self._buffer += arrived
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        return line

    def _frame(self) -> tuple[bytes, bytes] | None:
        """The oldest frame, when all of it is there."""
        if len(self._buffer) < FRAME.size:
            return None
        kind, size = FRAME.unpack_from(self._buffer)
        if len(self._buffer) < FRAME.size + size:
            return None
        payload = bytes(self._buffer[FRAME.size : FRAME.size + size])
        del self._buffer[: FRAME.size + size]
        return kind, payload

    def _learn(self, names: dict[str, Any]) -> None:
        self._names = names
        self._link_of_counter = {link["counter"]: link["name"] for link in names["links"].values()}

    def _count_losses(self, losses: list[dict[str, int]]) -> None:
        for loss in losses:
            place = (_POINT_NAMES.get(loss["point"], "drop"), self._port(loss["port"]))
            self.losses[place] = self.losses.get(place, 0) + loss["packets"]

    def _port(self, number: int) -> str:
        link = self._names["links"].get(str(number))
        if link is not None:
            return str(link["name"])
        return str(self._names["ports"].get(str(number), f"port {number}"))

    def _link(self, record: TapRecord) -> str:
        """The link that it was given to, or came out of."""
        if record.counter in self._link_of_counter:
            return self._link_of_counter[record.counter]
        for number in (record.port, record.in_port):
            if str(number) in self._names["links"]:
                return self._port(number)
        return ""

    def _name(self, chunk: list[TapRecord]) -> list[Seen]:
        self._ask({record.flow for record in chunk if record.flow} - self._asked.keys())
        reasons = self._names["reasons"]
        seen = []
        for record in chunk:
            if record.point == TapPoint.DECAP and str(record.port) not in self._names["links"]:
                continue  # a copy for the members of a large bridge
            known = reasons[record.reason] if record.reason < len(reasons) else [f"{record.reason}", ""]
            name, text = known if record.point == TapPoint.DROP else ("", "")
            seen.append(
                Seen(
                    record,
                    _POINT_NAMES[record.point],
                    self._port(record.port),
                    self._port(record.in_port),
                    self._link(record),
                    name,
                    text,
                    self._asked.get(record.flow, ""),
                )
            )
        return seen

    def _ask(self, flows: set[int]) -> None:
        """Who was asked about the packets of these flows; nobody knows of those that are gone."""
        if not flows:
            return
        if len(self._asked) > _FLOWS_MOST:
            self._asked.clear()
        wanted = sorted(flows)[:2000]
        try:
            answer = call(self._path, "flow.asked", {"flows": wanted})
        except (ControlError, DaemonUnreachable):
            answer = {}
        for flow in wanted:
            asked = answer.get(str(flow), [])
            self._asked[flow] = ", ".join(f"{where}/{name} {verdict}" for where, name, verdict in asked)
