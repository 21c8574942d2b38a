"""The commands that ask a running daemon: which there are, and how they ask."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from vdp.cli import exits
from vdp.cli.text import escaped, talk
from vdp.control.client import DEFAULT_SOCKET, call
from vdp.control.errors import NOT_FOUND, ControlError, DaemonUnreachable


@dataclass(frozen=True, slots=True)
class Command:
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
    Command("bridge", "macs", "MAC addresses that bridges have learned", "BRIDGE"),
    Command("status", "", "the daemon at a glance"),
)


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
            control = tomllib.load(stream).get("control", {})
    except OSError as error:
        raise SocketUnknown(f"{path} can not be read: {error.strerror}") from None
    except ValueError as error:
        raise SocketUnknown(f"{path} is not TOML: {error}") from None
    socket = control.get("socket", DEFAULT_SOCKET) if isinstance(control, dict) else None
    if not isinstance(socket, str):
        raise SocketUnknown(f"{path}: control.socket is no path")
    return socket


def complain(message: str, hint: str = "") -> None:
    talk(f"vdp: error: {escaped(message)}")
    if hint:
        talk(f"hint: {escaped(hint)}")


def ask(command: Command, arguments: Namespace) -> int:
    """Ask the daemon and print its answer; the exit code."""
    name: str | None = getattr(arguments, "name", None)
    try:
        path = socket_path(arguments)
        answer = call(path, command.method, {} if name is None else {"name": name})
    except SocketUnknown as error:
        complain(str(error), f"vdp check -c {arguments.config} says what is wrong")
        return exits.CONFIG
    except DaemonUnreachable as error:
        if command.method == "plugin.list" and name is None:
            from vdp.cli.plugin import installed_rows

            talk(f"{escaped(str(error))}: this is what is installed")
            return _print(command, arguments, installed_rows(), named=False)
        complain(str(error), error.hint)
        return exits.UNREACHABLE
    except ControlError as error:
        complain(error.message, error.hint)
        return exits.NOT_FOUND if error.code == NOT_FOUND else exits.FAILED
    return _print(command, arguments, answer, named=name is not None)


def _print(command: Command, arguments: Namespace, answer: object, named: bool) -> int:
    from vdp.cli.pages import PAGES, flow_page, print_json, toml_page

    try:
        if arguments.json:
            print_json(answer, sys.stdout)
        elif getattr(arguments, "toml", False):
            toml_page(answer, sys.stdout, named)
        elif getattr(arguments, "explain", False):
            flow_page(explain=True)(answer, sys.stdout, named)
        else:
            PAGES[command.method](answer, sys.stdout, named)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has seen enough; python must not complain about it at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.FAILED
    return exits.OK
