"""`vdp explain NAME`: what a drop reason, configuration error, exit code, metric or counter means."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from vdp.cli import exits
from vdp.cli.commands import SocketUnknown, complain, socket_path
from vdp.cli.options import add_common
from vdp.cli.text import escaped
from vdp.control.client import call
from vdp.control.errors import ControlError, DaemonUnreachable
from vdp.explain.catalogue import explanation, names
from vdp.explain.entry import Explanation

ELSE = "`vdp explain` lists all that can be explained, those of plugins while a daemon has them loaded"
#: In the order in which they are listed.
SORTS = ("drop reason", "configuration error", "metric", "counter", "exit code")
#: By exit code: (cause, what to do).
EXIT_CODES: dict[int, tuple[str, str]] = {
    exits.OK: ("It did what it was asked to.", "Nothing."),
    exits.FAILED: (
        "The daemon could not set something up, refused a change, or a check found a fault.",
        "The lines above say what and why; `vdp doctor` looks at the machine.",
    ),
    exits.USAGE: ("An option or word that the command has not.", "`vdp COMMAND --help`."),
    exits.UNREACHABLE: (
        "None runs, it listens elsewhere, or this user may not ask it.",
        "Start one: `vdp -c FILE`; or name its socket: `--socket PATH`, `-c FILE` or $VDP_SOCKET.",
    ),
    exits.CONFIG: (
        "The file has mistakes; each was printed with its line.",
        "`vdp check -c FILE`, and `vdp explain KIND` with the word in brackets behind a message.",
    ),
    exits.NOT_FOUND: ("A name that is not there.", "The hint has the nearest name, or all of them."),
    exits.DEGRADED: (
        "It answers, but is not ready: it starts or stops, or something of its configuration is missing.",
        "The last lines of `vdp status` say what; `vdp doctor` says the command that mends it.",
    ),
    exits.DROPPED: (
        "`vdp trace`: the packet ends in a drop, for the reason that the trace names.",
        "`vdp explain REASON`.",
    ),
    exits.HELD: (
        "`vdp trace`: the kernel has not yet told the way to the next hop, or its MAC address.",
        "`ip route get REMOTE`, `ip neigh show`; then trace it again.",
    ),
    exits.CONSUMED: (
        "`vdp trace`: a handler takes the packet for itself, such as an ICMP error or a keepalive.",
        "The trace names the handler; nothing is lost.",
    ),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", metavar="NAME",
        help="drop reason, kind of configuration error (in brackets behind a message), exit code, metric or "
        "counter; without it, all of them are listed",
    )  # fmt: skip
    add_common(parser)
    parser.set_defaults(run=explain)


def explain(arguments: argparse.Namespace) -> int:
    """Print it; the exit code."""
    if arguments.name is None:
        return _list(arguments)
    found = _exit_code(arguments.name) or explanation(arguments.name) or _of_plugin(arguments)
    if found is None:
        from vdp.config.nearest import nearest_hint

        known = [*(name for _, name in names()), *(each.name for each in _of_plugins(arguments))]
        hint = nearest_hint(arguments.name, known) or ELSE
        complain(f'nothing is known of "{arguments.name}"', hint)
        return exits.NOT_FOUND
    if arguments.json:
        from vdp.cli.pages import print_json

        print_json(found.as_json(), sys.stdout)
        return exits.OK
    print(f"{found.name} ({found.sort})")
    for head, text in (("means", found.means), ("cause", found.cause), ("what to do", found.todo)):
        print(f"\n{head}:")
        print(_wrapped(escaped(text)))
    return exits.OK


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."


def _wrapped(text: str) -> str:
    import textwrap

    return textwrap.fill(
        text, 96, initial_indent="  ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _exit_code(name: str) -> Explanation | None:
    """`4`, or `exit-4`."""
    digits = name.removeprefix("exit-")
    if not digits.isdecimal() or int(digits) not in EXIT_CODES:
        return None
    code = int(digits)
    means = exits.MEANINGS[code]
    return Explanation(f"exit-{code}", "exit code", f"{means[:1].upper()}{means[1:]}.", *EXIT_CODES[code])


def _of_plugin(arguments: argparse.Namespace) -> Explanation | None:
    """A drop reason or metric of a plugin that the daemon has loaded."""
    return next((each for each in _of_plugins(arguments) if each.name == arguments.name), None)


def _of_plugins(arguments: argparse.Namespace) -> Iterator[Explanation]:
    """All of them; none where no daemon answers."""
    try:
        path = socket_path(arguments)
        reasons, plugins = call(path, "drop.reasons"), call(path, "plugin.list")
    except (ControlError, DaemonUnreachable, SocketUnknown):
        return
    for row in reasons:
        if row["plugin"]:
            yield Explanation(
                row["reason"],
                "drop reason",
                _sentence(row["text"]),
                f"A handler of the plugin {row['plugin']} dropped it.",
                "`vdp plugin list` and `vdp handler list` show the plugin; its own page has more.",
            )
    for plugin in plugins:
        for name, text in {counter["name"]: counter["text"] for counter in plugin["counters"]}.items():
            for unit in ("packets", "bytes"):
                yield Explanation(
                    f"{name}_{unit}_total",
                    "metric",
                    f"{_sentence(text)} A counter of {unit}.",
                    f"The plugin {plugin['name']} counts it.",
                    f"`vdp plugin info {plugin['name']}` shows what it has counted.",
                )


def _list(arguments: argparse.Namespace) -> int:
    every = [*names(), *((each.sort, each.name) for each in _of_plugins(arguments))]
    every += [("exit code", f"exit-{code}") for code in EXIT_CODES]
    every.sort(key=lambda entry: SORTS.index(entry[0]))
    if arguments.json:
        from vdp.cli.pages import print_json

        print_json([{"sort": sort, "name": name} for sort, name in every], sys.stdout)
        return exits.OK
    before = ""
    for sort, name in every:
        if sort != before:
            print(f"{sort}s:")
        before = sort
        print(f"  {name}")
    return exits.OK
