"""All 65,536 words of flags and version, under each policy (`[plugin.gre] flags`)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.plane import L3, A, B, MakePlane
from vdp.engine.interface import Engine, EngineConfig
from vdp.links.gre_demux import FlagPolicy
from vdp.testing.builders import internet_checksum, ipv4, udp
from vdp.testing.reference import ReferenceEngine

CSUM, ROUTING, KEY, SEQ, STRICT, RECURSION, VERSION = 0x8000, 0x4000, 0x2000, 0x1000, 0x0800, 0x0700, 0x0007
INNER = ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, b"hello"))
#: What the word is taken for: it reaches a link, whose `csum` then does not agree, or is right.
CHECKSUM, PASSED = "tunnel_checksum_policy", ""
CHUNK = 512


def linux(word: int) -> str:
    """gre_rcv: data[1] & 0x7f is the version, and there are none but 0; parse_gre_header: no routing."""
    if word & 0x7F:
        return "tunnel_version"
    return "tunnel_routing" if word & ROUTING else taken(word)


def rfc2784(word: int) -> str:
    """2.3: bits 1, 4 and 5 must be zero, 6 to 12 are ignored; 2.3.2: so must the version."""
    if word & VERSION:
        return "tunnel_version"
    if word & ROUTING:
        return "tunnel_routing"
    return "tunnel_reserved" if word & (STRICT | 0x0400) else taken(word)


def strict(word: int) -> str:
    """Nothing but C, K and S."""
    if word & VERSION:
        return "tunnel_version"
    if word & ROUTING:
        return "tunnel_routing"
    return "tunnel_reserved" if word & ~(CSUM | KEY | SEQ) else taken(word)


def taken(word: int) -> str:
    return CHECKSUM if word & CSUM else PASSED


def packet(word: int) -> bytes:
    """With the options that the word announces, the checksum right."""
    header = bytearray(word.to_bytes(2, "big") + b"\x08\x00")
    header += bytes(4) if word & CSUM else b""
    header += (42).to_bytes(4, "big") if word & KEY else b""
    header += bytes(4) if word & SEQ else b""
    if word & CSUM:
        header[4:6] = internet_checksum(bytes(header) + INNER).to_bytes(2, "big")
    return ipv4(B, A, bytes(header) + INNER, protocol=47)


@pytest.mark.conformance("C2", "C3", "C6", "C11", "C12")
@pytest.mark.parametrize("policy", [linux, rfc2784, strict])
def test_every_word_is_classified(
    make_plane: MakePlane,
    engine_class: Callable[[EngineConfig], Engine],
    policy: Callable[[int], str],
) -> None:
    plane = make_plane(upcall_rate=0, action_rate=0)
    plane.datapath.gre.policy = FlagPolicy(policy.__name__)
    plane.port("underlay", L3)
    plane.port("lan", L3)
    for name, key in (("gre1", {}), ("gre2", {"key": 42})):
        plane.link(name, "gre", local=A, remote=B, **key)
    plane.connect("lan", "gre1")
    by_fate: dict[str, list[int]] = {}
    for word in range(0, 0x10000, 1 if engine_class is not ReferenceEngine else 37):
        by_fate.setdefault(policy(word), []).append(word)
    for fate, words in by_fate.items():
        before = plane.drops("underlay")
        for at in range(0, len(words), CHUNK):
            plane.send("underlay", *(packet(word) for word in words[at : at + CHUNK]))
            plane.received("lan")
        dropped = {
            reason: count - before.get(reason, 0)
            for reason, count in plane.drops("underlay").items()
            if count != before.get(reason, 0)
        }
        assert dropped == ({fate: len(words)} if fate else {}), fate
    passed = plane.stats("gre1").offered + plane.stats("gre2").offered
    assert passed == len(by_fate[PASSED])
