"""What comes to a GUE port: gue_udp_recv, gue_control_message and gue_err of Linux net/ipv4/fou_core.c."""

from __future__ import annotations

from vdp.api import Datapath, IcmpError, IPv4, IPv6, Packet, TunnelTable, Udp, Verdict

from vdp_gue.header import (
    CARRIED,
    FLAG_PRIVATE,
    IP_VERSIONS,
    PRIVATE_SIZE,
    Front,
    GueHeader,
    PrivateFlags,
)


class Gue:
    """The decoder of one IP version.  `ports`: those where links that are not in GUE get theirs, too."""

    def __init__(self, datapath: Datapath, version: int, table: TunnelTable, ports: frozenset[int]) -> None:
        self._protocols = datapath.registry.table("ip_protocol" if version == 4 else "ip6_protocol")
        self._table = table
        self._ports = ports
        #: Of the packet that is being looked at: the port where it came in GUE, 0 where it did not.
        self.port = 0

    def receive(self, packet: Packet, ip: IPv4 | IPv6, udp: Udp) -> Verdict:
        """A datagram is for a link of kind gue, or what is in it for its IP protocol's handler."""
        parsed = self._parse(packet, ip.payload)
        if isinstance(parsed, str):
            return packet.drop(parsed)
        proto, size = parsed
        if proto in CARRIED:
            tunnel = self._table.lookup(packet, ip.source, ip.destination, None)
            if tunnel is not None:
                return tunnel.decapsulate(packet, ip, ip.payload + size, CARRIED[proto])
        before, self.port = self.port, packet.encap_port
        if self.port in self._ports:
            packet.encap_port = 0
        ip.extension_size += size  # to the protocol's handler, its header is what follows
        try:
            verdict = self._protocols.deliver(proto, packet, ip)
        finally:
            self.port = before
        return packet.drop("plugin_gue_proto") if verdict is Verdict.REJECT else verdict

    def error(self, packet: Packet, ip: IPv4 | IPv6, udp: Udp, icmp: IcmpError) -> Verdict:
        """gue_err: who sent it is known without the GUE header, if that is cut, unless it was GRE's."""
        tunnel = self._table.lookup_sent(packet, ip.source, ip.destination, None)
        if tunnel is not None:
            tunnel.errors.note(ip, icmp)
            return Verdict.RECEIVED
        parsed = self._parse(packet, ip.payload)
        if isinstance(parsed, str):
            return Verdict.REJECT
        proto, size = parsed
        before, self.port = self.port, packet.encap_port
        ip.extension_size += size
        try:
            return self._protocols.deliver_error(proto, packet, ip, icmp)
        finally:
            self.port = before

    @staticmethod
    def _parse(packet: Packet, at: int) -> tuple[int, int] | str:
        """IP protocol of what is carried, and bytes of the header at `at`; or why it is not taken."""
        header = packet.header(GueHeader, at)
        if header.version == 1:
            proto = IP_VERSIONS.get(packet.header(Front, at).ip_version)
            return "plugin_gue_version" if proto is None else (proto, 0)
        if header.version:
            return "plugin_gue_version"
        size = GueHeader.SIZE + header.hlen * 4
        if not packet.has(at + size):
            return "plugin_gue_flags"
        packet.require_length(at + size, packet.otherwise("plugin_gue_flags"))
        flags = header.flags
        if flags & ~FLAG_PRIVATE or (flags and size < GueHeader.SIZE + PRIVATE_SIZE):
            return "plugin_gue_flags"
        if flags and packet.header(PrivateFlags, at + GueHeader.SIZE).flags:
            return "plugin_gue_flags"
        return "plugin_gue_control" if header.control else (header.proto, size)
