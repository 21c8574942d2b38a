"""ICMP errors to whoever sent a packet that can not go on (RFC 1122 3.2.2, RFC 4443 2.4; icmp_send).

An error is made by the slow path from a copy that the engine sends up, within the
port's action_rate; the packet itself is dropped in the engine, so that a flood of them costs
Python nothing.  It goes back out of the port that the packet came in by, if the limits
of vdp.links.icmp_limit allow it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from vdp.cookies import Answer
from vdp.engine import program as act
from vdp.engine.interface import PacketType, Upcall
from vdp.links.icmp_limit import IcmpLimits
from vdp.protocols.ethernet import Ethernet, EtherType, is_group
from vdp.protocols.ip import (
    DF,
    OFFSET,
    Icmp,
    IPProtocol,
    IPv4,
    IPv6,
    internet_checksum,
    is_multicast,
    pseudo_header6,
)
from vdp.verdict import Verdict

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.packet import Counter as Count
    from vdp.packet import Packet

DEST_UNREACH = 3
HOST_UNREACH, PORT_UNREACH, FRAG_NEEDED = 1, 3, 4
#: ICMPv6 (RFC 4443).
DEST_UNREACH6, PACKET_TOO_BIG, PARAMETER_PROBLEM = 1, 2, 4
ADDRESS_UNREACH6, PORT_UNREACH6 = 3, 4
#: ICMP types that are errors, about which none is sent (RFC 1122 3.2.2); ICMPv6's are below 128.
ERRORS = frozenset({3, 4, 5, 11, 12})
#: An error's size at most, IP header included (RFC 1812 4.3.2.3; RFC 4443 2.4 c).
MOST4, MOST6 = 576, 1280
TTL = 64
#: TOS of an error: internetwork control, with the TOS bits of what it is about (icmp_send, RFC 1812 4.3.2.5).
PRECEDENCE, TOS_BITS = 0xC0, 0x1E
BROADCAST = 0xFFFFFFFF

#: What path MTU discovery lives on, as `what_is_said` has it.
ABOUT_SIZE = ((4, DEST_UNREACH, FRAG_NEEDED), (6, PACKET_TOO_BIG, 0))

#: What we say, by IP version, type and code.
MESSAGES = {
    (4, DEST_UNREACH, HOST_UNREACH): ("ipv4", "host_unreachable"),
    (4, DEST_UNREACH, PORT_UNREACH): ("ipv4", "port_unreachable"),
    (4, DEST_UNREACH, FRAG_NEEDED): ("ipv4", "fragmentation_needed"),
    (6, DEST_UNREACH6, ADDRESS_UNREACH6): ("ipv6", "address_unreachable"),
    (6, DEST_UNREACH6, PORT_UNREACH6): ("ipv6", "port_unreachable"),
    (6, PACKET_TOO_BIG, 0): ("ipv6", "packet_too_big"),
    (6, PARAMETER_PROBLEM, 0): ("ipv6", "parameter_problem"),
}

Make = Callable[[bytes, int], bytes | None]  # of the offending packet and its EtherType


class IcmpErrors:
    """Sends ICMP errors; `sent` counts them, by IP version, type and code."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self.limits = IcmpLimits(datapath.engine.clock)
        self._unreachable = self._cookie(self._unclaimed)
        self._failure = self._cookie(host_unreachable)
        self._too_big: dict[int, int] = {}  # cookie by MTU
        self._problem: dict[int, int] = {}  # cookie by pointer
        self.sent: Counter[tuple[int, int, int]] = Counter()

    def port_unreachable(self, packet: Packet) -> Verdict:
        """Drop the packet, as it came in, and tell its sender (tunnel_no_link)."""
        packet.upcall(self._unreachable)
        return packet.drop("tunnel_no_link")

    def link_failure(self, packet: Packet, state: int) -> None:
        """dst_link_failure: tell the sender that its host is not reached, as often as the engine state says.

        The packet goes on.
        """
        packet.upcall(self._failure, state)

    def too_big(self, packet: Packet, mtu: int, *counters: Count) -> act.Program:
        """The branch of a packet larger than `mtu`: tell the sender (frag needed, packet too big), drop."""
        cookie = self._too_big.get(mtu)
        if cookie is None:
            cookie = self._too_big[mtu] = self._cookie(partial(too_big, mtu=mtu))
            self._datapath.undoable(partial(self._too_big.__delitem__, mtu))
        return (act.Upcall(cookie), *packet.otherwise("mtu_exceeded", *counters))

    def parameter_problem(self, packet: Packet, pointer: int, reason: str, *counters: Count) -> Verdict:
        """Drop an IPv6 packet, and tell its sender which byte of it is the cause."""
        cookie = self._problem.get(pointer)
        if cookie is None:
            cookie = self._problem[pointer] = self._cookie(partial(parameter_problem, pointer=pointer))
            self._datapath.undoable(partial(self._problem.__delitem__, pointer))
        packet.upcall(cookie)
        return packet.drop(reason, *counters)

    def _unclaimed(self, offending: bytes, protocol: int) -> bytes | None:
        """Port unreachable, unless whoever looks for tunnels is to hear nothing ([icmp] port_unreachable)."""
        return port_unreachable(offending, protocol) if self.limits.rates.port_unreachable else None

    def _cookie(self, make: Make) -> int:
        return self._datapath.add_cookie(partial(self._reply, make=make), partial(self._foretell, make=make))

    def _reply(self, upcall: Upcall, make: Make) -> None:
        made = self._error(upcall, make)
        if made is None:
            return
        error, front, member = made
        said = what_is_said(error)
        if not self.limits.allow((upcall.in_port, addressee(error)), said[0], said[1], said in ABOUT_SIZE):
            return
        self.sent[said] += 1
        self._datapath.send(member, front + error, *_sort(upcall))

    def _foretell(self, upcall: Upcall, make: Make) -> Answer | None:
        made = self._error(upcall, make)
        if made is None:
            return None
        error, front, member = made
        said = what_is_said(error)
        limits = self.limits.rehearsed()
        withheld = ""
        if not limits.allow((upcall.in_port, addressee(error)), said[0], said[1], said in ABOUT_SIZE):
            withheld = f"the limit of ICMP errors ({', '.join(limits.suppressed)}) allows none now"
        return Answer(member, front + error, *_sort(upcall), withheld)

    def _error(self, upcall: Upcall, make: Make) -> tuple[bytes, bytes, str] | None:
        """The error, the Ethernet header in front of it, and where it goes; None where none may be sent."""
        member = self._datapath.port_by_number(upcall.in_port)
        packet_type, protocol = _sort(upcall)
        front = reply_header(upcall.data) if packet_type is PacketType.L2 else b""
        if member is None or front is None:
            return None
        error = make(upcall.data[len(front) :], protocol)
        return None if error is None else (error, front, member.name)


def _sort(upcall: Upcall) -> tuple[PacketType, int]:
    """What the packet is, and its EtherType."""
    if upcall.meta[3] == PacketType.L2:
        return PacketType.L2, int.from_bytes(upcall.data[12:14], "big")
    return PacketType.L3, int.from_bytes(upcall.meta[6:8], "big")


def port_unreachable(offending: bytes, protocol: int) -> bytes | None:
    """ICMP destination unreachable, port unreachable."""
    if protocol == EtherType.IPV4 and may_answer4(offending):
        return error4(offending, PORT_UNREACH, 0)
    if protocol == EtherType.IPV6 and may_answer6(offending):
        return error6(offending, DEST_UNREACH6, PORT_UNREACH6, 0)
    return None


def host_unreachable(offending: bytes, protocol: int) -> bytes | None:
    """ICMP host unreachable (ipv4_link_failure), ICMPv6 address unreachable (ip6_link_failure)."""
    if protocol == EtherType.IPV4 and may_answer4(offending):
        return error4(offending, HOST_UNREACH, 0)
    if protocol == EtherType.IPV6 and may_answer6(offending):
        return error6(offending, DEST_UNREACH6, ADDRESS_UNREACH6, 0)
    return None


def parameter_problem(offending: bytes, protocol: int, pointer: int) -> bytes | None:
    """ICMPv6 parameter problem, erroneous header field, at byte `pointer` of an IPv6 packet."""
    if protocol != EtherType.IPV6 or not may_answer6(offending):
        return None
    return error6(offending, PARAMETER_PROBLEM, 0, pointer)


def too_big(offending: bytes, protocol: int, mtu: int) -> bytes | None:
    """Fragmentation needed about an IPv4 packet with DF, packet too big about an IPv6 one."""
    if protocol == EtherType.IPV4 and may_answer4(offending):
        fragment = int.from_bytes(offending[6:8], "big")
        return error4(offending, FRAG_NEEDED, mtu) if fragment & DF else None
    if protocol == EtherType.IPV6 and may_answer6(offending):
        return error6(offending, PACKET_TOO_BIG, 0, mtu)
    return None


def may_answer4(offending: bytes) -> bool:
    """Never about ICMP errors, multicast, broadcast, later fragments, nor to a sender that is none."""
    if len(offending) < IPv4.SIZE or offending[0] >> 4 != 4:
        return False
    source, destination = (int.from_bytes(offending[at : at + 4], "big") for at in (12, 16))
    fragment = int.from_bytes(offending[6:8], "big")
    if is_multicast(destination) or destination == BROADCAST or fragment & OFFSET:
        return False
    if is_multicast(source) or source == BROADCAST or source >> 24 in (0, 127):
        return False
    payload = (offending[0] & 15) * 4
    is_error = len(offending) <= payload or offending[payload] in ERRORS
    return not (offending[9] == IPProtocol.ICMP and is_error)


def may_answer6(offending: bytes) -> bool:
    """Never about ICMPv6 errors or to a group, nor to a group or nobody (RFC 4443 2.4 e).

    About a packet to a group that is too big one might; but the source of an error is the
    destination of what it is about, and a group can not be that.
    """
    if len(offending) < IPv6.SIZE or offending[0] >> 4 != 6:
        return False
    source = offending[8:24]
    if source[0] == 0xFF or not any(source) or offending[24] == 0xFF:
        return False
    is_error = len(offending) <= IPv6.SIZE or offending[IPv6.SIZE] < 128
    return not (offending[6] == IPProtocol.ICMPV6 and is_error)


def error4(offending: bytes, code: int, mtu: int) -> bytes:
    """An ICMP destination unreachable from the packet's destination to its source."""
    quoted = offending[: MOST4 - IPv4.SIZE - Icmp.SIZE]
    body = Icmp.pack(type=DEST_UNREACH, code=code, rest=mtu) + quoted
    body = body[:2] + internet_checksum(body) + body[4:]
    tos = PRECEDENCE | offending[1] & TOS_BITS
    header = IPv4.pack(
        version=4,
        ihl=5,
        dscp=tos >> 2,
        ecn=tos & 3,
        total_length=IPv4.SIZE + len(body),
        ttl=TTL,
        protocol=IPProtocol.ICMP,
        source=int.from_bytes(offending[16:20], "big"),
        destination=int.from_bytes(offending[12:16], "big"),
    )
    return header[:10] + internet_checksum(header) + header[12:] + body


def error6(offending: bytes, kind: int, code: int, rest: int) -> bytes:
    """An ICMPv6 error from the packet's destination to its source."""
    body = Icmp.pack(type=kind, code=code, rest=rest) + offending[: MOST6 - IPv6.SIZE - Icmp.SIZE]
    source, destination = offending[24:40], offending[8:24]
    pseudo = pseudo_header6(source, destination, len(body), IPProtocol.ICMPV6)
    body = body[:2] + internet_checksum(pseudo + body) + body[4:]
    return (
        IPv6.pack(
            version=6,
            payload_length=len(body),
            next_header=IPProtocol.ICMPV6,
            hop_limit=TTL,
            source=int.from_bytes(source, "big"),
            destination=int.from_bytes(destination, "big"),
        )
        + body
    )


def what_is_said(error: bytes) -> tuple[int, int, int]:
    """IP version, ICMP type and code of an error that was made here."""
    version = error[0] >> 4
    at = IPv4.SIZE if version == 4 else IPv6.SIZE
    return version, error[at], error[at + 1]


def addressee(error: bytes) -> bytes:
    """Who it goes to."""
    return error[16:20] if error[0] >> 4 == 4 else error[24:40]


def reply_header(frame: bytes) -> bytes | None:
    """The Ethernet header of an answer to `frame`; None where group addresses are involved."""
    destination, source = frame[0:6], frame[6:12]
    if len(frame) < Ethernet.SIZE or is_group(source) or is_group(destination):
        return None
    return source + destination + frame[12:14]
