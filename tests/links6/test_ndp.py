"""Neighbour solicitations for a link's address that the host has not: answered, and only those."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.links6.packets import LOCAL, REMOTE
from tests.plane import L2, MakePlane, Plane
from vdp.testing.soundness import check_soundness

MAC, ASKER = "02:00:00:00:00:01", "02:00:00:00:00:0b"
GROUP, GROUP_MAC = "ff02::1:ff00:1", "33:33:ff:00:00:01"
OWN_MAC = ICMPv6NDOptSrcLLAddr(lladdr=ASKER)


@pytest.fixture
def plane(make_plane: MakePlane) -> Plane:
    plane = make_plane(("ip6gre", "gre"))
    plane.port("underlay", L2, mac=bytes.fromhex(MAC.replace(":", "")))
    plane.link("link1", "ip6gre", local=LOCAL, remote=REMOTE)
    plane.link("link2", "ip6gre", local=LOCAL, remote="ff0e::7")
    plane.link("four", "gre", local="0.0.0.7", remote="192.0.2.2")
    return plane


def solicitation(
    target: str = LOCAL,
    source: str = REMOTE,
    option: Any = OWN_MAC,
    to: str = GROUP_MAC,
    tail: bytes = b"",
    **fields: Any,
) -> bytes:
    ip = IPv6(**{"src": source, "dst": GROUP, "hlim": 255, **fields})
    message = ip / ICMPv6ND_NS(tgt=target)
    return bytes(Ether(src=ASKER, dst=to) / (message / option if option else message)) + tail


def test_who_asks_gets_the_mac_of_the_interface(plane: Plane) -> None:
    plane.send("underlay", solicitation())
    (frame,) = plane.received("underlay")
    wanted = (
        Ether(src=MAC, dst=ASKER)
        / IPv6(src=LOCAL, dst=REMOTE, hlim=255)
        / ICMPv6ND_NA(tgt=LOCAL, R=0, S=1, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=MAC)
    )
    assert frame == bytes(wanted)


def test_it_is_a_megaflow(plane: Plane) -> None:
    plane.send("underlay", solicitation())
    before = plane.upcalls
    plane.send("underlay", *[solicitation()] * 10)
    assert (len(plane.received("underlay")), plane.upcalls) == (11, before)


def test_a_probe_of_a_neighbour_that_knows_us_is_answered(plane: Plane) -> None:
    """Unicast (NUD), also without the option."""
    plane.send("underlay", solicitation(to=MAC, dst=LOCAL), solicitation(to=MAC, dst=LOCAL, option=None))
    frames = [Ether(frame) for frame in plane.received("underlay")]
    assert [(frame.dst, frame[IPv6].dst) for frame in frames] == [(ASKER, REMOTE)] * 2


def test_an_address_that_somebody_wants_to_take_is_defended(plane: Plane) -> None:
    """Duplicate address detection: the asker has no address, so all nodes are told."""
    plane.send("underlay", solicitation(source="::", option=None))
    (frame,) = plane.received("underlay")
    answer = Ether(frame)
    assert (answer.dst, answer[IPv6].dst, answer[ICMPv6ND_NA].S) == ("33:33:00:00:00:01", "ff02::1", 0)


NOT_ANSWERED = {
    "another address": {"target": "2001:db8::99"},
    "the other family's number": {"target": "::7", "dst": "ff02::1:ff00:7"},
    "a group that is a remote": {"target": "ff0e::7"},
    "from beyond a router": {"hlim": 254},
    "to another group": {"dst": "ff02::1"},
    "to another host": {"to": "02:00:00:00:00:99"},
    "with another sender's address": {"option": ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:99")},
    "with more options": {"option": ICMPv6NDOptSrcLLAddr(lladdr=ASKER) / ICMPv6NDOptSrcLLAddr(lladdr=ASKER)},
    "with padding": {"tail": b"\0\0"},
    "an odd length": {"option": Raw(b"\1\1\2")},
}


@pytest.mark.parametrize("fields", NOT_ANSWERED.values(), ids=NOT_ANSWERED)
def test_nobody_else_is_answered(plane: Plane, fields: dict[str, Any]) -> None:
    plane.send("underlay", solicitation(**fields))
    assert plane.received("underlay") == []
    assert plane.drops("underlay") == {"not_for_us": 1}


@pytest.mark.parametrize("at", [14 + 41, 14 + 42, 14 + 44, -1])
def test_a_damaged_one_is_not_answered(plane: Plane, at: int) -> None:
    damaged = bytearray(solicitation())
    damaged[at] ^= 1
    plane.send("underlay", bytes(damaged))
    assert plane.received("underlay") == []


def test_the_host_answers_for_its_own(plane: Plane) -> None:
    plane.datapath.host_addresses = lambda port: frozenset({ip_address(LOCAL)})
    plane.send("underlay", solicitation())
    assert plane.received("underlay") == []


def test_no_packet_is_mistreated_by_anothers_megaflow(plane: Plane, make_plane: Callable[..., Plane]) -> None:
    samples = [solicitation(**fields) for fields in NOT_ANSWERED.values()]
    check_soundness(
        plane.datapath, "underlay", solicitation(), solicitation(source="::", option=None), *samples
    )
