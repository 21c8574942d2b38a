"""TCP (RFC 9293), as far as anybody asks."""

from __future__ import annotations

from vdp.header import Bits, Header


class Tcp(Header):
    """struct tcphdr, without options."""

    source = Bits(16)
    destination = Bits(16)
    sequence = Bits(32)
    acknowledgment = Bits(32)
    data_offset = Bits(4)  # header length in 32-bit words
    reserved = Bits(4)
    flags = Bits(8)
    window = Bits(16)
    checksum = Bits(16)
    urgent = Bits(16)
