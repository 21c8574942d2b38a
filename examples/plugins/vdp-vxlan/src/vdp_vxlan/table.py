"""Which link a received packet is for: vxlan_vs_find_vni, and the outer addresses."""

from __future__ import annotations

import errno
from typing import Any

from vdp.api import GreTunnel, LinkError, Packet, TunnelTable

from vdp_vxlan.parameters import VxlanOptions

#: Underlay, UDP port, local address, VNI.
Network = tuple[int, int, int, int]


class VxlanTable(TunnelTable):
    """Links with one other end by both addresses and VNI; those with more by local address and VNI."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self._open: dict[Network, GreTunnel] = {}

    def refuse_duplicate(self, name: str, underlay: int, parameters: Any) -> None:
        super().refuse_duplicate(name, underlay, parameters)
        other = self._open.get(_network(underlay, parameters))
        if other is not None and not parameters.is_pair:
            sentence = f"{other.name} takes VNI {parameters.vni} at that address and port, from any VTEP"
            raise LinkError(errno.EEXIST, name, sentence)

    def add(self, tunnel: GreTunnel) -> None:
        super().add(tunnel)
        parameters = _options(tunnel)
        if not parameters.is_pair:
            self._open[_network(tunnel.underlay.number, parameters)] = tunnel

    def remove(self, tunnel: GreTunnel) -> None:
        super().remove(tunnel)
        network = _network(tunnel.underlay.number, _options(tunnel))
        if self._open.get(network) is tunnel:
            del self._open[network]

    def lookup(self, packet: Packet, source: int, destination: int, key: int | None) -> GreTunnel | None:
        """The one whose other end that is; else one that has many, of that or any local address."""
        found = super().lookup(packet, source, destination, key)
        if found is not None or key is None:
            return found
        for local in (destination, 0):
            tunnel = self._open.get((packet.in_port, packet.encap_port, local, key))
            if tunnel is not None and tunnel.up:
                return tunnel
        return None


def _network(underlay: int, parameters: VxlanOptions) -> Network:
    return (underlay, parameters.dstport, int(parameters.local), parameters.vni)


def _options(tunnel: GreTunnel) -> VxlanOptions:
    assert isinstance(tunnel.parameters, VxlanOptions)
    return tunnel.parameters
