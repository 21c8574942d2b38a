"""Ways that lead out by devices of the test's choice."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from vdp.netlink.events import IPAddress
from vdp.netlink.path import Path
from vdp.ports.port import Port
from vdp.testing.paths import StaticPaths


@dataclass
class Ways(StaticPaths):
    """StaticPaths with a device, name and index, for some destinations."""

    leave_by: dict[IPAddress, tuple[str, int]] = field(default_factory=dict)

    async def find(
        self, port: Port, destination: IPAddress, source: IPAddress | None, *more: Any, **named: Any
    ) -> Path:
        path = await super().find(port, destination, source, *more, **named)
        if destination not in self.leave_by:
            return path
        name, index = self.leave_by[destination]
        return replace(path, interface=name, ifindex=index)
