"""The laboratory (tests.datapath.conftest)."""

from tests.datapath.conftest import lab, pytest_runtest_makereport

__all__ = ["lab", "pytest_runtest_makereport"]
