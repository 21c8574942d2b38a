"""UDP around what a tunnel sends: struct ip_tunnel_encap and fou_build_header of Linux net/ipv4.

GRE-in-UDP (RFC 8086).  The source port stands for the flow inside, so that routers and
network cards spread tunnelled flows as they do all others: a hash of addresses and ports,
made by the engine for each packet, so that it costs no megaflow more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vdp.header import FillHash, FillLength
from vdp.protocols import ip6
from vdp.protocols.ip import IPv4, IPv6, ports_at
from vdp.protocols.udp import DYNAMIC_PORTS, Udp

if TYPE_CHECKING:
    from vdp.links.parameters import OuterParameters
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


def encap_info(parameters: OuterParameters) -> dict[str, Any]:
    """ipgre_fill_info: IFLA_GRE_ENCAP_TYPE and so on, of a tunnel that has an encapsulation."""
    if not parameters.encap_port:
        return {}
    source = parameters.encap_source
    return {
        "encap": "udp",
        "encap_dport": parameters.encap_port,
        "encap_sport": "auto" if source is None else source,
        "encap_csum": parameters.encap_csum,
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
