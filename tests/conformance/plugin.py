"""The run behind docs/conformance.md: `pytest -p tests.conformance.plugin`, for a run of all tests.

At the end every row that vdp must have is to be shown by a test that has passed, and the
page to be that of the run; else the run fails, and says which rows and tests are to blame.
With `--conformance FILE` the page is written, naming only what has passed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.marks import by_row, c_passed, marked
from tests.conformance.rows import rows

RUN = pytest.StashKey["Run"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--conformance", type=Path, metavar="FILE", help="write what the run shows to FILE, as Markdown"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RUN] = run = Run()
    config.pluginmanager.register(run, "conformance-run")


class Run:
    """What became of the marked tests of one session."""

    def __init__(self) -> None:
        #: Tests with a marker as pytest has collected them, and the rows that these name.
        self.collected: dict[str, set[str]] = {}
        #: By test: how many of its cases have passed, and how many have not.
        self.passed: Counter[str] = Counter()
        self.other: Counter[str] = Counter()
        self.faults: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            named = {str(row) for marker in item.iter_markers("conformance") for row in marker.args}
            if named:
                self.collected.setdefault(_name(item.nodeid), set()).update(named)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed and not hasattr(report, "wasxfail"):
            self.passed[_name(report.nodeid)] += 1
        elif not report.passed or hasattr(report, "wasxfail"):
            self.other[_name(report.nodeid)] += 1

    def shown(self) -> dict[str, list[str]]:
        """The rows with the tests that show them, of which every case has passed."""
        proven = {test for test in self.passed if not self.other[test]} | c_passed()
        return by_row([test for test in marked() if test in proven])

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        if not session.config.option.collectonly:
            self._judge(session)
        yield

    def _judge(self, session: pytest.Session) -> None:
        from tests.conformance.page import PAGE, differences, page

        shown = self.shown()
        made = page(shown, differences())
        written = session.config.getoption("conformance")
        if written is not None:
            written.write_text(made)
        self.faults = [*self._unread(), *unshown(shown)]
        if not self.faults and made != (written or PAGE).read_text():
            self.faults = ["docs/conformance.md is not that of this run: make docs, or make conformance"]
        if self.faults and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _unread(self) -> Iterator[str]:
        """Markers that the scan of the sources reads otherwise than pytest."""
        for test, named in self.collected.items():
            if named != set(marked().get(test, ())):
                yield f"{test}: write its marker as a decorator, with the rows as plain strings"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.faults:
            terminalreporter.section("conformance", red=True)
            for fault in self.faults:
                terminalreporter.write_line(fault)


def _name(nodeid: str) -> str:
    """tests/links/test_life.py::test_x[native-1] as links/test_life.py::test_x."""
    file, _, rest = nodeid.partition("::")
    return f"{file.removeprefix('tests/')}::{rest.partition('[')[0].rpartition('::')[2]}"


def unshown(shown: dict[str, list[str]]) -> Iterator[str]:
    """A line for each row that vdp must have, and no passed test has shown."""
    for row in rows().values():
        if row.need == "must" and row.id not in shown:
            tests = [test for test, named in marked().items() if row.id in named]
            why = f"not passed, or not run: {', '.join(tests)}" if tests else "no test is marked with it"
            yield f"{row.id} ({row.title}) is not shown: {why}"
