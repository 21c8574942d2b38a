"""The metrics endpoint: what it serves, and its bounds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.control.fake_view import FakeView
from vdp.config.values import Listen
from vdp.control.view import PortRow
from vdp.metrics.server import CONNECTIONS_MOST, REQUEST_BYTES_MOST, MetricsServer
from vdp.status import History

Test = Callable[[MetricsServer], Awaitable[None]]


def run(test: Test, view: FakeView | None = None, host: str = "127.0.0.1", timeout_s: float = 5.0) -> None:
    async def main() -> None:
        source = view or FakeView()
        server = MetricsServer(Listen(host, 0), source, History(source), timeout_s)
        await server.start()
        try:
            await asyncio.wait_for(test(server), 20)
        finally:
            await server.stop()

    asyncio.run(main())


async def exchange(server: MetricsServer, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to raw bytes."""
    reader, writer = await asyncio.open_connection(server.address.host, server.address.port)
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    body = await reader.read()
    writer.close()
    first, *lines = head.strip().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


async def get(
    server: MetricsServer, target: str, accept: str = "", method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    accepts = f"Accept: {accept}\r\n" if accept else ""
    return await exchange(server, f"{method} {target} HTTP/1.1\r\nHost: x\r\n{accepts}\r\n".encode())


def test_metrics_are_served_as_prometheus_text() -> None:
    async def test(server: MetricsServer) -> None:
        status, headers, body = await get(server, "/metrics?x=1")
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain; version=")
        assert int(headers["Content-Length"]) == len(body)
        assert b'\nvdp_port_receive_frames_total{port="tap0"} 10.0\n' in body
        assert b"\nprocess_resident_memory_bytes " in body
        assert b"\npython_gc_collections_total{" in body

    run(test)


def test_metrics_are_served_as_openmetrics_to_who_asks_for_it() -> None:
    async def test(server: MetricsServer) -> None:
        accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
        _, headers, body = await get(server, "/metrics", accept)
        assert headers["Content-Type"].startswith("application/openmetrics-text")
        assert body.endswith(b"# EOF\n")

    run(test)


def test_ready_tells_whether_all_is_set_up() -> None:
    view = FakeView()

    async def test(server: MetricsServer) -> None:
        status, _, body = await get(server, "/-/ready")
        assert (status, body) == (200, b"ready\n")
        view.state["ready"] = False
        status, _, body = await get(server, "/-/ready")
        assert (status, body) == (503, b"not ready: it starts, or stops\n")
        view.state["missing"] = ["port lan", "plugin wccp"]
        assert (await get(server, "/-/ready"))[2] == b"not ready: port lan, plugin wccp\n"

    run(test, view)


def test_a_head_request_has_the_length_and_no_body() -> None:
    async def test(server: MetricsServer) -> None:
        status, headers, body = await get(server, "/metrics", method="HEAD")
        assert (status, body) == (200, b"")
        assert int(headers["Content-Length"]) > 1000

    run(test)


@pytest.mark.parametrize(
    ("request_bytes", "wanted"),
    [
        (b"GET /x HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics/../x HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\n\r\n", 405),
        (b"\xff\xfe\r\n\r\n", 400),
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nX: " + b"x" * REQUEST_BYTES_MOST + b"\r\n\r\n", 431),
    ],
)
def test_other_requests_are_refused(request_bytes: bytes, wanted: int) -> None:
    async def test(server: MetricsServer) -> None:
        assert (await exchange(server, request_bytes))[0] == wanted

    run(test)


def test_a_view_that_fails_is_a_500_and_the_server_goes_on() -> None:
    view = FakeView()
    good = view.show_ports

    def broken() -> list[PortRow]:
        raise RuntimeError("engine gone")

    async def test(server: MetricsServer) -> None:
        view.show_ports = broken  # type: ignore[method-assign]
        assert (await get(server, "/metrics"))[0] == 500
        view.show_ports = good  # type: ignore[method-assign]
        assert (await get(server, "/metrics"))[0] == 200

    run(test, view)


def test_a_link_was_heard_when_it_received_last() -> None:
    view = FakeView()
    name = 'vdp_link_last_receive_timestamp_seconds{link="gt1"} '

    async def test(server: MetricsServer) -> None:
        assert name + "0.0\n" in (await get(server, "/metrics"))[2].decode()
        link = view.links[0]
        before = time.time()
        view.links = [{**link, "counters": {**link["counters"], "rx_packets": 99}}]
        server._history.take()
        text = (await get(server, "/metrics"))[2].decode()
        assert abs(float(text.partition("\n" + name)[2].split()[0]) - before) < 10

    run(test, view)


def test_a_client_that_says_nothing_is_left() -> None:
    async def test(server: MetricsServer) -> None:
        reader, writer = await asyncio.open_connection(server.address.host, server.address.port)
        writer.write(b"GET /metr")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()

    run(test, timeout_s=0.05)


def test_one_connection_too_many_is_refused() -> None:
    async def test(server: MetricsServer) -> None:
        held = [await asyncio.open_connection(server.address.host, server.address.port) for _ in range(8)]
        assert len(held) == CONNECTIONS_MOST
        assert (await get(server, "/-/ready"))[0] == 503
        for reader, writer in held:
            writer.write(b"GET /-/ready HTTP/1.1\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            writer.close()

    run(test)


def test_connections_are_bounded_whatever_clients_do() -> None:
    async def test(server: MetricsServer) -> None:
        address = server.address
        held = [await asyncio.open_connection(address.host, address.port) for _ in range(40)]
        gone = [reader for reader, _ in held[2 * CONNECTIONS_MOST :]]
        for reader in gone:
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        assert len(server._clients) <= 2 * CONNECTIONS_MOST
        for _, writer in held:
            writer.close()

    run(test)


def test_scrapes_at_the_same_time_are_all_answered() -> None:
    async def test(server: MetricsServer) -> None:
        answers = await asyncio.gather(*(get(server, "/metrics") for _ in range(CONNECTIONS_MOST)))
        assert [status for status, _, _ in answers] == [200] * CONNECTIONS_MOST

    run(test)


def test_an_ipv6_address_can_be_listened_on() -> None:
    async def test(server: MetricsServer) -> None:
        assert str(server.address).startswith("[::1]:")
        assert (await get(server, "/-/ready"))[0] == 200

    run(test, host="::1")


def test_an_address_in_use_is_named() -> None:
    async def test(server: MetricsServer) -> None:
        second = MetricsServer(server.address, server._source, server._history)
        with pytest.raises(OSError, match=f"metrics can not listen on {server.address}"):
            await second.start()
        await second.stop()

    run(test)
