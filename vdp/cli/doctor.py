"""`vdp doctor`: what is wrong with the machine, the configuration on it and the daemon, and what mends it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vdp.cli import exits
from vdp.cli.commands import socket_path
from vdp.cli.options import add_common
from vdp.cli.text import escaped, fancy, talk
from vdp.doctor.daemon import Running, daemon, looked_at, running
from vdp.doctor.environment import environment
from vdp.doctor.machine import Machine
from vdp.doctor.result import Result, verdict

_COLOURS = {"ok": "32", "warn": "33", "fail": "31"}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="without what is well")
    add_common(parser)
    parser.set_defaults(run=doctor)


def doctor(arguments: argparse.Namespace) -> int:
    """Look at all, and print it; FAILED where something is at fault."""
    socket = socket_path(arguments)
    found = running(socket)
    file = arguments.config or (found.config if found else None)
    machine = Machine()
    results = list(environment(machine))
    if file is not None:
        results += examined(file, machine, found)
    # Who looks at a file before its first start knows that nobody runs.
    results += daemon(socket, expected=not arguments.config or bool(arguments.socket))
    return report(results, as_json=arguments.json, quiet=arguments.quiet)


def examined(file: Path, machine: Machine, found: Running | None) -> list[Result]:
    """The configuration in a file, on this machine; of the daemon that runs, if it is its own."""
    from vdp.cli.daemon import checked
    from vdp.config import ConfigError
    from vdp.doctor.configured import Configured

    try:
        config, plugins = checked(file)
    except ConfigError as error:
        count = len(error.problems)
        sentence = f"{file}: {count} mistake{'' if count == 1 else 's'}"
        return [Result("configuration", "fail", sentence, f"vdp check -c {file}")]
    its = found if found is not None and found.has(file) else None
    configured = Configured(config, plugins.kinds, machine, running=its is not None, beside=found)
    return looked_at(its, lambda: [*configured.results()])


def report(results: list[Result], *, as_json: bool, quiet: bool = False) -> int:
    """Print them, the verdict last; the exit code."""
    failed = any(each.status == "fail" for each in results)
    if as_json:
        from vdp.cli.pages import print_json

        rows = [each.as_json() for each in results]
        print_json({"ok": not failed, "verdict": verdict(results), "checks": rows}, sys.stdout)
        return exits.FAILED if failed else exits.OK
    colours = fancy(sys.stdout)
    for each in results:
        if quiet and each.status == "ok":
            continue
        word = f"{each.status:4}"
        word = f"\033[{_COLOURS[each.status]}m{word}\033[0m" if colours else word
        print(f"{word}  {escaped(each.sentence)} [{each.check}]")
        if each.fix:
            print(f"      fix: {escaped(each.fix)}")
    sys.stdout.flush()
    talk(f"vdp: {verdict(results)}")
    return exits.FAILED if failed else exits.OK
