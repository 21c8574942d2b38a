"""The metrics endpoint: /metrics, /-/ready and the status page over HTTP, small and bounded.

Values are read on the event loop, where the datapath's views belong; the text is
made on a thread, since a large one takes some milliseconds.  One scrape is made
at a time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from importlib.resources import files
from typing import NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, Metric, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from vdp.config.values import Listen
from vdp.control.view import StatusRow
from vdp.metrics.collector import DatapathCollector, MetricsSource
from vdp.status import History, render

CONNECTIONS_MOST = 8
REQUEST_BYTES_MOST = 8 << 10
TIMEOUT_S = 5.0
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
#: The status page's other files, by target.
FILES = {"/status.css": "text/css; charset=utf-8", "/status.js": "text/javascript; charset=utf-8"}
#: The page takes nothing from elsewhere, runs nothing that stands in it, and is framed by nobody.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

logger = logging.getLogger(__name__)


class Answer(NamedTuple):
    """What a request gets."""

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT
    headers: Mapping[str, str] = {}


class _Scrape(Collector):
    """Families that were read already, as the encoders take them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class MetricsServer:
    """Serves a source's metrics, and its history as a page, at `listen` between start() and stop()."""

    def __init__(
        self, listen: Listen, source: MetricsSource, history: History, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._listen = listen
        self._source = source
        self._timeout_s = timeout_s
        self.registry = CollectorRegistry()
        self._history = history
        self.registry.register(DatapathCollector(source, heard=self._heard))
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()

    @property
    def address(self) -> Listen:
        """Where it listens; the port that was taken when 0 was asked for."""
        if self._server is None:
            return self._listen
        host, port = self._server.sockets[0].getsockname()[:2]
        return Listen(host, port)

    async def start(self) -> None:
        """Listen.  Raises OSError, with the address, when it can not be had."""
        try:
            self._server = await asyncio.start_server(
                self._accept, self._listen.host, self._listen.port, limit=REQUEST_BYTES_MOST
            )
        except OSError as error:
            raise OSError(
                error.errno, f"metrics can not listen on {self._listen}: {error.strerror}"
            ) from None

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for task in self._clients:
            task.cancel()
        if self._clients:
            await asyncio.wait(self._clients)
        self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._serve(reader, writer)
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) > 2 * CONNECTIONS_MOST:
            writer.transport.abort()
            return
        if len(self._clients) > CONNECTIONS_MOST:
            await self._respond(writer, Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"too many connections\n"))
            await _linger(reader, writer)
            return
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            await self._respond(writer, Answer(status, b"a request has at most 8 KiB\n"))
            await _linger(reader, writer)
            return
        except asyncio.IncompleteReadError:
            return
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/"):
            await self._respond(writer, Answer(HTTPStatus.BAD_REQUEST, b"not HTTP\n"))
            return
        method, target = words[0], words[1].partition("?")[0]
        if method not in ("GET", "HEAD"):
            await self._respond(writer, Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"GET or HEAD\n"))
            return
        fields = (line.partition(":") for line in lines[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        await self._route(writer, target, headers.get("accept", ""), body_wanted=method == "GET")

    async def _route(self, writer: asyncio.StreamWriter, target: str, accept: str, body_wanted: bool) -> None:
        answer = Answer(HTTPStatus.NOT_FOUND, b"/, /metrics or /-/ready\n")
        try:
            if target == "/metrics":
                answer = Answer(HTTPStatus.OK, *await self._exposition(accept))
            elif target == "/":
                self._history.fresh()
                answer = Answer(HTTPStatus.OK, render(self._history).encode(), HTML, PAGE_HEADERS)
            elif target in FILES:
                body = files("vdp.status").joinpath(target[1:]).read_bytes()
                answer = Answer(HTTPStatus.OK, body, FILES[target], PAGE_HEADERS)
            elif target == "/-/ready":
                answer = _readiness(self._source.status())
        except Exception as error:
            logger.exception("%s can not be made", target)
            answer = Answer(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}\n".encode())
        await self._respond(writer, answer, body_wanted)

    def _heard(self, link: str) -> float:
        """When a link was last seen to have received, in whole seconds since 1970; 0: never."""
        ago = self._history.heard_ago(link)
        return 0.0 if ago is None else float(round(time.time() - ago))

    async def _exposition(self, accept: str) -> tuple[bytes, str]:
        encode, content_type = choose_encoder(accept)
        async with self._one_at_a_time:
            scrape = _Scrape(list(self.registry.collect()))
            return await asyncio.to_thread(encode, scrape), content_type

    async def _respond(self, writer: asyncio.StreamWriter, answer: Answer, body_wanted: bool = True) -> None:
        fields = {
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            "Connection": "close",
            **answer.headers,
        }
        lines = [f"HTTP/1.1 {answer.status.value} {answer.status.phrase}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        head = "\r\n".join([*lines, "", ""])
        writer.write(head.encode() + (answer.body if body_wanted else b""))
        await writer.drain()


def _readiness(status: StatusRow) -> Answer:
    if status["ready"]:
        return Answer(HTTPStatus.OK, b"ready\n")
    why = ", ".join(status.get("missing", ())) or "it starts, or stops"
    return Answer(HTTPStatus.SERVICE_UNAVAILABLE, f"not ready: {why}\n".encode())


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read what was not asked for until the client ends: closing before that resets the
    connection, and the client may lose the answer."""
    writer.write_eof()
    rest = 8 * REQUEST_BYTES_MOST
    while rest > 0 and (chunk := await reader.read(REQUEST_BYTES_MOST)):
        rest -= len(chunk)
