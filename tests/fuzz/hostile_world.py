"""Dataplanes with a link of every kind, and packets for them, for the harness `handlers`.

Two worlds: the underlay is IP packets (sockets of a protocol), or frames (an interface, with ARP and ND).
Each has the same links: all built-in kinds and those of examples/plugins, with and without what makes
them go other ways.  Every link has a port of its own that it is connected with; some are in a bridge, and
there are routes and rules between others.
"""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from tests.fuzz.builds import REPOSITORY
from vdp.engine.interface import EngineConfig, PacketType
from vdp.engine.native import NativeEngine
from vdp.forwarding.routes import Route
from vdp.testing import builders as b
from vdp.testing.dataplane import Dataplane
from vdp.testing.reference.checksum import internet_checksum
from vdp.testing.samples import sent_back

EXAMPLES = ("gue", "mpls", "vxlan")
BUILT_IN = ("erspan", "gre", "gretap", "ip6gre", "keepalive", "nvgre", "pptp", "wccp")
PLUGINS = (*BUILT_IN, *EXAMPLES)
A, B, C, GROUP = "192.0.2.1", "192.0.2.2", "192.0.2.3", "239.1.1.1"
A6, B6, C6 = "2001:db8::1", "2001:db8::2", "2001:db8::3"
MAC_A, MAC_B = "02:00:00:00:00:0a", "02:00:00:00:00:01"
WORLDS = (PacketType.L3, PacketType.L2)
UNDERLAY = "underlay"
#: Links that are members of the bridge; the others have a port to themselves.
BRIDGED = ("gretap", "gretap-key", "erspan-2", "nvgre", "ip6gretap", "vxlan-many", "guetap")

_V4, _V6 = {"local": A, "remote": B}, {"local": A6, "remote": B6}
LINKS: dict[str, tuple[str, dict[str, Any]]] = {
    "gre": ("gre", {**_V4, "tos": "inherit"}),
    "gre-all": ("gre", {**_V4, "key": 42, "csum": True, "seq": True}),
    "gre-window": ("gre", {**_V4, "key": 43, "seq": True, "seq_window": 64, "pmtudisc": False, "ttl": 64}),
    "gre-nbma": ("gre", {"local": C, "key": 7, "pmtudisc": False, "ignore_df": True}),
    "gre-group": ("gre", {"local": A, "remote": GROUP, "key": 8}),
    "gre-udp": ("gre", {"local": A, "remote": C, "encap": "udp"}),
    "gre-fallback": ("gre", {"fallback": True}),
    "gretap": ("gretap", {**_V4, "tos": "inherit"}),
    "gretap-key": ("gretap", {**_V4, "key": 1, "csum": True, "pmtudisc": False}),
    "gretap-udp": ("gretap", {"local": A, "remote": C, "encap": "udp", "encap_sport": 5000, "key": 3}),
    "erspan-1": ("erspan", {**_V4, "erspan_ver": 0}),
    "erspan-2": ("erspan", {**_V4, "erspan_ver": 1, "key": 5, "seq": True}),
    "erspan-3": ("erspan", {**_V4, "erspan_ver": 2, "key": 6, "seq": True, "erspan_dir": "egress"}),
    "nvgre": ("nvgre", {**_V4, "vsid": 0x1001, "entropy": True}),
    "pptp": ("pptp", {**_V4, "call_id": 9, "peer_call_id": 10, "seq_window": 16}),
    "wccp": ("wccp", {"local": A, "remote": C}),
    "wccp-router": ("wccp", {"local": C, "remote": B, "role": "router"}),
    "ip6gre": ("ip6gre", {**_V6, "ttl": "inherit", "tos": "inherit", "flowlabel": "inherit"}),
    "ip6gre-all": ("ip6gre", {**_V6, "key": 42, "csum": True, "seq": True, "encaplimit": "none"}),
    "ip6gre-udp": ("ip6gre", {"local": A6, "remote": C6, "encap": "udp", "encap_csum": False}),
    "ip6gretap": ("ip6gretap", {**_V6}),
    "ip6erspan": ("ip6erspan", {**_V6, "erspan_ver": 2, "key": 6, "seq": True}),
    "vxlan": ("vxlan", {**_V4, "vni": 42}),
    "vxlan-many": ("vxlan", {**_V4, "vni": 43, "flood": [C]}),
    "vxlan6": ("vxlan6", {**_V6, "vni": 44}),
    "gue": ("gue", {**_V4}),
    "gue6": ("gue6", {**_V6}),
    "guetap": ("guetap", {**_V4, "key": 11}),
    "mpls": ("mpls", {**_V4, "label": 100, "push": [16, 200]}),
    "mplstap": ("mplstap", {**_V4, "label": 101, "control_word": True}),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "keepalive": {
        "link": {
            "gre": {"send": True, "respond": True, "interval_s": 2},
            "gre-all": {"respond": True},
            "ip6gre": {"respond": True},
        }
    }
}
RULES: tuple[dict[str, Any], ...] = (
    {"priority": 9, "match": {"eth_type": "ip", "ip_proto": "tcp", "tp_dst": 81}, "actions": ["drop"]},
    {"priority": 8, "match": {"reg0": 7}, "actions": ["flood"]},
    {"priority": 7, "match": {"eth_type": "ipv6", "ip_dst": "2001:db8:9::/48"}, "actions": ["output:tun"]},
)

INNER = b.ipv4("10.0.0.1", "10.0.0.2", b.udp(1000, 53, b"a sample"), flags=0, tos=0x22)
INNERS = (
    INNER,
    b.ipv4("10.0.0.2", "10.0.0.1", b.tcp(1000, 80, b"more", flags=b.SYN), options=b"\1\1\1\1"),
    b.ipv6("2001:db8:1::1", "2001:db8:2::1", b.udp(1000, 2000, b"sample"), flow_label=7),
    b.ipv4("10.0.0.1", "10.0.0.2", bytes(1400), protocol=b.IP_UDP, ttl=1),
)


def other_plugins() -> list[str]:
    """The plugins of examples/plugins, which need not be installed."""
    for name in EXAMPLES:
        path = str(REPOSITORY / "examples" / "plugins" / f"vdp-{name}" / "src")
        if path not in sys.path:
            sys.path.append(path)
    return [f"{name}=vdp_{name}" for name in EXAMPLES]


def build(underlay: PacketType) -> Dataplane:
    """One of the worlds.  Nothing is limited by rate: each packet counts."""
    engine = NativeEngine(EngineConfig(upcall_rate=0, action_rate=0))
    plane = Dataplane(engine, (*BUILT_IN, *other_plugins()), settings=SETTINGS)
    addresses = frozenset(map(ip_address, (A, C, A6)))
    plane.datapath.host_addresses = lambda port: addresses if port.name == UNDERLAY else frozenset()
    is_frames = underlay is PacketType.L2
    plane.port(UNDERLAY, underlay, mtu=1500, mac=b.mac(MAC_A) if is_frames else None)
    plane.port("lan", PacketType.L2, mtu=1500)
    plane.port("tun", PacketType.L3, mtu=1500)
    for name, (kind, parameters) in LINKS.items():
        link = plane.link(name, kind, UNDERLAY, **parameters)
        if name not in BRIDGED and name != "gre-nbma":
            plane.port(f"lan-{name}", link.packet_type, mtu=1500)
            plane.connect(f"lan-{name}", name)
    plane.bridge("br0", "lan", *BRIDGED)
    plane.route(
        Route(ip_network("10.0.0.0/8"), "gre-nbma"),
        Route(ip_network("10.0.0.1/32"), "tun"),
        Route(ip_network("2001:db8::/32"), "tun"),
    )
    for rule in RULES:
        plane.rule(**rule)
    plane.start()
    return plane


def members(plane: Dataplane) -> list[str]:
    """Where packets may come in; the underlay first."""
    return list(plane.datapath.ports)


def samples(plane: Dataplane) -> Iterator[tuple[str, bytes]]:
    """What links send, sent back; what they are sent; errors about it; what no link sends."""
    is_frames = plane.datapath.ports[UNDERLAY].packet_type is PacketType.L2
    for member, port in plane.datapath.ports.items():
        for packet in INNERS if member != UNDERLAY else ():
            data = b.ethernet(packet, to=MAC_B) if port.packet_type is PacketType.L2 else packet
            yield member, data
            plane.send(member, data)
            for sent in plane.received(UNDERLAY):
                inside = sent[14:] if is_frames else sent
                yield UNDERLAY, framed(sent_back(inside), is_frames)
                yield UNDERLAY, framed(error_about(inside), is_frames)
    yield "lan", b.vlan(b.ethernet(INNER), 5)
    yield "lan", b.ethernet(b.arp(1, MAC_B, "10.0.0.1", "00:00:00:00:00:00", "10.0.0.2"), ethertype=b.ETH_ARP)
    for packet in strangers():
        yield UNDERLAY, framed(packet, is_frames)
    if is_frames:
        question = b.arp(1, MAC_B, B, "00:00:00:00:00:00", A)
        yield UNDERLAY, b.ethernet(question, to="ff:ff:ff:ff:ff:ff", origin=MAC_B, ethertype=b.ETH_ARP)
        asked = b"".join((bytes(4), ip_address(A6).packed, b"\1\1", b.mac(MAC_B)))
        solicitation = b.ipv6(B6, "ff02::1:ff00:1", b.icmp6(135, payload=asked[4:]), hop_limit=255)
        yield UNDERLAY, b.ethernet(solicitation, to="33:33:ff:00:00:01", origin=MAC_B)


def strangers() -> Iterator[bytes]:
    """Packets that no link here sends, and somebody may."""
    for protocol in (0x0800, 0x86DD, 0x6558, 0x883E, 0x88BE, 0x22EB, 0x880B, 0x8847, 0x0004, 0):
        payload = b.ethernet(INNER) if protocol in (0x6558, 0x88BE) else INNER
        for carried in (
            b.gre(payload, protocol),
            b.gre(payload, protocol, key=42),
            b.gre(payload, protocol, csum=True, sequence=5),
            b.gre(payload, protocol, flags=0x4001),
        ):
            yield b.ipv4(B, A, carried, protocol=b.IP_GRE)
            yield b.ipv6(B6, A6, carried, next_header=b.IP_GRE)
    yield b.ipv4(B, A, b.gre(b"\x80\7\1\2" + INNER, b.ETH_WCCP), protocol=b.IP_GRE)
    yield b.ipv4(C, A, b.gre(INNER, b.ETH_WCCP), protocol=b.IP_GRE)
    for key in (None, 42):
        answer = b.ipv4(B, A, b.gre(b"", 0, key=key), protocol=b.IP_GRE)
        probe = b.ipv4(A, B, b.gre(b"", 0, key=key), protocol=b.IP_GRE)
        yield answer
        yield b.ipv4(B, A, b.gre(probe, b.ETH_IPV4, key=key), protocol=b.IP_GRE)
        probe6 = b.ipv6(A6, B6, b.gre(b"", 0, key=key), next_header=b.IP_GRE)
        yield b.ipv6(B6, A6, b.gre(probe6, b.ETH_IPV6, key=key), next_header=b.IP_GRE)
    for redirected in (INNERS[2], b"\x80\7\1\2" + INNERS[2]):
        yield b.ipv6(B6, A6, b.gre(redirected, b.ETH_WCCP), next_header=b.IP_GRE)
    for flags, numbers in ((0x3001, 1), (0x3081, 2), (0x2081, 1)):
        for ppp in (b"\xff\3\0\x21", b"\0\x21", b"\x21", b"\xff\3\xc0\x21"):
            payload = ppp + INNER if flags & 0x1000 else b""
            head = struct.pack("!HHHH", flags, 0x880B, len(payload), 9) + struct.pack("!I", 5) * numbers
            yield b.ipv4(B, A, head + payload, protocol=b.IP_GRE)
    yield b.ipv4(B, GROUP, b.gre(INNER, key=8), protocol=b.IP_GRE)
    yield b.ipv4(B, A, b.gre(INNER), protocol=b.IP_GRE, options=b"\x07\7\4\0\0\0\0", flags=1)
    yield b.ipv4(B, A, b.gre(INNER), protocol=b.IP_GRE, fragment=3)
    for extensions in (b"\x2f\0\4\1\4\1\1\0", b"\x2f\0\5\2\0\0\1\0", b"\x3c\0\1\4\0\0\0\0\x2f\0\4\1\4\1\1\0"):
        for first in (0, 43, 44, 60):
            yield b.ipv6(B6, A6, extensions + b.gre(INNER), next_header=first)
    for port in (4754, 4789, 6080, 5000, 9):
        for inner in (b.gre(INNER), INNER, b"\x08\0\0\0\0\0\x2a\0" + b.ethernet(INNER)):
            yield b.ipv4(B, A, b.udp(50000, port, inner))
            yield b.ipv6(B6, A6, b.udp(50000, port, inner))


def nested(packet: bytes, chance: random.Random) -> bytes:
    """A packet inside one more tunnel to us."""
    kind = chance.choice((b.ETH_IPV4, b.ETH_IPV6, b.ETH_TEB, b.ETH_WCCP, 0x88BE, 0x8847))
    carried = b.gre(packet, kind, key=chance.choice((None, 1, 5, 7, 42)), csum=chance.random() < 0.3)
    if chance.random() < 0.3:
        return b.ipv6(B6, A6, carried, next_header=b.IP_GRE)
    if chance.random() < 0.3:
        return b.ipv4(B, A, b.udp(50000, chance.choice((4754, 4789, 6080)), carried))
    return b.ipv4(B, A, carried, protocol=b.IP_GRE)


def error_about(sent: bytes, chance: random.Random | None = None) -> bytes:
    """An ICMP or ICMPv6 error about an IP packet that was sent, as a router on its way makes it."""
    chance = chance or random.Random(sent)
    quoted = sent[: chance.choice((28, 48, 68, 128, 548))]
    if sent[:1] and sent[0] >> 4 == 6:
        kind, code, rest = chance.choice(((2, 0, 1280), (1, 0, 0), (3, 0, 0), (4, 1, 6), (2, 0, 100)))
        return b.ipv6(C6, A6, b.icmp6(kind, code, rest, quoted))
    errors = ((3, 4, 1300), (3, 4, 0), (3, 1, 0), (11, 0, 0), (12, 0, 5 << 24), (5, 1, 0))
    kind, code, rest = chance.choice(errors)
    return b.ipv4(C, A, b.icmp(kind, code, rest, quoted), protocol=b.IP_ICMP)


def mended(data: bytes, front: int) -> bytes:
    """The packet with the checksums of its IPv4 header, and of ICMP in it, right again."""
    made = bytearray(data)
    if len(made) < front + 20 or made[front] >> 4 != 4:
        return data
    size = (made[front] & 15) * 4
    if not 20 <= size <= len(made) - front:
        return data
    _sum(made, front, front + size, front + 10)
    end = min(len(made), front + int.from_bytes(made[front + 2 : front + 4], "big"))
    if made[front + 9] == b.IP_ICMP and end >= front + size + 4:
        _sum(made, front + size, end, front + size + 2)
    return bytes(made)


def _sum(made: bytearray, begin: int, end: int, at: int) -> None:
    made[at : at + 2] = bytes(2)
    made[at : at + 2] = internet_checksum(made[begin:end]).to_bytes(2, "big")


def framed(packet: bytes, is_frames: bool) -> bytes:
    """As it comes in by the underlay."""
    return b.ethernet(packet, to=MAC_A, origin=MAC_B) if is_frames else packet
