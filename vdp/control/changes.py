"""The methods of the control socket that change something: plugins and handlers of the running dataplane.

Each takes `{"name": …}` and answers with the rows of what it changed, as the method that
lists them does.  What can not be done is an error `refused` with the reason; while another
change is under way, plugins are not changed: `busy`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vdp.control.errors import BAD_REQUEST, BUSY, REFUSED, ControlError, not_found
from vdp.control.server import Method
from vdp.control.view import DatapathView
from vdp.loader import PluginError
from vdp.plugin_change import PluginChange
from vdp.quarantine import Conduct

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.registry import Registered
    from vdp.reload.reload import Reload

Rows = Sequence[Mapping[str, Any]]


def change_table(
    datapath: Datapath, view: DatapathView, changing: asyncio.Lock | None = None
) -> dict[str, Method]:
    """The methods by name, as ControlServer takes them.  changing: held while something is changed."""
    plugins = PluginChange(datapath)
    lock = changing or asyncio.Lock()

    def plugin_rows(name: str) -> Rows:
        return [row for row in view.list_plugins() if row["name"] == name]

    def plugin(change: Callable[[str], object]) -> Callable[[str], Awaitable[Rows]]:
        async def method(name: str) -> Rows:
            if lock.locked():
                raise ControlError(BUSY, "another change is under way", "try again when it is done")
            try:
                async with lock:
                    result = change(name)
                    if inspect.isawaitable(result):
                        await result
            except PluginError as error:
                known = list(datapath.plugins.infos)
                if name not in known or "is not installed" in error.sentence:
                    raise not_found("plugin", name, known) from None
                raise ControlError(REFUSED, str(error)) from None
            return plugin_rows(name)

        return method

    def enable_plugin(name: str) -> Rows:
        found = [each for each in datapath.registry if each.owner == name]
        if not found and name not in datapath.plugins.infos:
            raise not_found("plugin", name, list(datapath.plugins.infos))
        for each in found:
            datapath.discipline.judge(each, Conduct.enable)
        for called in datapath.calls():
            if called.owner == name:
                datapath.discipline.forgive(called)
        return plugin_rows(name)

    def handler(sentence: Callable[[Conduct], None]) -> Callable[[str], Rows]:
        def method(name: str) -> Rows:
            found = _handler(list(datapath.registry), name)
            datapath.discipline.judge(found, sentence)
            return [
                row
                for row in view.list_handlers()
                if (row["list"], row["priority"]) == (found.list, found.priority)
            ]

        return method

    return {
        "plugin.load": _named(plugin(plugins.load)),
        "plugin.unload": _named(plugin(plugins.unload)),
        "plugin.reload": _named(plugin(plugins.reload)),
        "plugin.enable": _named(enable_plugin),
        "handler.enable": _named(handler(Conduct.enable)),
        "handler.disable": _named(handler(Conduct.disable)),
    }


def reload_method(reload: Reload, changing: asyncio.Lock) -> Method:
    """The method `reload`: `{"dry_run": true}` only says what it would do."""

    async def method(params: dict[str, Any]) -> dict[str, Any]:
        dry_run = params.get("dry_run", False)
        if params.keys() - {"dry_run"} or not isinstance(dry_run, bool):
            raise ControlError(BAD_REQUEST, 'the only parameter is "dry_run", true or false')
        if changing.locked():
            raise ControlError(BUSY, "another change is under way", "try again when it is done")
        return (await reload.run(dry_run=dry_run)).as_json()

    return method


def _handler(registry: Sequence[Registered], name: str) -> Registered:
    """A handler by its name, or by LIST/NAME where two lists have one of that name."""
    found = [each for each in registry if name in (each.name, f"{each.list}/{each.name}")]
    if not found:
        raise not_found("handler", name, [each.name for each in registry])
    if len(found) > 1:
        places = ", ".join(f"{each.list}/{each.name}" for each in found)
        raise ControlError(BAD_REQUEST, f'"{name}" is the name of several handlers', f"say one of {places}")
    if found[0].owner == "vdp":
        raise ControlError(REFUSED, f"{name} is vdp's own: without it no other handler would be asked")
    return found[0]


def _named(change: Callable[[str], Rows | Awaitable[Rows]]) -> Method:
    def method(params: dict[str, Any]) -> Rows | Awaitable[Rows]:
        name = params.get("name")
        if params.keys() != {"name"} or not isinstance(name, str):
            raise ControlError(BAD_REQUEST, 'the only parameter is "name", a string')
        return change(name)

    return method
