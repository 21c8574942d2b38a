"""ARP on an Ethernet underlay: vdp answers for its links' addresses that the host has not."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest
from scapy.layers.l2 import ARP, Ether

from tests.plane import L2, A, B, Plane
from vdp.testing.soundness import check_soundness

ASKER, OURS = "02:00:00:00:00:0c", "02:00:00:00:00:0b"
ALL = "ff:ff:ff:ff:ff:ff"


def ask(target: str = A, to: str = ALL, origin: str = ASKER, **fields: Any) -> bytes:
    return bytes(Ether(src=origin, dst=to) / ARP(**{"hwsrc": ASKER, "psrc": B, "pdst": target, **fields}))


@pytest.fixture
def plane(plane: Plane) -> Plane:
    plane.port("underlay", L2, mac=bytes.fromhex(OURS.replace(":", "")))
    plane.link("gre1", "gre", local=A, remote=B)
    return plane


def answers(plane: Plane, *frames: bytes) -> list[Any]:
    plane.send("underlay", *frames)
    return [Ether(data) for data in plane.received("underlay")]


@pytest.mark.parametrize("to", [ALL, OURS], ids=["broadcast", "unicast"])
def test_who_asks_for_a_links_address_gets_the_ports_mac(plane: Plane, to: str) -> None:
    (answer,) = answers(plane, ask(to=to))
    assert (answer.src, answer.dst, answer.type) == (OURS, ASKER, 0x0806)
    arp = answer[ARP]
    assert (arp.op, arp.hwsrc, arp.psrc, arp.hwdst, arp.pdst) == (2, OURS, A, ASKER, B)
    assert (arp.hwtype, arp.ptype, arp.hwlen, arp.plen) == (1, 0x0800, 6, 4)


def test_padding_of_the_question_does_no_harm(plane: Plane) -> None:
    (answer,) = answers(plane, ask() + bytes(18))
    assert answer[ARP].psrc == A


def test_a_second_question_needs_no_python(plane: Plane) -> None:
    answers(plane, ask())
    upcalls = plane.upcalls
    assert len(answers(plane, ask(), ask())) == 2
    assert plane.upcalls == upcalls


@pytest.mark.parametrize(
    "frame",
    [
        ask("192.0.2.77"), ask(B), ask(op=2), ask(hwtype=6), ask(ptype=0x86DD), ask(to="02:00:00:00:00:99"),
        ask(origin="02:00:00:00:00:dd"), ask(hwsrc="01:00:00:00:00:01", origin="01:00:00:00:00:01"),
        ask()[:41],
    ],
    ids=["another", "the-remote", "reply", "not-ethernet", "not-ip", "for-another-station", "spoofed",
    "group-sender", "cut"],
)  # fmt: skip
def test_other_arp_is_not_answered(plane: Plane, frame: bytes) -> None:
    assert answers(plane, frame) == []


def test_an_address_of_the_host_is_left_to_the_host(plane: Plane) -> None:
    plane.datapath.host_addresses = lambda port: frozenset({IPv4Address(A)})
    assert answers(plane, ask()) == []


def test_a_port_without_a_mac_address_answers_nobody(make_plane: Any) -> None:
    plane = make_plane()
    plane.port("underlay", L2)
    plane.link("gre1", "gre", local=A, remote=B)
    assert answers(plane, ask()) == []


def test_answers_are_sound(plane: Plane) -> None:
    frames = [ask(), ask(B), ask(op=2), ask()[:41], ask(origin="02:00:00:00:00:dd")]
    check_soundness(plane.datapath, "underlay", *frames, variants=60)
