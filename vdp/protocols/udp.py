"""UDP (RFC 768), as tunnels are carried in it."""

from __future__ import annotations

from vdp.header import Bits, Header

#: GRE-in-UDP (RFC 8086 3.2).
GRE_UDP_PORT = 4754
#: Where source ports that are made of a flow begin: 14 bits above that (RFC 8086 3.2.1, RFC 6335 6).
DYNAMIC_PORTS = 0xC000


class Udp(Header):
    """struct udphdr (RFC 768)."""

    source = Bits(16)
    destination = Bits(16)
    length = Bits(16)
    checksum = Bits(16)
