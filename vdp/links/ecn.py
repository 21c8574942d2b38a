"""ECN across a tunnel: RFC 6040, and Linux include/net/inet_ecn.h."""

from __future__ import annotations

from vdp.protocols.ip import Ecn


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
