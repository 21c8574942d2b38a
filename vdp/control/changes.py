"""The methods of the control socket that change something: plugins and handlers of the running dataplane.

Each takes `{"name": …}` and answers with the rows of what it changed, as the method that
lists them does.  What can not be done is an error `refused` with the reason.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vdp.control.errors import BAD_REQUEST, NOT_FOUND, REFUSED, ControlError
from vdp.control.server import Method
from vdp.control.view import DatapathView
from vdp.loader import PluginError
from vdp.plugin_change import PluginChange
from vdp.quarantine import Conduct

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.registry import Registered

Rows = Sequence[Mapping[str, Any]]


def change_table(datapath: Datapath, view: DatapathView) -> dict[str, Method]:
    """The methods by name, as ControlServer takes them."""
    plugins = PluginChange(datapath)

    def plugin_rows(name: str) -> Rows:
        return [row for row in view.list_plugins() if row["name"] == name]

    def plugin(change: Callable[[str], object]) -> Callable[[str], Rows]:
        def method(name: str) -> Rows:
            try:
                change(name)
            except PluginError as error:
                known = list(datapath.plugins.infos)
                if name not in known or "is not installed" in error.sentence:
                    raise _not_found("plugin", name, known) from None
                raise ControlError(REFUSED, str(error)) from None
            return plugin_rows(name)

        return method

    def enable_plugin(name: str) -> Rows:
        found = [each for each in datapath.registry if each.owner == name]
        if not found and name not in datapath.plugins.infos:
            raise _not_found("plugin", name, list(datapath.plugins.infos))
        for each in found:
            datapath.judge(each, Conduct.enable)
        return plugin_rows(name)

    def handler(sentence: Callable[[Conduct], None]) -> Callable[[str], Rows]:
        def method(name: str) -> Rows:
            found = _handler(list(datapath.registry), name)
            datapath.judge(found, sentence)
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


def _handler(registry: Sequence[Registered], name: str) -> Registered:
    """A handler by its name, or by LIST/NAME where two lists have one of that name."""
    found = [each for each in registry if name in (each.name, f"{each.list}/{each.name}")]
    if not found:
        raise _not_found("handler", name, [each.name for each in registry])
    if len(found) > 1:
        places = ", ".join(f"{each.list}/{each.name}" for each in found)
        raise ControlError(BAD_REQUEST, f'"{name}" is the name of several handlers', f"say one of {places}")
    if found[0].owner == "vdp":
        raise ControlError(REFUSED, f"{name} is vdp's own: without it no other handler would be asked")
    return found[0]


def _not_found(what: str, name: str, known: Sequence[str]) -> ControlError:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"there is: {', '.join(known) or 'none'}"
    return ControlError(NOT_FOUND, f'no {what} "{name}"', hint)


def _named(change: Callable[[str], Rows]) -> Method:
    def method(params: dict[str, Any]) -> Rows:
        name = params.get("name")
        if params.keys() != {"name"} or not isinstance(name, str):
            raise ControlError(BAD_REQUEST, 'the only parameter is "name", a string')
        return change(name)

    return method
