"""`vdp config`: the format for editors, a configuration as it counts, and one to begin with."""

from __future__ import annotations

import argparse
import sys
import tomllib

from vdp.cli import exits
from vdp.cli.commands import complain, socket_path
from vdp.cli.options import add_common, add_config
from vdp.cli.text import talk

#: Documentation addresses (RFC 5737): the other end of a tunnel that is not known yet.
SOMEBODY = "203.0.113.2"
#: IPv4, GRE, a key, an Ethernet header.
OVERHEAD = 20 + 4 + 4 + 14


def schema_options(parser: argparse.ArgumentParser) -> None:
    add_config(parser, "only with the plugins that this configuration loads; without, with all installed")
    parser.set_defaults(run=print_schema)


def show_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--effective", action="store_true", help="with the defaults of what is left out")
    parser.add_argument(
        "--origin", action="store_true", help="behind each value the file and line it is from"
    )
    add_common(parser)
    parser.set_defaults(run=show)


def init_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--remote", default=SOMEBODY, metavar="ADDRESS", help="the other end of the tunnel")
    parser.set_defaults(run=init)


def print_schema(arguments: argparse.Namespace) -> int:
    """Print the JSON Schema."""
    from vdp.cli.pages import print_json
    from vdp.config import ConfigError
    from vdp.config.include import gather
    from vdp.config.schema import schema
    from vdp.loader import Plugins

    plugins = Plugins()
    names = sorted(plugins.infos)
    if arguments.config is not None:
        try:
            document = gather(arguments.config).document
        except ConfigError as error:
            complain(str(error), f"vdp check -c {arguments.config}")
            return exits.CONFIG
        section = document.get("plugins")
        listed = section.get("load", []) if isinstance(section, dict) else []
        names = [name for name in names if name in listed]
    for failure in plugins.load(names):
        talk(f"vdp: warning: {failure}")
    print_json(schema(dict(sorted(plugins.kinds.items())), plugins.settings()), sys.stdout)
    return exits.OK


def show(arguments: argparse.Namespace) -> int:
    """Print a configuration that is right: of -c FILE, else the daemon's."""
    from vdp.cli.daemon import check, checked
    from vdp.config import ConfigError
    from vdp.config.include import gather
    from vdp.config.shown import shown
    from vdp.doctor.daemon import running

    found = None if arguments.config else running(socket_path(arguments))
    path = arguments.config or (found.config if found else None)
    if path is None:
        complain("no daemon answers that would have a configuration", "vdp config show -c FILE")
        return exits.UNREACHABLE
    try:
        config, _ = checked(path)
    except ConfigError:
        return check(path, arguments.json)
    document = gather(path).document
    lines = list(shown(config, document, effective=arguments.effective, origin=arguments.origin))
    text = "\n".join(lines).strip("\n")
    if arguments.json:
        from vdp.cli.pages import print_json

        print_json(tomllib.loads(text), sys.stdout)
    else:
        print(text)
    return exits.OK


def init(arguments: argparse.Namespace) -> int:
    """Print a configuration that fits this machine: a TAP, bridged with a tunnel to a remote."""
    from vdp.doctor.machine import Machine

    machine = Machine()
    local = machine.source(None, arguments.remote)
    if local is None:
        complain(
            f"no route leads to {arguments.remote}", "vdp config init --remote ADDRESS names the other end"
        )
        return exits.FAILED
    if local == arguments.remote:
        complain(
            f"{local} is this machine's own address", "vdp config init --remote ADDRESS names the other end"
        )
        return exits.FAILED
    mtu = (machine.path_mtu(None, arguments.remote) or 1500) - OVERHEAD
    print(_BEGINNING.format(local=local, remote=arguments.remote, mtu=mtu), end="")
    return exits.OK


_BEGINNING = """\
# A TAP on this machine, and a tunnel to another one: what is on both is one Ethernet.
#
#   tap0 ─ br0 ─ gt0 ══ {local} ── GRE ── {remote} ══ the other end
#
# vdp check -c FILE --live says whether it fits; vdp -c FILE runs it. Every key: docs/configuration.md.

[[port]]
name = "tap0"
type = "tap"
address = ["10.10.0.1/24"]        # the other end takes another one of this network
mtu = {mtu}                        # what the way to {remote} leaves

[[port]]
name = "underlay"
type = "raw"
protocol = "gre"

[[link]]
name = "gt0"
kind = "gretap"
underlay = "underlay"
local = "{local}"
remote = "{remote}"
key = 42                          # both ends must have the same

[[bridge]]
name = "br0"
members = ["tap0", "gt0"]

[plugins]
load = ["gre", "gretap"]
"""
