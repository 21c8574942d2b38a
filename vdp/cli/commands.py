"""The commands that ask a running daemon: which there are, and how they ask."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, NamedTuple

from vdp.cli import exits
from vdp.cli.text import escaped, talk
from vdp.control.client import DEFAULT_SOCKET, call
from vdp.control.errors import BAD_REQUEST, NOT_FOUND, UNKNOWN_METHOD, ControlError, DaemonUnreachable


class Command(NamedTuple):
    """One noun and verb.  operand: what may be named to see it alone, if anything.

    changes: it changes what is named, and then it must be named.
    """

    noun: str
    verb: str
    help: str
    operand: str = ""
    changes: bool = False

    @property
    def method(self) -> str:
        return f"{self.noun}.{self.verb}" if self.verb else self.noun


COMMANDS = (
    Command("port", "show", "state, MTU and counters of ports, or all about one", "PORT"),
    Command("link", "show", "addresses, keys and counters of links, or all about one", "LINK"),
    Command("flow", "dump", "megaflows: match, actions, counters", "PORT"),
    Command("handler", "list", "handlers in the order they are asked, with their verdicts", "LIST"),
    Command("handler", "enable", "ask a handler again, at once: out of quarantine", "HANDLER", changes=True),
    Command("handler", "disable", "pass a handler over until it is enabled", "HANDLER", changes=True),
    Command("plugin", "list", "plugins: state, version, what each provides", "PLUGIN"),
    Command("plugin", "load", "import a plugin and have it register", "PLUGIN", changes=True),
    Command("plugin", "unload", "take back all that a plugin registered", "PLUGIN", changes=True),
    Command("plugin", "reload", "import a plugin anew, exchange what it registered", "PLUGIN", changes=True),
    Command("plugin", "enable", "ask all handlers of a plugin again, at once", "PLUGIN", changes=True),
    Command("drop", "show", "dropped packets by port and reason", "PORT"),
    Command("route", "show", "routes between ports and links, in the order they are looked at", "VIA"),
    Command("rule", "show", "rules, in the order they are looked at"),
    Command("bridge", "show", "bridges: their members, and how many MAC addresses they know", "BRIDGE"),
    Command("bridge", "macs", "MAC addresses that bridges have learned", "BRIDGE"),
    Command("status", "", "the daemon at a glance, and what is wrong now"),
)


#: Options that are parameters of the method, under the same name.
FLOW_QUERY = ("filter", "sort", "limit", "rates")


class Own(NamedTuple):
    """A command with options and a way of its own.

    options: the function, as "module:name", that gives them to the command's parser, and sets its
    default `run`: what takes the parsed arguments and gives the exit code.  The module is imported
    when the command's noun is used.
    """

    noun: str
    verb: str
    help: str
    options: str


OWN = (
    Own("check", "", "say what is wrong with a configuration, touch nothing", "vdp.cli.check:add_options"),
    Own("config", "show", "a configuration as it counts, with origins", "vdp.cli.config:show_options"),
    Own("config", "schema", "the JSON Schema of the format, for editors", "vdp.cli.config:schema_options"),
    Own("config", "init", "a configuration to begin with, for this machine", "vdp.cli.config:init_options"),
    Own("bugreport", "", "an archive to report a fault with, no secrets", "vdp.cli.bugreport:add_options"),
    Own("completion", "", "the script that has a shell complete vdp", "vdp.cli.completion:add_options"),
    Own("doctor", "", "what is wrong, and the command that mends it", "vdp.cli.doctor:add_options"),
    Own("explain", "", "what a drop reason, error, metric or exit code means", "vdp.cli.explain:add_options"),
    Own("perf", "show", "what packets cost, by stage, handler and plugin", "vdp.cli.perf:add_options"),
    Own("log", "set", "how much a module logs, for a time", "vdp.cli.log:add_options"),
    Own("top", "", "what goes through, is dropped and is wrong, as it happens", "vdp.cli.top:add_options"),
    Own("demo", "", "two hosts, tunnels and traffic on this machine, to look at", "vdp.cli.demo:add_options"),
    Own(
        "capture", "", "real packets at the points of their way: printed, or as pcapng for Wireshark",
        "vdp.cli.capture:add_capture",
    ),
    Own("drop", "watch", "a line for each packet that is lost, as it happens", "vdp.cli.capture:add_watch"),
    Own("trace live", "", "follow real packets from port to port", "vdp.cli.capture:add_live"),
    Own("trace", "", "what would become of a packet, and why; changes nothing", "vdp.cli.trace:add_options"),
    Own("reload", "", "read the configuration anew, change what differs", "vdp.cli.reload:add_options"),
    Own(
        "plugin", "info",
        "what is known of an installed plugin, without importing it, and what a daemon has counted for it",
        "vdp.cli.plugin:info_options",
    ),
    Own(
        "plugin", "hash", "the line of [plugins] hashes that pins an installed plugin's files",
        "vdp.cli.plugin:hash_options",
    ),
    Own(
        "plugin", "new", "begin a plugin: a distribution vdp-NAME with a protocol, its tests, README and CI",
        "vdp.cli.plugin:new_options",
    ),
    Own(
        "plugin", "test", "try an installed plugin: contract, fuzzed packets, soundness, time per upcall",
        "vdp.cli.plugin:test_options",
    ),
    Own(
        "plugin", "call", "run a command of a plugin, or without COMMAND list those that it has",
        "vdp.cli.call:add_options",
    ),
)  # fmt: skip


class SocketUnknown(Exception):
    """The configuration file that should name the socket does not."""


def socket_path(arguments: Namespace) -> str:
    """The daemon's socket: --socket, else the file of -c, else VDP_SOCKET, else the default."""
    given: str | None = getattr(arguments, "socket", None)
    if given:
        return given
    if arguments.config is not None:
        return _configured_socket(arguments.config)
    return os.environ.get("VDP_SOCKET") or DEFAULT_SOCKET


def _configured_socket(path: Path) -> str:
    """control.socket of a file, without looking at the rest of it."""
    import tomllib

    try:
        with path.open("rb") as stream:
            document = tomllib.load(stream)
    except OSError as error:
        raise SocketUnknown(f"{path} can not be read: {error.strerror}") from None
    except ValueError as error:
        raise SocketUnknown(f"{path} is not TOML: {error}") from None
    if "include" in document:
        document = _with_included(path)
    control = document.get("control", {})
    socket = control.get("socket", DEFAULT_SOCKET) if isinstance(control, dict) else None
    if not isinstance(socket, str):
        raise SocketUnknown(f"{path}: control.socket is no path")
    return socket


def _with_included(path: Path) -> dict[str, Any]:
    # What puts files together takes longer to be imported than all of this.
    from vdp.config import ConfigError
    from vdp.config.include import gather

    try:
        return gather(path).document
    except ConfigError as error:
        raise SocketUnknown(f"{path} can not be read: {error}") from None


def complain(message: str, hint: str = "") -> None:
    talk(f"vdp: error: {escaped(message)}")
    if hint:
        talk(f"hint: {escaped(hint)}")


def refused(error: ControlError | DaemonUnreachable) -> int:
    """Say what the daemon refuses, or that none answers; the exit code."""
    complain(str(error), error.hint)
    if isinstance(error, DaemonUnreachable):
        return exits.UNREACHABLE
    return {NOT_FOUND: exits.NOT_FOUND, BAD_REQUEST: exits.USAGE}.get(error.code, exits.FAILED)


def ask(command: Command, arguments: Namespace) -> int:
    """Ask the daemon and print its answer; the exit code."""
    name: str | None = getattr(arguments, "name", None)
    try:
        path = socket_path(arguments)
        params = {} if name is None else {"name": name}
        params |= {word: getattr(arguments, word) for word in FLOW_QUERY if getattr(arguments, word, None)}
        apart_s = getattr(arguments, "rates_s", None)
        if apart_s is not None:
            from vdp.cli.rates import drops_with_rates

            answer: Any = drops_with_rates(path, params, apart_s)
        else:
            answer = call(path, command.method, params)
            if command.method == "status":
                answer |= _wrong_now(path)
    except SocketUnknown as error:
        complain(str(error), f"vdp check -c {arguments.config} says what is wrong")
        return exits.CONFIG
    except DaemonUnreachable as error:
        if command.method == "plugin.list" and name is None:
            from vdp.cli.plugin import installed_rows

            talk(f"{escaped(str(error))}: this is what is installed")
            return _print(command, arguments, installed_rows(), named=False)
        return refused(error)
    except ControlError as error:
        return refused(error)
    return _print(command, arguments, answer, named=name is not None)


def _wrong_now(path: str) -> dict[str, Any]:
    """The findings, as a field of the status."""
    try:
        return {"findings": call(path, "finding.list")}
    except ControlError as error:
        if error.code != UNKNOWN_METHOD:
            raise
        talk("vdp: the daemon is older than this command and does not say what is wrong: vdp doctor does")
        return {}


def _print(command: Command, arguments: Namespace, answer: object, named: bool) -> int:
    from vdp.cli.pages import PAGES, flow_page, print_json, toml_page

    if arguments.json:
        print_json(answer, sys.stdout)
    elif getattr(arguments, "toml", False):
        toml_page(answer, sys.stdout, named)
    elif getattr(arguments, "explain", False):
        flow_page(explain=True)(answer, sys.stdout, named)
    else:
        PAGES[command.method](answer, sys.stdout, named)
        if command.method == "drop.show" and not answer:
            talk("nothing is dropped")
    if command.method == "status" and isinstance(answer, dict) and not answer["ready"]:
        return exits.DEGRADED
    return exits.OK
