"""Ways for tests: every destination is one hop away, on a link with a known MTU."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from vdp.links.paths import Device
from vdp.netlink.events import IPAddress
from vdp.netlink.path import NoRoute, Path

if TYPE_CHECKING:
    from vdp.ports.port import Port

SOURCE_MAC = bytes.fromhex("020000000001")
NEXT_HOP_MAC = bytes.fromhex("020000000002")


@dataclass
class StaticPaths:
    """A PathSource without a kernel: `unreachable` addresses have no route, `silent` ones no neighbour."""

    mtu: int = 1500
    source: IPv4Address = field(default_factory=lambda: IPv4Address("192.0.2.1"))
    source6: IPv6Address = field(default_factory=lambda: IPv6Address("2001:db8::1"))
    unreachable: set[IPAddress] = field(default_factory=set)
    silent: set[IPAddress] = field(default_factory=set)
    #: Devices by name; a way by one of them has its index and MTU, by another there is none.
    devices: dict[str, Device] = field(default_factory=dict)

    async def device(self, port: Port, name: str) -> Device | None:
        return self.devices.get(name)

    async def find(
        self,
        port: Port,
        destination: IPAddress,
        source: IPAddress | None,
        tos: int,
        device: str | None = None,
    ) -> Path:
        if destination in self.unreachable or (device is not None and device not in self.devices):
            raise NoRoute(destination, errno.ENETUNREACH, "Network is unreachable")
        by = Device(port.number, self.mtu, 14) if device is None else self.devices[device]
        return Path(
            interface=port.name if device is None else device,
            ifindex=by.index,
            mtu=by.mtu,
            hard_header_len=by.hard_header_len,
            source=source or (self.source if destination.version == 4 else self.source6),
            next_hop=destination,
            source_mac=port.mac or SOURCE_MAC,
            destination_mac=None if destination in self.silent else NEXT_HOP_MAC,
            local=False,
        )

    async def resolve(self, port: Port, path: Path) -> bool:
        return path.next_hop not in self.silent

    async def keep(self, port: Port, path: Path) -> None:
        return None
