"""The control socket: its protocol, its limits, and who is answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from vdp.control.client import answers, call
from vdp.control.errors import NOT_FOUND, ControlError, DaemonUnreachable
from vdp.control.peers import Peer
from vdp.control.server import CLIENTS_MOST, REQUEST_BYTES_MOST, ControlServer, Method

T = TypeVar("T")


async def soon(result: Awaitable[T]) -> T:
    return await asyncio.wait_for(result, 10)


def not_found(params: dict[str, Any]) -> object:
    raise ControlError(NOT_FOUND, "no such thing", "look elsewhere")


def broken(params: dict[str, Any]) -> object:
    raise ValueError("it broke")


async def slowly(params: dict[str, Any]) -> object:
    await asyncio.sleep(0)
    return params


METHODS: dict[str, Method] = {
    "echo": lambda params: params,
    "slowly": slowly,
    "list": lambda params: list(range(params["count"])),
    "not_found": not_found,
    "broken": broken,
}


@contextlib.asynccontextmanager
async def serving(path: Path, idle_s: float = 5.0, **rights: Any) -> AsyncIterator[ControlServer]:
    server = ControlServer(path, METHODS, idle_s, **rights)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def run(path: Path, test: Callable[[str], Awaitable[None]], idle_s: float = 5.0, **rights: Any) -> None:
    async def main() -> None:
        async with serving(path, idle_s, **rights):
            await soon(test(str(path)))

    asyncio.run(main())


async def ask(path: str, method: str, params: dict[str, Any] | None = None) -> Any:
    return await asyncio.to_thread(call, path, method, params)


def exchange_now(path: str, request: bytes) -> Any:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(path)
        # A server that refuses may have closed already; its answer is there all the same.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        line = b""
        while not line.endswith(b"\n"):
            line += connection.recv(1 << 16)
        return json.loads(line)


async def exchange(path: str, request: bytes) -> Any:
    """The first line that comes back for raw bytes."""
    return await asyncio.to_thread(exchange_now, path, request)


def test_a_request_is_answered(tmp_path: Path) -> None:
    async def test(path: str) -> None:
        assert await ask(path, "echo", {"a": [1, None, "é"]}) == {"a": [1, None, "é"]}
        assert await ask(path, "slowly", {"b": 2}) == {"b": 2}
        assert await ask(path, "list", {"count": 1000}) == list(range(1000))
        assert await ask(path, "list", {"count": 0}) == []

    run(tmp_path / "s", test)


def test_several_requests_go_over_one_connection_in_order(tmp_path: Path) -> None:
    async def test(path: str) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        for number in (1, "two"):
            writer.write(
                json.dumps({"id": number, "method": "echo", "params": {"n": number}}).encode() + b"\n"
            )
        for number in (1, "two"):
            assert json.loads(await reader.readline()) == {"id": number, "result": {"n": number}}
        writer.close()

    run(tmp_path / "s", test)


def test_an_error_has_code_message_and_hint(tmp_path: Path) -> None:
    async def test(path: str) -> None:
        with pytest.raises(ControlError) as caught:
            await ask(path, "not_found")
        assert caught.value.as_json() == {
            "code": "not_found", "message": "no such thing", "hint": "look elsewhere",
        }  # fmt: skip
        with pytest.raises(ControlError) as caught:
            await ask(path, "nothing")
        assert caught.value.code == "unknown_method"
        assert "echo" in caught.value.hint

    run(tmp_path / "s", test)


def test_a_method_that_raises_is_an_error_and_the_server_goes_on(tmp_path: Path) -> None:
    async def test(path: str) -> None:
        with pytest.raises(ControlError, match="ValueError: it broke"):
            await ask(path, "broken")
        assert await ask(path, "echo", {"still": 1}) == {"still": 1}

    run(tmp_path / "s", test)


def test_requests_are_counted_by_method_and_result(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path / "s") as server:
            for method in ("echo", "echo", "not_found", "broken", "no such method"):
                with contextlib.suppress(ControlError):
                    await ask(str(server.path), method)
            assert server.requests == {
                ("echo", "ok"): 2, ("not_found", "error"): 1, ("broken", "error"): 1, ("other", "error"): 1
            }  # fmt: skip

    asyncio.run(main())


@pytest.mark.parametrize(
    "request_line",
    [b"no json\n", b"[]\n", b"3\n", b'{"method": 1}\n', b'{"method": "echo", "params": []}\n', b"\xff\n",
     b'{"method": "echo", "id": []}\n', b"[" * 60000 + b"\n"],
)  # fmt: skip
def test_what_is_no_request_is_an_error(tmp_path: Path, request_line: bytes) -> None:
    async def test(path: str) -> None:
        answer = await exchange(path, request_line)
        assert answer["error"]["code"] == "bad_request"
        assert await ask(path, "echo") == {}

    run(tmp_path / "s", test)


def test_a_request_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async def test(path: str) -> None:
        most = b'{"method": "echo", "params": {"x": "%s"}}\n'
        fits = most % (b"x" * (REQUEST_BYTES_MOST - len(most) - 100))
        assert "result" in await exchange(path, fits)
        assert (await exchange(path, b"x" * (REQUEST_BYTES_MOST + 2) + b"\n"))["error"]["code"] == "too_large"

    run(tmp_path / "s", test)


def test_an_idle_client_is_left(tmp_path: Path) -> None:
    async def test(path: str) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"method": "echo"')
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()

    run(tmp_path / "s", test, idle_s=0.05)


def test_a_client_that_does_not_read_its_answer_is_left(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path / "s", idle_s=0.05) as server:
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(tmp_path / "s"))
            client.sendall(b'{"method": "list", "params": {"count": 1000000}}\n')
            while not server._clients:
                await asyncio.sleep(0)
            while server._clients:
                await asyncio.sleep(0.01)
            client.close()

    asyncio.run(soon(main()))


def test_one_client_too_many_is_told_so(tmp_path: Path) -> None:
    async def test(path: str) -> None:
        held = [await asyncio.open_unix_connection(path) for _ in range(CLIENTS_MOST)]
        assert (await exchange(path, b'{"method": "echo"}\n'))["error"]["code"] == "busy"
        for reader, writer in held:
            writer.write(b'{"method": "echo"}\n')
            assert "result" in json.loads(await reader.readline())
            writer.close()
            with contextlib.suppress(ConnectionError):
                await reader.read()
        while True:  # the places are free again as soon as the server has seen the ends
            answer = await exchange(path, b'{"method": "echo"}\n')
            if "result" in answer:
                return

    run(tmp_path / "s", test)


@pytest.mark.parametrize(
    ("groups", "method", "answered"),
    [
        ({4711}, "echo", True),
        ({4711}, "slowly", False),
        ({4712}, "echo", False),
        (set(), "echo", False),
    ],
)
def test_another_user_may_ask_as_a_member_of_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: set[int], method: str, answered: bool
) -> None:
    other = Peer(os.getpid(), os.geteuid() + 1000, frozenset(groups))
    monkeypatch.setattr(Peer, "of", classmethod(lambda cls, client: other))

    async def test(path: str) -> None:
        answer = await exchange(path, json.dumps({"method": method}).encode() + b"\n")
        assert answer.get("error", {}).get("code") == (None if answered else "refused")

    monkeypatch.setattr(os, "chown", lambda path, user, group: None)
    run(tmp_path / "s", test, readers=4711, readable={"echo"})


def test_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Peer(os.getpid(), os.geteuid() + 1000, frozenset({0}))
    monkeypatch.setattr(Peer, "of", classmethod(lambda cls, client: other))

    async def test(path: str) -> None:
        assert (await exchange(path, b'{"method": "echo"}\n'))["error"]["code"] == "refused"

    run(tmp_path / "s", test)


def test_the_socket_is_for_user_and_group_and_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "made" / "vdp.sock"

    async def test(where: str) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert os.listdir(path.parent) == ["vdp.sock"]

    run(path, test)
    assert os.listdir(tmp_path) == [], "neither the socket nor the directory made for it stay"


def test_a_directory_that_was_there_stays(tmp_path: Path) -> None:
    async def test(where: str) -> None:
        pass

    run(tmp_path / "s", test)
    assert tmp_path.is_dir()
    assert os.listdir(tmp_path) == []


def test_the_socket_of_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()
    assert not answers(str(path))

    async def test(where: str) -> None:
        assert await ask(where, "echo") == {}

    run(path, test)


def test_a_second_daemon_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    async def test(path: str) -> None:
        second = ControlServer(path, METHODS)
        with pytest.raises(FileExistsError, match="a daemon runs already"):
            await second.start()
        await second.stop()
        assert await ask(path, "echo") == {}

    run(tmp_path / "s", test)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="no socket"):
        asyncio.run(ControlServer(path, METHODS).start())
    assert path.read_text() == "precious"


def test_a_socket_that_another_daemon_put_there_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def test(where: str) -> None:
        path.rename(tmp_path / "old")
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(where)

    run(path, test)
    assert path.exists()


def test_the_client_says_that_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnreachable, match="No such file") as caught:
        call(str(tmp_path / "none"), "status")
    assert "vdp -c FILE" in caught.value.hint
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
    with pytest.raises(DaemonUnreachable, match="refused") as caught:
        call(str(tmp_path / "s"), "status")
    assert "is gone" in caught.value.hint
    with pytest.raises(DaemonUnreachable, match="path too long"):
        call("/" + "x" * 200, "status")


def test_the_client_gives_up_on_a_daemon_that_hangs_or_babbles(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with pytest.raises(DaemonUnreachable, match="does not answer"):
            call(path, "status", timeout_s=0.02)

    async def babble(path: str, words: bytes) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(words)
            writer.close()

        os.unlink(path)
        async with await asyncio.start_unix_server(answer, path):
            with pytest.raises(DaemonUnreachable, match=r"does not speak|hung up"):
                await soon(ask(path, "status"))

    for words in (b"HTTP/1.0 400\n", b'{"id": 1', b"", b"3\n"):
        asyncio.run(babble(path, words))
