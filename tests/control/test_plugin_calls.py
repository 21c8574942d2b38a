"""Commands of plugins: over the control socket and on the command line, and what comes of wrong ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vdp.api import Datapath
from vdp.cli import main
from vdp.control.errors import ControlError
from vdp.control.plugin_calls import call_table
from vdp.control.server import ControlServer
from vdp.testing import Dataplane

GREET = {"name": "greeter", "command": "greet"}


def greet(name: str, times: str = "1") -> str:
    return "\n".join([f"hello {name}"] * int(times))


async def later(*words: str) -> dict[str, list[str]]:
    await asyncio.sleep(0)
    return {"words": list(words)}


def fail() -> None:
    raise ZeroDivisionError("in a command")


def odd() -> object:
    return object()


@pytest.fixture
def datapath() -> Iterator[Datapath]:
    with Dataplane(plugins=["gre"]) as plane:
        commands = plane.datapath.commands
        commands.add("greeter", "greet", greet, "greet NAME [TIMES]: say hello")
        commands.add("greeter", "later", later, "later WORD …: say it back")
        commands.add("broken", "fail", fail, "fail: at once")
        commands.add("broken", "odd", odd, "odd: no JSON")
        yield plane.datapath


def call(datapath: Datapath, **params: Any) -> Any:
    async def ask() -> Any:
        answer = call_table(datapath)["plugin.call"](params)
        return await answer  # type: ignore[misc]

    return asyncio.run(ask())


def test_what_it_answers_is_the_result(datapath: Datapath) -> None:
    assert call(datapath, name="greeter", command="greet", arguments=["Ada"]) == "hello Ada"
    assert call(datapath, name="greeter", command="later", arguments=["a", "b"]) == {"words": ["a", "b"]}


def test_without_a_command_they_are_listed(datapath: Datapath) -> None:
    rows = call(datapath, name="greeter")
    assert rows[0] == {"command": "greet", "text": "greet NAME [TIMES]: say hello"}


@pytest.mark.parametrize(
    ("params", "code", "message", "hint"),
    [
        ({"name": "greter"}, "not_found", 'no plugin "greter" with commands', 'did you mean "greeter"?'),
        ({"name": "gre"}, "not_found", "plugin gre has no commands", ""),
        ({"name": "greeter", "command": "great"}, "not_found", "no command", 'did you mean "greet"?'),
        (GREET, "bad_request", "missing a required argument: 'name'", "greet NAME"),
        (GREET | {"arguments": ["A", "x"]}, "bad_request", "invalid literal", "greet NAME"),
        (GREET | {"arguments": [1]}, "bad_request", "are strings", ""),
        ({"name": "greeter", "verb": "greet"}, "bad_request", "the parameters are", ""),
        ({"name": "broken", "command": "fail"}, "internal", "fail failed: ZeroDivisionError: in a com", ""),
        ({"name": "broken", "command": "odd"}, "internal", "odd failed: TypeError: Object of type", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_sentence(
    datapath: Datapath, params: dict[str, Any], code: str, message: str, hint: str
) -> None:
    with pytest.raises(ControlError) as caught:
        call(datapath, **params)
    assert caught.value.code == code
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("word", ["Greet", "", "greet all", "greet"])
def test_a_word_is_a_word_and_a_plugins_once(datapath: Datapath, word: str) -> None:
    with pytest.raises(ValueError, match=r"of plugin 'greeter'|plugin 'greeter' has a command"):
        datapath.commands.add("greeter", word, greet, "")


def test_commands_go_with_their_plugin(datapath: Datapath) -> None:
    with datapath.attempt() as registered:
        datapath.commands.add("guest", "greet", greet, "")
    assert datapath.commands.find("guest", "greet") is not None
    registered.take_back()
    assert datapath.commands.find("guest", "greet") is None


@pytest.mark.parametrize(
    ("arguments", "code", "printed"),
    [
        (["greeter", "greet", "Ada", "2"], 0, "hello Ada\nhello Ada\n"),
        (["greeter"], 0, "greet  greet NAME [TIMES]: say hello\nlater  later WORD …: say it back\n"),
        (["greeter", "greet", "Ada", "--json"], 0, '"hello Ada"\n'),
        (["greeter", "later", "a"], 0, '{\n  "words": [\n    "a"\n  ]\n}\n'),
        (["greeter", "greet"], 2, "hint: greet NAME [TIMES]: say hello\n"),
        (["nobody"], 5, "hint: there is: broken, greeter\n"),
    ],
)
def test_the_command_line_asks_and_prints(
    datapath: Datapath,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    printed: str,
) -> None:
    async def serve() -> int:
        server = ControlServer(tmp_path / "socket", call_table(datapath))
        await server.start()
        try:
            line = ["plugin", "call", *arguments, "--socket", str(tmp_path / "socket")]
            return await asyncio.to_thread(main, line)
        finally:
            await server.stop()

    assert asyncio.run(serve()) == code
    said = capsys.readouterr()
    assert printed in said.out + said.err
