"""What MPLS puts in front of a payload: label stack entries (RFC 3032, 5462), a control word (RFC 4385)."""

from __future__ import annotations

import enum

from vdp.api import Bits, Header

#: EtherTypes, and with them GRE protocol types (RFC 4023 section 3).
MPLS_UNICAST, MPLS_MULTICAST = 0x8847, 0x8848
ETHER_TYPES = (MPLS_UNICAST, MPLS_MULTICAST)
#: Labels below are reserved (RFC 7274).
FIRST_LABEL, LAST_LABEL = 16, 0xFFFFF


class Reserved(enum.IntEnum):
    """Reserved labels that are taken from a stack; all others below 16 end the packet."""

    IPV4_EXPLICIT_NULL = 0
    IPV6_EXPLICIT_NULL = 2
    ENTROPY_INDICATOR = 7  # the next one is an entropy label (RFC 6790)


EXPLICIT_NULL = (Reserved.IPV4_EXPLICIT_NULL, Reserved.IPV6_EXPLICIT_NULL)


class StackEntry(Header):
    """One label.

    0                   1                   2                   3
    |                 Label                 | TC  |S|      TTL      |
    """

    label = Bits(20)
    tc = Bits(3)
    bottom = Bits(1)
    ttl = Bits(8)


class ControlWord(Header):
    """In front of the frame of a pseudowire, where both ends agreed on one (RFC 4448 section 4.6)."""

    first = Bits(4)  # 0; 1 would be a pseudowire's associated channel (RFC 5085)
    reserved = Bits(12)
    sequence = Bits(16)  # 0: not used


class Payload(Header):
    """The first byte behind the stack: an IP version, or something else."""

    version = Bits(4)
    rest = Bits(4)
