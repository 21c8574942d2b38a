"""The GRE demultiplexer: Linux net/ipv4/gre_demux.c, 3.11 to 4.2.

It takes IP protocol 47, finds the version's handler, and as that of version 0 parses
the header once and asks the handlers of the list "gre_cisco" in order of priority.
"""

from __future__ import annotations

import enum
import errno

from vdp.links.icmp import IcmpErrors
from vdp.links.icmp_input import IcmpError
from vdp.packet import Packet
from vdp.protocols.ethernet import Ethernet, EtherType
from vdp.protocols.gre import (
    GREPROTO_CISCO,
    GREPROTO_MAX,
    GreBase,
    GreFlag,
    GreKey,
    TunnelInfo,
    header_size,
)
from vdp.protocols.ip import IPProtocol, IPv4, IPv6
from vdp.registry import OWNER, Registry, RegistryError
from vdp.verdict import Verdict

#: Fewer bytes behind the IP header are not looked at (gre_rcv: pskb_may_pull(skb, 12)).
LEAST = 12


class FlagPolicy(enum.Enum):
    """What is made of the flag bits beside C, K, S and the version.

    LINUX: gre_rcv and parse_gre_header: routing is refused; strict source route and
    recursion control are ignored; bits 8 to 12 count as part of the version.
    RFC2784: section 2.3: a packet with any of bits 1, 4 and 5 is discarded, 6 to 12 are ignored.
    STRICT: any bit but C, K and S is refused, as Open vSwitch does.
    """

    LINUX = "linux"
    RFC2784 = "rfc2784"
    STRICT = "strict"


class GreDemux:
    """gre_init: takes slot 47 of "ip_protocol" and slot 0 of "gre_version".

    RegistryError EAGAIN where one of them is taken; then the other is not taken either.
    """

    #: Names of the tables and lists, of its own handlers in them, and the bytes that it asks for.
    protocols, version_table = "ip_protocol", "gre_version"
    before_list, handler_list = "gre_before", "gre_cisco"
    receive_name, cisco_name = "gre_rcv", "gre_cisco_rcv"
    least = LEAST
    #: Bytes that a frame (protocol TEB) must have for any handler to be asked.
    least_frame = Ethernet.SIZE

    def __init__(self, registry: Registry, icmp: IcmpErrors, owner: str = OWNER) -> None:
        self._icmp = icmp
        self.policy = FlagPolicy.LINUX
        self.versions = registry.table(self.version_table, GREPROTO_MAX)
        #: Asked before gre_rcv looks at anything, also about what it would find too short.
        self.before = registry.list(self.before_list)
        self.handlers = registry.list(self.handler_list)
        protocols = registry.table(self.protocols)
        try:
            taken = protocols.add(
                self.receive, slot=IPProtocol.GRE, name=self.receive_name, owner=owner, error=self.error
            )
            try:
                self.versions.add(
                    self.receive_cisco,
                    slot=GREPROTO_CISCO,
                    name=self.cisco_name,
                    owner=owner,
                    error=self.error_cisco,
                )
            except RegistryError:
                protocols.remove(taken, owner)
                raise
        except RegistryError as error:
            sentence = f"{self.receive_name} can not start: {error.strerror}"
            raise RegistryError(errno.EAGAIN, sentence) from error

    def receive(self, packet: Packet, ip: IPv4 | IPv6) -> Verdict:
        """gre_rcv: at least 12 bytes, a version with a handler.  The front is still the frame's."""
        verdict = self.before.deliver(packet, ip)
        if verdict is not Verdict.REJECT:
            return verdict
        least = ip.payload + self.least
        if not packet.has(least):
            return packet.drop("tunnel_short")
        packet.require_length(least, packet.otherwise("tunnel_short"))
        gre = packet.header(GreBase, ip.payload)
        version = self._version(gre)
        if version not in self.versions:
            packet.depends(("handlers", self.versions.name))
            return packet.drop("tunnel_version")
        return self.versions.deliver(version, packet, ip)

    def error(self, packet: Packet, ip: IPv4 | IPv6, icmp: IcmpError) -> Verdict:
        """gre_err: an ICMP error about GRE that we sent; the packet's front is the quoted IP header."""
        verdict = self.before.deliver_error(packet, ip, icmp)
        if verdict is not Verdict.REJECT:
            return verdict
        version = self._version(packet.header(GreBase, ip.payload))
        return self.versions.deliver_error(version, packet, ip, icmp)

    def error_cisco(self, packet: Packet, ip: IPv4 | IPv6, icmp: IcmpError) -> Verdict:
        """gre_cisco_err: as `receive_cisco`, the quotation's GRE header at the packet's front.

        Of that, what is needed is there down to the key (ip6gre_err; 8 bytes are not enough for a
        key behind a checksum).  The checksum is not looked at: what it covers is cut.
        """
        gre = packet.header(GreBase, ip.payload)
        if gre.routing:
            return Verdict.REJECT
        info = info_of(packet, gre, ip.payload)
        packet.pull(ip.payload)
        return self.handlers.deliver_error(packet, ip, info, icmp)

    def _version(self, gre: GreBase) -> int:
        """The version, in the bits that count as such."""
        if self.policy is FlagPolicy.LINUX:
            return gre.version | gre.reserved << 3  # gre_rcv: skb->data[1] & 0x7f
        return gre.version

    def _refuses(self, gre: GreBase) -> bool:
        """Whether the policy refuses the bits that a version 0 header should not have."""
        if self.policy is FlagPolicy.LINUX:
            return False
        if gre.strict or gre.recursion & 4:  # bits 4 and 5
            return True
        return self.policy is FlagPolicy.STRICT and bool(gre.recursion or gre.ack or gre.reserved)

    def receive_cisco(self, packet: Packet, ip: IPv4 | IPv6) -> Verdict:
        """gre_cisco_rcv: parse, ask the handlers; when all reject, tell the sender so.

        A handler gets the packet with the GRE header at its front.
        """
        at = ip.payload
        gre = packet.header(GreBase, at)
        if gre.routing:
            return packet.drop("tunnel_routing")
        if self._refuses(gre):
            return packet.drop("tunnel_reserved")
        info = parse(packet, gre, at)
        if info is None:
            return packet.drop("tunnel_truncated")
        if info.flags & GreFlag.CSUM:
            packet.require_checksum(at, 0, packet.otherwise("tunnel_checksum"))
        if info.protocol == EtherType.TEB:
            # iptunnel_pull_header, in parse_gre_header: before any tunnel is looked for.
            least = at + info.header_size + self.least_frame
            if not packet.has(least):
                return packet.drop("tunnel_inner_short")
            packet.require_length(least, packet.otherwise("tunnel_inner_short"))
        parsed = packet.checkpoint()
        packet.pull(at)
        verdict = self.handlers.deliver(packet, ip, info)
        if verdict is not Verdict.REJECT:
            return verdict
        packet.restore(parsed)
        return self._icmp.port_unreachable(packet)


class Gre6Demux(GreDemux):
    """The same over IPv6: gre_rcv of net/ipv6/ip6_gre.c, with tables and lists of its own.

    A plugin makes it, as the module does (inet6_add_protocol): without one, IPv6 is left alone.
    A handler of the list "ip6gre" gets an IPv6 header, so one that was made for IPv4 never
    meets it.  16 bytes are asked for, and the version is the version field alone.
    """

    protocols, version_table = "ip6_protocol", "gre6_version"
    before_list, handler_list = "gre6_before", "ip6gre"
    receive_name, cisco_name = "gre6_rcv", "gre6_cisco_rcv"
    least = 16  # pskb_may_pull(skb, sizeof(struct in6_addr))
    least_frame = 0  # ip6gre_rcv looks at the frame after checksum policy and sequence

    def _version(self, gre: GreBase) -> int:
        return gre.version


def parse(packet: Packet, gre: GreBase, at: int) -> TunnelInfo | None:
    """parse_gre_header: the header at `at` as struct tnl_ptk_info; None when it is cut short."""
    size = header_size(flags_of(gre))
    if not packet.has(at + size):
        return None
    packet.require_length(at + size, packet.otherwise("tunnel_truncated"))
    return info_of(packet, gre, at)


def info_of(packet: Packet, gre: GreBase, at: int) -> TunnelInfo:
    """The same of a header of which only what is before the sequence number must be there."""
    flags = flags_of(gre)
    offset = 8 if flags & GreFlag.CSUM else 4
    key = None
    if flags & GreFlag.KEY:
        key = packet.header(GreKey, at + offset)
        offset += 4
    return TunnelInfo(flags, gre.protocol, key, offset if flags & GreFlag.SEQ else None, header_size(flags))


def flags_of(gre: GreBase) -> GreFlag:
    """gre_flags_to_tnl_flags: those that the header's length depends on."""
    return (
        (GreFlag.CSUM if gre.csum else GreFlag.NONE)
        | (GreFlag.KEY if gre.key else GreFlag.NONE)
        | (GreFlag.SEQ if gre.seq else GreFlag.NONE)
    )
