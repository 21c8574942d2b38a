"""UDP around what a tunnel sends: struct ip_tunnel_encap and fou_build_header of Linux net/ipv4.

GRE-in-UDP (RFC 8086).  The source port stands for the flow inside, so that routers and
network cards spread tunnelled flows as they do all others: a hash of addresses and ports,
made by the engine for each packet, so that it costs no megaflow more.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from vdp.header import FillHash, FillLength
from vdp.links.link import LinkError
from vdp.protocols import ip6
from vdp.protocols.ip import IPv4, IPv6, ports_at
from vdp.protocols.udp import DYNAMIC_PORTS, Udp
from vdp.registry import RegistryError

if TYPE_CHECKING:
    from vdp.links.gre_tunnel import GreTunnel
    from vdp.links.parameters import OuterParameters
    from vdp.links.udp_input import Ends
    from vdp.packet import Packet

#: The bits of a source port that the flow inside decides.
ENTROPY = 0xFFFF - DYNAMIC_PORTS
PORTS_SIZE = 4
#: Of a frame that carries no IP: both MAC addresses.
MACS_SIZE = 12

Run = tuple[int, int]  # where it begins, from the packet's front, and bytes


def push_udp(
    packet: Packet, inner: IPv4 | IPv6 | None, parameters: OuterParameters, frame: int | None
) -> None:
    """Put a UDP header in front; its checksum is zero, until the outer addresses are there.

    `frame`: where the frame inside begins, if it is one.
    """
    number = parameters.encap_source
    source = DYNAMIC_PORTS if number is None else number
    Udp.push(packet, source=source, destination=parameters.encap_port, length=FillLength())
    run = _flow(packet, inner, frame) if number is None else None
    if run is not None:
        packet.fill(Udp.source.offset, FillHash(*run, mask=ENTROPY))


def listen(tunnel: GreTunnel) -> None:
    """Have what comes to its UDP port, where it has one, come to its kind's receiver.

    LinkError EBUSY: the port is another's.
    """
    parameters, udp = tunnel.parameters, tunnel.datapath.udp[tunnel.kind.ip_version]
    if not parameters.encap_port:
        return
    try:
        udp.listen(parameters.encap_port, tunnel.kind.udp_receiver(tunnel.datapath))
    except RegistryError as error:
        raise LinkError(errno.EBUSY, tunnel.name, error.strerror or "the UDP port is taken") from error
    if not parameters.udp_checksum:
        udp.take_zero(_ends(tunnel))


def leave(tunnel: GreTunnel) -> None:
    """What `listen` did is over."""
    parameters, udp = tunnel.parameters, tunnel.datapath.udp[tunnel.kind.ip_version]
    if not parameters.encap_port:
        return
    udp.leave(parameters.encap_port)
    if not parameters.udp_checksum:
        udp.refuse_zero(_ends(tunnel))


def _ends(tunnel: GreTunnel) -> Ends:
    return (tunnel.underlay.number, tunnel.parameters.encap_port, int(tunnel.local), int(tunnel.remote))


def encap_info(parameters: OuterParameters) -> dict[str, Any]:
    """ipgre_fill_info: IFLA_GRE_ENCAP_TYPE and so on, of a tunnel that has an encapsulation."""
    if not parameters.encap_port:
        return {}
    source = parameters.encap_source
    return {
        "encap": "udp",
        "encap_dport": parameters.encap_port,
        "encap_sport": "auto" if source is None else source,
        "encap_csum": parameters.udp_checksum,
    }


def _flow(packet: Packet, inner: IPv4 | IPv6 | None, frame: int | None) -> Run | None:
    """The bytes that tell the packet's flow from others: addresses, and the ports right behind them."""
    if inner is None:
        return None if frame is None else (frame + Udp.SIZE, MACS_SIZE)
    if isinstance(inner, IPv4):
        start, size, ports = IPv4.source.offset, 8, ports_at(packet, inner)
    else:
        start, size, ports = IPv6.source.offset, 32, ip6.ports_at(packet, inner)
    start += inner.offset
    return (start, size + (PORTS_SIZE if ports == start + size else 0))
