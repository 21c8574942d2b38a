"""The GRE header (RFC 2784, RFC 2890) and what is told of it to handlers."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from vdp.header import Bits, Header

GREPROTO_CISCO = 0
GREPROTO_PPTP = 1
GREPROTO_MAX = 2


class GreFlag(enum.IntFlag):
    """Bits of the first two bytes, as a big-endian number (include/uapi/linux/if_tunnel.h)."""

    NONE = 0
    CSUM = 0x8000
    ROUTING = 0x4000
    KEY = 0x2000
    SEQ = 0x1000
    STRICT = 0x0800
    RECURSION = 0x0700
    ACK = 0x0080
    VERSION = 0x0007


#: The flags of a version 0 header that its length depends on.
OPTIONS = GreFlag.CSUM | GreFlag.KEY | GreFlag.SEQ


class GreBase(Header):
    """struct gre_base_hdr; checksum, key and sequence follow, in that order, where flagged.

    0                   1                   2                   3
    |C|R|K|S|s|Recur|A|Flags|  Ver  |         Protocol Type         |
    |      Checksum (optional)      |       Reserved1 (optional)    |
    |                         Key (optional)                        |
    |                   Sequence Number (optional)                  |
    """

    csum = Bits(1)
    routing = Bits(1)
    key = Bits(1)
    seq = Bits(1)
    strict = Bits(1)  # strict source route (RFC 1701)
    recursion = Bits(3)  # recursion control (RFC 1701)
    ack = Bits(1)  # acknowledgment number present (RFC 2637, version 1)
    reserved = Bits(4)
    version = Bits(3)
    protocol = Bits(16)


class GreChecksum(Header):
    checksum = Bits(16)
    reserved1 = Bits(16)


class GreKey(Header):
    key = Bits(32)


class GreSequence(Header):
    """The sequence number (RFC 2890), the last of what may follow GreBase."""

    sequence = Bits(32)


def header_size(flags: int) -> int:
    """ip_gre_calc_hlen: 4 bytes, and 4 for each of checksum, key and sequence."""
    return 4 + 4 * (flags & OPTIONS).bit_count()


@dataclass(frozen=True, slots=True)
class TunnelInfo:
    """struct tnl_ptk_info: the GRE header, parsed once, as every handler gets it.

    `key` is None where the packet has none (Linux: 0, with TUNNEL_KEY clear); who asks for
    it has looked at all of it, who wants some of its bits reads the header at `key_offset`.
    `sequence_offset` is where the number stands, from the packet's front; its value
    differs from packet to packet, so that only the engine looks at it.
    """

    flags: GreFlag
    protocol: int
    key_header: GreKey | None
    sequence_offset: int | None
    header_size: int

    @property
    def key(self) -> int | None:
        """The key, all of it looked at; None where the packet has none."""
        return None if self.key_header is None else self.key_header.key

    @property
    def key_offset(self) -> int:
        """Where the key stands, from the GRE header's front, if it has one."""
        return 8 if self.flags & GreFlag.CSUM else 4
