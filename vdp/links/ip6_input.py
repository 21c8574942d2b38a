"""What arrives at an underlay port over IPv6: Linux ipv6_rcv and ip6_input, as a trace.

Extension headers in front of the protocol are walked: options that ask for it refuse the
packet, a routing header must have been used up, and of fragments only atomic ones are whole.
A packet whose protocol nobody registered (table "ip6_protocol") is left as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vdp.engine.interface import PortType
from vdp.links.ndp import NdpResponder
from vdp.protocols.ip import IPProtocol, IPv6
from vdp.protocols.ip6 import (
    DESTINATION,
    FRAGMENT,
    HOP_BY_HOP,
    ROUTING,
    Extension,
    Found,
    Fragment,
    is_fragment,
    options,
    walk,
)
from vdp.verdict import Verdict

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.packet import Packet
    from vdp.ports.port import Port

LOOPBACK = 1
#: As over IPv4: of these most is the host's, fragments too.
SHARED = (IPProtocol.UDP, IPProtocol.ICMPV6)
#: The routing header of Mobile IPv6 (RFC 6275 6.4).
HOME_ADDRESS = 2


class Ip6Input:
    """The way of an IPv6 packet from an underlay port to a protocol's handler."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._ndp = NdpResponder(datapath)
        self._protocols = datapath.registry.table("ip6_protocol")

    def receive(self, packet: Packet, port: Port, front: int) -> Verdict:
        """The packet's IPv6 header is at `front`.  REJECT: not for us, and the packet is as it was."""
        if not packet.has(front + IPv6.SIZE):
            return packet.drop("ip_header")
        ip = packet.header(IPv6, front)
        if ip.version != 6:
            return packet.drop("ip_header")
        if ip.next_header == IPProtocol.ICMPV6:
            verdict = self._ndp.receive(packet, port, ip)
            if verdict is not Verdict.REJECT:
                return verdict
        if not self._datapath.is_local(packet, port, ip.destination, 6):
            return Verdict.REJECT
        headers, protocol = walk(packet, ip)
        packet.depends(("handlers", self._protocols.name))
        if protocol is None:
            return packet.drop("parse_truncated")
        part = next((header for header in headers if header.kind == FRAGMENT), None)
        is_part = part is not None and is_fragment(packet.header(Fragment, part.at))
        # A tunnel's options are in the part that is cut, so that its fragments name those.
        if protocol not in self._protocols and not (is_part and protocol == DESTINATION):
            return Verdict.REJECT
        if port.type is not PortType.IP6:
            # A raw IPv6 socket comes after ip6_input: there the kernel has done all this.
            refused = self._refusal(packet, ip, headers)
            if refused == "":
                return Verdict.REJECT
            if refused is not None:
                return packet.drop(refused)
            length = front + IPv6.payload_length.offset
            packet.trim(length, front + IPv6.SIZE, packet.otherwise("parse_bad_length"))
            packet.require_length(ip.payload, packet.otherwise("parse_bad_length"))
            if is_part and protocol in SHARED:
                return Verdict.REJECT
            if is_part:
                return packet.drop("fragment_policy")
        if ip.to_group and self._datapath.is_own_source(packet, port, ip.source, 6):
            return packet.drop("tunnel_loopback")
        return self._protocols.deliver(protocol, packet, ip)

    @staticmethod
    def _refusal(packet: Packet, ip: IPv6, headers: list[Found]) -> str | None:
        """The reason to drop it; "" where it is another's, None where all is well."""
        # ipv6_rcv: a group sends nothing, and the loopback address nothing from outside.
        first = packet.read_bits(ip.place, IPv6.source.start, 8, "IPv6.source")
        if first == 0xFF or (first == 0 and ip.source == LOOPBACK):
            return "ip_source"
        for number, header in enumerate(headers):
            if header.kind == HOP_BY_HOP and number:
                return "ip_header"
            if header.kind == ROUTING:
                routing = packet.header(Extension, header.at)
                if routing.segments_left:
                    return ""
                if routing.routing_type == HOME_ADDRESS:
                    return "ip_header"  # ipv6_rthdr_rcv: it is for who has a home agent
            if header.kind in (HOP_BY_HOP, DESTINATION):
                for kind, _ in options(packet, header, strict=True):
                    if kind < 0:
                        return "ip_header"
                    if kind >> 6:  # RFC 8200 4.2: 00 is to be skipped by who does not know it
                        return "ip_option"
        return None
