"""What arrives in UDP: Linux udp_rcv as far as tunnels need it, and fou_udp_recv.

A datagram to a port that somebody registered (table "udp_port", over IPv6 "udp6_port") goes to
that handler, whole and with a good checksum.  All others are the host's, and left as they were.

    ip_protocol 17 ─► cut, if it is datagrams in one ─► length, checksum ─► udp_port ─► its handler
                                                                             └─► `over`: ip_protocol again

`over` is Linux's `ip fou add port … ipproto …`: what is behind the UDP header is that IP protocol's.
That a packet came in UDP, and to which port, its `encap_port` says from here on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vdp.engine.interface import Feature
from vdp.protocols.ip import IPProtocol, IPv4, IPv6
from vdp.protocols.udp import Udp
from vdp.registry import OWNER, Receive, Registered
from vdp.verdict import Verdict

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.links.icmp_input import IcmpError
    from vdp.packet import Packet

PORTS = 65536
#: Names of the tables by IP version: of protocols, of ports.
TABLES = {4: ("ip_protocol", "udp_port"), 6: ("ip6_protocol", "udp6_port")}

Ends = tuple[int, int, int, int]  # underlay, UDP port, local, remote (0: any)


@dataclass(frozen=True, slots=True)
class UdpReceiver:
    """Who gets what comes to UDP ports (struct udp_tunnel_sock_cfg): a handler of "udp_port"."""

    name: str
    owner: str
    receive: Receive
    error: Receive | None = None


class UdpInput:
    """Takes slot 17 of "ip_protocol" or "ip6_protocol"."""

    def __init__(self, datapath: Datapath, version: int) -> None:
        self._datapath = datapath
        self.version = version
        protocols, ports = TABLES[version]
        self._protocols = datapath.registry.table(protocols)
        self.ports = datapath.registry.table(ports, PORTS)
        self._listening: dict[int, Registered] = {}  # by port
        self._users: Counter[int] = Counter()
        self._over: dict[int, UdpReceiver] = {}  # by IP protocol
        self._zero: Counter[Ends] = Counter()
        name = "udp_rcv" if version == 4 else "udpv6_rcv"
        self._protocols.add(self.receive, slot=IPProtocol.UDP, name=name, owner=OWNER, error=self.error)

    # -- a packet's way -------------------------------------------------------------------

    def receive(self, packet: Packet, ip: IPv4 | IPv6) -> Verdict:
        """A datagram to a registered port: its handler gets (packet, ip, udp), `ip.payload` behind udp."""
        at = ip.payload
        packet.depends(("handlers", self.ports.name))
        if not len(self.ports) or not packet.has(at + Udp.SIZE):
            return Verdict.REJECT  # no port is looked at, so that all the host's datagrams are one flow
        udp = packet.header(Udp, at)
        port = udp.destination
        if port not in self.ports:
            return Verdict.REJECT
        # What the kernel joined, or a local sender did not cut.  Each has an unfinished checksum then.
        # A super-packet of TCP is one inside a tunnel that goes in UDP, and stays one.
        packet.segment(int(Feature.CSUM | Feature.TSO4 | Feature.TSO6))
        packet.trim(at + Udp.length.offset, at, packet.otherwise("parse_bad_length"))
        packet.require_length(at + Udp.SIZE, packet.otherwise("parse_bad_length"))
        zero = self._takes_zero(packet, ip, port)
        packet.require_udp_checksum(self.version, ip.offset, at, packet.otherwise("l4_checksum"), zero)
        ip.extension_size += Udp.SIZE
        packet.encap_port = port
        verdict = self.ports.deliver(port, packet, ip, udp)
        ip.extension_size -= Udp.SIZE
        return verdict

    def error(self, packet: Packet, ip: IPv4 | IPv6, icmp: IcmpError) -> Verdict:
        """__udp4_lib_err_encap: an ICMP error about a datagram that we sent to such a port."""
        udp = packet.header(Udp, ip.payload)
        ip.extension_size += Udp.SIZE
        packet.encap_port = udp.destination
        return self.ports.deliver_error(udp.destination, packet, ip, udp, icmp)

    # -- tunnels' ports -------------------------------------------------------------------

    def over(self, protocol: int) -> UdpReceiver:
        """Foo over UDP: what comes to the port is for that IP protocol's handlers."""
        if protocol not in self._over:

            def receive(packet: Packet, ip: IPv4 | IPv6, udp: Udp) -> Verdict:
                return self._protocols.deliver(protocol, packet, ip)

            def error(packet: Packet, ip: IPv4 | IPv6, udp: Udp, icmp: IcmpError) -> Verdict:
                return self._protocols.deliver_error(protocol, packet, ip, icmp)

            self._over[protocol] = UdpReceiver("fou_udp_recv", OWNER, receive, error)
        return self._over[protocol]

    def listen(self, port: int, receiver: UdpReceiver) -> None:
        """Take what comes to a port for that receiver, until as many `leave`.

        RegistryError EBUSY where the port is another's.
        """
        held = next((item for item in self.ports if item.priority == port), None)
        if held is None or held.receive != receiver.receive:
            self._listening[port] = self.ports.add(
                receiver.receive, slot=port, name=receiver.name, owner=receiver.owner, error=receiver.error
            )
        self._users[port] += 1

    def leave(self, port: int) -> None:
        """One `listen` less; with the last one the port is the host's again, or whose it was before."""
        self._users[port] -= 1
        if not self._users[port] and port in self._listening:
            registered = self._listening.pop(port)
            self.ports.remove(registered, registered.owner)

    def taken_by_plugins(self) -> set[int]:
        """Ports whose handlers were registered by plugins themselves, not for links that listen."""
        return {item.priority for item in self.ports if item.priority not in self._listening}

    # -- no checksum ----------------------------------------------------------------------

    def take_zero(self, ends: Ends) -> None:
        """Over IPv6: between these ends a checksum of zero is not refused (RFC 6936 5, RFC 8086 5.2)."""
        self._zero[ends] += 1
        self._datapath.invalidate(("handlers", self.ports.name))

    def refuse_zero(self, ends: Ends) -> None:
        """As before that `take_zero`."""
        self._zero[ends] -= 1
        self._datapath.invalidate(("handlers", self.ports.name))

    def _takes_zero(self, packet: Packet, ip: IPv4 | IPv6, port: int) -> bool:
        """Whether it may come without a checksum: over IPv4 always (RFC 8086 5.1)."""
        if self.version == 4:
            return True
        if not +self._zero:
            return False
        source, destination = ip.source, ip.destination
        return any(
            self._zero[packet.in_port, port, local, remote] > 0
            for local in (destination, 0)
            for remote in (source, destination, 0)
        )
