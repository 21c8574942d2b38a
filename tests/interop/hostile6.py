"""What the outer IPv6 header, and the extension headers behind it, can have wrong: groups for the oracle.

What both families have in common (GRE headers, sequences, ECN …) is in tests.interop.hostile.
"""

from __future__ import annotations

import itertools
from typing import Any

from scapy.layers.inet6 import IPv6ExtHdrFragment

from tests.interop.hostile import (
    CSUM,
    IPV4,
    IPV6,
    KEY,
    MPLS,
    SEQ,
    TEB,
    WCCP,
    Named,
    Stream,
    frame,
    gre,
    inner4,
    inner6,
    mac_changed,
    outer6,
    parameters,
)
from tests.interop.kernel import GUEST_ADDRESS6
from tests.interop.oracle import LinkSpec

GRE, NO_NEXT, AUTHENTICATION, ENCRYPTED = 47, 59, 51, 50
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
#: An unknown option for each of the actions that its first two bits ask for (RFC 8200 4.2).
UNKNOWN = {"skip": 0x1E, "discard": 0x5E, "tell": 0x9E, "tell unless group": 0xDE}
Option = tuple[int, bytes]
KINDS = ("ip6gre", "ip6gretap")


def spec(name: str, kind: str, number: int, word: int = 0, **given: Any) -> LinkSpec:
    """A link to 2001:db8::(10 + number), a decimal number as it is written, with the options of `word`."""
    ends = {"local": GUEST_ADDRESS6, "remote": f"2001:db8::{10 + number}"}
    return LinkSpec(name, kind, ends | parameters(word) | given)


def options_header(following: int, *options: Option, units: int | None = None) -> bytes:
    """A hop-by-hop or destination options header, padded; `units` is its size as it claims."""
    body = b"".join(bytes([kind, len(value)]) + value for kind, value in options)
    room = -(2 + len(body)) % 8
    body += b"" if not room else bytes(1) if room == 1 else bytes([1, room - 2]) + bytes(room - 2)
    return bytes([following, (2 + len(body)) // 8 - 1 if units is None else units]) + body


def limit(number: int) -> Option:
    return (4, bytes([number]))


def chained(stream: Stream, *headers: tuple[int, Any], **fields: Any) -> bytes:
    """A packet whose GRE stands behind extension headers: numbers, with what follows as a function."""
    numbers = [number for number, _ in headers[1:]] + [GRE]
    data = b"".join(make(following) for (_, make), following in zip(headers, numbers, strict=True))
    return stream.outer(data + stream.gre(), nh=headers[0][0] if headers else GRE, **fields)


def opts(*options: Option, units: int | None = None) -> Any:
    return lambda following: options_header(following, *options, units=units)


def _pads(count: int) -> Any:
    """A header of that many Pad1."""
    return lambda following: bytes([following, (2 + count) // 8 - 1]) + bytes(count)


def routing(kind: int, left: int, size: int = 0) -> Any:
    return lambda following: bytes([following, size, kind, left]) + bytes(4 + 8 * size)


def fragment(offset: int, more: int, number: int = 5) -> Any:
    return lambda following: bytes(IPv6ExtHdrFragment(nh=following, offset=offset, m=more, id=number))


def option_groups(stream: Stream) -> Named:
    """Hop-by-hop and destination options: known ones, unknown ones by what they ask for, malformed ones."""
    name = stream.spec.name
    for where, number in (("hop-by-hop", HOP_BY_HOP), ("destination", DESTINATION)):

        def one(*options: Option, units: int | None = None, at: int = number) -> bytes:
            return chained(stream, (at, opts(*options, units=units)))

        yield f"{name} {where} padding", [one(), one((1, bytes(3)), (0x1E, b"")), one((1, b""))]
        yield f"{name} {where} too much padding", [one((1, bytes(9))), chained(stream, (number, _pads(14)))]
        for action, kind in UNKNOWN.items():
            yield f"{name} {where} unknown, {action}", [one((kind, b"ab")), one((kind, b""))]
            yield (
                f"{name} {where} unknown behind others, {action}",
                [one((1, b""), (0x1E, b""), (kind, b"abc"))],
            )
        yield f"{name} {where} reaches beyond its header", [one((0x1E, bytes(3)), units=0)[:-1]]
        claims = [
            chained(stream, (number, lambda f: bytes([f, 0, 0x1E, 9]) + bytes(4))),
            chained(stream, (number, lambda f: bytes([f, 0, 0, 0, 0, 0, 0, 0x1E]))),
            chained(stream, (number, lambda f: bytes([f, 0, 1, 5]) + bytes(4))),
        ]
        yield f"{name} {where} malformed", claims
        yield (
            f"{name} {where} padding not zero",
            [chained(stream, (number, lambda f: bytes([f, 0, 1, 4]) + b"abcd"))],
        )
        yield f"{name} {where} much padding", [chained(stream, (number, lambda f: bytes([f, 0]) + bytes(6)))]
        yield f"{name} {where} beyond the packet", [one(units=200), one(units=255)]
    yield f"{name} limit", [chained(stream, (DESTINATION, opts(limit(n)))) for n in (0, 1, 4, 255)]
    yield f"{name} limit of another size", [chained(stream, (DESTINATION, opts((4, b""))))]
    yield f"{name} router alert", [chained(stream, (HOP_BY_HOP, opts((5, bytes(2)))))]
    yield f"{name} jumbo", [chained(stream, (HOP_BY_HOP, opts((0xC2, (70000).to_bytes(4, "big")))))]
    yield f"{name} home address", [chained(stream, (DESTINATION, opts((0xC9, bytes(16)))))]


def chain_groups(stream: Stream) -> Named:
    """Which extension headers stand in front of GRE, and in which order."""
    name = stream.spec.name
    plain = {HOP_BY_HOP: opts(), DESTINATION: opts(limit(4)), ROUTING: routing(0, 0)}
    words = {HOP_BY_HOP: "H", DESTINATION: "D", ROUTING: "R"}
    for size in (1, 2, 3):
        for order in itertools.product(plain, repeat=size):
            text = "".join(words[number] for number in order)
            yield f"{name} chain {text}", [chained(stream, *((number, plain[number]) for number in order))]
    long = [(DESTINATION, opts())] * 9
    yield f"{name} chain of many", [chained(stream, *long[:n]) for n in (4, 7, 8, 9)]
    for kind in (0, 1, 2, 3, 4, 5, 250):
        for left in (0, 1, 2):
            yield (
                f"{name} routing type {kind} left {left}",
                [chained(stream, (ROUTING, routing(kind, left, 2)))],
            )
    yield f"{name} atomic fragment", [chained(stream, (FRAGMENT, fragment(0, 0)))]
    both = ((DESTINATION, opts(limit(4))), (FRAGMENT, fragment(0, 0, 6)))
    yield f"{name} atomic fragment behind options", [chained(stream, *both)]
    behind = ((FRAGMENT, fragment(0, 0, 7)), (DESTINATION, opts(limit(4))))
    yield f"{name} atomic fragment in front of options", [chained(stream, *behind)]
    for number in (NO_NEXT, AUTHENTICATION, ENCRYPTED, 46, 48, 135, 139, 140, 253):
        yield f"{name} next header {number}", [stream.outer(stream.gre(), nh=number)]
    whole = chained(stream, (DESTINATION, opts(limit(4))))
    front = 62 + len(stream.gre(b""))
    yield f"{name} cut in the headers", [_claimed(whole[:size]) for size in range(54, front)]
    least = front + (14 if stream.spec.is_frames else 0) + 20
    yield f"{name} cut behind the headers", [_claimed(whole[:size]) for size in range(least, len(whole))]


def _claimed(packet: bytes) -> bytes:
    """The same with a payload length that says what is there."""
    return packet[:18] + (len(packet) - 54).to_bytes(2, "big") + packet[20:]


def outer_groups(stream: Stream) -> Named:
    """What the outer Ethernet and IPv6 headers can have wrong."""
    name = stream.spec.name

    def one(**fields: Any) -> bytes:
        return stream.outer(stream.gre(), **fields)

    yield f"{name} padding", [one() + b"\xee" * size for size in (1, 4, 18, 46, 200)]
    size = len(stream.gre())
    for by in (-size, -(size - 4), -(size - 15), -30, -8, -1, 1, 8, 1000):
        yield f"{name} payload length off by {by}", [one(plen=size + by)]
    yield f"{name} version", [one(version=version) for version in (0, 3, 4, 5, 7, 15)]
    yield f"{name} flow label", [one(fl=label) for label in (1, 0x12345, 0xFFFFF)]
    yield f"{name} hop limit", [one(hlim=h) for h in (0, 1, 255)]
    yield f"{name} traffic class", [one(tos=t << 2) for t in (0, 10, 46, 63)]
    yield f"{name} to another card", [mac_changed(one(), "02:00:00:00:00:77")]
    yield f"{name} broadcast frame", [mac_changed(one(), "ff:ff:ff:ff:ff:ff")]
    yield f"{name} group frame", [mac_changed(one(), "33:33:00:00:00:01")]
    whole = one()
    yield f"{name} cut below IP", [whole[:size] for size in (14, 15, 20, 53)]


def fragment_groups(stream: Stream) -> Named:
    """One packet in three fragments."""
    payload = stream.gre()
    cuts = [0, 24, 48, len(payload)]
    yield (
        f"{stream.spec.name} fragments",
        [
            stream.outer(fragment(a // 8, int(b < len(payload)), 77)(GRE) + payload[a:b], nh=FRAGMENT)
            for a, b in itertools.pairwise(cuts)
        ],
    )


def unclaimed_groups() -> Named:
    """Packets that no tunnel takes, for whose senders an error is, or is not."""

    def one(size: int = 24, source: str = "2001:db8::30", **fields: Any) -> bytes:
        return outer6(gre(inner4(size), IPV4), src=source, **fields)

    yield "unclaimed sizes", [one(size) for size in (8, 24, 400, 1100, 1155, 1156, 1157, 1160, 1200, 1400)]
    for tos in (0, 2, 3, 0x10, 0xB8, 0xFF):
        yield f"unclaimed traffic class {tos:#04x}", [one(tc=tos)]
    yield "unclaimed hop limit", [one(hlim=h) for h in (1, 2, 255)]
    yield "unclaimed flow label", [one(fl=0x12345)]
    yield "unclaimed padding", [one() + bytes(30)]
    yield (
        "unclaimed protocols",
        [
            outer6(gre(frame(inner4()), TEB), src="2001:db8::30"),
            outer6(gre(inner6(), IPV6), src="2001:db8::30"),
            outer6(gre(inner4(), MPLS, KEY), src="2001:db8::30"),
            outer6(gre(inner4(), IPV4, CSUM | KEY | SEQ), src="2001:db8::30"),
            outer6(gre(inner6(), WCCP), src="2001:db8::30"),
        ],
    )
    behind = options_header(GRE, limit(4)) + gre(inner4(), IPV4)
    yield "unclaimed behind options", [outer6(behind, src="2001:db8::30", nh=DESTINATION)]
    for source in ("2001:db8:5::1", "ff02::1", "::", "::1", "::ffff:192.0.2.9"):
        yield f"unclaimed from {source}", [one(source=source)]
    yield "unclaimed group frame", [mac_changed(one(), "33:33:00:00:00:01")]


def wccp_groups(stream: Stream) -> Named:
    """Protocol type 0x883E over IPv6: by the first nibble, the redirect header is skipped or is not."""
    name = stream.spec.name
    redirects = [bytes([first, 0, 1, 2]) for first in (0x00, 0x80, 0xC0, 0x3F)]
    yield f"{name} wccp behind a redirect header", [stream.packet(r + inner6(), WCCP) for r in redirects]
    ambiguous = bytes([0x60, 0, 1, 2]) + inner6()
    yield f"{name} wccp ambiguous", [stream.packet(ambiguous, WCCP)]
    yield f"{name} wccp IPv6 at once", [stream.packet(inner6(), WCCP)]
    yield f"{name} wccp IPv4 at once", [stream.packet(inner4(), WCCP)]
    yield f"{name} wccp IPv4 behind a redirect header", [stream.packet(redirects[0] + inner4(), WCCP)]
    for flags in (KEY, SEQ, KEY | SEQ):
        yield f"{name} wccp with options {flags:#06x}", [stream.packet(bytes(4) + inner6(), WCCP, word=flags)]
    yield f"{name} wccp recursion bits", [stream.packet(bytes(4) + inner6(), WCCP, word=0x0100)]
    yield f"{name} wccp short", [stream.packet(bytes(size), WCCP) for size in range(12, 24)]


def inner_groups(remote: str) -> Named:
    """Inner IPv6 packets with what a tunnel over IPv6 looks at: labels, limits, extension headers."""
    yield "IPv6 labels", [frame(inner6(fl=label)) for label in (0, 1, 0x12345, 0xFFFFF)]
    yield "IPv6 hop limits", [frame(inner6(hlim=h)) for h in (1, 64, 255)]
    for number in (1, 2, 200, 255):
        yield f"IPv6 with a limit of {number}", [frame(with_options(DESTINATION, limit(number)))]
    yield (
        "IPv6 other options",
        [frame(with_options(DESTINATION, (0x1E, b"ab"))), frame(with_options(HOP_BY_HOP))],
    )
    yield "IPv6 from the remote's address", [frame(inner6(src="2001:db8::20"))]


def with_options(number: int, *options: Option) -> bytes:
    """An inner IPv6 packet with an options header in front of UDP."""
    packet = inner6()
    header = options_header(packet[6], *options)
    length = int.from_bytes(packet[4:6], "big") + len(header)
    return packet[:4] + length.to_bytes(2, "big") + bytes([number]) + packet[7:40] + header + packet[40:]
