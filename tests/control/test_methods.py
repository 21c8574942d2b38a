"""The methods show the datapath's rows, all or those of one name."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable
from typing import Any

import pytest

from tests.control.fake_view import FakeView
from vdp.control.errors import ControlError
from vdp.control.methods import method_table
from vdp.control.view import DatapathView

METHODS = {
    "port.show": ("tap0", 3, 1),
    "link.show": ("gt1", 1, 1),
    "flow.dump": ("underlay", 1, 1),
    "handler.list": ("cisco", 2, 1),
    "plugin.list": ("wccp", 2, 1),
    "drop.show": ("underlay", 2, 2),
    "bridge.show": ("br0", 1, 1),
    "bridge.macs": ("br0", 1, 1),
    "route.show": ("gt1", 1, 1),
}
#: Without a name to ask for.
WHOLE = {"rule.show", "drop.reasons", "status"}


def ask(method: str, params: dict[str, Any] | None = None) -> Any:
    view: DatapathView = FakeView()
    answer = method_table(view)[method](params or {})
    return asyncio.run(_waited(answer)) if inspect.isawaitable(answer) else answer


async def _waited(answer: Awaitable[Any]) -> Any:
    return await answer


def test_every_method_is_shown() -> None:
    assert method_table(FakeView()).keys() == {*METHODS, *WHOLE}


@pytest.mark.parametrize("method", METHODS)
def test_all_rows_or_those_of_one_name(method: str) -> None:
    name, every, chosen = METHODS[method]
    assert len(ask(method)) == every
    rows = ask(method, {"name": name})
    assert len(rows) == chosen
    assert json.loads(json.dumps(rows)) == rows, "plain JSON data"


@pytest.mark.parametrize("method", METHODS)
def test_a_name_that_is_not_there_is_not_found(method: str) -> None:
    name = METHODS[method][0]
    with pytest.raises(ControlError) as caught:
        ask(method, {"name": name + "x"})
    assert (caught.value.code, caught.value.hint) == ("not_found", f'did you mean "{name}"?')


@pytest.mark.parametrize(
    ("method", "name"), [("drop.show", "tap0"), ("flow.dump", "tap0"), ("bridge.macs", "br1")]
)
def test_what_is_there_and_has_no_rows_is_no_error(method: str, name: str) -> None:
    assert ask(method, {"name": name}) == []


@pytest.mark.parametrize("params", [{"nam": "tap0"}, {"name": 3}])
def test_other_parameters_are_refused(params: dict[str, Any]) -> None:
    for method in METHODS:
        with pytest.raises(ControlError) as caught:
            ask(method, params)
        assert caught.value.code == "bad_request"
    with pytest.raises(ControlError):
        ask("status", params)


def test_status_is_shown() -> None:
    assert ask("status")["pid"] == 4711
