"""A daemon's view of itself, asked over its control socket."""

from __future__ import annotations

from typing import Any, cast

from vdp.control.client import call
from vdp.control.view import (
    DropRow,
    FindingRow,
    FlowRow,
    HandlerRow,
    LinkRow,
    MacRow,
    PluginRow,
    PortRow,
    StatusRow,
)


class RemoteView:
    """Most of DatapathView, from another process.

    Each call raises ControlError and DaemonUnreachable, as `call` does.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def _ask(self, method: str, params: dict[str, Any] | None = None) -> Any:
        return call(self.path, method, params)

    def show_ports(self) -> list[PortRow]:
        return cast("list[PortRow]", self._ask("port.show"))

    def show_links(self) -> list[LinkRow]:
        return cast("list[LinkRow]", self._ask("link.show"))

    def busiest_flows(self, most: int) -> list[FlowRow]:
        """With their rates, which are measured for a second.  The daemon makes no more rows than these."""
        return cast("list[FlowRow]", self._ask("flow.dump", {"sort": "rate", "limit": most}))

    def list_handlers(self) -> list[HandlerRow]:
        return cast("list[HandlerRow]", self._ask("handler.list"))

    def list_plugins(self) -> list[PluginRow]:
        return cast("list[PluginRow]", self._ask("plugin.list"))

    def show_drops(self) -> list[DropRow]:
        return cast("list[DropRow]", self._ask("drop.show"))

    def show_bridge_macs(self) -> list[MacRow]:
        return cast("list[MacRow]", self._ask("bridge.macs"))

    def findings(self) -> list[FindingRow]:
        """What is wrong now.  ControlError UNKNOWN_METHOD: the daemon is of a version before it."""
        return cast("list[FindingRow]", self._ask("finding.list"))

    def status(self) -> StatusRow:
        return cast("StatusRow", self._ask("status"))
