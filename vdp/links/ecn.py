"""ECN across a tunnel: RFC 6040, and Linux include/net/inet_ecn.h."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from vdp.protocols.ip import Ecn, IPv4, IPv6


def encapsulate(inner: int) -> int:
    """The outer code point for an inner one: INET_ECN_encapsulate (a CE starts anew as ECT(0))."""
    return Ecn.ECT_0 if inner == Ecn.CE else inner


def decapsulate(outer: int, inner: int) -> tuple[int | None, bool]:
    """The inner code point after the tunnel (None: drop), and whether the pair deserves a log line.

    __INET_ECN_decapsulate with RFC 6040's row for ECT(1), as since Linux 5.8.
    """
    if inner == Ecn.NOT_ECT:
        if outer == Ecn.CE:
            return None, True
        return inner, outer in (Ecn.ECT_0, Ecn.ECT_1)
    if outer == Ecn.CE:
        return Ecn.CE, False
    if outer == Ecn.ECT_1 and inner == Ecn.ECT_0:
        return Ecn.ECT_1, False
    return inner, False


def complaint(link: str, ip: IPv4 | IPv6) -> tuple[str, str, IPv4Address | IPv6Address, int]:
    """The log line about such a pair (log_ecn_error), and what stands in it."""
    sender = IPv4Address(ip.source) if isinstance(ip, IPv4) else IPv6Address(ip.source)
    return "%s: non-ECT from %s with TOS=%#x", link, sender, ip.dscp << 2 | ip.ecn
