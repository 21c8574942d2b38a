"""docs/conformance.md is complete, and is that of rows and markers.

That the tests which it names pass is seen by a whole run: tests/conformance/plugin.py.
"""

from __future__ import annotations

import re

import pytest

from tests.conformance.marks import by_row, c_tests, marked
from tests.conformance.page import PAGE, differences, expected, page
from tests.conformance.plugin import Run, unshown
from tests.conformance.rows import rows, sections


def test_markers_name_rows_that_there_are() -> None:
    unknown = {test: row for test, named in marked().items() for row in named if row not in rows()}
    assert not unknown


def test_no_row_is_missing() -> None:
    sizes = {section.letter: len(section.rows) for section in sections()}
    assert sizes == dict(zip("ABCDEFGHIJKL", (15, 29, 23, 11, 12, 12, 21, 10, 1, 1, 17, 19), strict=True))


def test_every_must_row_is_shown_by_a_test() -> None:
    shown = by_row(list(marked()))
    assert not [row.id for row in rows().values() if row.need == "must" and row.id not in shown]


def test_what_is_built_is_shown_and_what_is_not_is_not() -> None:
    shown = by_row(list(marked()))
    assert not [row.id for row in rows().values() if bool(row.open) == (row.id in shown)]


def test_c_tests_that_rows_name_are_run() -> None:
    assert not {test for test in marked() if test.startswith("c/")} - c_tests()


def test_every_difference_is_of_a_row() -> None:
    found = differences()
    assert len(found) > 5
    assert not [(file, each) for file, each in found if each.row not in rows()]


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == expected(), "docs/conformance.md is behind the rows or the markers: make docs"


def test_the_page_reads_well_as_it_is() -> None:
    text = page({}, [])
    assert not [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")]
    assert text.count("- Shown by no test.") == sum(not row.open for row in rows().values())
    headings = [
        re.sub(r"[^a-z0-9 _-]", "", line[3:].lower()) for line in text.splitlines() if line[:3] == "## "
    ]
    anchors = re.findall(r"\(#([^)]+)\)", text)
    assert len(anchors) == len(sections())
    assert set(anchors) <= {heading.replace(" ", "-") for heading in headings}


# -- the judgement of a run --------------------------------------------------------------------

SHOWN = "registry/test_start.py::test_gre_starts_whole_or_not_at_all"


def report(name: str, outcome: str, when: str = "call") -> pytest.TestReport:
    return pytest.TestReport(f"tests/{name}", ("", None, ""), {}, outcome, None, when)  # type: ignore[arg-type]


def run(*outcomes: str, when: str = "call") -> Run:
    """A run in which the cases of a test came out so."""
    made = Run()
    for number, outcome in enumerate(outcomes):
        made.pytest_runtest_logreport(report(f"{SHOWN}[{number}]", "passed", "setup"))
        made.pytest_runtest_logreport(report(f"{SHOWN}[{number}]", outcome, when))
    return made


def test_a_row_is_shown_when_every_case_of_its_test_has_passed() -> None:
    assert SHOWN in run("passed", "passed").shown()["A1"]
    for outcomes in ((), ("passed", "failed"), ("skipped",), ("failed", "passed")):
        assert SHOWN not in run(*outcomes).shown().get("A1", []), outcomes


@pytest.mark.parametrize("when", ["setup", "teardown"])
def test_what_fails_before_or_after_a_test_counts_too(when: str) -> None:
    made = run("passed")
    made.pytest_runtest_logreport(report(SHOWN, "failed", when))
    assert SHOWN not in made.shown().get("A1", [])


def test_a_test_that_is_expected_to_fail_shows_nothing() -> None:
    made = run("passed")
    expected_to = report(SHOWN, "passed")
    expected_to.wasxfail = "reason"
    made.pytest_runtest_logreport(expected_to)
    assert SHOWN not in made.shown().get("A1", [])


def test_rows_without_a_passed_test_are_named() -> None:
    told = list(unshown(run("passed").shown()))
    assert not [text for text in told if text.startswith("A1 ")]
    (text,) = [text for text in told if text.startswith("A3 ")]
    assert "not passed, or not run: registry/test_lists.py::test_a_taken_slot_is_busy" in text
