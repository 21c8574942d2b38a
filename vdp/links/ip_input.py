"""What arrives at an underlay port: Linux ip_rcv and ip_local_deliver, as a trace.

A frame or packet that is addressed to us, and whose IP protocol somebody registered
(table "ip_protocol"), goes to that handler.  Everything else is left as it was: the
port may be in a bridge as well.

A tag that only says a priority (VLAN 0) is taken off first, as by vlan_do_receive and
__netif_receive_skb_core.  A frame of any other VLAN is not for the port, but for the VLAN's
own device, which may be under another port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vdp.engine.interface import PacketType, PortType
from vdp.links.arp import ArpResponder
from vdp.links.ip6_input import Ip6Input
from vdp.protocols.ethernet import Ethernet, EtherType, Vlan, is_group
from vdp.protocols.ip import FRAGMENT, IPProtocol, IPv4, is_multicast
from vdp.verdict import Verdict

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.packet import Packet
    from vdp.ports.port import Port

BROADCAST = 0xFFFFFFFF
TAGS = (EtherType.VLAN, EtherType.QINQ)
#: Of these most is the host's, and what is ours only the first fragment says: the port, error or not.
SHARED = (IPProtocol.UDP, IPProtocol.ICMP)


class IpInput:
    """The way from an underlay port to a protocol's handler; IPv6 packets go on to Ip6Input."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._arp = ArpResponder(datapath)
        self._ip6 = Ip6Input(datapath)
        self._protocols = datapath.registry.table("ip_protocol")

    def receive(self, packet: Packet, port: Port) -> Verdict:
        """REJECT: not for us, and the packet is as it was."""
        state = packet.checkpoint()
        if port.type is PortType.CELL:
            # skb_scrub_packet: what handlers noted about it in another tunnel is none of this one's.
            packet.scrub()
        self._untag(packet)
        verdict = self._deliver(packet, port)
        if verdict is Verdict.REJECT:
            packet.restore(state)
        return verdict

    def _deliver(self, packet: Packet, port: Port) -> Verdict:
        if self._is_arp(packet):
            return self._arp.receive(packet, port)
        protocol, front = self._network(packet, port)
        if protocol == EtherType.IPV6:
            return self._ip6.receive(packet, port, front)
        if protocol != EtherType.IPV4:
            return Verdict.REJECT
        ip = packet.header(IPv4, front)
        size = ip.ihl * 4
        if ip.version != 4 or size < IPv4.SIZE or not packet.has(front + size):
            return packet.drop("ip_header")
        is_local = self._datapath.is_local(packet, port, ip.destination, 4)
        if not is_local or ip.protocol not in self._protocols:
            packet.depends(("handlers", self._protocols.name))
            return Verdict.REJECT
        if port.type is not PortType.IP:
            # A raw IP socket comes after ip_rcv: there the kernel has done all this.
            packet.require_checksum(front, size, packet.otherwise("ip_checksum"))
            packet.trim(front + IPv4.total_length.offset, front, packet.otherwise("parse_bad_length"))
            packet.require_length(front + size, packet.otherwise("parse_bad_length"))
            if _is_martian(ip.source):
                return packet.drop("ip_source")
        if ip.to_group and self._datapath.is_own_source(packet, port, ip.source, 4):
            return packet.drop("tunnel_loopback")  # gre_cisco_rcv: rt_is_output_route
        if port.type is not PortType.IP:
            if self._datapath.is_own_source(packet, port, ip.source, 4):
                return packet.drop("ip_source")  # fib_validate_source
            # Of flags and offset all but DF is looked at: that differs within a flow, and says nothing here.
            if packet.read_bits(ip.place, IPv4.fragment.start + 2, FRAGMENT.bit_length(), "IPv4.fragment"):
                is_ours = ip.protocol not in SHARED
                return packet.drop("fragment_policy") if is_ours else Verdict.REJECT
        return self._protocols.deliver(ip.protocol, packet, ip)

    @staticmethod
    def _untag(packet: Packet) -> None:
        """skb_vlan_untag, for a tag of VLAN 0; what carries IP or ARP only, the rest is nobody's here."""
        if packet.packet_type is not PacketType.L2 or not packet.has(Ethernet.SIZE + Vlan.SIZE):
            return
        ethernet = packet.header(Ethernet)
        if ethernet.type not in TAGS:
            return
        tag = packet.header(Vlan, Ethernet.SIZE)
        if tag.id or tag.type not in (EtherType.IPV4, EtherType.IPV6, EtherType.ARP):
            return
        destination, source, protocol = ethernet.destination, ethernet.source, tag.type
        packet.pull(Ethernet.SIZE + Vlan.SIZE)
        Ethernet.push(packet, destination=destination, source=source, type=protocol)

    @staticmethod
    def _is_arp(packet: Packet) -> bool:
        is_frame = packet.packet_type is PacketType.L2 and packet.has(Ethernet.SIZE)
        return is_frame and packet.header(Ethernet).type == EtherType.ARP

    @staticmethod
    def _network(packet: Packet, port: Port) -> tuple[int, int]:
        """EtherType of a packet to us, and where its network header begins; 0 for what is not to us."""
        if packet.packet_type is PacketType.L3:
            return packet.protocol, 0
        if not packet.has(Ethernet.SIZE):
            return 0, 0
        ethernet = packet.header(Ethernet)
        protocol = ethernet.type
        if protocol not in (EtherType.IPV4, EtherType.IPV6):
            return 0, 0
        if port.mac is not None and not is_group(ethernet.destination) and ethernet.destination != port.mac:
            return 0, 0
        return protocol, Ethernet.SIZE


def _is_martian(source: int) -> bool:
    """A source that nobody can have, which ip_route_input_slow refuses: a group, all, 0.0.0.0, 127/8."""
    return is_multicast(source) or source in (0, BROADCAST) or source >> 24 == 127
