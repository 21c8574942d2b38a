"""Ways out of this host, as the kernel knows them: vdp.links.paths.PathSource over netlink."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vdp.engine.interface import PortType
from vdp.links.paths import Device
from vdp.netlink.events import IPAddress
from vdp.netlink.path import NoRoute, Path

if TYPE_CHECKING:
    from vdp.netlink.system import System
    from vdp.ports.port import Port


class KernelPaths:
    """Asks the namespace that the port is in; a packet port's packets leave by its interface only."""

    def __init__(self, system: System) -> None:
        self._system = system

    async def find(
        self,
        port: Port,
        destination: IPAddress,
        source: IPAddress | None,
        tos: int,
        device: str | None = None,
    ) -> Path:
        """ip_route_output_key for the port, and the device if one is named; NoRoute where there is none."""
        netlink = await self._system.netlink(port.netns)
        interface = port.device if port.type is PortType.PACKET else device
        try:
            path = await netlink.path(destination, source, interface, tos)
        except NoRoute:
            if source is None or interface is None:
                raise
            # The source need not be the host's own: vdp answers for it itself.
            path = await netlink.path(destination, None, interface, tos)
        # The answer about IPv6 names the address that the kernel would choose, whatever was asked.
        return path if source is None else replace(path, source=source)

    async def device(self, port: Port, name: str) -> Device | None:
        """__dev_get_by_name in the port's namespace."""
        link = (await self._system.netlink(port.netns)).link(name)
        return None if link is None else Device(link.index, link.mtu, link.hard_header_len)

    async def resolve(self, port: Port, path: Path) -> bool:
        """Have the kernel resolve the next hop (neigh_event_send); whether it answered."""
        netlink = await self._system.netlink(port.netns)
        return await netlink.resolve(path.next_hop, path.ifindex) is not None

    async def keep(self, port: Port, path: Path) -> None:
        """Tell the kernel that the next hop is in use: it sees none of our packets."""
        netlink = await self._system.netlink(port.netns)
        await netlink.touch(path.next_hop, path.ifindex)
