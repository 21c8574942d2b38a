"""How many ICMP errors go out: to a host, altogether, and which are never held back."""

from __future__ import annotations

import pytest

from tests.plane import L3, A, MakePlane, Plane
from vdp.config.model import IcmpSection
from vdp.links.icmp_limit import MOST_HOSTS, IcmpLimits
from vdp.testing.builders import gre, ipv4, udp

S = 1_000_000_000
INNER = ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, b"hello"))


class Clock:
    ns = 5 * S

    def __call__(self) -> int:
        return self.ns


def limits(clock: Clock, jitter: int = 1, **rates: int) -> IcmpLimits:
    made = IcmpLimits(clock, IcmpSection(**rates))
    made._random = lambda most: min(jitter, most - 1)
    return made


def allowed(limits: IcmpLimits, count: int, host: str = "a", kind: int = 3) -> int:
    return sum(limits.allow(host, 4, kind, is_about_size=False) for _ in range(count))


@pytest.mark.conformance("A7", "I")
def test_a_host_gets_six_at_once_and_then_one_a_second() -> None:
    """XRLIM_BURST_FACTOR, icmp_ratelimit."""
    clock = Clock()
    made = limits(clock)
    assert allowed(made, 20) == 6
    clock.ns += S - 1
    assert allowed(made, 20) == 0
    clock.ns += 1
    assert allowed(made, 20) == 1
    clock.ns += 3600 * S
    assert allowed(made, 20) == 6
    assert made.suppressed == {"host": 14 + 20 + 19 + 14}


def test_what_one_host_gets_is_not_taken_from_another() -> None:
    made = limits(Clock())
    assert allowed(made, 1000, "a") == 6
    assert allowed(made, 6, "b") == 6, "a flood to one host leaves the common bucket to others"


@pytest.mark.conformance("A7", "I")
def test_all_hosts_together_share_a_bucket() -> None:
    """icmp_msgs_burst, icmp_msgs_per_sec."""
    clock = Clock()
    made = limits(clock)
    assert sum(allowed(made, 1, f"host{n}") for n in range(200)) == 50
    clock.ns += S // 100
    assert sum(allowed(made, 1, f"host{n}") for n in range(200, 400)) == 0, "less than HZ/50 fills nothing"
    clock.ns += S // 100
    assert sum(allowed(made, 1, f"host{n}") for n in range(400, 600)) == 20
    clock.ns += S
    assert sum(allowed(made, 1, f"host{n}") for n in range(600, 800)) == 50
    assert made.suppressed["global"] > 0


@pytest.mark.conformance("I")
def test_how_many_go_out_is_not_quite_predictable() -> None:
    """CVE-2020-25705: a message takes 0, 1 or 2 tokens from the common bucket."""
    counts = set()
    for _ in range(50):
        made = IcmpLimits(Clock())
        counts.add(sum(allowed(made, 1, f"host{n}") for n in range(400)))
    assert len(counts) > 1
    assert all(25 <= count <= 120 for count in counts)


@pytest.mark.conformance("I")
@pytest.mark.parametrize(
    ("version", "kind", "is_about_size", "is_limited"),
    [
        (4, 3, False, True),
        (4, 3, True, False),
        (4, 11, False, True),
        (4, 12, False, True),
        (4, 5, False, False),
        (6, 1, False, True),
        (6, 2, True, False),
        (6, 4, False, True),
    ],
)
def test_which_messages_are_limited(version: int, kind: int, is_about_size: bool, is_limited: bool) -> None:
    """icmp_ratemask; path MTU discovery must not starve."""
    made = limits(Clock())
    sent = sum(made.allow("a", version, kind, is_about_size) for _ in range(100))
    assert sent == (6 if is_limited else 100)


def test_rates_can_be_other_ones() -> None:
    assert allowed(limits(Clock(), ratelimit_ms=0, jitter=0), 100) == 100
    assert allowed(limits(Clock(), ratemask=0), 100) == 100
    assert allowed(limits(Clock(), ratelimit_ms=0, msgs_burst=10), 100) == 10


def test_no_more_hosts_are_remembered_than_the_bound() -> None:
    made = limits(Clock(), msgs_burst=10**9)
    for host in range(MOST_HOSTS + 100):
        made.allow(host, 4, 3, is_about_size=False)
    assert len(made._hosts) == MOST_HOSTS
    assert MOST_HOSTS + 99 in made._hosts


@pytest.mark.conformance("A7")
def test_unreachables_keep_to_the_limits(make_plane: MakePlane) -> None:
    plane: Plane = make_plane(action_rate=0)
    plane.port("underlay", L3)
    plane.link("gre1", "gre", local=A, remote="192.0.2.9")
    strangers = ("192.0.2.7", "192.0.2.8")
    for stranger in strangers:
        plane.send("underlay", *[ipv4(stranger, A, gre(INNER), protocol=47)] * 20)
    answers = plane.received("underlay")
    assert len(answers) == 12
    assert plane.datapath.icmp.sent == {(4, 3, 3): 12}
    assert plane.datapath.icmp.limits.suppressed == {"host": 28}
    plane.pass_time(1)
    plane.send("underlay", *[ipv4(strangers[0], A, gre(INNER), protocol=47)] * 20)
    assert len(plane.received("underlay")) == 1
