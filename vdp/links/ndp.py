"""Answering neighbour solicitations for the links' own addresses, where the kernel has them not.

As vdp.links.arp for IPv6: who asks for a link's `local` gets the interface's MAC address.
Everything about a solicitation is looked at, its checksum too, so that the answer is a
constant: a megaflow for each asker, which puts the advertisement in the packet's place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vdp.engine.interface import PacketType
from vdp.protocols.ethernet import Ethernet, EtherType, is_group
from vdp.protocols.ip import IPProtocol, IPv6, internet_checksum, pseudo_header6
from vdp.protocols.ip6 import (
    ADVERTISEMENT,
    ALL_NODES,
    ALL_NODES_MAC,
    HOP_LIMIT,
    SOLICITATION,
    SOURCE_ADDRESS,
    TARGET_ADDRESS,
    LinkAddress,
    Neighbour,
    solicited_node,
)
from vdp.verdict import Verdict

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.packet import Packet
    from vdp.ports.port import Port

#: A frame with a solicitation and as many options as are looked at: one, or none.
PLAIN = Ethernet.SIZE + IPv6.SIZE + Neighbour.SIZE
WITH_OPTION = PLAIN + LinkAddress.SIZE


class NdpResponder:
    """ndisc_recv_ns, on underlay ports with a MAC address."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath

    def receive(self, packet: Packet, port: Port, ip: IPv6) -> Verdict:
        """The packet carries ICMPv6; REJECT for everything but a good solicitation that is ours."""
        if port.mac is None or packet.packet_type is not PacketType.L2:
            return Verdict.REJECT
        packet.depends(("addresses", port.name))
        own = self._datapath.own_addresses(port, 6)
        if not own or not packet.has(PLAIN) or packet.has(WITH_OPTION + 1):
            return Verdict.REJECT
        asked = packet.header(Neighbour, Ethernet.SIZE + IPv6.SIZE)
        if (asked.type, asked.code, ip.hop_limit) != (SOLICITATION, 0, HOP_LIMIT) or asked.target not in own:
            return Verdict.REJECT
        if ip.destination not in (asked.target, solicited_node(asked.target)):
            return Verdict.REJECT
        with_option = packet.has(WITH_OPTION)
        if not with_option and packet.has(PLAIN + 1):
            return Verdict.REJECT
        size = WITH_OPTION if with_option else PLAIN
        if not self._is_sound(packet, ip, size - Ethernet.SIZE - IPv6.SIZE):
            return Verdict.REJECT
        ethernet = packet.header(Ethernet)
        if is_group(ethernet.source):
            return Verdict.REJECT
        if with_option and ip.source:
            option = packet.header(LinkAddress, PLAIN)
            if option.type == SOURCE_ADDRESS and option.mac != ethernet.source:
                return Verdict.REJECT
        answer = _advertisement(asked.target, port.mac, ip.source, ethernet.source)
        packet.pull(size)
        packet.push(answer)
        return packet.output(port.number)

    @staticmethod
    def _is_sound(packet: Packet, ip: IPv6, size: int) -> bool:
        """Whether the message is as long as the header says, and its checksum good."""
        if ip.payload_length != size:
            return False
        message = packet.read(Ethernet.SIZE + IPv6.SIZE, size)
        source, destination = ip.source.to_bytes(16, "big"), ip.destination.to_bytes(16, "big")
        pseudo = pseudo_header6(source, destination, size, IPProtocol.ICMPV6)
        return internet_checksum(pseudo + message) == b"\0\0"


def _advertisement(target: int, mac: bytes, asker: int, asker_mac: bytes) -> bytes:
    """The frame that answers; to all nodes when the asker has no address (RFC 4861 7.2.4)."""
    body = Neighbour.pack(type=ADVERTISEMENT, solicited=1 if asker else 0, override=1, target=target)
    body += LinkAddress.pack(type=TARGET_ADDRESS, size=1, mac=mac)
    to = asker or ALL_NODES
    pseudo = pseudo_header6(target.to_bytes(16, "big"), to.to_bytes(16, "big"), len(body), IPProtocol.ICMPV6)
    body = body[:2] + internet_checksum(pseudo + body) + body[4:]
    header = IPv6.pack(
        version=6,
        payload_length=len(body),
        next_header=IPProtocol.ICMPV6,
        hop_limit=HOP_LIMIT,
        source=target,
        destination=to,
    )
    destination = asker_mac if asker else ALL_NODES_MAC
    return Ethernet.pack(destination=destination, source=mac, type=EtherType.IPV6) + header + body
