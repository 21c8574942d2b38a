"""The GUE header, section 3.1 of the draft, and what is behind it."""

from __future__ import annotations

from vdp.api import Bits, EtherType, Header, IPProtocol

#: UDP port of GUE (IANA).
GUE_PORT = 6080
#: The one flag that Linux knows: a word of private flags follows (GUE_FLAG_PRIV).
FLAG_PRIVATE = 1
PRIVATE_SIZE = 4
#: What a link of IP carries, by IP protocol; and that by the version in the first bits of variant 1.
CARRIED = {int(IPProtocol.IPIP): int(EtherType.IPV4), int(IPProtocol.IPV6): int(EtherType.IPV6)}
IP_VERSIONS = {4: int(IPProtocol.IPIP), 6: int(IPProtocol.IPV6)}


class GueHeader(Header):
    """Variant 0; `hlen` counts words behind these four bytes."""

    version = Bits(2)
    control = Bits(1)
    hlen = Bits(5)
    proto = Bits(8)
    flags = Bits(16)


class Front(Header):
    """The first byte of variant 1, which is an IP header's."""

    ip_version = Bits(4)
    rest = Bits(4)


class PrivateFlags(Header):
    """The word that FLAG_PRIVATE announces."""

    flags = Bits(32)
