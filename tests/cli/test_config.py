"""`vdp config`: the schema agrees with the checks, what is shown is a configuration again."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.cli.conftest import Daemon, Vdp
from tests.config.planted import MISTAKES
from tests.lab import REPOSITORY
from vdp.cli import exits
from vdp.config.shown import toml_value

EXAMPLES = [REPOSITORY / "etc/vdp.toml", *sorted((REPOSITORY / "etc/examples").glob("*.toml"))]
#: Mistakes that a schema alone can see: those of one key, but for addresses and names.
IN_THE_SCHEMA = {"unknown-key", "missing-key", "wrong-type", "out-of-range", "wrong-shape"}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    result: dict[str, Any] = json.loads((REPOSITORY / "etc/vdp.schema.json").read_text())
    return result


def test_the_schema_that_is_shipped_is_that_of_the_models(vdp: Vdp, schema: dict[str, Any]) -> None:
    result = vdp("config", "schema")
    assert result.code == exits.OK
    printed = json.loads(result.out)
    Draft202012Validator.check_schema(printed)
    kinds = [each["properties"]["kind"]["const"] for each in printed["properties"]["link"]["items"]["oneOf"]]
    assert {"gre", "gretap", "ip6gre", "nvgre"} <= set(kinds)
    assert printed == schema, "etc/vdp.schema.json is behind the models: make docs"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_fit_the_schema(example: Path, schema: dict[str, Any]) -> None:
    errors = list(Draft202012Validator(schema).iter_errors(tomllib.loads(example.read_text())))
    assert not errors, errors[0].message


def test_editors_find_the_schema_of_the_example() -> None:
    first = (REPOSITORY / "etc/vdp.toml").read_text().splitlines()[0]
    (name,) = re.findall(r"^#:schema \./(\S+)$", first)
    assert (REPOSITORY / "etc" / name).is_file()


def test_the_schema_sees_the_mistakes_of_one_key(schema: dict[str, Any]) -> None:
    validator = Draft202012Validator(schema)
    seen = 0
    for mistake in MISTAKES:
        if mistake.kind in IN_THE_SCHEMA:
            assert not validator.is_valid(tomllib.loads(mistake.text.replace("¦", ""))), mistake.what
            seen += 1
    assert seen > 12


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_what_is_in_force_is_a_configuration_again(vdp: Vdp, example: Path, tmp_path: Path) -> None:
    plain = vdp("config", "show", "-c", str(example))
    assert tomllib.loads(plain.out) == tomllib.loads(example.read_text())
    whole = vdp("config", "show", "--effective", "-c", str(example))
    path = tmp_path / "vdp.toml"
    path.write_text(whole.out)
    assert len(whole.out) > 2 * len(plain.out)
    checked = vdp("check", "-c", str(path))
    assert checked.code == exits.OK, checked.err
    again = vdp("config", "show", "--effective", "-c", str(path))
    assert again.out == whole.out


def test_each_value_has_its_origin(vdp: Vdp) -> None:
    file = REPOSITORY / "etc/vdp.toml"
    shown = vdp("config", "show", "--effective", "--origin", "-c", str(file)).out.splitlines()
    lines = file.read_text().splitlines()
    places = [re.match(rf"(\w+) = .*# {re.escape(str(file))}:(\d+)$", line) for line in shown]
    found = [place for place in places if place]
    assert len(found) > 20
    for place in found:
        assert lines[int(place[2]) - 1].startswith(f"{place[1]} = ")
    assert any(re.match(r"flow_idle_s = 10 +# default$", line) for line in shown)


def test_the_configuration_of_the_daemon_is_shown(vdp: Vdp, daemon: Daemon) -> None:
    daemon.view.state["config"] = str(REPOSITORY / "etc/vdp.toml")
    assert 'name = "tap0"' in vdp("config", "show", "--socket", daemon.socket).out
    result = vdp("config", "show", "--socket", "/nonexistent/vdp.sock")
    assert (result.code, "vdp config show -c FILE" in result.err) == (exits.UNREACHABLE, True)


def test_what_would_move_a_cursor_is_shown_as_an_escape() -> None:
    text = 'a\x7f\x9b31m\u202e\ud7ff\U000e0001"\\ü🙂'
    assert toml_value(text).isprintable()
    assert tomllib.loads(f"v = {toml_value(text)}")["v"] == text


def test_what_is_wrong_is_said_in_place_of_shown(vdp: Vdp, tmp_path: Path) -> None:
    path = tmp_path / "vdp.toml"
    path.write_text("[engine]\nworkers = 0\n")
    result = vdp("config", "show", "-c", str(path))
    assert (result.code, result.out) == (exits.CONFIG, "")
    assert "vdp.toml:2:11: error: engine.workers" in result.err


def test_a_beginning_is_right(vdp: Vdp, tmp_path: Path) -> None:
    result = vdp("config", "init", "--remote", "127.0.0.9")
    assert result.code == exits.OK
    path = tmp_path / "vdp.toml"
    path.write_text(result.out)
    assert vdp("check", "-c", str(path)).code == exits.OK
    (link,) = tomllib.loads(result.out)["link"]
    assert (link["local"], link["remote"]) == ("127.0.0.1", "127.0.0.9")
    own = vdp("config", "init", "--remote", "127.0.0.1")
    assert (own.code, "this machine's own" in own.err) == (exits.FAILED, True)
