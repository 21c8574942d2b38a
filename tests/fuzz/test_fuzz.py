"""The fuzzers are in order, and their short runs find nothing.  (Those in C: `make test-c` replays them.)"""

from __future__ import annotations

import re
import zipfile

import pytest

from tests.fuzz import corpora
from tests.fuzz.builds import REPOSITORY, ROOM, harnesses
from tests.fuzz.planted import Bug, bugs
from tests.fuzz.python_harnesses import NAMES, Harness

RUNS = 250


@pytest.mark.parametrize("name", NAMES)
def test_text_is_taken_or_refused_in_a_sentence(name: str) -> None:
    harness = Harness(name)
    try:
        assert harness.run_for(runs=RUNS) == RUNS
    finally:
        harness.close()


def test_an_oracle_that_is_broken_is_reported() -> None:
    harness = Harness("summary")
    harness._oracle = lambda data: (_ for _ in ()).throw(ValueError("broken"))
    with pytest.raises(AssertionError, match=r"summary: ValueError: broken: b'"):
        harness.run(b"\0")
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
        assert crash.parent.name in harnesses()


@pytest.mark.parametrize("bug", bugs(), ids=lambda bug: bug.name)
def test_a_planted_bug_still_fits_the_engine(bug: Bug) -> None:
    text = (REPOSITORY / "vdp" / "engine" / bug.file).read_text()
    assert bug.applied(text) != text
