"""What a tunnel makes of ICMP errors about its packets: ipgre_err, ip6gre_err, and err_count.

    `TunnelErrors.note`    path MTU ─► Paths.learn     failure ─► err_count + 1, in an engine state
    `TunnelErrors.signal`  for each packet sent while err_count is not zero: one less, and the
                           sender of the packet is told that the link failed (dst_link_failure)

The packet is sent all the same.  Errors count for 30 s from the last one on (err_time).
"""

from __future__ import annotations

import enum
from collections import Counter
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from vdp.links.icmp_input import (
    DEST_UNREACH,
    DEST_UNREACH6,
    FRAG_NEEDED,
    PARAMETER_PROBLEM6,
    PORT_UNREACH,
    PORT_UNREACH6,
    SR_FAILED,
    TIME_EXCEEDED,
    TIME_EXCEEDED6,
    IcmpError,
)
from vdp.protocols.ip import IPv4, IPv6
from vdp.protocols.ip6 import ENCAPSULATION_LIMIT, EncapsulationLimit

if TYPE_CHECKING:
    from vdp.links.gre_tunnel import GreTunnel
    from vdp.packet import Packet

NS = 1_000_000_000
#: IPTUNNEL_ERR_TIMEO, IP6TUNNEL_ERR_TIMEO.
TIMEOUT_S = 30
#: ICMP_EXC_TTL, ICMPV6_EXC_HOPLIMIT; ICMPV6_HDR_FIELD.
TTL_COUNT, HOP_LIMIT, HEADER_FIELD = 0, 0, 0
#: In a packet of ours: where the encapsulation limit's value stands, and type, size and value of none left.
LIMIT_AT = IPv6.SIZE + EncapsulationLimit.limit.offset
NO_MORE_TUNNELS = bytes((ENCAPSULATION_LIMIT, 1, 0))


class Effect(enum.Enum):
    """What an error about a tunnel's packet does."""

    PATH_MTU = "path_mtu"
    ROUTE = "route"
    FAILURE = "failure"
    IGNORED = "ignored"


class TunnelErrors:
    """err_count and err_time of one tunnel; `effects` counts the errors that were believed."""

    def __init__(self, tunnel: GreTunnel) -> None:
        self._tunnel = tunnel
        self._engine = tunnel.datapath.engine
        self._state = tunnel.new_state()
        self._last_ns = 0  # 0: none lately
        self._last_from: IPv4Address | IPv6Address | None = None
        self.effects: Counter[Effect] = Counter()

    @property
    def count(self) -> int:
        """err_count: packets still to be sent that tell their sender."""
        return self._engine.read_state(self._state) if self._last_ns else 0

    @property
    def age_s(self) -> float | None:
        """Seconds since the last error that counted; None when that was too long ago to matter."""
        return (self._engine.clock() - self._last_ns) / NS if self._last_ns else None

    @property
    def last_from(self) -> IPv4Address | IPv6Address | None:
        """Who sent the last error that counted: a router, or the remote itself; None as for `age_s`."""
        return self._last_from if self._last_ns else None

    def note(self, ip: IPv4 | IPv6, icmp: IcmpError) -> None:
        """An error about a packet of the tunnel; `ip` is its outer header, as quoted."""
        effect = self._effect(icmp)
        self.effects[effect] += 1
        datapath, underlay = self._tunnel.datapath, self._tunnel.underlay
        destination = IPv4Address(ip.destination) if isinstance(ip, IPv4) else IPv6Address(ip.destination)
        if effect is Effect.PATH_MTU and icmp.mtu is not None:
            datapath.paths.learn(underlay, destination, icmp.mtu)
        elif effect is Effect.ROUTE:
            datapath.paths.ask_again(underlay, destination)
        elif effect is Effect.FAILURE:
            now = self._engine.clock()
            self._engine.write_state(self._state, self.count + 1 if self._is_open(now) else 1)
            self._last_ns = now
            self._last_from = type(destination)(icmp.sender)

    def signal(self, packet: Packet) -> None:
        """ip_tunnel_xmit and ip6_tnl_xmit, between path MTU and outer header."""
        self._tunnel.datapath.icmp.link_failure(packet, self._state)

    def expire(self, now_ns: int) -> None:
        """Forget errors that are too old (time_before(jiffies, err_time + IPTUNNEL_ERR_TIMEO))."""
        if self._last_ns and not self._is_open(now_ns):
            self._last_ns = 0
            self._engine.write_state(self._state, 0)

    def _is_open(self, now_ns: int) -> bool:
        return self._last_ns > 0 and now_ns - self._last_ns < TIMEOUT_S * NS

    def _effect(self, icmp: IcmpError) -> Effect:
        tunnel = self._tunnel
        if icmp.mtu is not None:
            return Effect.PATH_MTU
        if icmp.is_redirect:
            return Effect.ROUTE
        if not int(tunnel.remote) or tunnel.remote.is_multicast:
            return Effect.IGNORED
        fails = is_failure6(icmp) if icmp.version == 6 else is_failure4(icmp, tunnel.parameters.ttl)
        return Effect.FAILURE if fails else Effect.IGNORED


def is_failure4(icmp: IcmpError, ttl: int | str) -> bool:
    """ipgre_err, for a tunnel of that TTL: what else is said of a destination is host unreachable."""
    if icmp.type == DEST_UNREACH:
        return icmp.code not in (PORT_UNREACH, FRAG_NEEDED, SR_FAILED)
    # Where the TTL is inherited it is the inner sender's doing: a traceroute, say.
    return icmp.type == TIME_EXCEEDED and icmp.code == TTL_COUNT and ttl not in ("inherit", 0)


def is_failure6(icmp: IcmpError) -> bool:
    """ip6gre_err; a limit of encapsulations that is used up is told to the sender too (RFC 2473 8.1)."""
    if icmp.type == DEST_UNREACH6:
        return icmp.code != PORT_UNREACH6
    if icmp.type == TIME_EXCEEDED6:
        return icmp.code == HOP_LIMIT
    is_about_limit = (icmp.type, icmp.code, icmp.rest) == (PARAMETER_PROBLEM6, HEADER_FIELD, LIMIT_AT)
    return is_about_limit and icmp.quoted[LIMIT_AT - 2 : LIMIT_AT + 1] == NO_MORE_TUNNELS
