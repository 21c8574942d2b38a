"""Random dataplanes and random packets for them: valid, odd and broken GRE, WCCP, Ethernet and IP.

A world's configuration is plain data, so that the same one can be built twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.plane import L2, L3, MAC_A, MAC_B
from vdp.config.model import RuleSection
from vdp.forwarding.routes import Route
from vdp.forwarding.rules import compile_rule
from vdp.links.link import LinkError
from vdp.protocols.ethernet import format_mac
from vdp.testing import builders as b
from vdp.testing.dataplane import Dataplane

LOCALS = ("192.0.2.1", "192.0.2.3", "any")
REMOTES = ("192.0.2.2", "192.0.2.4", "any", "239.1.1.1")
KEYS = (None, 0, 42)
MEMBERS = ("lan-a", "lan-b", "tun-a", "tun-b")
BRIDGED = ("lan-a", "lan-b", "underlay", "link0", "link1", "link2")
STATIONS = (
    format_mac(MAC_A),
    format_mac(MAC_B),
    "ff:ff:ff:ff:ff:ff",
    "01:80:c2:00:00:0e",
    "33:33:00:00:00:01",
)


@dataclass(frozen=True)
class World:
    """What one dataplane is made of."""

    underlay: str  # l2, l3 or mac: an Ethernet port with an address
    links: tuple[tuple[str, dict[str, Any]], ...]  # kind and parameters; link i is named linki
    bridged: frozenset[str]
    connected: bool
    routes: tuple[tuple[str, str], ...]
    rules: tuple[dict[str, Any], ...]

    def build(self, plane: Dataplane) -> None:
        """Make it so; what the link kinds refuse (duplicates) is left out."""
        plane.port(
            "underlay", L3 if self.underlay == "l3" else L2, mac=MAC_B if self.underlay == "mac" else None
        )
        for name in MEMBERS:
            plane.port(name, L2 if name.startswith("lan") else L3, mtu=1500)
        made = []
        for number, (kind, parameters) in enumerate(self.links):
            try:
                made.append(plane.link(f"link{number}", kind, **parameters))
            except LinkError:
                continue
        frames: list[str] = [name for name in ("lan-a", "lan-b", "underlay") if name in self.bridged]
        frames = [n for n in frames if n != "underlay" or self.underlay != "l3"]
        frames += [link.name for link in made if link.packet_type is L2 and link.name in self.bridged]
        if len(frames) > 1:
            plane.bridge("br0", *frames)
        layer3 = [link.name for link in made if link.packet_type is L3]
        if self.connected and layer3:
            plane.connect("tun-a", layer3[0])
        names = {link.name for link in made} | set(MEMBERS)
        plane.route(*(Route(ip_network(net), via) for net, via in self.routes if via in names))
        wanted = [rule for rule in self.rules if _names(rule) <= names]
        plane.datapath.forwarding.rules = tuple(compile_rule(RuleSection.model_validate(r)) for r in wanted)

    def ports(self) -> list[str]:
        """Where packets may come in."""
        return ["underlay", *MEMBERS, *(f"link{number}" for number in range(len(self.links)))]


def _names(rule: dict[str, Any]) -> set[str]:
    """Ports and links that a rule names."""
    outputs = {action.removeprefix("output:") for action in rule["actions"] if action.startswith("output:")}
    return outputs | ({rule["match"]["in_port"]} if "in_port" in rule["match"] else set())


@st.composite
def links(draw: DrawFn) -> tuple[str, dict[str, Any]]:
    parameters: dict[str, Any] = {
        "local": draw(st.sampled_from(LOCALS)),
        "remote": draw(st.sampled_from(REMOTES)),
    }
    if parameters["remote"] == "239.1.1.1":
        parameters["local"] = "192.0.2.1"
    key = draw(st.sampled_from(KEYS))
    if key is not None:
        parameters[draw(st.sampled_from(("key", "ikey", "okey")))] = key
    for flag in ("csum", "seq"):
        word = draw(st.sampled_from((None, flag, f"i{flag}", f"o{flag}")))
        if word:
            parameters[word] = True
    parameters["ttl"] = draw(st.sampled_from(("inherit", 0, 7, 64)))
    parameters["tos"] = draw(st.sampled_from(("inherit", 0, 0x20, 0xFF)))
    parameters["pmtudisc"] = draw(st.booleans())
    parameters["ignore_df"] = draw(st.booleans()) and not parameters["pmtudisc"]
    parameters["up"] = draw(st.integers(0, 7)) > 0
    return draw(st.sampled_from(("gre", "gretap"))), parameters


@st.composite
def rules(draw: DrawFn) -> dict[str, Any]:
    """A rule with any of the match fields, prerequisites kept."""
    match: dict[str, Any] = {}
    if draw(st.booleans()):
        match["in_port"] = draw(st.sampled_from(("underlay", *MEMBERS, "link0", "link1")))
    for field in ("eth_src", "eth_dst"):
        if draw(st.integers(0, 3)) == 0:
            match[field] = draw(
                st.sampled_from((STATIONS[0], STATIONS[1], "01:00:00:00:00:00/01:00:00:00:00:00"))
            )
    kind = draw(st.sampled_from((None, "ip", "ipv6", "arp", "ip", "ip")))
    if kind:
        match["eth_type"] = kind
    for field in ("ip_src", "ip_dst"):
        if kind in ("ip", "ipv6") and draw(st.booleans()):
            nets = (
                ("10.0.0.0/8", "10.0.0.1", "192.0.2.0/31")
                if kind == "ip"
                else ("2001:db8::/33", "2001:db8::1")
            )
            match[field] = draw(st.sampled_from(nets))
    if kind in ("ip", "ipv6") and draw(st.booleans()):
        match["ip_proto"] = draw(st.sampled_from(("tcp", "udp", "gre", "icmp")))
        if match["ip_proto"] in ("tcp", "udp") and draw(st.booleans()):
            match[draw(st.sampled_from(("tp_src", "tp_dst")))] = draw(st.sampled_from((53, 80, 1000)))
    if draw(st.integers(0, 3)) == 0:
        match["reg0"] = draw(st.sampled_from((0, 7, "0x1/0xff")))
    targets = ["underlay", *MEMBERS, "link0", "link1"]
    one = st.sampled_from(["drop", "flood", "normal", *(f"output:{name}" for name in targets)])
    actions = draw(st.lists(one, min_size=1, max_size=3))
    return {"priority": draw(st.integers(1, 9)), "match": match, "actions": actions}


@st.composite
def worlds(draw: DrawFn) -> World:
    networks = (
        "10.0.0.0/8",
        "10.0.0.0/30",
        "10.0.0.2/32",
        "192.0.2.0/25",
        "2001:db8::/32",
        "2001:db8::2/128",
    )
    hops = st.tuples(
        st.sampled_from(networks), st.sampled_from(("tun-a", "tun-b", "link0", "link1", "lan-a"))
    )
    return World(
        underlay=draw(st.sampled_from(("l2", "l3", "mac"))),
        links=tuple(draw(st.lists(links(), min_size=1, max_size=4))),
        bridged=frozenset(draw(st.sets(st.sampled_from(BRIDGED))))
        | draw(st.sampled_from(({"lan-a", "link0"}, set()))),
        connected=draw(st.booleans()),
        routes=tuple(draw(st.lists(hops, max_size=4, unique_by=lambda hop: hop[0]))),
        rules=tuple(draw(st.lists(rules(), max_size=3))),
    )


# -- packets ---------------------------------------------------------------------------------


@st.composite
def ip_packets(draw: DrawFn) -> bytes:
    """An IPv4 or IPv6 packet of TCP, UDP or ICMP."""
    data = draw(st.binary(max_size=40))
    kinds: tuple[b.Payload, ...] = (b.tcp(1000, 80, data), b.udp(53, 1000, data), b.icmp(8, payload=data))
    payload = draw(st.sampled_from(kinds))
    protocol = b.IP_ICMP if isinstance(payload, bytes) else None
    tos, ttl = draw(st.sampled_from((0, 1, 2, 3, 0xB8))), draw(st.sampled_from((0, 1, 2, 64)))
    ends = st.sampled_from((1, 2, 3, 5))
    if draw(st.booleans()):
        return b.ipv4(
            f"10.0.0.{draw(ends)}", f"10.0.0.{draw(ends)}", payload, protocol=protocol, tos=tos, ttl=ttl,
            flags=draw(st.sampled_from((0, 2, 2, 1))), fragment=draw(st.sampled_from((0, 0, 0, 8))),
            options=draw(st.sampled_from((b"", b"", b"\1\1\1\1"))), id=draw(st.integers(0, 3)),
        )  # fmt: skip
    return b.ipv6(
        f"2001:db8::{draw(ends)}", f"2001:db8::{draw(ends)}", payload, next_header=protocol,
        traffic_class=tos,
        hop_limit=ttl,
    )  # fmt: skip


def frames(payloads: SearchStrategy[bytes]) -> SearchStrategy[bytes]:
    """Ethernet frames: IP, VLAN-tagged, ARP, 802.3."""

    @st.composite
    def one(draw: DrawFn) -> bytes:
        ends: dict[str, Any] = {
            "to": draw(st.sampled_from(STATIONS)),
            "origin": draw(st.sampled_from((*STATIONS, "00:00:00:00:00:00"))),
        }
        shape = draw(st.sampled_from(("ip", "ip", "vlan", "qinq", "arp", "length")))
        if shape == "arp":
            request = b.arp(
                1, STATIONS[0], "192.0.2.9", "00:00:00:00:00:00", draw(st.sampled_from(LOCALS[:2]))
            )
            return b.ethernet(request, **ends, ethertype=b.ETH_ARP)
        if shape == "length":
            return b.ethernet(draw(st.binary(min_size=3, max_size=60)), **ends, ethertype=38)
        frame = b.ethernet(draw(payloads), **ends)
        if shape in ("vlan", "qinq"):
            frame = b.vlan(frame, draw(st.integers(0, 3)))
        return b.vlan(frame, 5, tpid=0x88A8) if shape == "qinq" else frame

    return one()


@st.composite
def tunnelled(draw: DrawFn) -> bytes:
    """An outer IPv4 packet with GRE inside, of every shape that somebody takes or refuses."""
    protocol = draw(st.sampled_from((0x0800, 0x86DD, 0x6558, 0x6558, 0x883E, 0x88BE, 0x0000, 0x2001)))
    inner = draw(frames(ip_packets())) if protocol == 0x6558 else draw(ip_packets())
    if protocol == 0x883E and draw(st.booleans()):
        inner = draw(st.binary(min_size=4, max_size=4)) + inner
    flags = draw(st.sampled_from((0, 0, 0, 0, 0, 0x4000, 0x0800, 0x0300, 0x0080, 0x0001, 0x0008)))
    packet = b.gre(
        inner, protocol, key=draw(st.sampled_from(KEYS)), sequence=draw(st.sampled_from((None, None, 0, 5,
        0xFFFFFFFF))),
        csum=draw(st.booleans()), checksum=draw(st.sampled_from((None, None, None, 7))), flags=flags,
    )  # fmt: skip
    return b.ipv4(
        draw(st.sampled_from(("192.0.2.2", "192.0.2.4", "192.0.2.9", "0.0.0.0"))),
        draw(st.sampled_from(("192.0.2.1", "192.0.2.3", "239.1.1.1", "255.255.255.255"))),
        packet, protocol=draw(st.sampled_from((47, 47, 47, 47, 47, 17))),
        tos=draw(st.sampled_from((0, 1, 2, 3, 0x28))), flags=draw(st.sampled_from((2, 2, 2, 0, 1))),
        fragment=draw(st.sampled_from((0, 0, 0, 0, 3))), options=draw(st.sampled_from((b"", b"",
        b"\1\1\1\0"))),
        checksum=draw(st.sampled_from((None, None, None, 1))),
        total_length=draw(st.sampled_from((None, None, None, 28, 20, 10, 60000))),
    )  # fmt: skip


def broken(packets: SearchStrategy[bytes]) -> SearchStrategy[bytes]:
    """The same, some cut short, padded, or with bytes of their own."""

    @st.composite
    def one(draw: DrawFn) -> bytes:
        data = bytearray(draw(packets))
        way = draw(st.sampled_from(("whole", "whole", "whole", "cut", "padded", "spoilt")))
        if way == "cut":
            del data[draw(st.integers(1, len(data))) :]
        elif way == "padded":
            data += bytes(draw(st.integers(1, 30)))
        elif way == "spoilt":
            for _ in range(draw(st.integers(1, 3))):
                data[draw(st.integers(0, min(len(data), 90) - 1))] = draw(st.integers(0, 255))
        return bytes(data)

    return one()


@st.composite
def addressed(draw: DrawFn, world: World) -> bytes:
    """What one of the world's links should take: its addresses, its key, its flags."""
    kind, parameters = draw(st.sampled_from(world.links))
    remote = parameters["remote"] if parameters["remote"] in REMOTES[:2] else "192.0.2.4"
    local = parameters["local"] if parameters["local"] != "any" else "192.0.2.3"
    if parameters["remote"] == "239.1.1.1" and draw(st.booleans()):
        local = "239.1.1.1"
    inner = draw(frames(ip_packets())) if kind == "gretap" else draw(ip_packets())
    protocol = 0x6558 if kind == "gretap" else b.ETH_IPV6 if inner[0] >> 4 == 6 else b.ETH_IPV4
    if protocol == b.ETH_IPV4 and draw(st.integers(0, 3)) == 0:
        protocol, inner = 0x883E, draw(st.sampled_from((b"", b"\x80\7\1\2"))) + inner
    packet = b.gre(
        inner, protocol, key=parameters.get("key", parameters.get("ikey")),
        sequence=draw(st.integers(0, 9)) if "seq" in parameters or "iseq" in parameters else None,
        csum="csum" in parameters or "icsum" in parameters,
    )  # fmt: skip
    return b.ipv4(remote, local, packet, protocol=47, tos=draw(st.sampled_from((0, 1, 2, 3))))


@st.composite
def arrivals(draw: DrawFn, world: World, ports: tuple[str, ...] | None = None) -> tuple[str, bytes]:
    """A port or link, and a packet that may come in there."""
    known = ports if ports is not None else tuple(world.ports())
    port = draw(st.sampled_from((*known, *["underlay"] * (2 * len(known) // 3))))
    is_frame = port.startswith("lan") or (port == "underlay" and world.underlay != "l3")
    if port.startswith("link"):
        is_frame = world.links[int(port[4:])][0] == "gretap"
    payloads = ip_packets()
    if port == "underlay":
        if draw(st.booleans()):
            packet = draw(addressed(world))
            whole = b.ethernet(packet, to=STATIONS[1]) if is_frame else packet
            return port, draw(broken(st.just(whole))) if draw(st.booleans()) else whole
        payloads = draw(st.sampled_from((tunnelled(), tunnelled(), ip_packets())))
    return port, draw(broken(frames(payloads) if is_frame else payloads))
