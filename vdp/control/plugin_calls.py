"""The method `plugin.call` of the control socket: commands that plugins have of their own.

`{"name": PLUGIN}` lists its commands; with `"command"` and `"arguments"`, a list of strings, it is
run and answered.  What the plugin refuses (ValueError) is `bad_request` in its own words.
"""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vdp.control.errors import BAD_REQUEST, INTERNAL, NOT_FOUND, ControlError
from vdp.control.server import Method
from vdp.registry import fault
from vdp.time_limit import HandlerTimeout

if TYPE_CHECKING:
    from vdp.datapath import Datapath

log = logging.getLogger(__name__)


def call_table(datapath: Datapath) -> dict[str, Method]:
    """The method by name, as ControlServer takes it."""

    async def call(params: dict[str, Any]) -> object:
        plugin, word, arguments = _asked(params)
        commands = {each.word: each for each in datapath.commands if each.plugin == plugin}
        if not commands:
            owners = sorted({each.plugin for each in datapath.commands})
            info = datapath.plugins.infos.get(plugin)
            if info is not None and info.state == "loaded":
                raise ControlError(NOT_FOUND, f"plugin {plugin} has no commands")
            raise _not_found(f'no plugin "{plugin}" with commands', plugin, owners)
        if word is None:
            return [{"command": each.word, "text": each.text} for each in commands.values()]
        if word not in commands:
            raise _not_found(f'plugin {plugin} has no command "{word}"', word, list(commands))
        try:
            answer = await datapath.commands.run(commands[word], *arguments)
            json.dumps(answer)
        except ValueError as error:
            raise ControlError(BAD_REQUEST, str(error), commands[word].text) from None
        except (Exception, HandlerTimeout) as error:
            log.error("plugin %s: command %s: %s", plugin, word, fault(error))
            raise ControlError(INTERNAL, f"plugin {plugin}: {word} failed: {fault(error)}") from None
        return answer

    return {"plugin.call": call}


def _asked(params: dict[str, Any]) -> tuple[str, str | None, Sequence[str]]:
    name, word, arguments = params.get("name"), params.get("command"), params.get("arguments", [])
    is_right = isinstance(name, str) and isinstance(word, str | None) and isinstance(arguments, list)
    if not is_right or params.keys() - {"name", "command", "arguments"}:
        raise ControlError(BAD_REQUEST, 'the parameters are "name", "command", and "arguments", a list')
    if not all(isinstance(each, str) for each in arguments):
        raise ControlError(BAD_REQUEST, '"arguments" are strings')
    return str(name), word, arguments


def _not_found(message: str, name: str, known: Sequence[str]) -> ControlError:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"there is: {', '.join(known) or 'none'}"
    return ControlError(NOT_FOUND, message, hint)
