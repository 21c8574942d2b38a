"""The daemon's side of the control socket.

A request is a line `{"id": 1, "method": "port.show", "params": {}}`, its answer a line
`{"id": 1, "result": …}` or `{"id": 1, "error": {"code", "message", "hint"}}`; a client may
send several, one after the other.  Only root and the daemon's own user are answered, and
a group's members in so far as they only ask (vdp.control.peers).  All limits are here:
clients, request size, idle time.
Methods run on the event loop; a long list is written in parts, so that the loop
goes on in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import os
import socket
import stat
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Set
from pathlib import Path
from typing import Any

from vdp.control.client import answers
from vdp.control.errors import (
    BAD_REQUEST,
    BUSY,
    INTERNAL,
    REFUSED,
    TOO_LARGE,
    UNKNOWN_METHOD,
    ControlError,
)
from vdp.control.peers import Peer, Right, right_of
from vdp.control.stream import Stream

Method = Callable[[dict[str, Any]], object | Awaitable[object]]

CLIENTS_MOST = 32
REQUEST_BYTES_MOST = 64 << 10
IDLE_S = 5.0
OTHER = "other"
ENTRIES_AT_ONCE = 128  # of a list, about 1 ms of JSON

logger = logging.getLogger(__name__)


class ControlServer:
    """Answers `methods` at the UNIX socket `path` between start() and stop()."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        methods: Mapping[str, Method],
        idle_s: float = IDLE_S,
        *,
        readers: int | None = None,
        readable: Set[str] = frozenset(),
    ) -> None:
        """readers: the group whose members may call the methods of `readable`; the socket becomes its own."""
        self.path = Path(path)
        self.methods = methods
        self.readers = readers
        self.readable = readable
        #: Requests that were answered, by method (OTHER: none that there is) and "ok" or "error".
        self.requests: Counter[tuple[str, str]] = Counter()
        self.idle_s = idle_s
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._inode = 0
        self._directory: Path | None = None

    async def start(self) -> None:
        """Listen.  A dead daemon's socket is replaced.

        Raises FileExistsError when a daemon answers at the path or when it is no
        socket, and OSError when it can not be made.
        """
        self._clear_path()
        if not self.path.parent.exists():
            self.path.parent.mkdir(mode=0o755, parents=True)
            self._directory = self.path.parent
        # Bound under another name and then renamed: at `path` it has its mode from the start.
        fresh = self.path.with_name(f".{os.getpid()}")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            with contextlib.suppress(FileNotFoundError):
                fresh.unlink()
            listener.bind(str(fresh))
            if self.readers is not None:
                os.chown(fresh, -1, self.readers)
            fresh.chmod(0o660)
            listener.listen(CLIENTS_MOST)
            fresh.rename(self.path)
        except BaseException:
            listener.close()
            raise
        self._inode = self.path.stat().st_ino
        self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=REQUEST_BYTES_MOST)

    def _clear_path(self) -> None:
        try:
            mode = self.path.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise FileExistsError(f"{self.path} is there and is no socket; name another in [control]")
        if answers(str(self.path)):
            raise FileExistsError(f"a daemon runs already: one answers at {self.path}")
        self.path.unlink()

    async def stop(self) -> None:
        """Stop listening, end the clients, remove the socket and the directory made for it."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._clients):
            task.cancel()
        if self._clients:
            await asyncio.wait(self._clients)
        self._server = None
        with contextlib.suppress(OSError):
            if self.path.lstat().st_ino == self._inode:
                self.path.unlink()
            if self._directory is not None:
                self._directory.rmdir()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            # A client that went, idled or does not read, or the daemon's end: what is unsent goes too.
            writer.transport.abort()
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer.of(writer.get_extra_info("socket"))
        right = right_of(peer, self.readers)
        refusal = self._refusal(peer.uid, right)
        if refusal is not None:
            await self._send(writer, None, {"error": refusal.as_json()})
            return
        while True:
            try:
                async with asyncio.timeout(self.idle_s):
                    line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                error = ControlError(TOO_LARGE, f"a request has at most {REQUEST_BYTES_MOST} bytes")
                await self._send(writer, None, {"error": error.as_json()})
                return
            await self._answer(line, reader, writer, right)

    def _refusal(self, uid: int, right: Right) -> ControlError | None:
        if len(self._clients) > CLIENTS_MOST:
            return ControlError(BUSY, f"{CLIENTS_MOST} clients are connected already", "try again")
        if right is Right.NONE:
            hint = "ask as root, or as a member of the group of [control] group"
            return ControlError(REFUSED, f"user {uid} may not control this daemon", hint)
        return None

    async def _answer(
        self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, right: Right
    ) -> None:
        number: object = None
        counted = OTHER
        try:
            number, method, params = _request(line)
            handler = self.methods.get(method)
            if handler is None:
                known = ", ".join(sorted(self.methods))
                raise ControlError(UNKNOWN_METHOD, f"no method {method!r}", f"methods: {known}")
            counted = method
            if right is not Right.ALL and method not in self.readable:
                sentence = f"{method} is more than asking, which is all that members of the group may"
                raise ControlError(REFUSED, sentence, "ask as root")
            result = handler(params)
            if inspect.isawaitable(result):
                result = await result
        except ControlError as error:
            self.requests[counted, "error"] += 1
            await self._send(writer, number, {"error": error.as_json()})
        except Exception as error:
            self.requests[counted, "error"] += 1
            logger.exception("a control request failed: %s", line[:200])
            internal = ControlError(INTERNAL, f"{type(error).__name__}: {error}", "the daemon's log has more")
            await self._send(writer, number, {"error": internal.as_json()})
        else:
            self.requests[counted, "ok"] += 1
            await self._finish(number, result, reader, writer)

    async def _finish(
        self, number: object, result: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if isinstance(result, Stream):
            try:
                await self._send(writer, number, {"result": result.answer})
                await result.run(reader, writer)
            finally:
                result.close()
        else:
            await self._send(writer, number, {"result": result})

    async def _send(self, writer: asyncio.StreamWriter, number: object, answer: dict[str, Any]) -> None:
        """Write an answer; a client that does not read it is left after the idle time."""
        result = answer.get("result")
        if not isinstance(result, list):
            writer.write(json.dumps({"id": number, **answer}).encode() + b"\n")
            await self._drain(writer)
            return
        writer.write(b'{"id": ' + json.dumps(number).encode() + b', "result": [')
        for at in range(0, len(result), ENTRIES_AT_ONCE):
            part = json.dumps(result[at : at + ENTRIES_AT_ONCE])[1:-1]
            writer.write((", " if at else "").encode() + part.encode())
            await self._drain(writer)
            await asyncio.sleep(0)
        writer.write(b"]}\n")
        await self._drain(writer)

    async def _drain(self, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(self.idle_s):
            await writer.drain()


def _request(line: bytes) -> tuple[object, str, dict[str, Any]]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise ControlError(BAD_REQUEST, "a request is one line of JSON") from None
    if not isinstance(request, dict) or not isinstance(request.get("method"), str):
        raise ControlError(BAD_REQUEST, 'a request is an object with a "method"')
    params = request.get("params", {})
    number = request.get("id")
    if not isinstance(params, dict) or not isinstance(number, int | str | None):
        raise ControlError(BAD_REQUEST, '"params" is an object, "id" a number or string')
    return number, request["method"], params
