"""Sequence checks and the slow path: what waits there is judged as if it had not.

A link's packets belong to several megaflows (by inner protocol, by ECN) but to one sequence.
The first of each waits; those of known flows do not, and overtake it.
"""

from __future__ import annotations

import time
from random import Random
from typing import Any

import pytest

from tests.plane import L3, A, B, MakePlane, Plane
from vdp.testing.builders import gre, ipv4, ipv6, udp

INNER = ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, b"four"))
INNER6 = ipv6("2001:db8::2", "2001:db8::1", udp(1, 2, b"six!"))
DEADLINE_S = 20.0


def four(number: int, **fields: Any) -> bytes:
    return ipv4(B, A, gre(INNER, sequence=number % (1 << 32)), protocol=47, **fields)


def six(number: int) -> bytes:
    return ipv4(B, A, gre(INNER6, protocol=0x86DD, sequence=number % (1 << 32)), protocol=47)


def linked(make_plane: MakePlane, **parameters: Any) -> Plane:
    plane = make_plane()
    plane.port("underlay", L3)
    plane.port("inner", L3)
    plane.link("gre1", "gre", local=A, remote=B, iseq=True, **parameters)
    plane.connect("gre1", "inner")
    return plane


@pytest.fixture(params=["linux", "explicit"])
def plane(make_plane: MakePlane, request: pytest.FixtureRequest) -> Plane:
    return linked(make_plane, seq_state=request.param)


def errors(plane: Plane) -> int:
    return plane.counters("gre1")["rx_fifo_errors"]


@pytest.mark.conformance("E3")
def test_a_burst_before_there_is_a_flow_is_judged_in_order(plane: Plane) -> None:
    plane.send("underlay", *(four(number) for number in (5, 4, 5, 6, 9, 8, 3, 10)))
    assert len(plane.received("inner")) == 4
    assert errors(plane) == 4


@pytest.mark.conformance("E3")
def test_the_first_of_a_flow_is_not_old_because_others_overtook_it(plane: Plane) -> None:
    plane.send("underlay", four(1))
    plane.arrive("underlay", four(2), six(3), *(four(number) for number in range(4, 300)), six(300))
    plane.settle()
    assert len(plane.received("inner")) == 300
    assert errors(plane) == 0


@pytest.mark.conformance("E3")
def test_what_was_old_when_it_came_is_old(plane: Plane) -> None:
    """The IPv6 packets wait; 3 was old before it did so, 7 is another's number."""
    plane.send("underlay", four(1))
    plane.arrive("underlay", four(5), six(3), four(6), six(7), four(7), four(8), six(8))
    plane.settle()
    assert len(plane.received("inner")) == 5  # 1 5 6 7 8
    assert errors(plane) == 3


@pytest.mark.conformance("E3")
def test_those_that_wait_keep_their_order_among_them(plane: Plane) -> None:
    plane.send("underlay", four(1))
    plane.arrive("underlay", six(5), six(4), four(9), six(6), six(10))
    plane.settle()
    assert len(plane.received("inner")) == 4  # 1 5 9 10
    assert errors(plane) == 2


@pytest.mark.conformance("E3", "E4")
def test_it_holds_over_the_wrap(plane: Plane) -> None:
    plane.send("underlay", four(-3))
    plane.arrive("underlay", six(-2), four(-1), six(0), four(1), six(2))
    plane.settle()
    assert len(plane.received("inner")) == 6


def test_one_that_is_overtaken_by_too_many_is_old(plane: Plane) -> None:
    plane.send("underlay", four(1))
    plane.arrive("underlay", six(2), *(four(number) for number in range(3, 1500)))
    while plane.engine.poll():
        continue
    plane.settle()
    assert plane.counters("gre1")["rx_packets"] == 1498
    assert errors(plane) == 1


@pytest.mark.conformance("E3")
@pytest.mark.parametrize("engine_class", ["native"], indirect=True)  # the reference has no thread of its own
def test_nothing_is_old_under_load(make_plane: MakePlane) -> None:
    """The engine runs by itself; new megaflows of the link come up while one is busy."""
    plane = linked(make_plane)
    chance = Random(5)
    plane.send("underlay", four(1))
    plane.engine.start()
    deadline = time.monotonic() + DEADLINE_S
    number = 1
    try:
        for protocol in range(0x9000, 0x9080):
            new = [ipv4(B, A, gre(b"payload", protocol=protocol, sequence=0), protocol=47) for _ in range(2)]
            burst = [four(0)] * chance.randrange(5, 60)
            for packet in chance.sample([*new, *burst], k=len(new) + len(burst)):
                number += 1
                plane.arrive("underlay", packet[:24] + number.to_bytes(4, "big") + packet[28:])
            while plane.counters("gre1")["rx_packets"] + errors(plane) < number:
                assert time.monotonic() < deadline, (number, plane.counters("gre1"), plane.all_drops())
                plane.datapath.slowpath.run()
                plane.received("inner")
    finally:
        plane.engine.stop()
    assert plane.counters("gre1")["rx_packets"] == number
    assert len(plane.flows("underlay")) > 128
