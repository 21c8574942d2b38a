"""ICMP errors about packets that we sent: the error half of Linux icmp_rcv and icmpv6_rcv.

    ip_protocol 1, ip6_protocol 58: for us, an error, about a protocol with an error handler
        │ decided once: a megaflow, whose packets end here (icmp_error) and send a copy up
        ▼ UPCALL, within the port's action_rate: a flood of forged errors costs no more
    `report`: complete, its checksum good, the quoted packet from who the error is to
        ▼ table ip_protocol or ip6_protocol: gre_err ─► gre_cisco_err ─► the list's error handlers

An error handler gets the quoted packet as its receive handler gets a received one, and the
`IcmpError`.  The quotation may be cut behind the first 8 bytes of the protocol's header.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vdp.engine.interface import META_REG, PacketType, Upcall, meta_of
from vdp.packet import Packet
from vdp.protocols.ethernet import Ethernet, EtherType
from vdp.protocols.ip import Icmp, IPProtocol, IPv4, IPv6, internet_checksum, pseudo_header6
from vdp.protocols.ip6 import FRAGMENT, Fragment, walk
from vdp.protocols.udp import Udp
from vdp.registry import OWNER
from vdp.trace import HeaderBudget, Trace, Truncated
from vdp.verdict import Verdict

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.registry import SlotTable

#: ICMP types that are errors (RFC 1122 3.2.2); ICMPv6's are those below 128.
DEST_UNREACH, SOURCE_QUENCH, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM = 3, 4, 5, 11, 12
ERRORS = frozenset({DEST_UNREACH, SOURCE_QUENCH, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM})
DEST_UNREACH6, PACKET_TOO_BIG, TIME_EXCEEDED6, PARAMETER_PROBLEM6 = 1, 2, 3, 4
INFORMATIONAL6 = 128
#: Codes of destination unreachable.
PORT_UNREACH, FRAG_NEEDED, SR_FAILED = 3, 4, 5
PORT_UNREACH6 = 4
#: First bit and width of the fragment offset in an IPv4 header.
FRAGMENT_OFFSET = (IPv4.fragment.start + 3, 13, "IPv4.fragment")
REGISTERS = 4 * META_REG


@dataclass(frozen=True, slots=True)
class IcmpError:
    """What an ICMP (version 4) or ICMPv6 (6) error says: icmp_hdr(skb), and `info` of an err_handler."""

    version: int
    type: int
    code: int
    #: The 32 bits behind the checksum: an MTU, a pointer, a gateway, or nothing.
    rest: int
    #: Address of who sent it.
    sender: int
    #: The packet that it is about, from its IP header on, as far as it is there.
    quoted: bytes

    @property
    def mtu(self) -> int | None:
        """The MTU of the narrow link, where that is what it is about; 0 where the router does not say it."""
        if self.version == 6:
            return self.rest if self.type == PACKET_TOO_BIG else None
        return self.rest & 0xFFFF if (self.type, self.code) == (DEST_UNREACH, FRAG_NEEDED) else None

    @property
    def is_redirect(self) -> bool:
        """ICMPv6 has those beside its errors (RFC 4861): the kernel follows them by itself."""
        return self.version == 4 and self.type == REDIRECT


class IcmpInput:
    """Takes slot 1 of "ip_protocol" and slot 58 of "ip6_protocol"; `outcomes` counts what came of errors."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._cookie = datapath.add_cookie(self.report)
        #: received: a handler knew the packet; reject: none did; malformed: not to be believed.
        self.outcomes: Counter[str] = Counter()
        self._tables = {4: datapath.registry.table("ip_protocol"), 6: datapath.registry.table("ip6_protocol")}
        self._tables[4].add(self.receive, slot=IPProtocol.ICMP, name="icmp_rcv", owner=OWNER)
        self._tables[6].add(self.receive, slot=IPProtocol.ICMPV6, name="icmpv6_rcv", owner=OWNER)
        datapath.every(1.0, self._expire)

    # -- once a flow ----------------------------------------------------------------------

    def receive(self, packet: Packet, ip: IPv4 | IPv6) -> Verdict:
        """Take errors about packets that somebody here may have sent; leave all other ICMP to the host."""
        at, table = ip.payload, self._table(ip)
        if not packet.has(at + Icmp.SIZE):
            return Verdict.REJECT
        kind = packet.header(Icmp, at).type
        is_error = kind in ERRORS if isinstance(ip, IPv4) else kind < INFORMATIONAL6
        if not is_error or not packet.has(at + Icmp.SIZE + ip.SIZE):
            return Verdict.REJECT
        quoted = packet.header(type(ip), at + Icmp.SIZE)
        protocol = protocol_of(packet, quoted)
        packet.depends(("handlers", table.name))
        if protocol is None or not table.hears_errors(protocol):
            return Verdict.REJECT
        if protocol == IPProtocol.UDP and not self._sends_to_port(packet, quoted):
            return Verdict.REJECT
        packet.upcall(self._cookie)
        return packet.drop("icmp_error")

    def _sends_to_port(self, packet: Packet, quoted: IPv4 | IPv6) -> bool:
        """Whether somebody here sends to the UDP port of a quoted datagram; most are the host's."""
        ports = self._datapath.udp[4 if isinstance(quoted, IPv4) else 6].ports
        packet.depends(("handlers", ports.name))
        if not len(ports) or not packet.has(quoted.payload + Udp.SIZE):
            return False
        return ports.hears_errors(packet.header(Udp, quoted.payload).destination)

    def _table(self, ip: IPv4 | IPv6) -> SlotTable:
        return self._tables[4 if isinstance(ip, IPv4) else 6]

    # -- for each error, within action_rate -----------------------------------------------

    def report(self, upcall: Upcall) -> None:
        """Hand the error on to the handlers of what it quotes."""
        try:
            outcome = self._report(upcall)
        except (Truncated, HeaderBudget):
            outcome = "malformed"
        self.outcomes[outcome] += 1

    def _report(self, upcall: Upcall) -> str:
        if upcall.length > len(upcall.data):
            return "malformed"  # larger than any error may be (RFC 1812 4.3.2.3, RFC 4443 2.4 c)
        packet = self._view(upcall.data, upcall.in_port, upcall.meta)
        is_frame = packet.packet_type is PacketType.L2
        front = Ethernet.SIZE if is_frame else 0
        protocol = packet.header(Ethernet).type if is_frame else packet.protocol
        kind: type[IPv4 | IPv6] = IPv4 if protocol == EtherType.IPV4 else IPv6
        ip = packet.header(kind, front)
        message = _message(packet, ip, upcall.data)
        if message is None:
            return "malformed"
        icmp, quoted = packet.header(Icmp, ip.payload), message[Icmp.SIZE :]
        version = 4 if isinstance(ip, IPv4) else 6
        error = IcmpError(version, icmp.type, icmp.code, icmp.rest, ip.source, quoted)
        meta = meta_of(PacketType.L3, protocol)[:REGISTERS] + upcall.meta[REGISTERS:]
        view = self._view(quoted, upcall.in_port, meta)
        sent = view.header(kind)
        inside = protocol_of(view, sent)
        if inside is None or sent.source != ip.destination:
            return "malformed"
        verdict = self._table(ip).deliver_error(inside, view, sent, error)
        return "reject" if verdict is Verdict.REJECT else "received"

    def _expire(self) -> None:
        """Links and ways forget what they were told too long ago."""
        now = self._datapath.engine.clock()
        for link in self._datapath.links.values():
            if link.errors is not None:
                link.errors.expire(now)
        self._datapath.paths.age()

    def _view(self, data: bytes, in_port: int, meta: bytes) -> Packet:
        """Bytes that are looked at as a packet; nothing comes of the trace."""
        return Packet(Trace(in_port, data, len(data), meta, self._datapath.drops.code))


def protocol_of(packet: Packet, ip: IPv4 | IPv6) -> int | None:
    """The protocol behind the headers of `ip`, which begins at `ip.payload` then.

    None where the headers are cut or wrong, and for a later fragment, which has no protocol's header.
    """
    if isinstance(ip, IPv4):
        is_sound = ip.version == 4 and ip.ihl * 4 >= IPv4.SIZE
        return ip.protocol if is_sound and not packet.read_bits(ip.place, *FRAGMENT_OFFSET) else None
    if ip.version != 6:
        return None
    headers, protocol = walk(packet, ip)
    parts = [packet.header(Fragment, header.at) for header in headers if header.kind == FRAGMENT]
    return None if any(part.offset_units for part in parts) else protocol


def _message(packet: Packet, ip: IPv4 | IPv6, data: bytes) -> bytes | None:
    """The ICMP message behind `ip`, without padding; None where it is not whole or its checksum is bad."""
    if isinstance(ip, IPv4):
        end, pseudo = ip.offset + ip.total_length, b""
    else:
        end = ip.offset + IPv6.SIZE + ip.payload_length
        walk(packet, ip)
    message = data[ip.payload : end]
    if end > len(data) or len(message) < Icmp.SIZE:
        return None
    if isinstance(ip, IPv6):
        source, destination = (address.to_bytes(16, "big") for address in (ip.source, ip.destination))
        pseudo = pseudo_header6(source, destination, len(message), IPProtocol.ICMPV6)
    return message if internet_checksum(pseudo + message) == b"\0\0" else None
