"""The methods of the control socket, made from what the datapath shows.

Each takes `{"name": …}` to show one thing; a name that is not there is an error
`not_found` with the nearest name.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vdp.control import flow_query
from vdp.control.errors import BAD_REQUEST, NOT_FOUND, ControlError
from vdp.control.server import Method
from vdp.control.view import DatapathView

Rows = Sequence[Mapping[str, Any]]


def method_table(view: DatapathView) -> dict[str, Method]:
    """The methods by name, as ControlServer takes them."""

    def port_names() -> list[str]:
        return [port["name"] for port in view.show_ports()]

    def bridge_names() -> list[str]:
        return view.status().get("bridges") or sorted({row["bridge"] for row in view.show_bridge_macs()})

    async def flow_dump(params: dict[str, Any]) -> Rows:
        rows = await flow_query.dump(view, params)
        if not rows and params.get("name") is not None:
            _check_name(params["name"], port_names(), "port")
        return rows

    return {
        "port.show": _selected(view.show_ports, "name", "port"),
        "link.show": _selected(view.show_links, "name", "link"),
        "flow.dump": flow_dump,
        "handler.list": _selected(view.list_handlers, "list", "handler list"),
        "plugin.list": _selected(view.list_plugins, "name", "plugin"),
        "drop.show": _selected(view.show_drops, "port", "port", port_names),
        "drop.reasons": lambda params: _without(params, view.drop_reasons()),
        "bridge.show": _selected(view.show_bridges, "bridge", "bridge"),
        "bridge.macs": _selected(view.show_bridge_macs, "bridge", "bridge", bridge_names),
        "route.show": _selected(view.show_routes, "via", "port or link that routes go by"),
        "rule.show": lambda params: _without(params, view.show_rules()),
        "status": lambda params: _without(params, view.status()),
    }


def _selected(
    rows: Callable[[], Rows], field: str, what: str, names: Callable[[], list[str]] | None = None
) -> Method:
    """A method that gives all rows, or those whose `field` is the name asked for.

    names: what there is, where a name without a row is right.
    """

    def method(params: dict[str, Any]) -> list[Mapping[str, Any]]:
        unknown = params.keys() - {"name"}
        name = params.get("name")
        if unknown or not isinstance(name, str | None):
            raise ControlError(BAD_REQUEST, 'the only parameter is "name", a string')
        found = list(rows())
        if name is None:
            return found
        chosen = [row for row in found if row[field] == name]
        known = names() if names else list(dict.fromkeys(row[field] for row in found))
        if not chosen:
            _check_name(name, known, what)
        return chosen

    return method


def _check_name(name: str, known: Sequence[str], what: str) -> None:
    """ControlError `not_found` for what is not there."""
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"there is: {', '.join(known) or 'none'}"
        raise ControlError(NOT_FOUND, f'no {what} "{name}"', hint)


def _without(params: dict[str, Any], result: object) -> object:
    if params:
        raise ControlError(BAD_REQUEST, "this method has no parameters")
    return result
