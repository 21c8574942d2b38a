"""`vdp reload`: what it prints of the daemon's answer, and its exit codes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Vdp
from vdp.cli import exits
from vdp.control.errors import BUSY, ControlError

CHANGES = [
    {"sign": "-", "what": "port", "name": "tap1", "text": ""},
    {"sign": "~", "what": "link", "name": "gt0", "text": "key 7 -> 8"},
]
PROBLEM = {
    "text": "vdp.toml:3:1: error: engine.workers: found 2\n    3 | workers = 2\n      = hint: restart vdp"
}


def answer(result: str, **more: Any) -> dict[str, Any]:
    empty = {"changes": [], "kept": {}, "problems": [], "acts": [], "notes": []}
    return {"result": result, "config": "vdp.toml", **empty, **more}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the daemon answers, in turn, errors by raising them; behind that, what it was asked."""
    given: list[Any] = []

    def call(path: str, method: str, params: dict[str, Any], timeout_s: float) -> Any:
        said = given.pop(0)
        given.append((path, method, params))
        if isinstance(said, Exception):
            raise said
        return said

    monkeypatch.setattr("vdp.cli.reload.call", call)
    return given


def test_the_plan_is_printed_and_what_came_of_it_said(vdp: Vdp, answers: list[Any]) -> None:
    plan = {"changes": CHANGES, "kept": {"port": 1, "link": 12, "rule": 0}}
    lines = ["- port tap1", "~ link gt0: key 7 -> 8", "= 1 port, 12 links"]
    answers.append(answer("planned", **plan))
    result = vdp("reload", "--dry-run", "--socket", "/a")
    assert (result.code, result.out.splitlines()) == (exits.OK, lines)
    assert result.err == "vdp.toml: 2 changes to be made; this was a dry run\n"
    assert answers.pop() == ("/a", "reload", {"dry_run": True})
    answers.append(answer("applied", **plan, notes=["plugin mine fails; as before"]))
    result = vdp("reload", "--socket", "/a")
    assert (result.code, result.out.splitlines()) == (exits.OK, lines)
    assert result.err == "vdp: warning: plugin mine fails; as before\nvdp.toml: 2 changes made\n"
    assert answers.pop() == ("/a", "reload", {"dry_run": False})
    answers.append(answer("unchanged", kept={"port": 1}))
    result = vdp("reload", "--socket", "/a")
    assert (result.code, result.out, result.err) == (exits.OK, "= 1 port\n", "vdp.toml: as it runs\n")


@pytest.mark.parametrize(("result", "code"), [("invalid", exits.CONFIG), ("refused", exits.FAILED)])
def test_what_is_refused_is_said_with_its_line(vdp: Vdp, answers: list[Any], result: str, code: int) -> None:
    answers.append(answer(result, problems=[PROBLEM, PROBLEM]))
    said = vdp("reload", "--socket", "/a")
    assert said.code == code
    assert said.err == f"{PROBLEM['text']}\n{PROBLEM['text']}\nvdp.toml: 2 problems, nothing is changed\n"


@pytest.mark.parametrize("undone", [True, False])
def test_what_failed_is_told_step_by_step(vdp: Vdp, answers: list[Any], undone: bool) -> None:
    acts = [
        {
            "act": "link gt2 removed",
            "state": "undone" if undone else "not undone",
            "why": "" if undone else "no",
        },
        {"act": "port tap9 opened", "state": "failed", "why": "port tap9: the name tap9 is taken"},
    ]
    answers.append(answer("failed", changes=CHANGES, acts=acts))
    result = vdp("reload", "--socket", "/a")
    assert result.code == exits.FAILED
    first, second, third, hint = result.err.splitlines()
    assert first == ("  undone: link gt2 removed" if undone else "  not undone: link gt2 removed: no")
    assert second == "  failed: port tap9 opened: port tap9: the name tap9 is taken"
    assert third == "vdp: error: port tap9: the name tap9 is taken"
    assert hint.startswith(
        "hint: all is as it was" if undone else "hint: not undone: link gt2 removed. What runs"
    )


def test_it_prints_json_and_says_when_it_can_not_be_asked(vdp: Vdp, answers: list[Any]) -> None:
    answers.append(answer("unchanged"))
    assert json.loads(vdp("reload", "--json", "--socket", "/a").out) == answer("unchanged")
    answers[:] = [ControlError(BUSY, "another change is under way", "try again when it is done")]
    result = vdp("reload", "--socket", "/a")
    assert result.code == exits.FAILED
    assert result.err == "vdp: error: another change is under way\nhint: try again when it is done\n"


def test_without_a_daemon_it_says_so(vdp: Vdp) -> None:
    result = vdp("reload", "--socket", "/nowhere")
    assert result.code == exits.UNREACHABLE
    assert "no daemon answers at /nowhere" in result.err


def test_its_help_says_what_it_does(vdp: Vdp) -> None:
    result = vdp("reload", "--help")
    assert result.code == exits.OK
    assert "--dry-run" in result.out
    assert "reload" in vdp("--help").out
