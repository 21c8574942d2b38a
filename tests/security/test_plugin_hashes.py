"""`[plugins] hashes`: only the files that were looked at are run."""

from __future__ import annotations

import importlib
import os
import py_compile
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vdp.cli import exits, main
from vdp.loader import PluginError, Plugins
from vdp.plugin_files import digest

CODE = "vdp_api = 1\nVALUE = {value}\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A plugin's package with a module of its own, on the path and not imported yet."""
    folder = tmp_path / "vdp_pinned"
    folder.mkdir()
    (folder / "__init__.py").write_text(CODE.format(value=1))
    (folder / "more.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("vdp_pinned")]:
        del sys.modules[name]


@pytest.fixture
def load(package: Path) -> Callable[[str | None], Plugins]:
    """Loads it as a configuration with that hash would; None: without one."""

    def load(pinned: str | None) -> Plugins:
        importlib.invalidate_caches()
        plugins = Plugins()
        plugins.offer("pinned", "vdp_pinned")
        plugins.hashes = {} if pinned is None else {"pinned": pinned}
        plugins.load(["pinned"], strict=True)
        return plugins

    return load


def test_the_files_that_were_looked_at_are_loaded(load: Callable[[str | None], Plugins]) -> None:
    plugins = load(digest("vdp_pinned"))
    assert plugins.infos["pinned"].state == "loaded"


@pytest.mark.parametrize("change", ["content", "a file more", "a file less", "another name"])
def test_others_are_not_even_imported(
    change: str, package: Path, load: Callable[[str | None], Plugins]
) -> None:
    pinned = digest("vdp_pinned")
    match change:
        case "content":
            (package / "__init__.py").write_text(CODE.format(value=2))
        case "a file more":
            (package / "native.so").write_bytes(b"\x7fELF")
        case "a file less":
            (package / "more.py").unlink()
        case _:
            (package / "more.py").rename(package / "less.py")
    with pytest.raises(PluginError, match="vdp plugin hash pinned") as refused:
        load(pinned)
    assert pinned in str(refused.value)
    assert digest("vdp_pinned") in str(refused.value)
    assert "vdp_pinned" not in sys.modules


def test_what_python_compiled_some_time_is_not_run_in_their_place(
    package: Path, load: Callable[[str | None], Plugins]
) -> None:
    source = package / "__init__.py"
    good, times = source.read_bytes(), (source.stat().st_atime, source.stat().st_mtime)
    source.write_text(CODE.format(value=6))
    os.utime(source, times)
    py_compile.compile(str(source))  # as large, of that very second: Python takes it for the source's
    source.write_bytes(good)
    os.utime(source, times)
    plugins = load(digest("vdp_pinned"))
    module = plugins.infos["pinned"].module
    assert module is not None
    assert module.VALUE == 1


def test_the_command_prints_what_the_configuration_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugin", "hash", "gre"]) == exits.OK
    line = capsys.readouterr().out
    assert line.startswith('gre = "sha256:')
    path = tmp_path / "vdp.toml"
    for text, code in ((line, exits.OK), ('gre = "sha256:' + "0" * 64 + '"\n', exits.CONFIG)):
        path.write_text(f'[plugins]\nload = ["gre"]\n[plugins.hashes]\n{text}')
        assert main(["check", "-c", str(path)]) == code
    assert "[plugin-fails]" in capsys.readouterr().err
    assert main(["plugin", "hash", "nosuch"]) == exits.NOT_FOUND
