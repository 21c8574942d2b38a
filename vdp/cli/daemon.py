"""`vdp -c FILE` and `vdp check -c FILE`: the two commands that read a configuration."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vdp.cli import exits
from vdp.cli.text import talk

if TYPE_CHECKING:
    from vdp.config import Config, Problem
    from vdp.loader import Plugins


def run(path: Path, log_level: str | None, *, strict: bool = False) -> int:
    """Run the daemon until it is told to end."""
    _import_only_what_is_listed()
    # All that is made while it starts stays, which the collector would look at again and again: a
    # fifth of the time.  The daemon enables it when it is up.
    gc.disable()
    try:
        from vdp.daemon import run as run_daemon

        return run_daemon(path, log_level=log_level, strict=strict)
    finally:
        gc.enable()


def _import_only_what_is_listed() -> None:
    """pydantic has plugins, too, and imports all that are installed (a look at every distribution)."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def checked(path: Path) -> tuple[Config, Plugins]:
    """A configuration and its plugins, the system untouched; ConfigError with all that is wrong."""
    _import_only_what_is_listed()
    from vdp.config import LinkKindInfo, PluginsFailed, PluginsSection, load
    from vdp.loader import Plugins

    plugins = Plugins()

    def kinds(section: PluginsSection) -> Mapping[str, LinkKindInfo]:
        plugins.hashes = section.hashes
        failures = plugins.load(section.load)
        if failures:
            sentences = {failure.plugin: str(failure) for failure in failures}
            raise PluginsFailed(sentences, plugins.kinds, plugins.infos)
        return plugins.kinds

    return load(path, kinds, plugins.settings, lambda: plugins.actions), plugins


def check(path: Path, as_json: bool) -> int:
    """Say what is wrong with a configuration, without touching the system."""
    _import_only_what_is_listed()
    from vdp.config import ConfigError

    try:
        config, _ = checked(path)
        warnings = _warnings(config)
    except ConfigError as error:
        if as_json:
            _print_json({"ok": False, "problems": [problem.as_json() for problem in error.problems]})
            return exits.CONFIG
        return _refused(error.problems)
    if as_json:
        _print_json({"ok": True, "problems": [], "warnings": [each.as_json() for each in warnings]})
        return exits.OK
    for warning in warnings:
        talk(warning.render())
    counts = {
        "port": len(config.ports),
        "link": len(config.links),
        "bridge": len(config.bridges),
        "connect": len(config.connects),
        "route": len(config.routes),
        "rule": len(config.rules),
        "plugin": len(config.plugins.load),
    }
    words = ", ".join(f"{n} {name}{'s' if n > 1 else ''}" for name, n in counts.items() if n)
    print(f"{path}: ok ({words or 'empty'})")
    return exits.OK


def _warnings(config: Config) -> list[Problem]:
    """What is right, and deserves a second look."""
    from dataclasses import replace

    from vdp.config.cautions import cautions
    from vdp.config.faults import Placer

    placer = Placer(str(config.path), config.positions)
    return [replace(placer.place(fault), severity="warning") for fault in cautions(config)]


def _refused(problems: tuple[Problem, ...]) -> int:
    for problem in problems:
        talk(problem.render())
    count = len(problems)
    talk(f"{count} problem{'s' if count > 1 else ''}")
    return exits.CONFIG


def _print_json(value: object) -> None:
    from vdp.cli.pages import print_json

    print_json(value, sys.stdout)
