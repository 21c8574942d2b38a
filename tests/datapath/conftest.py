"""The laboratory as a fixture; what its processes said goes into a failure's report."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest

from tests.lab import Lab


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Network namespaces of this test alone; needs root."""
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    with Lab() as made:
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    made = getattr(item, "funcargs", {}).get("lab")
    if report.failed and isinstance(made, Lab) and (story := made.story()):
        report.sections.append(("laboratory", story))
    return report
