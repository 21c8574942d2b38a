"""Plugins that are installed for a test, as pip would have done it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_docs import forget_modules, install

__all__ = ["forget_modules"]

Install = Callable[[str, str], str]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget_modules: None) -> Install:
    """Installs the source of a plugin under a name, and answers the name."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(name: str, source: str) -> str:
        install(tmp_path, f"vdp_{name}", textwrap.dedent(source))
        return name

    return add
