"""How many ICMP errors we send: to each host (icmpv4_xrlim_allow), and altogether (icmp_global_allow).

Both are token buckets, with the kernel's names and figures.  To a host that answers badly
nothing more goes out than one a second behind a burst of six; the host is asked before all
together, so that who makes us talk to one host does not silence us towards the others (Linux 6.11).
The common bucket loses a random number of tokens for each message, one on average: by counting
messages nobody learns whom else we talk to (CVE-2020-25705, side-channel port guessing).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from random import SystemRandom

from vdp.config.model import IcmpSection

NS = 1_000_000_000
MS = 1_000_000
#: XRLIM_BURST_FACTOR: errors to a host at once.
BURST_FACTOR = 6
#: Hosts whose bucket is remembered; a forgotten one's is full (inet_peer_threshold, less generous).
MOST_HOSTS = 4096
#: The common bucket is filled no more often than this (icmp_global_allow: HZ / 50).
LEAST_FILL_NS = NS // 50
#: A message takes 0 to 2 tokens from it (get_random_u32_below(3)).
JITTER = 3


class IcmpLimits:
    """`clock`: nanoseconds.  `suppressed` counts what was not sent: host, global."""

    def __init__(self, clock: Callable[[], int], rates: IcmpSection | None = None) -> None:
        #: net.ipv4.icmp_ratelimit, icmp_ratemask, icmp_msgs_per_sec and icmp_msgs_burst.
        self.rates = rates or IcmpSection()
        self._clock = clock
        self._random: Callable[[int], int] = SystemRandom().randrange
        self._hosts: OrderedDict[Hashable, tuple[int, int]] = OrderedDict()  # tokens and when, in ns
        self._credit = self.rates.msgs_burst
        self._filled_ns = 0
        self.suppressed: Counter[str] = Counter()

    def allow(self, host: Hashable, version: int, kind: int, is_about_size: bool) -> bool:
        """Whether an error of ICMP type `kind` may go to that host now.

        What path MTU discovery lives on is never held back (icmpv4_mask_allow, icmpv6_mask_allow).
        """
        if is_about_size or (version == 4 and not self.rates.ratemask >> kind & 1):
            return True
        now = self._clock()
        if not self._allow_host(host, now):
            self.suppressed["host"] += 1
            return False
        if not self._allow_global(now):
            self.suppressed["global"] += 1
            return False
        return True

    def rehearsed(self) -> IcmpLimits:
        """Limits that allow what these would, now: to ask without using anything up."""
        copy = IcmpLimits(self._clock, self.rates)
        copy._hosts = self._hosts.copy()
        copy._credit, copy._filled_ns = self._credit, self._filled_ns
        return copy

    def _allow_host(self, host: Hashable, now: int) -> bool:
        """inet_peer_xrlim_allow: tokens are time."""
        price = self.rates.ratelimit_ms * MS
        if not price:
            return True
        full = BURST_FACTOR * price
        tokens, last = self._hosts.pop(host, (full, now))
        tokens = min(full, tokens + max(0, now - last))
        allowed = tokens >= price
        self._hosts[host] = (tokens - price if allowed else tokens, now)
        if len(self._hosts) > MOST_HOSTS:
            self._hosts.popitem(last=False)
        return allowed

    def _allow_global(self, now: int) -> bool:
        """icmp_global_allow."""
        elapsed = min(now - self._filled_ns, NS)
        if elapsed >= LEAST_FILL_NS:
            fill = self.rates.msgs_per_sec * elapsed // NS
            if fill:
                self._filled_ns = now
                self._credit = min(self._credit + fill, self.rates.msgs_burst)
        if self._credit <= 0:
            return False
        self._credit = max(0, self._credit - self._random(JITTER))
        return True
