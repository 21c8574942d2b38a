"""A topology to try MPLS in, and packets that it knows: for its tests and `vdp plugin test`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vdp.api import PacketType
from vdp.testing import Dataplane
from vdp.testing.builders import IP_GRE, ethernet, gre, ipv4, ipv6, udp

from vdp_mpls.headers import MPLS_UNICAST, ControlWord, StackEntry

LOCAL, REMOTE = "192.0.2.1", "192.0.2.2"
INNER = ipv4("10.0.0.1", "10.0.0.2", udp(1000, 2000, b"hello"), ttl=9)
INNER6 = ipv6("2001:db8::1", "2001:db8::2", udp(1000, 2000, b"hello"), hop_limit=9)
FRAME = ethernet(INNER)
#: What the links receive; `vpn` sends 16 and 200.
VPN, PIPE, WIRE, PLAIN_WIRE = 100, 101, 300, 301


def stack(*labels: int, ttl: int = 64, tc: int = 0, bottom: bool = True) -> bytes:
    """A label stack; bottom: whether the last label says that it is that."""
    last = len(labels) - 1
    entries = [
        StackEntry.pack(label=label, tc=tc, bottom=bottom and number == last, ttl=ttl)
        for number, label in enumerate(labels)
    ]
    return b"".join(entries)


def packet(labels: bytes, payload: bytes = INNER, protocol: int = MPLS_UNICAST, **more: Any) -> bytes:
    """A GRE packet for us with these labels; more: of the GRE header."""
    return ipv4(REMOTE, LOCAL, gre(labels + payload, protocol, **more), protocol=IP_GRE)


def arrange(plane: Dataplane) -> None:
    """Four links with MPLS and a plain one, between the same two ends."""
    ends = {"local": LOCAL, "remote": REMOTE}
    plane.port("underlay", PacketType.L3)
    plane.link("vpn", "mpls", label=VPN, push=[16, 200], **ends)
    plane.link("pipe", "mpls", label=PIPE, ttl_model="pipe", tc=5, **ends)
    plane.link("wire", "mplstap", label=WIRE, control_word=True, **ends)
    plane.link("plain-wire", "mplstap", label=PLAIN_WIRE, **ends)
    plane.link("gre1", "gre", **ends)
    for name in ("vpn", "pipe", "wire", "plain-wire", "gre1"):
        plane.port(f"lan-{name}", plane.datapath.links[name].packet_type)
        plane.connect(f"lan-{name}", name)


def samples(plane: Dataplane) -> Iterator[tuple[str, bytes]]:
    """What comes in for these links, and from behind them."""
    arrange(plane)
    yield "underlay", packet(stack(VPN))
    yield "underlay", packet(stack(VPN), INNER6)
    yield "underlay", packet(stack(0, PIPE))
    yield "underlay", packet(stack(PIPE, 7, 70000, ttl=1))
    yield "underlay", packet(stack(WIRE), ControlWord.pack() + FRAME)
    yield "underlay", packet(stack(PLAIN_WIRE), FRAME)
    yield "underlay", packet(stack(0))
    yield "underlay", packet(stack(2), INNER6)
    yield "underlay", packet(stack(1))
    yield "underlay", packet(stack(4711))
    yield "lan-vpn", INNER
    yield "lan-pipe", INNER6
    yield "lan-wire", FRAME
