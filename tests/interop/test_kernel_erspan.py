"""ERSPAN in the kernel and in vdp, over IPv4 and IPv6: the same frames in, field by field.

What differs, and why, is in DIFFERENCES (tests.interop.compare), and is asserted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.interop import hostile
from tests.interop.compare import ALL, Difference, check, run_receive, without_id
from tests.interop.hostile import SEQ, Stream, frame, inner4, inner6
from tests.interop.kernel import GUEST_ADDRESS, GUEST_ADDRESS6
from tests.interop.oracle import KernelOracle, LinkSpec, VdpOracle

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]
KINDS = ("erspan", "ip6erspan")
PLUGINS = ("gre", "gretap", "ip6gre", "erspan")
TYPE_II, TYPE_III = 0x88BE, 0x22EB
SESSION = 5
#: Of the third byte of the base header.
COS, BSO = 0xE0, 0x18
#: Where the ECN field of an outer IPv6 header is in a frame.
ECN_AT, ECN_BITS = 15, 0x30

DIFFERENCES = [
    Difference(
        "* header cut", "L7",
        "Linux finds no tunnel for what ends within its ERSPAN header, and tells the sender (PACKET_REJECT);"
        " vdp drops it",
        kernel={"sent": ALL}, vdp={},
    ),
    Difference(
        "* unknown version", "L9",
        "Linux takes any version for type II or I by its header's length; vdp refuses what is none",
        kernel={"out": ALL, "rx_packets": ALL}, vdp={},
    ),
    Difference(
        "* frame of another type", "L8",
        "Linux does not look at the frame type, and passes on what is no Ethernet frame; vdp refuses it",
        kernel={"out": ALL, "rx_packets": ALL}, vdp={},
    ),
    Difference(
        "* optional part", "L8",
        "Linux takes the platform's eight bytes for the frame's first; vdp skips them (the bytes differ)",
        kernel={"out": ALL, "rx_packets": ALL}, vdp={"out": ALL, "rx_packets": ALL},
    ),
    *(
        Difference(
            f"ip6erspan {name}", "L18",
            "Linux leaves the encapsulation limit out in front of what is not IP, and writes the CoS of an"
            " IPv6 packet into it; vdp sends the limit with every frame (the bytes differ)",
            kernel={"sent": ALL, "tx_packets": ALL}, vdp={"sent": ALL, "tx_packets": ALL},
        )
        for name in ("ARP", "other protocols")
    ),
]  # fmt: skip


def spec(kind: str, name: str = "er", **given: Any) -> LinkSpec:
    ends = (GUEST_ADDRESS6, "2001:db8::11") if kind == "ip6erspan" else (GUEST_ADDRESS, "192.0.2.11")
    parameters = {"local": ends[0], "remote": ends[1], "key": SESSION, "seq": True, "erspan_ver": 1}
    return LinkSpec(name, kind, parameters | given)


def header(version: int, session: int = SESSION, first: int = 0, third: int = 0x8000) -> bytes:
    """The ERSPAN header of a version nibble: 8 bytes, or 12 of version 2; `third` is its last half word."""
    base = (version << 28 | first << 10 | session).to_bytes(4, "big")
    return base + (bytes(6) + third.to_bytes(2, "big") if version == 2 else bytes(4))


class Mirror(Stream):
    """Packets for an ERSPAN link, in sequence."""

    def mirrored(self, head: bytes, protocol: int = TYPE_II, payload: bytes | None = None) -> bytes:
        return self.packet(head + (frame(inner4()) if payload is None else payload), protocol)


def groups_of(stream: Mirror) -> Iterator[tuple[str, list[bytes]]]:
    yield "II", [stream.mirrored(header(1)) for _ in range(3)]
    yield "III", [stream.mirrored(header(2), TYPE_III) for _ in range(3)]
    yield "fields", [stream.mirrored(header(1, first=bits)) for bits in (0x3FFFF, 1, 0x20)]
    yield (
        "another session",
        [stream.mirrored(header(n, s), t) for n, t in ((1, TYPE_II), (2, TYPE_III)) for s in (0, 6, 1023)],
    )
    yield "version by the nibble", [stream.mirrored(header(1), TYPE_III), stream.mirrored(header(2), TYPE_II)]
    whole = header(1) + frame(inner4())
    yield "base cut", [stream.packet(whole[:n], TYPE_II) for n in range(4)]
    yield "II header cut", [stream.packet(whole[:n], TYPE_II) for n in range(4, 8)]
    yield "cut in the frame", [stream.packet(whole[:n], TYPE_II) for n in range(8 + 14 + 20, len(whole))]
    longer = header(2) + frame(inner4())
    yield "III header cut", [stream.packet(longer[:n], TYPE_III) for n in range(8, 12)]
    for outer_ecn in range(4):
        for ecn in range(4):
            packets = [header(1) + frame(inner4(tos=ecn)), header(1) + frame(inner6(tc=ecn))]
            yield (
                f"ecn {outer_ecn} over {ecn}",
                [stream.outer(stream.gre(p, TYPE_II), tos=0xB8 | outer_ecn) for p in packets],
            )
    yield "old number", [stream.packet(header(1) + frame(inner4()), TYPE_II, sequence=1)]
    yield "unknown version", [stream.mirrored(header(n)) for n in (0, 3, 15)]
    yield "frame of another type", [stream.mirrored(header(2, third=0x8000 | 2 << 10), TYPE_III)]
    yield "optional part", [stream.mirrored(header(2, third=0x8001) + bytes(8), TYPE_III)]


@pytest.mark.conformance("L7", "L8", "L9")
@pytest.mark.parametrize("kind", KINDS)
def test_receive(oracle: KernelOracle, kind: str) -> None:
    made = spec(kind)
    groups = {f"{kind} {name}": packets for name, packets in groups_of(Mirror(made, SEQ))}
    run_receive(oracle, [made], groups, DIFFERENCES, plugins=PLUGINS)


def comparable(kind: str, version: int) -> Any:
    """Takes out what need not be the same.

    The identification; over IPv6 the outer ECN field; of type III timestamp and BSO, which vdp
    leaves 0; and the CoS of a packet inside that is not of the outer one's IP version: the
    kernel reads the class where that version has it.
    """
    start = 14 + (48 if kind == "ip6erspan" else 20) + 8
    own = b"\x86\xdd" if kind == "ip6erspan" else b"\x08\x00"

    def taken_out(packet: bytes) -> bytes:
        seen = bytearray(without_id(packet))
        frame = packet[start + (8 if version == 1 else 12) :]
        if kind == "ip6erspan":
            seen[ECN_AT] &= ~ECN_BITS
        if frame[12:14] != own:
            seen[start + 2] &= ~COS
        if version == 2:
            seen[start + 2] &= ~BSO
            seen[start + 4 : start + 8] = bytes(4)
        return bytes(seen)

    return taken_out


@pytest.mark.conformance("L7", "L8")
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_transmit(oracle: KernelOracle, kind: str, version: int) -> None:
    more: dict[str, Any] = {"erspan": 0x12345} if version == 1 else {"erspan_dir": "egress", "erspan_hwid": 7}
    more |= {"flowlabel": 0} if kind == "ip6erspan" else {}
    made = spec(kind, erspan_ver=version, **more)
    groups = {f"{kind} {name}": ("er", frames) for name, frames in hostile.inner_groups("gretap")}
    with oracle.links(made):
        from_kernel = oracle.transmit([made], groups)
    with closing(VdpOracle([made.numbered_from_0], plugins=PLUGINS)) as vdp:
        check(groups, from_kernel, vdp.transmit(groups), DIFFERENCES, comparable(kind, version))
