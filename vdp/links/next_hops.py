"""The MAC addresses of next hops, in engine headers that all flows by a next hop have in common.

As the kernel's neighbours have them (struct hh_cache).  When a next hop gets another MAC
address, it is written there; no flow is traced again but those that looked at it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vdp.engine.interface import Engine
    from vdp.netlink.events import IPAddress
    from vdp.netlink.path import Path

#: Port, device and address of a next hop.
Key = tuple[str, int, "IPAddress"]


class NextHops:
    """Headers by next hop: destination and source MAC address."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._headers: dict[Key, tuple[int, bytes]] = {}

    def __len__(self) -> int:
        return len(self._headers)

    def address(self, port: str, path: Path) -> Path:
        """The path with its next hop's header, which says from now on what the path says."""
        if path.destination_mac is None:
            return path
        key, macs = (port, path.ifindex, path.next_hop), path.destination_mac + path.source_mac
        header, before = self._headers.get(key, (0, b""))
        if not header:
            header = self._engine.new_header(macs)
        elif macs != before:
            self._engine.write_header(header, macs)
        self._headers[key] = header, macs
        return replace(path, header=header)

    def keep(self, used: Iterable[tuple[str, Path]]) -> None:
        """Give the headers of others back; no flow goes by them."""
        stay = {(port, path.ifindex, path.next_hop) for port, path in used}
        for key in [key for key in self._headers if key not in stay]:
            self._engine.free_header(self._headers.pop(key)[0])
