"""`vdp explain`: every name that vdp prints has a text, and the texts name commands that there are."""

from __future__ import annotations

import json
import re
import typing

import pytest

from tests.cli.conftest import Daemon, Vdp
from tests.lab import REPOSITORY
from tools import errors_page
from vdp.cli import exits
from vdp.cli.commands import COMMANDS, OWN
from vdp.cli.explain import EXIT_CODES
from vdp.control.view import PortCounters, WorkerRow
from vdp.engine.native import engine_reasons
from vdp.explain.catalogue import explanation, names
from vdp.explain.configuration import CONFIGURATION
from vdp.explain.counters import COUNTERS
from vdp.explain.drops import DROPS
from vdp.explain.metrics import TROUBLE
from vdp.metrics.catalogue import CATALOGUE, LINK_ERRORS

#: Of a worker, what is no counter.
GAUGES = {"worker", "flows", "masks", "misses", "packets_free", "packets_total"}


def test_every_drop_reason_has_a_text_and_nothing_else_has() -> None:
    assert [name for name, _ in engine_reasons() if name not in DROPS] == []
    assert DROPS.keys() == {name for name, _ in engine_reasons()}


def test_every_exit_code_has_a_text() -> None:
    assert EXIT_CODES.keys() == exits.MEANINGS.keys()


def test_every_counter_has_a_text() -> None:
    shown = typing.get_type_hints(PortCounters).keys() | typing.get_type_hints(WorkerRow).keys()
    assert shown - GAUGES <= COUNTERS.keys()
    kinds = {kind if kind == "collisions" else f"{kind}_errors" for kind in LINK_ERRORS}
    assert kinds <= COUNTERS.keys()


def test_every_metric_has_a_text_and_no_text_is_of_a_metric_that_is_gone() -> None:
    known = {metric.name for metric in CATALOGUE}
    assert TROUBLE.keys() <= known
    assert all(explanation(name) for name in known)


def test_no_two_things_have_one_name() -> None:
    every = [name for _, name in names()]
    assert len(every) == len(set(every))


def texts() -> list[str]:
    every = [explanation(name) for _, name in names()]
    found = [text for each in every if each for text in (each.means, each.cause, each.todo)]
    return found + [text for pair in EXIT_CODES.values() for text in pair]


def test_texts_are_sentences_and_name_commands_and_names_that_there_are() -> None:
    commands = {f"{command.noun} {command.verb}".strip() for command in (*COMMANDS, *OWN)}
    known = {name for _, name in names()} | {"REASON", "KIND"}
    for text in texts():
        assert text.strip() == text
        assert text, "a text is empty"
        for quoted in re.findall(r"`vdp ([^`]*)`", text):
            words = re.match(r"[a-z]+(?: [a-z]+)?", quoted)
            assert words is None or words[0] in commands or words[0].split()[0] in commands | {"COMMAND"}, (
                text
            )
            if quoted.startswith("explain "):
                assert quoted.split()[1] in known, text


@pytest.mark.parametrize(
    "name", ["tx_error", "unknown-key", "vdp_drops_total", "rx_crc_errors", "4", "exit-4"]
)
def test_what_it_means_where_it_comes_from_and_what_to_do_are_printed(vdp: Vdp, name: str) -> None:
    result = vdp("explain", name)
    assert (result.code, result.err) == (exits.OK, "")
    assert re.search(r"\n\nmeans:\n  .+\n\ncause:\n  .+\n\nwhat to do:\n  .+", result.out, re.DOTALL)
    said = json.loads(vdp("explain", name, "--json").out)
    assert list(said) == ["name", "sort", "means", "cause", "todo"]


def test_a_stranger_of_any_kind_of_tunnel_is_looked_for(vdp: Vdp) -> None:
    text = " ".join(vdp("explain", "tunnel_no_link").out.split())
    assert "`ip -d link show` there" in text


def test_a_misspelt_name_is_answered_with_the_nearest(vdp: Vdp) -> None:
    result = vdp("explain", "tx_eror")
    assert result.code == exits.NOT_FOUND
    assert 'did you mean "tx_error"?' in result.err


def test_all_names_are_listed_by_sort(vdp: Vdp) -> None:
    result = vdp("explain")
    heads = [line for line in result.out.splitlines() if not line.startswith(" ")]
    assert heads == ["drop reasons:", "configuration errors:", "metrics:", "counters:", "exit codes:"]
    rows = json.loads(vdp("explain", "--json").out)
    assert len(rows) == len(list(names())) + len(EXIT_CODES)


def test_a_plugins_reasons_and_metrics_are_explained_by_the_daemon_that_has_it(
    vdp: Vdp, daemon: Daemon
) -> None:
    daemon.view.reasons.append({"reason": "plugin_bfd_late", "text": "no answer in time", "plugin": "bfd"})
    daemon.view.plugins[1]["counters"] = [
        {"name": "vdp_wccp_seen", "text": "Redirects.", "labels": {}, "packets": 0, "bytes": 0}
    ]
    result = vdp("explain", "plugin_bfd_late", "--socket", daemon.socket)
    assert result.code == exits.OK
    assert "No answer in time." in result.out
    assert "handler of the plugin bfd" in result.out
    assert "A counter of bytes." in vdp("explain", "vdp_wccp_seen_bytes_total", "--socket", daemon.socket).out
    near = vdp("explain", "plugin_bfd_lat", "--socket", daemon.socket)
    assert (near.code, 'did you mean "plugin_bfd_late"?' in near.err) == (exits.NOT_FOUND, True)
    assert "  plugin_bfd_late\n" in vdp("explain", "--socket", daemon.socket).out


def test_the_page_of_errors_is_that_of_the_texts() -> None:
    page = (REPOSITORY / "docs" / "errors.md").read_text()
    assert page == errors_page.page(), "docs/errors.md is behind vdp/explain: make docs"
    assert all(f"`{kind}`" in page for kind in CONFIGURATION)


def test_a_daemon_that_is_not_whole_is_told_from_one_that_is(vdp: Vdp, daemon: Daemon) -> None:
    assert vdp("status", "--socket", daemon.socket).code == exits.OK
    daemon.view.state["ready"] = False
    assert vdp("status", "--socket", daemon.socket).code == exits.DEGRADED
