"""Hostile offload marks on every sort of packet: native == reference, and what comes out is in order.

Each case is one packet, mostly right, with marks that are mostly right, run through one of a
few programs that do what links and ports do.  Bytes, marks, and drops by reason are compared.
VDP_HOSTILE=N runs N cases.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from tests.conftest import native_engine
from tests.engine import generate
from tests.engine.conftest import ALL, REASONS, Bench
from tests.engine.generate import PORT, framed, marks, moved, spoiled, tunnel_size
from tests.engine.streams import layer
from vdp.engine.interface import Engine, EngineConfig, Feature, MemoryPacket, Offload, PacketType
from vdp.engine.program import (
    Action,
    Checksum,
    Drop,
    Length,
    Meta,
    Output,
    Pull,
    Push,
    RequireUdp,
    Segment,
    UdpChecksum,
)
from vdp.testing.builders import gre, ipv4, ipv6, tcp, udp
from vdp.testing.reference import ReferenceEngine

VOLUME = int(os.environ.get("VDP_HOSTILE", "6000"))
BATCH = 24
GRE_TSO = ALL | Feature.GRE_TSO
ELSE = (Drop(1),)


def chained(random: Random, transport: bytes, protocol: int) -> bytes:
    """IPv6 with extension headers, sometimes many of them."""
    kinds = [random.choice([0, 60, 60, 43, 44, 135]) for _ in range(random.choice([1, 1, 2, 3, 60]))]
    extensions = b""
    for this, following in zip(kinds, [*kinds[1:], protocol], strict=True):
        left = random.choice([0, 0, 1]) if this == 43 else 4
        extensions += bytes((following, 0, 1, left)) + bytes(4)
    return ipv6("fd::1", "fd::2", transport, next_header=kinds[0], extensions=extensions)


def stacked(random: Random, packet: bytes) -> bytes:
    """In two tunnels, of GRE and UDP."""
    for _ in range(2):
        inside = gre(packet, 0x0800 if packet[0] >> 4 == 4 else 0x86DD)
        if random.random() < 0.5:
            packet = ipv4("192.0.2.1", "192.0.2.2", udp(50000, PORT, inside))
        else:
            packet = ipv6("fd::1", "fd::2", inside, next_header=47)
    return packet


def case(random: Random, packet_type: PacketType, flow: int) -> MemoryPacket:
    size = random.choice([None, 200, 900, 3800])
    kind = random.random()
    if kind < 0.1:
        body = bytes(size or 100)
        one = (
            tcp(1, 2, body, flags=random.choice(generate.FLAGS)) if random.random() < 0.7 else udp(1, 2, body)
        )
        data = chained(random, one, one.protocol)  # type: ignore[arg-type]
    elif kind < 0.2:
        data = stacked(random, generate.ip_packet(random, size))
    else:
        data = generate.ip_packet(random, size)
    offload = marks(random, data)
    frame, front = framed(random, data, packet_type)
    if offload.needs_csum and offload.csum_start < 60000:
        offload = moved(offload, front)
    meta = struct.pack("!IIII16x", 0, 0, flow, 0)
    return MemoryPacket(spoiled(random, frame) if random.random() < 0.4 else frame, meta, offload)


class Side(Bench):
    """One engine, with flows by register: what is done to a packet."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.cells = {kind: self.cell(kind) for kind in PacketType}
        self.takes = {kind: self.memory(kind, GRE_TSO) for kind in PacketType}
        self.plain = {kind: self.memory(kind, Feature.NONE) for kind in PacketType}
        self.ends = [*self.takes.values(), *self.plain.values()]
        self.origins = {PacketType.L2: self.a, PacketType.L3: self.x}
        for kind, origin in self.origins.items():
            for number, program in enumerate(self.programs(kind)):
                self.by_register(origin, number, program)
                self.by_register(self.cells[kind], number, (Segment(), Output(self.plain[kind])))
        self.count = len(self.programs(PacketType.L3))

    def by_register(self, in_port: int, number: int, program: tuple[Action, ...]) -> None:
        mask, value = (struct.pack("!IIII16x", 0, 0, each, 0) for each in (0xFFFFFFFF, number))
        self.flow(in_port, *program, meta_mask=mask, meta_value=value)

    def programs(self, kind: PacketType) -> list[tuple[Action, ...]]:
        takes, plain, cell = Output(self.takes[kind]), Output(self.plain[kind]), Output(self.cells[kind])
        front = 14 * (kind == PacketType.L2)
        bare = (Pull(front), Meta(0, PacketType.L3))
        head = gre(b"", 0x6558 if front else 0x0800)
        outer = ipv4("192.0.2.1", "192.0.2.2", b"", protocol=17)
        tunnel = (
            Push(udp(50000, PORT, b"").data + head),
            Length(4, 0),
            Push(outer),
            Length(2, 0),
            Checksum(10, 0, 20),
        )
        keep = Segment(Feature.GRE_TSO, 0, 0, 65000, 1500, True)
        return [
            (takes,),
            (plain,),
            (Segment(), plain),
            (Segment(Feature.CSUM), takes),
            (Segment(ALL, 300), takes),
            (Segment(0, 150), plain),
            (cell,),
            (*bare, Pull(24), Output(self.cells[PacketType.L3])),
            (*bare, RequireUdp(4, 0, 20, ELSE), Pull(32), Output(self.cells[PacketType.L3])),
            (*bare, Segment(Feature.TSO4 | Feature.TSO6), RequireUdp(6, 0, 40, ELSE), Pull(52), Segment(),
             Output(self.plain[PacketType.L3])),
            (keep, *tunnel, UdpChecksum(4, 0, 20), Meta(0, PacketType.L3), Meta(1, 0x0800),
             Output(self.takes[PacketType.L3])),
        ]  # fmt: skip

    def outcome(self, origin: int, packets: list[MemoryPacket]) -> list[object]:
        """All that can be seen when these come in."""
        before = {port: self.engine.port_drops(port) for port in (origin, *self.cells.values(), *self.ends)}
        self.inject(origin, *packets)
        self.settle()
        found: list[object] = [self.collect(port) for port in self.ends]
        for port, drops in before.items():
            now = self.engine.port_drops(port)
            found.append({REASONS[i]: n - drops[i] for i, n in enumerate(now) if n != drops[i]})
        return found


def describe(packets: list[MemoryPacket]) -> str:
    return "\n".join(f"{packet.offload} {packet.meta[8:12].hex()} {packet.data.hex()}" for packet in packets)


@pytest.fixture(scope="module")
def sides() -> tuple[Side, Side]:
    config = EngineConfig(packets=8192, upcall_rate=0)
    return Side(native_engine()(config)), Side(ReferenceEngine(config))  # type: ignore[operator]


@pytest.mark.conformance("H2", "H10")
@pytest.mark.timeout(max(60, VOLUME // 50))
@pytest.mark.parametrize("part", range(4))
def test_both_engines_make_the_same_of_them(sides: tuple[Side, Side], part: int) -> None:
    native, _ = sides
    seen: Counter[str] = Counter()
    for number in range(part, VOLUME // BATCH, 4):
        random = Random(number)
        kind = random.choice(list(PacketType))
        packets = [case(random, kind, random.randrange(native.count)) for _ in range(BATCH)]
        one, other = (side.outcome(side.origins[kind], packets) for side in sides)
        if one != other:
            for packet in packets:
                pair = [side.outcome(side.origins[kind], [packet]) for side in sides]
                assert pair[0] == pair[1], describe([packet])
            assert one == other, describe(packets)
        for drops in one[len(native.ends) :]:
            seen.update(drops)  # type: ignore[call-overload]
    assert {"gso_invalid", "gso_unsupported", "vnet_hdr_invalid"} <= seen.keys()


@pytest.mark.conformance("H4", "H8")
def test_what_is_cut_of_good_ones_is_in_order(sides: tuple[Side, Side]) -> None:
    """By scapy: lengths and checksums of each segment, and that nothing of the payload is missing."""
    native, _ = sides
    random = Random(1)
    cut = 0
    for _ in range(400):
        data = generate.ip_packet(random, random.choice([300, 900, 3800]))
        if tunnel_size(data):
            continue
        offload = marks(random, data)
        meta = struct.pack("!IIII16x", 0, 0, 2, 0)  # Segment(), to a port without offloads
        out, *_ = [native.outcome(native.x, [MemoryPacket(data, meta, offload)])]
        segments = [packet for packet in out[3] if isinstance(packet, MemoryPacket)]  # type: ignore[attr-defined]
        if len(segments) < 2:
            continue
        cut += 1
        for packet in segments:
            again = layer(packet.data)
            for part in ("TCP", "UDP"):
                if part in again:
                    del again[part].chksum
            assert bytes(again) == packet.data
        sizes = [len(packet.data) for packet in segments]
        front = min(len(data), sizes[0] - offload.gso_size)
        assert sum(size - front for size in sizes) == len(data) - front
        assert max(sizes[:-1]) == min(sizes[:-1]) >= sizes[-1]
    assert cut > 20


def test_marks_say_no_more_than_the_packet_has(sides: tuple[Side, Side]) -> None:
    """Of what a port with all features is told: every offset lies inside."""
    native, _ = sides
    random = Random(2)
    for number in range(60):
        kind = list(PacketType)[number % 2]
        packets = [replace(case(random, kind, 0)) for _ in range(BATCH)]
        for batch in native.outcome(native.origins[kind], packets)[: len(native.ends)]:
            for packet in batch:  # type: ignore[attr-defined]
                _expect_inside(packet.data, packet.offload)


def _expect_inside(data: bytes, offload: Offload) -> None:
    if offload.needs_csum:
        assert offload.csum_start + offload.csum_offset + 2 <= len(data)
    if offload.gso_type:
        assert offload.needs_csum
        assert 0 < offload.gso_size < len(data) - offload.header_size
        assert offload.csum_start < offload.header_size <= 512
