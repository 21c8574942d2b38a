"""docs/commands.md knows every command, option, exit code, method and limit."""

from __future__ import annotations

import re
from pathlib import Path

from tests.control.fake_view import FakeView
from vdp.cli import exits
from vdp.cli.arguments import LOG_LEVELS
from vdp.cli.commands import COMMANDS, OWN
from vdp.control import errors
from vdp.control.methods import method_table
from vdp.control.server import CLIENTS_MOST, IDLE_S, REQUEST_BYTES_MOST
from vdp.status import History
from vdp.status.method import finding_table

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()


def test_every_command_has_a_row() -> None:
    for command in COMMANDS:
        words = f"{command.noun} {command.verb}".strip()
        operand = rf" \[{command.operand}\]" if command.operand else ""
        operand = f" {command.operand}" if command.changes else operand
        assert re.search(rf"^\| `vdp {words}{operand}", PAGE, re.MULTILINE), words


def test_every_command_of_its_own_is_there() -> None:
    for command in OWN:
        words = f"{command.noun} {command.verb}".strip()
        assert re.search(rf"^\| `vdp {words}\b", PAGE, re.MULTILINE), words


def test_every_option_is_explained() -> None:
    options = (
        "--json",
        "--socket",
        "--config",
        "--explain",
        "--dry-run",
        "--log-level",
        "--strict",
        "--version",
        "--help",
    )
    for option in options:
        assert option in PAGE
    assert all(f"`{level}`" in PAGE for level in LOG_LEVELS)


def test_the_exit_codes_are_those_of_the_code() -> None:
    section = PAGE[PAGE.index("## Exit codes") : PAGE.index("## A flow")]
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", section, re.MULTILINE)
    assert {int(code): meaning for code, meaning in rows} == exits.MEANINGS


def test_the_protocol_is_that_of_the_code() -> None:
    section = PAGE[PAGE.index("## The control socket") :]
    changes = {command.method for command in COMMANDS if command.changes}
    known = method_table(FakeView()).keys() | changes | {"plugin.call", "flow.asked", "log.set", "perf.show"}
    known |= finding_table(History(FakeView())).keys()
    assert set(re.findall(r"`(\w+\.\w+|status)`", section)) == known
    codes = {value for name, value in vars(errors).items() if name.isupper()}
    assert set(re.findall(r"`(\w+)`", section[section.index("Error codes") :].split(".")[0])) == codes
    assert f"{CLIENTS_MOST} clients" in section
    assert f"{REQUEST_BYTES_MOST >> 10} KiB a request" in section
    assert f"idle for {IDLE_S:g} s" in section
