"""Random programs, packets and matches for the differential test, from one random.Random.

Everything is biased towards what runs deep: offsets near headers, packets that are almost
right, streams that a cell can join, super-packets that can be cut.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from random import Random

from tests.engine.streams import super_packet, unfinished
from vdp.engine.interface import META_SIZE, MemoryPacket, Offload, PacketType
from vdp.engine.program import (
    Account,
    Action,
    Checksum,
    Clone,
    Copy,
    Count,
    Drop,
    Fragment,
    Hash,
    Id,
    Length,
    Meta,
    MetaLoad,
    Output,
    Pull,
    Push,
    RequireChecksum,
    RequireLength,
    RequireSequence,
    RequireUdp,
    Segment,
    Sequence32,
    Set,
    State32,
    Trim,
    Ttl,
    UdpChecksum,
    Upcall,
)
from vdp.testing.builders import (
    ACK,
    CWR,
    ECE,
    FIN,
    PSH,
    SYN,
    URG,
    ethernet,
    gre,
    ipv4,
    ipv6,
    tcp,
    tcp_timestamp,
    udp,
    vlan,
)

PORT = 4754
EDGES = [0, 1, 2, 3, 4, 6, 8, 9, 10, 12, 14, 16, 20, 24, 26, 28, 34, 36, 40, 48, 54, 60, 100, 255, 256]
FLAGS = [ACK] * 8 + [ACK | PSH, ACK | FIN, ACK | CWR, ACK | ECE, SYN, ACK | URG, 0]
SIZES = [0, 1, 7, 8, 20, 47, 48, 49, 99, 100, 100, 100, 101, 333, 700]


@dataclass(frozen=True)
class Numbers:
    """What programs may name; ports and cells by packet type."""

    ports: dict[PacketType, tuple[int, ...]]
    cells: dict[PacketType, tuple[int, ...]]
    counters: tuple[int, ...]
    states: tuple[int, ...]
    windows: tuple[int, ...]


def offset(random: Random) -> int:
    return random.choice(EDGES) if random.random() < 0.8 else random.randrange(0, 1500)


def some_bytes(random: Random, size: int) -> bytes:
    return bytes(random.getrandbits(8) for _ in range(size))


# Programs.


def end(random: Random, numbers: Numbers, packet_type: PacketType) -> Action:
    """Mostly an output that takes packets of this type."""
    kind = random.random()
    if kind < 0.08:
        return Drop(random.randrange(128))
    if kind < 0.1:
        return Output(9999)
    if kind < 0.15:
        packet_type = PacketType(1 - packet_type)
    return Output(random.choice((numbers.ports if kind < 0.65 else numbers.cells)[packet_type]))


def encapsulation(random: Random, numbers: Numbers, packet_type: PacketType) -> list[Action]:
    """What a GRE link does, perhaps one in UDP, super-packets left whole."""
    csum, is_frame = random.random() < 0.5, packet_type == PacketType.L2
    in_udp, is_equal = random.random() < 0.4, random.random() < 0.8
    head = gre(b"", 0x6558 if is_frame else 0x0800, csum=csum, key=random.choice([None, 7]))
    outer = ipv4("192.0.2.1", "192.0.2.2", b"", protocol=17 if in_udp else 47)
    longest = random.choice([3900, 65535]), random.choice([150, 700])
    return [
        Segment(32, 0, 0, *longest, csum or (in_udp and is_equal)),
        Push(head),
        *([Checksum(4, 0)] if csum else []),
        *([Push(udp(50000, PORT, b"").data), Length(4, 0)] if in_udp else []),
        Push(outer),
        Length(2, 0),
        Id(4, random.choice(numbers.states)),
        Checksum(10, 0, 20),
        *([UdpChecksum(4, 0, 20)] if in_udp and is_equal else []),
        Meta(0, PacketType.L3),
        Meta(1, 0x0800),
    ]


def branch(random: Random, numbers: Numbers, depth: int) -> tuple[Action, ...]:
    return program(random, numbers, PacketType(random.randrange(2)), depth + 1)


def program(random: Random, numbers: Numbers, packet_type: PacketType, depth: int = 0) -> tuple[Action, ...]:
    """A valid program of a few actions, for packets of this type."""
    actions = [action(random, numbers, depth) for _ in range(random.choice([0, 0, 1, 1, 2, 3, 6]))]
    if random.random() < 0.08:
        actions += encapsulation(random, numbers, packet_type)
        packet_type = PacketType.L3
    if random.random() < 0.15:
        packet_type = PacketType(1 - packet_type)
        actions.append(Meta(0, packet_type))
        actions.append(Pull(14) if packet_type == PacketType.L3 else Push(ethernet(b"")))
    return (*actions, end(random, numbers, packet_type))


def action(random: Random, numbers: Numbers, depth: int) -> Action:
    """One action other than Drop and Output; with `depth`, branches get rarer."""
    kinds = [pull, push, set_bytes, copy, length, number, checksum, count, segment, upcall, meta]
    kinds += [hash_bytes, udp_checksum]
    if depth < 2:
        kinds += [trim, require_checksum, require_length, require_sequence, require_udp, ttl, clone, fragment]
    return random.choice(kinds)(random, numbers, depth)


def pull(random: Random, numbers: Numbers, depth: int) -> Action:
    return Pull(random.choice([0, 1, 4, 14, 14, 20, 24, offset(random)]))


def push(random: Random, numbers: Numbers, depth: int) -> Action:
    return Push(some_bytes(random, random.choice([0, 1, 4, 14, 20, 24, 28, 40, 255, 256])))


def set_bytes(random: Random, numbers: Numbers, depth: int) -> Action:
    size = random.choice([1, 2, 2, 4, 4, 6, 16])
    at = offset(random)
    field = random.choice([None, 10, 24, 26, 36, 50, offset(random)])
    if field is not None and at - 2 < field < at + size:
        field = None  # a checksum that covers itself
    mask = random.choice([b"\xff" * size, some_bytes(random, size)])
    return Set(at, mask, some_bytes(random, size), field)


def copy(random: Random, numbers: Numbers, depth: int) -> Action:
    return Copy(offset(random), offset(random), random.randrange(256))


def length(random: Random, numbers: Numbers, depth: int) -> Action:
    return Length(offset(random), offset(random), random.choice([0, 0, -20, 8, -100000, 65000]))


def number(random: Random, numbers: Numbers, depth: int) -> Action:
    if random.random() < 0.4:
        state = random.choice([*numbers.states, *numbers.windows])
        addend = random.choice([0, -1, 1, random.randrange(-(1 << 31), 1 << 31)])
        return State32(offset(random), state, addend)
    kind = random.choice([Id, Sequence32])
    return kind(offset(random), random.choice(numbers.states))


def checksum(random: Random, numbers: Numbers, depth: int) -> Action:
    return Checksum(offset(random), offset(random), random.choice([0, 0, 20, 7, offset(random)]))


def hash_bytes(random: Random, numbers: Numbers, depth: int) -> Action:
    return Hash(offset(random), offset(random), random.choice([4, 12, 36, 64]), random.getrandbits(16))


def headers_at(random: Random) -> tuple[int, int, int]:
    """IP version, and where an IP and a UDP header are, in most cases."""
    network = random.choice([0, 14, 14, offset(random)])
    version = random.choice([4, 6])
    return version, network, random.choice([network + (20 if version == 4 else 40)] * 3 + [offset(random)])


def udp_checksum(random: Random, numbers: Numbers, depth: int) -> Action:
    return UdpChecksum(*headers_at(random))


def require_udp(random: Random, numbers: Numbers, depth: int) -> Action:
    return RequireUdp(*headers_at(random), branch(random, numbers, depth), random.random() < 0.5)


def count(random: Random, numbers: Numbers, depth: int) -> Action:
    if random.random() < 0.4:
        sent, lost, lost_too = (random.choice([0, *numbers.counters]) for _ in range(3))
        return Account(sent, lost, lost_too, random.choice([0, 14, 100]))
    return Count(random.choice(numbers.counters), random.choice([0, 0, -14, -100000, 24]))


def segment(random: Random, numbers: Numbers, depth: int) -> Action:
    most = random.choice([0, 0, 0, 90, 140, 500, 1500])
    longest, longest_segment = random.choice([0, 1000, 3900, 65535]), random.choice([0, 100, 150, 700])
    features, equal = random.choice([0, 0, 2, 6, 30, 4, 32, 32, 62]), random.random() < 0.5
    return Segment(features, most, 0, longest, longest_segment, equal)


def upcall(random: Random, numbers: Numbers, depth: int) -> Action:
    return Upcall(random.getrandbits(32), random.choice([None, random.choice(numbers.states)]))


def meta(random: Random, numbers: Numbers, depth: int) -> Action:
    if random.random() < 0.5:
        return MetaLoad(random.randrange(1, 8), offset(random), random.getrandbits(32))
    return Meta(random.randrange(1, 8), random.choice([0, 0x0800, 0x86DD, random.getrandbits(32)]))


def trim(random: Random, numbers: Numbers, depth: int) -> Action:
    at, addend = random.choice([(2, 0), (16, 14), (4, 40), (offset(random), random.randrange(-99, 99))])
    return Trim(at, addend, branch(random, numbers, depth))


def require_checksum(random: Random, numbers: Numbers, depth: int) -> Action:
    start, size = random.choice([(0, 20), (14, 20), (20, 0), (offset(random), offset(random))])
    return RequireChecksum(start, size, branch(random, numbers, depth))


def require_length(random: Random, numbers: Numbers, depth: int) -> Action:
    least = random.choice([0, 20, 100])
    most = least + random.choice([0, 20, 48, 100, 540, 1500])
    return RequireLength(least, most, branch(random, numbers, depth), random.random() < 0.5)


def require_sequence(random: Random, numbers: Numbers, depth: int) -> Action:
    state = random.choice([*numbers.states, *numbers.windows * 2])
    rules = random.random() < 0.5, random.random() < 0.5
    return RequireSequence(offset(random), state, branch(random, numbers, depth), *rules)


def ttl(random: Random, numbers: Numbers, depth: int) -> Action:
    version, at = random.choice([(4, 0), (4, 14), (6, 0), (6, 14), (4, offset(random)), (6, offset(random))])
    return Ttl(version, at, branch(random, numbers, depth))


def fragment(random: Random, numbers: Numbers, depth: int) -> Action:
    at = random.choice([0, 0, 14, 24, offset(random)])
    return Fragment(at, random.choice([28, 29, 35, 60, 68, 100, 576]), branch(random, numbers, depth))


def clone(random: Random, numbers: Numbers, depth: int) -> Action:
    return Clone(branch(random, numbers, depth))


# Packets.


def ip_packet(random: Random, payload: int | None = None) -> bytes:
    """TCP or UDP, sometimes with options, fragments, extension headers, in a tunnel."""
    size = random.choice(SIZES) if payload is None else payload
    ports = random.randrange(1, 4), random.randrange(1, 4)
    options = random.choice([b"", b"", tcp_timestamp(random.randrange(3), 1), b"\1\1\1"])
    body = some_bytes(random, min(size, 4)) * (size // 4 + 1)
    transport = (
        udp(*ports, body[:size])
        if random.random() < 0.3
        else tcp(*ports, body[:size], seq=random.getrandbits(32), flags=random.choice(FLAGS), options=options)
    )
    if random.random() < 0.4:
        extension = random.choice([b"", b"", b"\0\1\4\0\0\0\0", b"\0\0\0\0\0\0\1"])
        known: dict[str, object] = {}
        if extension:
            first = random.choice([0, 43, 44, 60])
            known = {"next_header": first, "extensions": bytes([transport.protocol]) + extension}
        hops = random.choice([0, 1, 2, 64])
        return ipv6("2001:db8::1", "2001:db8::2", transport, hop_limit=hops, **known)  # type: ignore[arg-type]
    packet = ipv4(
        "10.0.0.1",
        "10.0.0.2",
        transport,
        id=random.getrandbits(16),
        ttl=random.choice([0, 1, 2, 64, 255]),
        tos=random.choice([0, 0, 3, 255]),
        flags=random.choice([0, 2, 2, 2, 1, 4]),
        fragment=random.choice([0] * 9 + [7]),
        options=random.choice([b""] * 6 + [b"\1" * 4, b"\x83\3\1\x07\4\1\1\0", b"\x44\x09\1\1"]),
    )
    return tunnelled(random, packet) if random.random() < 0.2 else packet


def tunnelled(random: Random, packet: bytes) -> bytes:
    """In GRE over either IP, as a frame or not, perhaps in UDP."""
    is_frame = random.random() < 0.3
    carried = ethernet(packet) if is_frame else packet
    protocol = 0x6558 if is_frame else 0x0800
    inside = gre(carried, protocol, csum=random.random() < 0.3, key=random.choice([None, 7]))
    kind = random.random()
    if kind < 0.2:
        packet = ipv4("192.0.2.1", "192.0.2.2", udp(50000, PORT, inside))
        return packet if random.random() < 0.5 else packet[:26] + b"\0\0" + packet[28:]
    if kind < 0.6:
        return ipv4("192.0.2.1", "192.0.2.2", inside, protocol=47)
    if kind < 0.7:
        return ipv6("2001:db8::3", "2001:db8::4", udp(50000, PORT, inside))
    if kind < 0.8:
        return ipv6("2001:db8::3", "2001:db8::4", inside, next_header=47)
    return ipv6("2001:db8::3", "2001:db8::4", b"\x2f\0\4\1\4\1\1\0" + inside, next_header=60)


def tunnel_size(data: bytes) -> int:
    """Bytes in front of the IP packet in a tunnel of `tunnelled`; 0: it is in none."""
    at = 20 if data[0] >> 4 == 4 else 40
    has_limit = data[0] >> 4 == 6 and data[6] == 60 and data[40:41] == b"\x2f"
    if has_limit or data[at + 2 : at + 4] == PORT.to_bytes(2, "big"):
        at += 8
    elif data[9 if data[0] >> 4 == 4 else 6] != 47:
        return 0
    flags = data[at] if len(data) > at + 4 else 0
    is_frame = data[at + 2 : at + 4] == b"\x65\x58"
    at += 4 + 4 * (flags >> 7) + 4 * (flags >> 5 & 1) + 14 * is_frame
    return at if at + 40 <= len(data) else 0


def spoiled(random: Random, data: bytes) -> bytes:
    """Sometimes cut, longer, or with some bits flipped."""
    kind = random.random()
    if kind < 0.1:
        return data[: random.randrange(len(data) + 1)]
    if kind < 0.2:
        return data + some_bytes(random, random.choice([1, 2, 7]))
    if kind < 0.35 and data:
        changed = bytearray(data)
        for _ in range(random.choice([1, 1, 2, 5])):
            changed[random.randrange(min(len(data), 80))] ^= 1 << random.randrange(8)
        return bytes(changed)
    if kind < 0.38:
        return some_bytes(random, random.choice([0, 1, 13, 14, 20, 40, 64]))
    return data


def framed(random: Random, data: bytes, packet_type: PacketType) -> tuple[bytes, int]:
    """The packet as a port of this type carries it, and by how much it is longer in front."""
    if packet_type == PacketType.L3:
        return data, 0
    frame = ethernet(data)
    for _ in range(random.choice([0, 0, 0, 1, 2])):
        frame = vlan(frame, random.randrange(3), tpid=random.choice([0x8100, 0x88A8, 0x9100]))
    return frame, len(frame) - len(data)


def moved(offload: Offload, by: int) -> Offload:
    return Offload(
        offload.needs_csum,
        offload.csum_start + by,
        offload.csum_offset,
        offload.gso_type,
        offload.gso_size,
        offload.header_size,
    )


def marks(random: Random, data: bytes) -> Offload:
    """Offload marks for an IP packet: none, good ones, and hostile ones."""
    kind = random.random()
    if kind < 0.5 or len(data) < 20:
        return Offload()
    front = tunnel_size(data)
    good = super_packet(data[front:], random.choice([1, 20, 47, 48, 100, 101, 500])).offload
    good = moved(good, front)
    if kind < 0.6:
        return Offload(True, good.csum_start, good.csum_offset)
    if kind < 0.85:
        return good
    return Offload(
        random.random() < 0.7,
        random.choice([good.csum_start, good.csum_start, good.csum_start - front, offset(random), 65535]),
        random.choice([good.csum_offset, 6, 16, 0, 65535]),
        random.choice([good.gso_type, good.gso_type, 0, 1, 3, 4, 5, 0x81, 0x84, 0x85, 0x80, 2]),
        random.choice([good.gso_size, good.gso_size, 0, 1, 65535]),
        random.choice([0, 0, 0, 1, len(data), len(data) + 1, 65535]),
    )


def registers(random: Random, flows: int) -> bytes:
    """Metadata that leads to one of the flows, or rarely to none; sometimes with a wrong EtherType."""
    flow = random.randrange(flows) if random.random() < 0.95 else flows
    protocol = random.choice([0] * 18 + [0x0800, 0x86DD])
    return struct.pack("!IIII16x", 0, protocol, flow, random.choice([0] * 9 + [random.getrandbits(32)]))


def packet(random: Random, packet_type: PacketType, flows: int) -> MemoryPacket:
    """One packet for a port of this type."""
    size = random.choice([None, None, None, 1500, 3800])
    data = ip_packet(random, size)
    offload = marks(random, data)
    frame, front = framed(random, data, packet_type)
    if offload.needs_csum and offload.csum_start < 60000:
        offload = moved(offload, front)
    return MemoryPacket(spoiled(random, frame), registers(random, flows), offload)


def local(data: bytes, front: int, frame: bytes) -> MemoryPacket:
    """The packet in a frame as a local sender leaves it, its checksum unfinished."""
    left = unfinished(data)
    return MemoryPacket(frame[:front] + left.data, offload=moved(left.offload, front))


def stream(random: Random, packet_type: PacketType, flows: int) -> list[MemoryPacket]:
    """Segments of a few TCP flows, mixed, most of which a cell can join."""
    found: list[list[MemoryPacket]] = []
    meta_ = registers(random, flows)
    for port in range(random.choice([1, 1, 2, 9])):
        seq, ident, size = random.getrandbits(32), random.getrandbits(16), random.choice([20, 48, 100])
        step = random.choice([0, 1, 1])
        six = random.random() < 0.4
        own = []
        for _ in range(random.randrange(1, 8)):
            chunk = bytes([port]) * random.choice([size] * 6 + [size - 1, size + 1, 0])
            header = tcp(port, 9, chunk, seq=seq, flags=random.choice([ACK] * 9 + FLAGS), ack=1)
            if six:
                data = ipv6("2001:db8::1", "2001:db8::2", header, hop_limit=random.choice([64] * 9 + [63]))
            else:
                dont_fragment = random.choice([2] * 9 + [0])
                data = ipv4("10.0.0.1", "10.0.0.2", header, id=ident, flags=dont_fragment)
            seq += len(chunk)
            ident = (ident + step) & 0xFFFF
            frame = data if packet_type == PacketType.L3 else ethernet(data)
            if random.random() < 0.1:
                own.append(MemoryPacket(spoiled(random, frame), meta_))
            elif random.random() < 0.3:
                own.append(replace(local(data, len(frame) - len(data), frame), meta=meta_))
            else:
                own.append(MemoryPacket(frame, meta_))
        found.append(own)
    mixed = []
    while found:
        own = random.choice(found)
        mixed.append(own.pop(0))
        found = [rest for rest in found if rest]
    return mixed


def window(random: Random) -> tuple[bytes, bytes]:
    """Mask and value over the first bytes: what many of these packets have."""
    if random.random() < 0.8:
        return b"", b""
    sample = ip_packet(random, 100)
    sample = sample if random.random() < 0.5 else ethernet(sample)
    size = random.randrange(1, min(len(sample), 64))
    mask = bytes(random.choice([0, 0, 0, 0, 0xF0, 0xFF]) for _ in range(size))
    return mask, bytes(s & m for s, m in zip(sample, mask, strict=False))


assert struct.calcsize("!IIII16x") == META_SIZE
