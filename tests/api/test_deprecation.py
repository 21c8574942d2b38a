"""Names that go: a warning at the plugin's line, for one minor version."""

from __future__ import annotations

import ast
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import vdp
from tests.lab import REPOSITORY
from tests.testing.conftest import Install, forget_modules, installed
from vdp import api
from vdp.deprecation import Renamed, VdpDeprecation, deprecated, gone_in
from vdp.log import configure
from vdp.testing import Conformance, Result

__all__ = ["forget_modules", "installed"]

WRITTEN = "vdp.api.Kopf is deprecated since vdp 0.1, and gone in 0.2: use vdp.api.Header"


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(api.DEPRECATED, "Kopf", Renamed(since="0.1", instead="Header"))


@pytest.fixture
def plugin(tmp_path: Path, renamed: None) -> Path:
    path = tmp_path / "vdp_old.py"
    path.write_text("from vdp.api import hookimpl\n\nfrom vdp.api import Kopf\n")
    return path


def run(plugin: Path) -> dict[str, object]:
    namespace: dict[str, object] = {"__name__": plugin.stem}
    exec(compile(plugin.read_text(), plugin, "exec"), namespace)
    return namespace


def test_an_old_name_works_and_warns_at_the_line_that_asks_for_it(plugin: Path) -> None:
    with pytest.warns(VdpDeprecation) as caught:
        namespace = run(plugin)
    assert namespace["Kopf"] is api.Header
    (warning,) = caught
    assert (str(warning.message), Path(warning.filename), warning.lineno) == (WRITTEN, plugin, 3)


def test_vdp_plugin_test_says_so(
    plugin: Path, renamed: None, installed: Install, forget_modules: None
) -> None:
    suite = Conformance(installed("old", "vdp_api = 1\nfrom vdp.api import Kopf\n"), packets=10, beside=[])
    results = {result.check: result for result in suite.run()}
    assert results["imports"] == Result("imports", "weak", WRITTEN)


def test_a_name_that_never_was_is_none_now() -> None:
    with pytest.raises(ImportError, match=r"cannot import name 'Heder' from 'vdp\.api'"):
        from vdp.api import Heder  # type: ignore[attr-defined]  # noqa: F401


def test_what_is_deprecated_warns_its_caller_through_any_of_vdps_own_frames(tmp_path: Path) -> None:
    caller = tmp_path / "vdp_caller.py"
    caller.write_text("call()\n")
    source = "def call():\n    deprecated('Packet.cut', '0.1', 'Packet.trim')\n"
    inside = compile(source, vdp.__file__, "exec")
    namespace: dict[str, object] = {"deprecated": deprecated}
    exec(inside, namespace)
    with pytest.warns(VdpDeprecation, match="Packet.cut is deprecated since vdp 0.1") as caught:
        exec(compile(caller.read_text(), caller, "exec"), {"call": namespace["call"]})
    assert (Path(caught[0].filename), caught[0].lineno) == (caller, 1)


@pytest.fixture
def daemon_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the daemon writes to stderr; afterwards warnings and log are as they were."""
    root = logging.getLogger()
    handlers, level, format_before = root.handlers[:], root.level, warnings.formatwarning
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with warnings.catch_warnings():
        configure("info", "text")
        yield stream
    logging.captureWarnings(False)
    warnings.formatwarning = format_before
    root.handlers[:] = handlers
    root.setLevel(level)


def test_the_daemon_logs_it_in_a_line(plugin: Path, daemon_log: io.StringIO) -> None:
    run(plugin)
    place = f"{plugin.parent.name}/vdp_old.py:3"
    assert daemon_log.getvalue() == f"warning: {WRITTEN} ({place})\n"


def minor(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")[:2]))


def uses() -> Iterator[tuple[str, str]]:
    """Everything that is deprecated: where, and since when."""
    for name, entry in api.DEPRECATED.items():
        yield f"vdp.api.{name}", entry.since
    for path in (REPOSITORY / "vdp").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "deprecated":
                for word in node.keywords:
                    if word.arg == "since" and isinstance(word.value, ast.Constant):
                        yield f"{path}:{node.lineno}", str(word.value.value)


def test_nothing_outlives_its_one_minor_version() -> None:
    late = [(where, since) for where, since in uses() if minor(gone_in(since)) <= minor(vdp.__version__)]
    assert not late, "take it out: it was deprecated for a minor version"


def test_nothing_in_the_tree_is_deprecated_and_public_at_once() -> None:
    assert not api.DEPRECATED.keys() & set(api.__all__)
    assert {entry.instead for entry in api.DEPRECATED.values()} <= set(api.__all__)


@pytest.mark.parametrize(("since", "gone"), [("0.1", "0.2"), ("0.9.3", "0.10"), ("1.2", "1.3")])
def test_a_minor_version_is_what_there_is_to_change(since: str, gone: str) -> None:
    assert gone_in(since) == gone
