"""Packets for a tunnel that are as they should be, and packets that are not: groups for the oracle.

The outer packet goes to the guest, over the IP of the link's kind.  Each packet carries
its number in the inner payload, so that no two are alike.
"""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from scapy.utils import checksum

from tests.interop.kernel import GUEST_ADDRESS, GUEST_ADDRESS6
from tests.interop.oracle import GUEST_MAC, PEER_MAC, LinkSpec

CSUM, ROUTING, KEY, SEQ = 0x8000, 0x4000, 0x2000, 0x1000
IPV4, ARP_TYPE, IPV6, TEB, WCCP, MPLS, LOOPBACK = 0x0800, 0x0806, 0x86DD, 0x6558, 0x883E, 0x8847, 0x9000
REMOTE, REMOTE6 = "192.0.2.9", "2001:db8::9"
NUMBER = 42
OPTIONS = [c | k | s for c, k, s in itertools.product((0, CSUM), (0, KEY), (0, SEQ))]
_numbers = itertools.count(1)
#: Groups of packets, as they are made.
Named = Iterator[tuple[str, list[bytes]]]


def letters(flags: int) -> str:
    """ "CKS" of flags, "plain" of none."""
    return "".join(n for n, bit in (("C", CSUM), ("K", KEY), ("S", SEQ)) if flags & bit) or "plain"


def parameters(word: int) -> dict[str, Any]:
    """What a link is given that these options are for."""
    on: dict[str, Any] = {"csum": True} if word & CSUM else {}
    on |= {"key": NUMBER} if word & KEY else {}
    return on | ({"seq": True} if word & SEQ else {})


def options(spec: LinkSpec) -> int:
    """The options that a link was given, as flags."""
    names = {"csum": CSUM, "key": KEY, "seq": SEQ}
    return sum(flag for name, flag in names.items() if spec.parameters.get(name) is not None)


def inner4(size: int = 24, **fields: Any) -> bytes:
    """An IPv4 datagram whose payload is its number."""
    head = IP(**{"src": "10.9.0.1", "dst": "10.8.0.1", "ttl": 33, **fields})
    return bytes(head / UDP(sport=1000, dport=2000) / Raw(b"#%06x" % next(_numbers) + bytes(size - 7)))


def inner6(size: int = 7, **fields: Any) -> bytes:
    """An IPv6 datagram, likewise."""
    head = IPv6(**{"src": "2001:db8:9::1", "dst": "2001:db8:8::1", "hlim": 33, **fields})
    return bytes(head / UDP(sport=1000, dport=2000) / Raw(b"#%06x" % next(_numbers) + bytes(size - 7)))


def frame(packet: bytes | Packet, **fields: Any) -> bytes:
    """An Ethernet frame around it, to a host behind the tunnel."""
    given = {"src": "02:00:00:00:0a:01", "dst": "02:00:00:00:0a:02", **fields}
    if isinstance(packet, bytes) and "type" not in given:
        given["type"] = IPV6 if packet[0] >> 4 == 6 else IPV4
    return bytes(Ether(**given) / (Raw(packet) if isinstance(packet, bytes) else packet))


def gre(
    payload: bytes,
    protocol: int,
    word: int = 0,
    *,
    key: int = NUMBER,
    sequence: int = 1,
    spoil: int = 0,
) -> bytes:
    """A GRE packet: `word` holds the flags and version as they are sent, options follow C, K and S.

    spoil is added to the checksum.
    """
    data = struct.pack("!HH", word, protocol) + bytes(4 if word & CSUM else 0)
    data += struct.pack("!I", key) if word & KEY else b""
    data += struct.pack("!I", sequence & 0xFFFFFFFF) if word & SEQ else b""
    data += payload
    if word & CSUM:
        data = data[:4] + struct.pack("!H", (checksum(data) + spoil) & 0xFFFF) + data[6:]
    return data


def outer(payload: bytes, **fields: Any) -> bytes:
    """The frame on the underlay; `fields` are the outer IPv4 header's, in scapy's names."""
    head = IP(**{"src": REMOTE, "dst": GUEST_ADDRESS, "proto": 47, "flags": "DF", **fields})
    return bytes(Ether(src=PEER_MAC, dst=GUEST_MAC) / head / Raw(payload))


def outer6(payload: bytes, **fields: Any) -> bytes:
    """The same over IPv6; extension headers, if there are any, are in front of the payload."""
    head = IPv6(**{"src": REMOTE6, "dst": GUEST_ADDRESS6, "nh": 47, **fields})
    return bytes(Ether(src=PEER_MAC, dst=GUEST_MAC, type=IPV6) / head / Raw(payload))


class Stream:
    """Packets for one link: with the options it wants, and sequence numbers that go up."""

    def __init__(self, spec: LinkSpec, word: int) -> None:
        self.spec = spec
        self.word = word
        self._sequence = itertools.count(1)

    @property
    def protocol(self) -> int:
        return TEB if self.spec.is_frames else IPV4

    def payload(self) -> bytes:
        return frame(inner4()) if self.spec.is_frames else inner4()

    def gre(self, payload: bytes | None = None, protocol: int | None = None, **fields: Any) -> bytes:
        """One GRE packet that the link takes, but for what `fields` say."""
        given = {"word": self.word, "sequence": next(self._sequence), **fields}
        return gre(
            self.payload() if payload is None else payload,
            self.protocol if protocol is None else protocol,
            **given,
        )

    def outer(self, payload: bytes, tos: int = 0, **fields: Any) -> bytes:
        """The frame on the underlay from the link's remote; `tos` is the traffic class, too."""
        remote = self.spec.parameters["remote"]
        if self.spec.version == 6:
            return outer6(payload, **{"src": remote, "tc": tos, **fields})
        return outer(payload, **{"src": remote, "tos": tos, **fields})

    @property
    def least(self) -> int:
        """Bytes behind the outer IP header that gre_rcv asks for: those of the family's time."""
        return 16 if self.spec.version == 6 else 12

    def packet(self, payload: bytes | None = None, protocol: int | None = None, **fields: Any) -> bytes:
        """The same as a frame on the underlay."""
        return self.outer(self.gre(payload, protocol, **fields))


def streamed(specs: Iterable[LinkSpec], *makers: Callable[[Stream], Named]) -> dict[str, list[bytes]]:
    """What the makers of groups make for each link, of the options that it was given."""
    found: dict[str, list[bytes]] = {}
    for spec in specs:
        stream = Stream(spec, options(spec))
        for make in makers:
            found.update(make(stream))
    return found


def flag_word_groups(specs: Iterable[LinkSpec], count: int, together: int) -> dict[str, list[bytes]]:
    """That many words of flags and version, each at a link that has the options which it names."""
    streams = {options(spec): Stream(spec, options(spec)) for spec in specs}
    found: dict[str, list[bytes]] = {}
    for number, word in enumerate(flag_words(count)):
        group = found.setdefault(f"words {number // together * together}", [])
        group.append(streams[word & (CSUM | KEY | SEQ)].packet(word=word))
    return found


def header_groups(stream: Stream) -> Named:
    """Every C, K, S combination, wrong keys and checksums, and what ends too early."""
    name = stream.spec.name
    agreeing = [flags for flags in OPTIONS if not (flags ^ stream.word) & CSUM]
    others = [flags for flags in OPTIONS if flags not in agreeing]
    yield f"{name} good", [stream.packet() for _ in range(4)]
    yield f"{name} any K and S", [stream.packet(word=flags) for flags in agreeing * 2]
    yield f"{name} C against the setting", [stream.packet(word=flags) for flags in others * 2]
    keyed = [flags for flags in OPTIONS if flags & KEY]
    yield f"{name} wrong key", [stream.packet(word=flags, key=key) for flags in keyed for key in (0, 43)]
    summed = [(flags, by) for flags in OPTIONS if flags & CSUM for by in (1, 0x100, 0x8000)]
    yield f"{name} bad checksum", [stream.packet(word=flags, spoil=by) for flags, by in summed]
    whole = stream.gre()
    ethernet = 14 if stream.spec.is_frames else 0
    front = len(whole) - len(stream.payload()) + ethernet
    header = front - ethernet
    yield f"{name} cut in the headers", [stream.outer(whole[:n]) for n in range(header)]
    yield f"{name} cut below the least", [stream.outer(stream.gre()[:n]) for n in range(header, stream.least)]
    longer = range(front + 20, len(whole))
    yield f"{name} cut behind them", [stream.outer(stream.gre()[:size]) for size in longer]
    payload = stream.payload()
    room = max(0, stream.least - header)
    yield f"{name} short Ethernet header", [stream.packet(payload[:n]) for n in range(room, ethernet)]
    short = range(max(ethernet, room), ethernet + 20)
    yield f"{name} short inner header", [stream.packet(payload[:n]) for n in short]
    yield f"{name} short payload", [stream.packet(payload[:n]) for n in range(ethernet + 20, len(payload))]


def sequence_groups(stream: Stream) -> Named:
    """Numbers in and out of order, and the wrap; each group goes on where the last one ended."""
    streams: dict[str, Sequence[int]] = {
        "first is 5": [5],
        "in order": [6, 7, 8, 9],
        "old and duplicate": [9, 8, 5, 1, 0, 9],
        "gap": [20, 40, 41],
        "late in the gap": [21, 39, 30],
        "half around is old": [41 + 0x80000000 + 1, 41 + 0x80000000 + 2],
        "just less than half": [41 + 0x7FFFFFFF],
        "onto the wrap": [0xC0000000, 0xFFFFFFFE, 0xFFFFFFFF],
        "after the wrap": [0, 1, 2],
        "before the wrap again": [0xFFFFFFFF, 0xFFFFFFF0],
        "onto it once more": [0x7FFFFFFE, 0xFFFFFFF0, 0xFFFFFFFF, 0x12345678, 0x12345678, 0x12345679],
    }
    for name, numbers in streams.items():
        yield f"{stream.spec.name} {name}", [stream.packet(sequence=n) for n in numbers]
    missing = [stream.packet(word=stream.word & ~SEQ) for _ in range(3)]
    yield f"{stream.spec.name} number missing", missing
    chance = random.Random(3)
    around = [
        stream.packet(sequence=chance.choice((0, 0xFFFFFFFF)) ^ chance.getrandbits(4)) for _ in range(60)
    ]
    yield f"{stream.spec.name} around the wrap at random", around
    wild = [stream.packet(sequence=chance.getrandbits(32)) for _ in range(60)]
    yield f"{stream.spec.name} at random", wild


def flag_words(count: int) -> list[int]:
    """That many words of flags and version: each value of either byte, and others at random."""
    words = {high << 8 for high in range(256)} | set(range(256))
    words |= {flags | low for flags in OPTIONS for low in (1, 7, 8, 0x40, 0x80, 0x88)}
    chance = random.Random(1)
    while len(words) < count:
        words.add(chance.getrandbits(16) & chance.choice((0xFFFF, 0xBFFF, 0xBF80, 0x3F80)))
    return sorted(words)


def ecn_groups(stream: Stream) -> Named:
    """Every pair of outer and inner code points, for each inner protocol; DSCP bits differ."""
    for outer_ecn, inner_ecn in itertools.product(range(4), range(4)):
        packets = [(inner4(tos=0x28 | inner_ecn), IPV4), (inner6(tc=0x28 | inner_ecn), IPV6)]
        yield (
            f"{stream.spec.name} ecn {outer_ecn} over {inner_ecn}",
            [_marked(stream, packet, protocol, outer_ecn) for packet, protocol in packets],
        )
    arp = bytes(ARP())
    yield f"{stream.spec.name} ecn over ARP", [_marked(stream, arp, ARP_TYPE, ecn) for ecn in range(4)]


def _marked(stream: Stream, packet: bytes, protocol: int, ecn: int) -> bytes:
    if stream.spec.is_frames:
        packet, protocol = frame(packet, type=protocol), TEB
    return stream.outer(stream.gre(packet, protocol), tos=0xB8 | ecn)


def outer_groups(stream: Stream) -> Named:
    """What the outer Ethernet and IPv4 headers can have wrong."""
    name, remote = stream.spec.name, stream.spec.parameters["remote"]

    def one(**fields: Any) -> bytes:
        return outer(stream.gre(), src=remote, **fields)

    yield f"{name} padding", [one() + b"\xee" * size for size in (1, 4, 18, 46, 200)]
    size = len(one()) - 14
    for by in (-size, -(size - 19), -(size - 20), -(size - 24), -30, -8, -1, 1, 8, 1000):
        yield f"{name} total length off by {by}", [one(len=size + by)]
    yield f"{name} bad header checksum", [one(chksum=0x1234), one(chksum=0)]
    yield f"{name} version", [one(version=version) for version in (0, 3, 5, 6, 15)]
    yield f"{name} ihl", [one(ihl=ihl) for ihl in (0, 4, 6, 15)]
    yield f"{name} options", [one(options=[b"\x01" * 8]), one(options=[b"\x94\x04\0\0"])]
    yield f"{name} ttl", [one(ttl=t) for t in (0, 1, 255)]
    yield f"{name} tos", [one(tos=t << 2) for t in (0, 10, 46, 63)]
    yield f"{name} evil bit", [one(flags="evil+DF")]
    yield f"{name} another protocol", [one(proto=p) for p in (46, 48, 4, 41)]
    yield f"{name} to another card", [mac_changed(one(), "02:00:00:00:00:77")]
    yield f"{name} broadcast frame", [mac_changed(one(), "ff:ff:ff:ff:ff:ff")]
    whole = one(flags=0)
    yield f"{name} cut below IP", [whole[:size] for size in (14, 15, 20, 33)]
    yield f"{name} no DF", [one(flags=0)]


def fragment_groups(stream: Stream) -> Named:
    """One packet in three fragments."""
    payload = stream.gre()
    remote = stream.spec.parameters["remote"]
    cuts = [0, 24, 48, len(payload)]
    yield (
        f"{stream.spec.name} fragments",
        [
            outer(payload[a:b], src=remote, id=77, flags="MF" if b < len(payload) else 0, frag=a // 8)
            for a, b in itertools.pairwise(cuts)
        ],
    )


def mac_changed(packet: bytes, to: str) -> bytes:
    return bytes.fromhex(to.replace(":", "")) + packet[6:]


def protocol_groups(stream: Stream) -> Named:
    """Protocol types, known and unknown, and what WCCP makes of them."""
    name = stream.spec.name
    for protocol in (0, 1, 0x05DC, 0x05FF, 0x0600, IPV6, ARP_TYPE, MPLS, 0x8848, 0x8863, LOOPBACK, 0x880B,
                     0x88BE, 0x22EB, 0xFFFF):  # fmt: skip
        yield f"{name} protocol {protocol:#06x}", [stream.packet(protocol=protocol) for _ in range(2)]
    if not stream.spec.is_frames:
        yield f"{name} a frame", [stream.packet(frame(inner4()), TEB)]
    yield f"{name} inner IPv6", [stream.packet(inner6(), IPV6)]
    yield f"{name} type says IPv4 but is IPv6", [stream.packet(inner6(), IPV4)]
    yield (
        f"{name} inner length too long",
        [stream.packet(inner4(len=n), IPV4) for n in (60, 1500, 65535)],
    )
    yield (
        f"{name} inner length too short",
        [stream.packet(inner4(len=n), IPV4) for n in (0, 19, 20, 40)],
    )
    yield (
        f"{name} inner header wrong",
        [stream.packet(inner4(**f), IPV4) for f in ({"ihl": 3}, {"chksum": 1})],
    )
    yield f"{name} no inner header", [stream.packet(bytes(64), IPV4), stream.packet(b"\xff" * 64, IPV4)]


def wccp_groups(stream: Stream) -> Named:
    """WCCP version 1, version 2, and redirect headers that look like version 1's payload."""
    name = stream.spec.name
    yield f"{name} wccp 1", [stream.packet(inner4(), WCCP) for _ in range(3)]
    for first in (0x00, 0x80, 0xC0, 0x3F, 0x01):
        redirect = bytes([first, 0, 1, 2])
        yield f"{name} wccp 2 {first:#04x}", [stream.packet(redirect + inner4(), WCCP) for _ in range(2)]
    for first in (0x40, 0x45, 0x4F):
        redirect = bytes([first, 0, 1, 2])
        yield f"{name} wccp ambiguous {first:#04x}", [stream.packet(redirect + inner4(), WCCP)]
    for flags in OPTIONS[1:]:
        packets = [
            stream.packet(inner4(), WCCP, word=flags),
            stream.packet(bytes(4) + inner4(), WCCP, word=flags),
        ]
        yield f"{name} wccp with {letters(flags)}", packets
    yield f"{name} wccp recursion bits", [stream.packet(inner4(), WCCP, word=0x0100)]
    yield f"{name} wccp short", [stream.packet(bytes(size), WCCP) for size in range(8, 24)]


def addressed(kind: str, source: str, destination: str, key: int | None) -> bytes:
    """A packet for a tunnel of a kind, from and to these addresses."""
    payload, protocol = (frame(inner4()), TEB) if kind.endswith("tap") else (inner4(), IPV4)
    packet = gre(payload, protocol, 0 if key is None else KEY, key=key or 0)
    if kind.startswith("ip6"):
        return outer6(packet, src=source, dst=destination)
    made = outer(packet, src=source, dst=destination)
    return mac_changed(made, "01:00:5e:01:01:01") if destination.startswith("239") else made


def unclaimed_groups() -> Named:
    """Packets that no tunnel takes, for whose senders an error is, or is not."""

    def one(size: int = 24, source: str = "192.0.2.30", **fields: Any) -> bytes:
        return outer(gre(inner4(size), IPV4), src=source, **fields)

    yield "unclaimed sizes", [one(size) for size in (8, 24, 400, 495, 496, 497, 500, 1000, 1400)]
    for tos in (0, 2, 3, 0x10, 0x1E, 0xB8, 0xFF):
        yield f"unclaimed tos {tos:#04x}", [one(tos=tos)]
    yield "unclaimed ttl", [one(ttl=ttl) for ttl in (1, 2, 255)]
    yield "unclaimed flags", [one(flags=flags) for flags in ("", "DF", "evil")]
    yield "unclaimed options", [one(options=[b"\x01" * 4])]
    yield "unclaimed padding", [one() + bytes(30)]
    yield (
        "unclaimed protocols",
        [
            outer(gre(frame(inner4()), TEB), src="192.0.2.30"),
            outer(gre(inner4(), MPLS, KEY), src="192.0.2.30"),
            outer(gre(inner4(), IPV4, CSUM | KEY | SEQ), src="192.0.2.30"),
            outer(gre(inner4(), WCCP), src="192.0.2.30"),
        ],
    )
    sources = ("198.51.100.1", "224.0.0.1", "255.255.255.255", "0.0.0.0", "127.0.0.1", "240.0.0.1")
    for source in sources:
        yield f"unclaimed from {source}", [one(source=source)]
    yield "unclaimed group frame", [mac_changed(one(), "ff:ff:ff:ff:ff:ff")]


def inner_groups(kind: str) -> Named:
    """Frames for a link to send; an L3 link gets what is behind their Ethernet header."""
    flags = ("", "DF")
    yield "IPv4", [frame(inner4(flags=f, id=i, ttl=t)) for f in flags for i in (0, 7) for t in (1, 64, 255)]
    yield "IPv4 tos", [frame(inner4(tos=tos)) for tos in (*range(8), 0x48, 0xB9, 0xFF)]
    yield "IPv4 sizes", [frame(inner4(size)) for size in (7, 8, 9, 100, 1001, 1370)]
    yield "IPv6", [frame(inner6(tc=tc)) for tc in (*range(4), 0x48, 0xB9, 0xFF)]
    yield "ARP", [frame(ARP(), dst="ff:ff:ff:ff:ff:ff")]
    others = [
        frame(bytes([1, 2, 3, 4]) * 12, type=protocol) for protocol in (MPLS, LOOPBACK, 0x88B5, WCCP, TEB)
    ]
    yield "other protocols", others
    fragment = inner4(frag=10, flags="MF")
    yield "IPv4 fragment", [frame(fragment), frame(inner4(options=[b"\x01" * 4]))]
    if kind.endswith("tap"):
        yield "group frame", [frame(inner4(), dst="01:00:5e:00:00:05")]


def outer_mac(packet: bytes) -> bytes:
    """A frame to the guest with an inner packet, that the guest is to route."""
    return bytes(Ether(src=PEER_MAC, dst=GUEST_MAC, type=IPV6 if packet[0] >> 4 == 6 else IPV4) / Raw(packet))


def icmp_error(packet: bytes) -> tuple[int, int, int, bytes]:
    """Type, code, MTU or pointer, and quotation of an ICMP or ICMPv6 error."""
    message = packet[40:] if packet[0] >> 4 == 6 else packet[(packet[0] & 15) * 4 :]
    return message[0], message[1], int.from_bytes(message[4:8], "big"), message[8:]


def one_hop_on(packet: bytes) -> bytes:
    """The packet as a router passes it on."""
    if packet[0] >> 4 == 6:
        return packet[:7] + bytes([packet[7] - 1]) + packet[8:]
    seen = IP(packet)
    seen.ttl -= 1
    del seen.chksum
    return bytes(seen)
