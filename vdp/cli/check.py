"""`vdp check`: what is wrong with a configuration, without a daemon."""

from __future__ import annotations

import argparse

from vdp.cli.options import add_config, add_json


def add_options(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        "--live",
        action="store_true",
        help="also look at this machine: devices, MTUs, addresses, capabilities",
    )
    add_json(parser)
    parser.set_defaults(run=lambda arguments: check(parser, arguments))


def check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Print every problem; the exit code."""
    if arguments.config is None:
        parser.error("check needs a configuration: vdp check -c FILE")
    from vdp.cli.daemon import check as check_file

    if not arguments.live:
        return check_file(arguments.config, arguments.json)
    return _check_live(arguments)


def _check_live(arguments: argparse.Namespace) -> int:
    """The file, and if it is right what this machine has for it."""
    from vdp.cli.commands import socket_path
    from vdp.cli.daemon import check as check_file
    from vdp.cli.daemon import checked
    from vdp.cli.doctor import examined, report
    from vdp.config import ConfigError
    from vdp.doctor.daemon import running
    from vdp.doctor.environment import environment
    from vdp.doctor.machine import Machine

    try:
        checked(arguments.config)
    except ConfigError:
        return check_file(arguments.config, arguments.json)
    machine = Machine()
    found = running(socket_path(arguments))
    results = [*environment(machine), *examined(arguments.config, machine, found)]
    return report(results, as_json=arguments.json)
