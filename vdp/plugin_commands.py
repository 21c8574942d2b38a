"""Commands that plugins have of their own: `vdp plugin call NAME COMMAND [ARGUMENT …]`.

    def ban(address: str, seconds: str = "60") -> str: ...
    datapath.commands.add("guard", "ban", ban, "ban ADDRESS [SECONDS]: refuse what comes from there")

They run in the daemon, on the control thread, within a plugin's time limit; what they are
asked is text, what they answer is printed: text as it is, all else as JSON.  They go with
their plugin.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from vdp.time_limit import TimeLimit

CommandFunction = Callable[..., object | Awaitable[object]]
_WORD = re.compile(r"[a-z][a-z0-9-]*\Z")


class Host(Protocol):
    """What commands ask of their dataplane."""

    limit: TimeLimit

    def undoable(self, undo: Callable[[], None]) -> None:
        """Something was registered: `undo` takes it back, with its plugin."""


class CommandRefused(ValueError):
    """The arguments are not what the command takes."""


@dataclass(frozen=True, slots=True)
class PluginCommand:
    """One command of a plugin."""

    plugin: str
    word: str
    act: CommandFunction
    text: str


class Commands:
    """The commands of all plugins of a dataplane."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._commands: dict[tuple[str, str], PluginCommand] = {}

    def __iter__(self) -> Iterator[PluginCommand]:
        return iter(self._commands.values())

    def add(self, plugin: str, word: str, act: CommandFunction, text: str) -> None:
        """`vdp plugin call PLUGIN WORD …` calls `act` with its arguments, as text; `text` is its help.

        ValueError that `act` raises is told to who asked; it may be a coroutine function.
        ValueError here: not a word, or one that the plugin has already.
        """
        if not _WORD.match(word):
            raise ValueError(f"command {word!r} of plugin {plugin!r}: lower-case letters, digits and - only")
        if (plugin, word) in self._commands:
            raise ValueError(f"plugin {plugin!r} has a command {word!r} already")
        self._commands[plugin, word] = PluginCommand(plugin, word, act, text)
        self._host.undoable(partial(self._commands.__delitem__, (plugin, word)))

    def find(self, plugin: str, word: str) -> PluginCommand | None:
        """The plugin's command of that name, if it has one."""
        return self._commands.get((plugin, word))

    async def run(self, command: PluginCommand, *arguments: str) -> object:
        """What it answers.  CommandRefused for arguments that it does not take; what it raises."""
        try:
            inspect.signature(command.act).bind(*arguments)
        except TypeError as error:
            raise CommandRefused(f"{command.plugin} {command.word}: {error}") from None
        with self._host.limit.enter():
            answer = command.act(*arguments)
        return await answer if inspect.isawaitable(answer) else answer
