"""The walk of error handlers (err_handler): its order, its end, and what one costs that raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.links.errors import LEAST, error4, unreachable
from tests.plane import L3, A, B, MakePlane, Plane
from vdp.api import IcmpError, IPv4, Packet, TunnelInfo, Verdict
from vdp.testing.builders import gre, ipv4, udp

INNER = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"hello"))
SENT = ipv4(A, B, gre(INNER), protocol=47)
RECEIVED, REJECT = Verdict.RECEIVED, Verdict.REJECT


@pytest.fixture
def bare(make_plane: MakePlane) -> Plane:
    """An underlay with a link, and a list without handlers."""
    plane = make_plane()
    plane.port("underlay", L3)
    plane.link("gre1", "gre", local=A, remote=B)
    for owner in ("gre", "gretap", "wccp"):
        plane.datapath.registry.list("gre_cisco").remove_owner(owner)
    return plane


def reject(packet: Packet, *_: Any) -> Verdict:
    return REJECT


def add(plane: Plane, priority: int, error: Callable[..., Verdict] | None, called: list[int]) -> None:
    def handler(*arguments: Any) -> Verdict:
        called.append(priority)
        assert error is not None
        return error(*arguments)

    plane.datapath.registry.list("gre_cisco").add(
        reject, priority=priority, name=f"p{priority}", owner="test", error=handler if error else None
    )


@pytest.mark.conformance("A8")
def test_lower_priorities_are_asked_first_and_the_first_that_knows_it_ends_the_walk(bare: Plane) -> None:
    called: list[int] = []
    add(bare, 30, lambda *_: RECEIVED, called)
    add(bare, 20, lambda *_: RECEIVED, called)
    add(bare, 10, reject, called)
    add(bare, 15, None, called)
    bare.send("underlay", unreachable(SENT))
    assert called == [10, 20]
    assert bare.handler("p10").errors == {"reject": 1}
    assert bare.handler("p20").errors == {"received": 1}
    assert not bare.handler("p30").errors
    assert bare.datapath.icmp_input.outcomes == {"received": 1}


@pytest.mark.conformance("A8")
def test_when_nobody_knows_it_nothing_happens(bare: Plane) -> None:
    called: list[int] = []
    add(bare, 10, reject, called)
    bare.send("underlay", unreachable(SENT))
    assert called == [10]
    assert bare.received("underlay") == []
    assert bare.datapath.icmp_input.outcomes == {"reject": 1}


@pytest.mark.conformance("A8")
def test_a_handler_gets_what_the_error_says_and_the_header_that_was_sent(bare: Plane) -> None:
    seen: list[tuple[Any, ...]] = []

    def note(packet: Packet, ip: IPv4, info: TunnelInfo, icmp: IcmpError) -> Verdict:
        seen.append((ip.source, ip.destination, info.protocol, info.key, packet.read(0, 4), icmp))
        return RECEIVED

    add(bare, 10, note, [])
    packet = ipv4(A, B, gre(INNER, 0x0800, key=7), protocol=47)
    bare.send("underlay", error4(packet, 11, 1, 0x01020304))
    ((source, destination, protocol, key, front, icmp),) = seen
    assert (source, destination) == (0xC0000201, 0xC0000202)
    assert (protocol, key, front) == (0x0800, 7, packet[20:24])
    assert (icmp.version, icmp.type, icmp.code, icmp.rest) == (4, 11, 1, 0x01020304)
    assert (icmp.sender, icmp.quoted) == (0xCB007101, packet[:LEAST])


@pytest.mark.conformance("A8", "A14")
@pytest.mark.parametrize("failure", [ValueError("no"), SystemExit(1)])
def test_one_that_raises_costs_that_error_at_most(bare: Plane, failure: BaseException) -> None:
    def fail(*_: Any) -> Verdict:
        raise failure

    called: list[int] = []
    add(bare, 10, fail, called)
    add(bare, 20, lambda *_: RECEIVED, called)
    bare.send("underlay", unreachable(SENT))
    assert called == [10, 20]
    assert bare.handler("p10").errors == {"error": 1}
    assert type(failure).__name__ in bare.handler("p10").last_error
    assert bare.handler("p20").errors == {"received": 1}


def test_one_that_wants_more_than_is_quoted_has_not_recognised_it(bare: Plane) -> None:
    called: list[int] = []
    add(bare, 10, lambda packet, *_: packet.read(0, 9) and RECEIVED, called)
    add(bare, 20, lambda *_: RECEIVED, called)
    bare.send("underlay", unreachable(SENT))
    assert called == [10, 20]
    bare.send("underlay", unreachable(SENT, size=LEAST + 1))
    assert called == [10, 20, 10]


def test_an_answer_that_is_no_verdict_is_a_fault(bare: Plane) -> None:
    add(bare, 10, lambda *_: None, [])  # type: ignore[arg-type,return-value]
    bare.send("underlay", unreachable(SENT))
    assert "Verdict" in bare.handler("p10").last_error


@pytest.mark.conformance("A8", "A2")
def test_the_version_slots_have_error_handlers_of_their_own(bare: Plane) -> None:
    called: list[int] = []

    def version1(packet: Packet, ip: IPv4, icmp: IcmpError) -> Verdict:
        called.append(packet.read(ip.payload + 1, 1)[0])
        return RECEIVED

    bare.datapath.registry.table("gre_version").add(reject, slot=1, name="v1", owner="test", error=version1)
    add(bare, 10, lambda *_: RECEIVED, called)
    packet = bytearray(SENT)
    packet[21] |= 1
    bare.send("underlay", unreachable(bytes(packet)))
    assert called == [1]
    packet[21] = 2
    bare.send("underlay", unreachable(bytes(packet)))
    assert called == [1]


def test_a_protocol_of_a_plugins_own_hears_of_errors_about_it(bare: Plane) -> None:
    called: list[int] = []

    def ipip(packet: Packet, ip: IPv4, icmp: IcmpError) -> Verdict:
        called.append(icmp.code)
        return RECEIVED

    packet = ipv4(A, B, INNER, protocol=4)
    bare.send("underlay", unreachable(packet))
    assert bare.drops("underlay") == {"not_for_us": 1}
    bare.datapath.registry.table("ip_protocol").add(reject, slot=4, name="ipip", owner="test", error=ipip)
    bare.send("underlay", unreachable(packet))
    assert called == [1]


@pytest.mark.conformance("A10")
def test_a_removed_handler_hears_no_more(bare: Plane) -> None:
    called: list[int] = []
    add(bare, 10, lambda *_: RECEIVED, called)
    bare.send("underlay", unreachable(SENT))
    bare.datapath.registry.remove_owner("test")
    bare.send("underlay", unreachable(SENT))
    assert called == [10]
