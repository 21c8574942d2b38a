"""ICMP errors as routers make them, about what a dataplane has sent."""

from __future__ import annotations

from vdp.testing.builders import IP_ICMP, icmp, icmp6, ipv4, ipv6

ROUTER, ROUTER6 = "203.0.113.1", "2001:db8:ffff::1"
#: Of IPv4 before RFC 1812: the IP header and 8 bytes.
LEAST = 28


def error4(sent: bytes, kind: int, code: int = 0, rest: int = 0, *, size: int = LEAST) -> bytes:
    """An error about an IPv4 packet, to its source; `size` bytes of it are quoted."""
    source = ".".join(str(byte) for byte in sent[12:16])
    return ipv4(ROUTER, source, icmp(kind, code, rest, sent[:size]), protocol=IP_ICMP)


def error6(sent: bytes, kind: int, code: int = 0, rest: int = 0, *, size: int = 1232) -> bytes:
    """The same about an IPv6 packet."""
    words = [sent[at : at + 2].hex() for at in range(8, 24, 2)]
    return ipv6(ROUTER6, ":".join(words), icmp6(kind, code, rest, sent[:size]))


def unreachable(sent: bytes, *, size: int = LEAST) -> bytes:
    """Host unreachable; no route to the destination."""
    return error4(sent, 3, 1, size=size) if sent[0] >> 4 == 4 else error6(sent, 1, 0)


def frag_needed(sent: bytes, mtu: int, *, size: int = LEAST) -> bytes:
    """Fragmentation needed; packet too big."""
    return error4(sent, 3, 4, mtu, size=size) if sent[0] >> 4 == 4 else error6(sent, 2, 0, mtu)
