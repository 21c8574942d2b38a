"""The fuzzers are in order, and their short runs find nothing.  (Those in C: `make test-c` replays them.)"""

from __future__ import annotations

import re
import time
import zipfile
from typing import Any

import pytest

from tests.fuzz import corpora, hostile_world
from tests.fuzz.builds import REPOSITORY, ROOM, harnesses
from tests.fuzz.hostile import MOST_TRACE_S, packets_of
from tests.fuzz.planted import Bug, bugs
from tests.fuzz.python_harnesses import NAMES, Harness, Text
from vdp.engine.interface import PacketType
from vdp.packet import Packet
from vdp.slowpath import SlowPath
from vdp.testing.dataplane import Dataplane
from vdp.verdict import Verdict

RUNS = 250
#: `handlers` begins with some hundred packets that its worlds send themselves.
PACKETS = 500


@pytest.mark.parametrize("name", NAMES)
def test_a_harness_in_python_finds_nothing(name: str) -> None:
    harness = Harness(name)
    try:
        runs = PACKETS if name == "handlers" else RUNS
        assert harness.run_for(runs=runs) == runs
    finally:
        harness.close()


def test_an_oracle_that_is_broken_is_reported() -> None:
    harness = Harness("summary")
    assert isinstance(harness.source, Text)
    harness.source.oracle = lambda data: (_ for _ in ()).throw(ValueError("broken"))
    with pytest.raises(AssertionError, match=r"summary: ValueError: broken: b'"):
        harness.run(b"\0")
    harness.close()


def _raises(packet: Packet, ip: object) -> Verdict:
    raise KeyError("tunnel")


def _peeks(packet: Packet, ip: object) -> Verdict:
    if packet.trace.data[-1] & 1:
        return packet.drop("no_route")
    return Verdict.REJECT


def _dawdles(packet: Packet, ip: object) -> Verdict:
    end = time.thread_time() + 2 * MOST_TRACE_S
    while time.thread_time() < end:
        pass
    return Verdict.REJECT


@pytest.mark.parametrize(
    ("handler", "report"),
    [
        (_raises, "KeyError: 'tunnel'"),
        (_peeks, "traced otherwise|and a trace says"),
        (_dawdles, "ms of processor time"),
    ],
)
def test_a_handler_that_breaks_a_law_is_reported(
    handler: Any, report: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the packet that it broke it by breaks it again, by itself."""
    build = hostile_world.build

    def broken(underlay: PacketType) -> Dataplane:
        plane = build(underlay)
        plane.datapath.registry.list("gre_before").add(handler, priority=1, name="broken", owner="test")
        return plane

    harness = Harness("handlers")
    monkeypatch.setattr(hostile_world, "build", broken)
    with pytest.raises(AssertionError, match=report):
        harness.run_for(runs=PACKETS)
    input = harness.failing
    assert len(packets_of(input)[1]) == 1
    with pytest.raises(AssertionError, match=report):
        harness.run(input)
    harness.close()


def test_a_flow_that_outlives_its_reasons_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness("handlers")
    monkeypatch.setattr(SlowPath, "invalidate", lambda self, *tags: None)
    with pytest.raises(AssertionError, match=r"a flow does .*, and a trace says"):
        harness.run_for(runs=PACKETS)
    harness.close()


def test_every_harness_is_listed() -> None:
    found = [path.stem for path in ROOM.glob("*.c") if "int LLVMFuzzerTestOneInput" in path.read_text()]
    assert sorted(found) == harnesses()
    assert len(found) >= 12


@pytest.mark.parametrize("name", harnesses())
def test_a_harness_says_what_it_attacks_whom_it_trusts_and_how_it_knows(name: str) -> None:
    head = (ROOM / f"{name}.c").read_text().partition("*/")[0]
    said = re.findall(r"^(?:/\*| \*) (Target|Trust|Oracle):", head, re.MULTILINE)
    assert said == ["Target", "Trust", "Oracle"]


@pytest.mark.parametrize("name", harnesses())
def test_a_corpus_is_there_and_small_inputs_lead_everywhere(name: str) -> None:
    with zipfile.ZipFile(corpora.CORPUS / f"{name}.zip") as archive:
        assert archive.testzip() is None
        sizes = [each.file_size for each in archive.infolist()]
    assert sizes
    assert max(sizes) <= 1024


def test_all_inputs_together_are_small() -> None:
    assert corpora.size() <= corpora.MOST_BYTES


def test_every_past_crash_has_its_story() -> None:
    stories = (corpora.CRASHES / "README.md").read_text()
    for crash in corpora.CRASHES.glob("*/*"):
        assert f"`{crash.parent.name}/{crash.name}`" in stories
        assert crash.parent.name in (*harnesses(), *NAMES)


@pytest.mark.parametrize("bug", bugs(), ids=lambda bug: bug.name)
def test_a_planted_bug_still_fits_the_engine(bug: Bug) -> None:
    text = (REPOSITORY / "vdp" / "engine" / bug.file).read_text()
    assert bug.applied(text) != text
