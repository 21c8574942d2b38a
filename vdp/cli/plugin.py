"""`vdp plugin info`, `new` and `test`: what needs no daemon, for who looks at, begins or tests a plugin.

`info` asks one all the same, where one answers: for the plugin's state and its counters.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vdp.cli import exits
from vdp.cli.options import add_common, add_config, add_json
from vdp.cli.text import escaped, talk

if TYPE_CHECKING:
    from vdp.metadata import Metadata
    from vdp.testing.conformance import Result

NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*\Z")
MOST_NAME = 20
PREFIX = "vdp-"
#: What `vdp plugin new` can begin with: folders of the template.
KINDS = ("decoder", "link", "udp")
#: Packets that `vdp plugin test` tries, if not said otherwise.
PACKETS = 100_000
_WIDTH = 11


def info_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="PLUGIN")
    add_common(parser)
    parser.set_defaults(run=show)


def hash_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="PLUGIN")
    add_json(parser)
    parser.set_defaults(run=print_hash)


def new_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the protocol: lower-case letters, digits, - and _")
    parser.add_argument(
        "--kind", choices=KINDS, default=KINDS[0],
        help="what it begins as: a decoder of what gre links carry (as usual), a kind of link over GRE, or "
        "one over UDP",
    )  # fmt: skip
    parser.add_argument(
        "--directory", type=Path, metavar="DIR", help="where it is made: vdp-NAME, if not said"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="answers",
        help="an answer of the template: summary, ethertype, udp_port, priority, author",
    )  # fmt: skip
    parser.set_defaults(run=begin)


def test_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="PLUGIN")
    parser.add_argument(
        "--packets", type=int, default=PACKETS, metavar="N", help="how many are tried (100000)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="other packets (1)")
    parser.add_argument(
        "--beside",
        metavar="PLUGINS",
        help="plugins loaded before it, with commas; all built-in ones if not said",
    )
    parser.add_argument(
        "--samples", metavar="MODULE:FUNCTION", help="its samples, in place of its entry point vdp.samples"
    )
    parser.add_argument("--strict", action="store_true", help="what is weak fails, too")
    add_config(parser, "configuration, for its tables [plugin.NAME]")
    add_json(parser)
    parser.set_defaults(run=test_plugin)


# -- info ------------------------------------------------------------------------------------


def show(arguments: argparse.Namespace) -> int:
    """Print what a plugin's distribution says of it, and a daemon, where one runs."""
    from dataclasses import asdict

    from vdp.cli.pages import CALL_COLUMNS, COUNTER_COLUMNS, print_json, table_page
    from vdp.cli.text import aligned

    found = _installed(arguments.name)
    if found is None:
        return exits.NOT_FOUND
    running = _running(arguments)
    if arguments.json:
        print_json(asdict(found) | {"running": running}, sys.stdout)
        return exits.OK
    cells = [[key, _said(value)] for key, value in asdict(found).items()]
    cells.append(["running", running["state"] if running else ""])
    if running:
        keys = ("error", "provides", "passed_over")
        cells += [[key.replace("_", " "), _said(running[key])] for key in keys]
    for line in aligned(cells, [False, False]):
        print(line)
    for columns, key in ((CALL_COLUMNS, "calls"), (COUNTER_COLUMNS, "counters")):
        if running and running[key]:
            print()
            table_page(columns)(running[key], sys.stdout, False)
    return exits.OK


def print_hash(arguments: argparse.Namespace) -> int:
    """Print the line of `[plugins] hashes` that pins a plugin's files; nothing is imported."""
    from vdp.loader import installed
    from vdp.plugin_files import digest

    points = installed()
    if arguments.name not in points:
        talk(f"{arguments.name} is not installed; there is: {', '.join(sorted(points)) or 'none'}")
        return exits.NOT_FOUND
    found = digest(points[arguments.name].module)
    if arguments.json:
        from vdp.cli.pages import print_json

        print_json({arguments.name: found}, sys.stdout)
    else:
        print(f'{arguments.name} = "{found}"')
    return exits.OK


def _running(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """The plugin as a daemon has it; None where none answers, or it does not know it."""
    from vdp.cli.commands import socket_path
    from vdp.control.client import call
    from vdp.control.errors import ControlError, DaemonUnreachable

    try:
        rows: list[dict[str, Any]] = call(socket_path(arguments), "plugin.list", {"name": arguments.name})
    except (ControlError, DaemonUnreachable):
        return None
    return rows[0] if rows else None


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, tuple | list) else "" if value is None else str(value)


def _installed(name: str) -> Metadata | None:
    """What is known of a plugin; None, and said so, where it is not installed."""
    import difflib

    from vdp.loader import PluginError, installed
    from vdp.metadata import metadata

    try:
        return metadata(name)
    except PluginError as error:
        talk(f"vdp: error: {escaped(str(error))}")
        for near in difflib.get_close_matches(name, installed(), 1):
            talk(f'hint: did you mean "{near}"?')
        return None


def installed_rows() -> list[dict[str, Any]]:
    """What `vdp plugin list` shows where no daemon answers; fields as the daemon's."""
    from vdp.loader import Plugins

    return [
        {
            "name": info.name,
            "version": info.version,
            "state": "installed",
            "error": "",
            "distribution": info.distribution,
            "provides": [],
            "passed_over": [],
            "calls": [],
            "counters": [],
        }
        for _, info in sorted(Plugins().infos.items())
    ]


# -- new -------------------------------------------------------------------------------------


def begin(arguments: argparse.Namespace) -> int:
    """Copy the template."""
    name = arguments.name.removeprefix(PREFIX)
    if not NAME.match(name) or len(name) > MOST_NAME:
        return _refuse(
            f"{arguments.name!r} is no name: a lower-case letter, then such letters, digits, - and _, "
            f"{MOST_NAME} at most"
        )
    folder = arguments.directory or Path(f"{PREFIX}{name}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        return _refuse(f"{folder} is there already, and not an empty folder")
    answers: dict[str, str] = {"name": name, "kind": arguments.kind}
    known = questions()
    for each in arguments.answers:
        key, separator, value = each.partition("=")
        if not separator or key not in known:
            return _refuse(f"--set {each}: expected KEY=VALUE, where KEY is {', '.join(sorted(known))}")
        answers[key] = value
    try:
        from copier import run_copy
    except ImportError:
        return _refuse("vdp plugin new needs copier, which is not installed", "pip install 'vdp[new]'")
    from copier.errors import CopierError

    try:
        run_copy(str(template()), folder, data=answers, defaults=True, quiet=True)
    except (CopierError, ValueError) as error:
        return _refuse(str(error))
    print(f"{folder}: a plugin {name!r}. Next:\n")
    print(f"  cd {folder}\n  pip install -e '.[test]'\n  pytest\n  vdp plugin test {name}")
    return exits.OK


def template() -> Path:
    """The copier template, as it is installed."""
    import vdp

    return Path(vdp.__file__).parent / "template"


def questions() -> set[str]:
    """What the template can be told, beside name and kind."""
    text = (template() / "copier.yml").read_text()
    found = re.findall(r"^([a-z]\w*):\n((?:  .*\n)+)", text, re.MULTILINE)
    return {key for key, says in found if key not in ("name", "kind") and "when: false" not in says}


def _refuse(message: str, hint: str = "") -> int:
    talk(f"vdp: error: {escaped(message)}")
    if hint:
        talk(f"hint: {hint}")
    return exits.FAILED


# -- test ------------------------------------------------------------------------------------


def test_plugin(arguments: argparse.Namespace) -> int:
    """Run the conformance suite, a line a check; 0 where nothing has failed."""
    if _installed(arguments.name) is None:
        return exits.NOT_FOUND
    try:
        settings = _tables(getattr(arguments, "config", None))
    except (OSError, ValueError) as error:
        talk(f"vdp: error: {arguments.config}: {escaped(str(error))}")
        return exits.CONFIG
    from vdp.cli.pages import print_json
    from vdp.testing.conformance import Conformance

    if arguments.samples:
        sys.path.insert(0, str(Path.cwd()))
    suite = Conformance(
        arguments.name,
        packets=arguments.packets,
        seed=arguments.seed,
        beside=arguments.beside.split(",") if arguments.beside else None,
        samples=arguments.samples,
        settings=settings,
    )
    results = []
    for result in suite.run():
        results.append(result)
        if not arguments.json:
            _print(result)
    if arguments.json:
        print_json([{"check": r.check, "state": r.state, "detail": r.detail} for r in results], sys.stdout)
    bad = {"failed", "weak"} if arguments.strict else {"failed"}
    return exits.FAILED if any(result.state in bad for result in results) else exits.OK


def _tables(path: Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    with path.open("rb") as stream:
        found = tomllib.load(stream).get("plugin", {})
    if not isinstance(found, dict):
        raise ValueError("[plugin] is no table")
    return found


def _print(result: Result) -> None:
    first, *rest = result.detail.splitlines() or [""]
    print(f"{result.check:<{_WIDTH}}{result.state:<{_WIDTH}}{escaped(first)}", flush=True)
    for line in rest:
        print(" " * 2 * _WIDTH + escaped(line), flush=True)
