"""Answering ARP for the links' own addresses, where the kernel does not have them.

An underlay interface needs no address of its own: who asks for a link's `local` gets
the interface's MAC address.  The answer is a megaflow like any other: the request is
turned into the reply and goes back out, in the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vdp.protocols.arp import ETHERNET, REPLY, REQUEST, Arp
from vdp.protocols.ethernet import BROADCAST, Ethernet, EtherType, is_group
from vdp.verdict import Verdict

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.packet import Packet
    from vdp.ports.port import Port


class ArpResponder:
    """arp_process for requests, on underlay ports with a MAC address."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath

    def receive(self, packet: Packet, port: Port) -> Verdict:
        """The packet is a frame of EtherType ARP; REJECT for everything but a request that is ours."""
        if port.mac is None or not packet.has(Ethernet.SIZE + Arp.SIZE):
            return Verdict.REJECT
        arp = packet.header(Arp, Ethernet.SIZE)
        if (arp.hardware, arp.protocol, arp.operation) != (ETHERNET, EtherType.IPV4, REQUEST):
            return Verdict.REJECT
        packet.depends(("addresses", port.name))
        wanted = arp.target_ip
        if wanted not in self._datapath.own_addresses(port):
            return Verdict.REJECT
        ethernet = packet.header(Ethernet)
        asker, asker_ip = arp.sender_mac, arp.sender_ip
        if is_group(asker) or ethernet.source != asker or ethernet.destination not in (BROADCAST, port.mac):
            return Verdict.REJECT
        ethernet.set(destination=asker, source=port.mac)
        arp.set(operation=REPLY, sender_mac=port.mac, sender_ip=wanted)
        arp.set(target_mac=asker, target_ip=asker_ip)
        return packet.output(port.number)
