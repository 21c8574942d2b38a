"""Expressions: the packets that they make, and what is said of those that make none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.plane import L2, L3, A, B, Plane
from vdp.control.errors import BAD_REQUEST, NOT_FOUND, ControlError
from vdp.imaginary.method import trace
from vdp.testing.builders import arp, ethernet, gre, icmp, icmp6, ipv4, ipv6, tcp, udp, vlan

MAC = "02:00:00:00:00:12"
ORIGIN = "02:00:00:00:00:11"
X, Y = "10.0.0.1", "10.0.0.2"
X6, Y6 = "2001:db8::1", "2001:db8::2"


@pytest.fixture
def plane(plane: Plane) -> Plane:
    for name in ("underlay", "lan"):
        plane.port(name, L3)
    plane.port("tap0", L2)
    plane.link("gre7", "gre", local=A, remote=B, key=7)
    plane.link("gt1", "gretap", local=A, remote=B, key=8, seq=True, csum=True)
    plane.connect("gre7", "lan")
    plane.bridge("br0", "tap0", "gt1")
    return plane


def made(plane: Plane, member: str, expression: str) -> bytes:
    return bytes.fromhex(
        trace(plane.datapath, {"in": member, "expression": expression})["passages"][0]["packet"]["hex"]
    )


FRAME = {"to": MAC, "origin": ORIGIN}
FRAMED = ethernet(ipv4(X, Y, udp(1024, 9), flags=0), **FRAME)
SAME: dict[str, tuple[str, bytes]] = {
    "ip/udp(dport=53)": ("lan", ipv4(X, Y, udp(1024, 53), flags=0)),
    "ip(src=192.0.2.9, ttl=3, df=1, tos=0xb8)/tcp(flags=syn|ack, seq=7)": (
        "lan",
        ipv4("192.0.2.9", Y, tcp(1024, 80, seq=7, flags=0x12), ttl=3, tos=0xB8),
    ),
    "ip/icmp(type=0)/'ping'": ("lan", ipv4(X, Y, icmp(0, payload=b"ping"), protocol=1, flags=0)),
    "ip(proto=99)/payload(hex=0102, size=2)": ("lan", ipv4(X, Y, b"\1\2\0\1", protocol=99, flags=0)),
    "ip(options=01)/udp": ("lan", ipv4(X, Y, udp(1024, 9), flags=0, options=b"\1")),
    "ip6(hlim=1)/icmp6": ("lan", ipv6(X6, Y6, icmp6(128), hop_limit=1)),
    "ip6(dst=2001:db8::9)/udp": ("lan", ipv6(X6, "2001:db8::9", udp(1024, 9))),
    "eth(dst=02:00:00:00:00:05)/ip/udp": (
        "tap0",
        ethernet(ipv4(X, Y, udp(1024, 9), flags=0), to="02:00:00:00:00:05", origin=ORIGIN),
    ),
    "eth/vlan(id=7, pcp=3)/ip/udp": (
        "tap0",
        vlan(ethernet(ipv4(X, Y, udp(1024, 9), flags=0), **FRAME), 7, priority=3),
    ),
    "arp": ("tap0", ethernet(arp(1, ORIGIN, X, "00:00:00:00:00:00", Y), ethertype=0x0806, **FRAME)),
    # What is not said is the link's: addresses, key, sequence number, checksum.
    "ip/gre/ip/udp": (
        "underlay",
        ipv4(B, A, gre(ipv4(X, Y, udp(1024, 9), flags=0), key=7), protocol=47, flags=0),
    ),
    "ip/gre/eth/ip/udp": (
        "underlay",
        ipv4(B, A, gre(FRAMED, 0x6558, key=8, sequence=0, csum=True), protocol=47, flags=0),
    ),
    "ip/gre(key=8)/'x'": (
        "underlay", ipv4(B, A, gre(b"x", 0x88B5, key=8, sequence=0, csum=True), protocol=47, flags=0),
    ),
    "ip/gre(key=9)/ip/udp": (
        "underlay", ipv4(X, Y, gre(ipv4(X, Y, udp(1024, 9), flags=0), key=9), protocol=47, flags=0),
    ),
    "ip(src=192.0.2.2, dst=192.0.2.1)/gre(key=none, version=1)": (
        "underlay", ipv4(B, A, gre(b"", 0x88B5, flags=1), protocol=47, flags=0),
    ),
    "ip(src=192.0.2.2, dst=192.0.2.1)/GreBase(protocol=0x800, routing=1)": (
        "underlay", ipv4(B, A, gre(b"", flags=0x4000), protocol=253, flags=0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("expression", SAME)
def test_an_expression_is_a_packet(plane: Plane, expression: str) -> None:
    member, packet = SAME[expression]
    assert made(plane, member, expression).hex(" ") == packet.hex(" ")


def test_what_is_given_is_not_worked_out(plane: Plane) -> None:
    packet = made(plane, "lan", "ip(len=99, chksum=1)/udp(len=5, chksum=2)")
    assert (packet[2:4], packet[10:12], packet[24:28]) == (b"\0c", b"\0\1", b"\0\5\0\2")


WRONG = {
    "ip/gre(key=7)/ip/tcp(dporrt=80)": (22, "tcp has no field 'dporrt'", "did you mean 'dport'?"),
    "ip(dst=x)": (8, "found 'x', expected a number or an IPv4 address", ""),
    "ip6(dst=10.0.0.1)": (9, "expected an IPv6 address", ""),
    "eth(dst=12)/ip": (9, "expected 6 bytes in hex", ""),
    "ip(ttl=300)": (8, "does not fit 8 bits (0 to 255)", ""),
    "ip//udp": (4, "found '/udp', expected a layer", "such as eth"),
    "foo/ip": (1, "no layer is called 'foo'", "there are eth"),
    "ip/udq": (4, "no layer is called 'udq'", "did you mean 'udp'?"),
    "ip/udp)": (7, "found ')'", "eth/ip/udp"),
    "ip(ttl=3": (9, "found the end", ""),
    "ip(ttl=3,ttl=4)": (10, "ttl is there twice", ""),
    "ip(ttl)": (7, 'expected "=" and a value behind ttl', ""),
    "ip/payload(hex=xyz)": (16, "expected bytes in hex", ""),
    "eth/ip": (1, "lan takes packets without Ethernet header", "begin with ip or ip6"),
    "": (1, "found the end, expected a layer", ""),
}


@pytest.mark.parametrize("expression", WRONG)
def test_what_is_wrong_is_said_with_its_place(plane: Plane, expression: str) -> None:
    column, text, hint = WRONG[expression]
    member = "tap0" if expression.startswith("eth(") else "lan"
    with pytest.raises(ControlError) as caught:
        trace(plane.datapath, {"in": member, "expression": expression})
    assert caught.value.code == BAD_REQUEST
    assert caught.value.message.startswith(f"column {column}: ")
    assert text in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("params", "code", "text"),
    [
        ({"in": "lam", "hex": "00"}, NOT_FOUND, 'no port or link "lam"'),
        ({"in": "lan"}, BAD_REQUEST, 'one of "hex" and "expression"'),
        ({"in": "lan", "hex": "0"}, BAD_REQUEST, "hex"),
        ({"in": "lan", "hex": "00", "speed": 1}, BAD_REQUEST, "speed"),
        ({"in": "lan", "hex": "00", "segment_size": -1}, BAD_REQUEST, "segment_size"),
        ({"in": "tap0", "hex": "00", "ethernet": False}, BAD_REQUEST, "tap0 takes Ethernet frames"),
        ({"in": "lan", "hex": "00" * 12 + "0806", "ethernet": True}, BAD_REQUEST, "EtherType 0x0806"),
    ],
)
def test_requests_that_can_not_be_understood(
    plane: Plane, params: dict[str, Any], code: str, text: str
) -> None:
    with pytest.raises(ControlError) as caught:
        trace(plane.datapath, params)
    assert caught.value.code == code
    assert text in caught.value.message


def test_a_captured_frame_loses_its_ethernet_header_at_a_layer_3_port(plane: Plane) -> None:
    packet = ipv4(X, Y, udp(1, 2))
    frame = vlan(ethernet(packet), 5)
    answer = trace(plane.datapath, {"in": "lan", "hex": frame.hex(), "ethernet": True})
    assert answer["passages"][0]["packet"]["hex"] == packet.hex()
    answer = trace(plane.datapath, {"in": "tap0", "hex": frame.hex(), "ethernet": True})
    assert answer["passages"][0]["packet"]["hex"] == frame.hex()
