"""What `ip link` shows of a tunnel device: its class, flags and addresses, and the room it needs in front.

Facts of ipgre_tunnel_init, ether_setup and ip_tunnel_bind_dev, said about a link of vdp.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from vdp.engine.interface import PacketType
from vdp.protocols.ethernet import format_mac

if TYPE_CHECKING:
    from vdp.links.gre_tunnel import GreTunnel
    from vdp.links.parameters import OuterParameters

#: Of a device that is not known (LL_MAX_HEADER of a kernel with tunnels or wireless cards).
LL_MAX_HEADER = 128


def device_class(parameters: OuterParameters) -> str:
    """IFF_POINTOPOINT, IFF_BROADCAST or neither, as an L3 device's flags say after its remote."""
    if parameters.remote.version == 6:
        return "point-to-point" if _sends_and_receives(parameters) else "multipoint"
    if parameters.remote.is_multicast:
        return "broadcast"
    return "multipoint" if parameters.remote.is_unspecified else "point-to-point"


def _sends_and_receives(parameters: OuterParameters) -> bool:
    """ip6_tnl_get_cap: what an IPv6 tunnel can by its addresses, IP6_TNL_F_CAP_XMIT and _RCV.

    Both ends are one host's, and those of one link only where that is named.
    """
    ends = parameters.local, parameters.remote
    if any(end.is_unspecified or end.is_multicast or end.is_loopback for end in ends):
        return False
    return parameters.link is not None or not any(end.is_link_local for end in ends)


def device_flags(tunnel: GreTunnel) -> list[str]:
    """What stands between < and >, without what says whether the other end is there (LOWER_UP)."""
    if tunnel.packet_type is PacketType.L2:
        flags = ["BROADCAST", "MULTICAST"]
    elif tunnel.remote.version == 6:
        flags = [*["POINTOPOINT"] * _sends_and_receives(tunnel.parameters), "NOARP"]
    elif tunnel.remote.is_multicast:
        # ipgre_tunnel_init sets one in place of NOARP, ip_tunnel_bind_dev the other for any remote.
        flags = ["BROADCAST", "POINTOPOINT"]
    else:
        flags = ["NOARP"] if tunnel.remote.is_unspecified else ["POINTOPOINT", "NOARP"]
    return flags + ["UP"] * tunnel.up


def random_mac() -> bytes:
    """eth_hw_addr_random: one station's, locally administered."""
    first, *rest = os.urandom(6)
    return bytes([first & 0xFE | 0x02, *rest])


def needed_headroom(tunnel: GreTunnel) -> int:
    """dev->needed_headroom: its own headers, and the link header of the device that it sends by."""
    below = tunnel.path or tunnel.device
    return tunnel.overhead - tunnel.frame_size + (LL_MAX_HEADER if below is None else below.hard_header_len)


def device_info(tunnel: GreTunnel) -> dict[str, Any]:
    """The part of fill_info that is the device's, not the tunnel's parameters."""
    if tunnel.mac is not None:
        address, broadcast = format_mac(tunnel.mac), format_mac(b"\xff" * 6)
    else:
        address, broadcast = str(tunnel.local), str(tunnel.remote)  # dev_addr, broadcast: four bytes each
    return {
        "class": device_class(tunnel.parameters) if tunnel.packet_type is PacketType.L3 else "ethernet",
        "flags": device_flags(tunnel),
        "address": address,
        "broadcast": broadcast,
        "link": tunnel.parameters.link,
        "iflink": 0 if tunnel.device is None else tunnel.device.index,
        "interface": None if tunnel.path is None else tunnel.path.interface,
        "needed_headroom": needed_headroom(tunnel),
    }
