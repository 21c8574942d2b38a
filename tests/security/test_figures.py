"""What a stranger gets, what an input costs: parts of the score's R11 and R12 (tests.security.figures)."""

from __future__ import annotations

from tests.plane import L3, A, B
from tests.security import figures
from tests.security.strangers import LINKS, strangers
from vdp.testing.builders import gre, ipv4, udp
from vdp.testing.dataplane import Dataplane


def test_strangers_get_nothing_through_and_few_answers() -> None:
    found = strangers(3_000, silent=False)
    assert found["forwarded"] == 0
    assert found["dropped"] == found["sent"] == 3_000
    assert 0 < found["replies"] <= 100  # [engine] action_rate, and the limits of [icmp] behind it


def test_what_strangers_pretend_is_what_every_kind_of_link_takes_of_its_other_end() -> None:
    assert strangers(600, silent=True, is_real=True)["links"] == len(LINKS)


def test_strangers_hear_nothing_where_that_is_configured() -> None:
    found = strangers(1_000, silent=True)
    assert (found["forwarded"], found["replies"]) == (0, 0)


def test_of_tunnels_in_one_another_one_is_opened_for_each_link() -> None:
    """A nest of 64 costs what one costs: who would open more has no link that says so."""
    nest = ipv4("10.20.0.1", "10.10.0.2", udp(1, 2, b"hello"))
    for _ in range(63):
        nest = ipv4(B, A, gre(nest), protocol=47)
    with Dataplane(plugins=("gre",)) as plane:
        plane.port("underlay", L3)
        plane.port("lan", L3)
        plane.link("gre1", "gre", local=A, remote=B)
        plane.connect("gre1", "lan")
        plane.send("underlay", ipv4(B, A, gre(nest), protocol=47))
        assert plane.received("lan") == [nest]
        assert plane.received("underlay") == []
        assert plane.upcalls == 2


def test_an_input_costs_one_packet_for_each_egress_port() -> None:
    worst = figures.amplification(1_500)
    assert worst.inputs == 1_500
    assert worst.packets == 1, worst.by
    assert worst.added <= figures.MOST_ADDED, worst.by
