"""The laboratory, as in the datapath tests."""

from tests.datapath.conftest import lab, pytest_runtest_makereport

__all__ = ["lab", "pytest_runtest_makereport"]
