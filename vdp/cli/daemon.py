"""`vdp -c FILE` and `vdp check -c FILE`: the two commands that read a configuration."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vdp.cli import exits
from vdp.cli.text import talk

if TYPE_CHECKING:
    from vdp.config import Problem


def run(path: Path, log_level: str | None, *, strict: bool = False) -> int:
    """Run the daemon until it is told to end."""
    from vdp.daemon import run as run_daemon

    return run_daemon(path, log_level=log_level, strict=strict)


def check(path: Path, as_json: bool) -> int:
    """Say what is wrong with a configuration, without touching the system."""
    from vdp.config import ConfigError, LinkKindInfo, PluginsFailed, PluginsSection, load
    from vdp.loader import Plugins

    plugins = Plugins()

    def kinds(section: PluginsSection) -> Mapping[str, LinkKindInfo]:
        failures = plugins.load(section.load)
        if failures:
            raise PluginsFailed({failure.plugin: str(failure) for failure in failures}, plugins.kinds)
        return plugins.kinds

    try:
        config = load(path, kinds, plugins.settings)
    except ConfigError as error:
        if as_json:
            _print_json({"ok": False, "problems": [problem.as_json() for problem in error.problems]})
            return exits.CONFIG
        return _refused(error.problems)
    if as_json:
        _print_json({"ok": True, "problems": []})
        return exits.OK
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


def _refused(problems: tuple[Problem, ...]) -> int:
    for problem in problems:
        talk(problem.render())
    count = len(problems)
    talk(f"{count} problem{'s' if count > 1 else ''}")
    return exits.CONFIG


def _print_json(value: object) -> None:
    from vdp.cli.pages import print_json

    print_json(value, sys.stdout)
