"""What Python asks of an engine: the contract that the C engine and its readable twin keep.

`vdp.engine.native.NativeEngine` binds the C engine; `vdp.testing.reference.
ReferenceEngine` says the same in plain Python.  One test suite runs on both.
engine.h is the authority on every number here.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import field
from typing import Protocol

from vdp.engine.program import Action
from vdp.engine.record import record

WINDOW = 256
META_WORDS = 8
META_SIZE = 32
MAX_LENGTH = 65792
MAX_SEQUENCE_WINDOW = 1024
MAX_HEADER = 16
META_TYPE, META_PROTOCOL, META_REG, META_DEVICE = 0, 1, 2, 7
#: In META_DEVICE: the packet is to leave by that device, rather than came in by it.
LEAVE_BY = 0x40000000
NO_META = bytes(META_SIZE)


class PacketType(enum.IntEnum):
    """What a packet starts with: an Ethernet header, or a layer-3 header."""

    L2 = 0
    L3 = 1


def meta_of(packet_type: PacketType, protocol: int) -> bytes:
    """Metadata of a packet as received: its type, and of an L3 packet the EtherType."""
    words = (int(packet_type), protocol if packet_type is PacketType.L3 else 0)
    return b"".join(word.to_bytes(4, "big") for word in words).ljust(META_SIZE, b"\0")


class PortType(enum.IntEnum):
    MEMORY = 0
    TAP = 1
    TUN = 2
    PACKET = 3
    IP = 4
    CELL = 5
    IP6 = 6


class Feature(enum.IntFlag):
    """What a port takes on transmit without help."""

    NONE = 0
    VNET_HDR = 1
    CSUM = 2
    TSO4 = 4
    TSO6 = 8
    USO = 16
    GRE_TSO = 32


class Confine(enum.IntEnum):
    """enum vdp_confine: system calls that a worker's thread does not need."""

    OFF = 0
    REFUSE = 1
    KILL = 2


@record
class EngineConfig:
    workers: int = 1
    packets: int = 2048
    flows: int = 65536
    masks: int = 64
    upcall_queue: int = 512
    upcall_rate: int = 5000
    action_rate: int = 100
    poll_us: int = 50
    hold_us: int = 50
    confine: int = Confine.REFUSE
    port_masks: int = 16
    control_rate: int = 500


@record
class PortConfig:
    name: str
    type: PortType
    packet_type: PacketType = PacketType.L2
    features: Feature = Feature.NONE
    mtu: int = 1500
    tx_queue: int = 1024
    fds: tuple[int, ...] = ()
    #: Of PACKET: what worker i sends by, where there is one: a packet socket, or an AF_XDP socket.
    send_fds: tuple[int, ...] = ()
    #: Of PACKET: its receive rings stay with their sockets when the port goes.
    kept: bool = False
    #: Of PACKET: the last so many of `fds` hear control traffic alone.
    control_count: int = 0


@record
class Match:
    """Which packets a flow takes; see struct vdp_match.  mask and value have one size, the window."""

    in_port: int
    mask: bytes
    value: bytes
    min_length: int = 0
    max_length: int = MAX_LENGTH
    meta_mask: bytes = NO_META
    meta_value: bytes = NO_META


class UpcallReason(enum.IntEnum):
    MISS = 0
    ACTION = 1


@record
class Upcall:
    """A packet in the hands of the slow path, until it is resolved.  data: at most 2,048 bytes."""

    token: int
    in_port: int
    length: int
    reason: UpcallReason
    cookie: int
    meta: bytes
    data: bytes
    gso_type: int = 0
    gso_size: int = 0


class Resolve(enum.IntEnum):
    INSTALL = 0
    EXECUTE = 1
    RETRY = 2
    DROP = 3
    CONSUME = 4


@record
class Resolution:
    """What becomes of one upcall: INSTALL needs match and program, EXECUTE program, DROP reason."""

    token: int
    kind: Resolve
    match: Match | None = None
    program: Sequence[Action] = ()
    reason: int = 0


@record
class Offload:
    """Offload metadata of a packet, as in struct virtio_net_hdr; csum_start from the front."""

    needs_csum: bool = False
    csum_start: int = 0
    csum_offset: int = 0
    gso_type: int = 0
    gso_size: int = 0
    header_size: int = 0


@record
class MemoryPacket:
    """One packet at a memory port."""

    data: bytes
    meta: bytes = NO_META
    offload: Offload = field(default_factory=Offload)


@record
class PortStats:
    """struct vdp_port_stats, field by field."""

    rx_packets: int = 0
    rx_bytes: int = 0
    rx_segments: int = 0
    injected: int = 0
    cloned: int = 0
    segmented: int = 0
    forwarded: int = 0
    dropped: int = 0
    consumed: int = 0
    held: int = 0
    offered: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0
    tx_segments: int = 0
    tx_dropped: int = 0
    tx_queued: int = 0
    merged: int = 0
    upcalls: int = 0
    hits: int = 0
    misses: int = 0
    refused: int = 0
    error: int = 0
    up: bool = True
    rx_ring: int = 0
    refuses: Feature = Feature.NONE


@record
class FlowStats:
    id: int
    packets: int
    bytes: int
    used_ns: int


@record
class Count:
    packets: int
    bytes: int


@record
class WorkerStats:
    """struct vdp_worker_stats, field by field."""

    iterations: int = 0
    busy_ns: int = 0
    idle_ns: int = 0
    lookups: int = 0
    previous_hits: int = 0
    table_hits: int = 0
    misses: int = 0
    mask_probes: int = 0
    upcalls_lost: int = 0
    actions_suppressed: int = 0
    flows: int = 0
    masks: int = 0
    packets_free: int = 0
    packets_total: int = 0
    different_masks: int = 0
    queue_lost: int = 0
    calls_refused: int = 0
    last_refused: int = 0


@record
class Tuning:
    """struct vdp_tuning: what is otherwise in force while there is too much to do."""

    upcall_rate: int = 0
    hold_off: bool = False
    tap_every: int = 0
    taps_off: bool = False
    fair_queues: bool = False


class Engine(Protocol):
    """The calls of engine.h, in Python's terms.  Errors are OSError with the engine's errno."""

    @property
    def workers(self) -> int: ...
    def close(self) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def poll(self) -> int: ...
    def set_clock(self, now_ns: int) -> None: ...
    def clock(self) -> int: ...
    def event_fd(self) -> int: ...
    def tune(self, tuning: Tuning) -> None: ...

    def add_port(self, config: PortConfig) -> int: ...
    def remove_port(self, port: int) -> None: ...
    def set_port_up(self, port: int, up: bool) -> None: ...
    def detach_port(self, port: int) -> None:
        """Let its descriptors go, for the caller to close; flows, counters and the number stay."""
        ...

    def attach_port(self, port: int, config: PortConfig) -> None:
        """Give a detached port the descriptors of another device, of the same type."""
        ...

    def set_port_features(self, port: int, features: Feature) -> None: ...
    def port_stats(self, port: int) -> PortStats: ...
    def port_drops(self, port: int) -> list[int]: ...
    def inject(self, port: int, packet: MemoryPacket) -> None: ...
    def collect(self, port: int) -> MemoryPacket | None: ...

    def new_counter(self) -> int: ...
    def free_counter(self, counter: int) -> None: ...
    def read_counter(self, counter: int) -> Count: ...
    def new_state(self, initial: int = 0) -> int: ...
    def new_window(self, size: int) -> int:
        """A state that remembers which of the `size` numbers before the newest came in."""
        ...

    def free_state(self, state: int) -> None: ...
    def read_state(self, state: int) -> int: ...
    def judge_sequence(self, state: int, sequence: int, *, explicit: bool, late: bool, waited: bool) -> bool:
        """Whether RequireSequence would let worker 0's next packet pass; nothing changes.

        waited: it comes from the slow path.
        """
        ...

    def write_state(self, state: int, value: int) -> None: ...

    def new_header(self, data: bytes) -> int:
        """Bytes, 1 to MAX_HEADER, that a WriteHeader action writes."""
        ...

    def write_header(self, header: int, data: bytes) -> None: ...
    def read_header(self, header: int) -> bytes:
        """Its bytes; none where there is no such header."""
        ...

    def free_header(self, header: int) -> None: ...

    def new_group(self, ports: Sequence[int]) -> int:
        """Ports that a Group action copies a packet to."""
        ...

    def write_group(self, group: int, ports: Sequence[int]) -> None: ...
    def free_group(self, group: int) -> None: ...

    def check_program(self, program: Sequence[Action]) -> None: ...
    def install(self, worker: int, match: Match, program: Sequence[Action]) -> int: ...
    def replace(self, worker: int, flow: int, program: Sequence[Action]) -> None: ...
    def remove(self, worker: int, flows: Sequence[int]) -> int: ...
    def dump(self, worker: int) -> list[FlowStats]: ...
    def scan(self, worker: int, slot: int, count: int) -> tuple[list[FlowStats], int]:
        """A part of the dump: flows of so many slots from there on; where to go on, 0 at the end."""
        ...

    def expire(self, worker: int, idle_ns: int, keep: int) -> list[int]: ...

    def take_upcalls(self, worker: int, count: int = 64) -> list[Upcall]: ...
    def resolve(self, worker: int, resolutions: Sequence[Resolution]) -> list[int]: ...
    def execute(
        self, worker: int, in_port: int, data: bytes, program: Sequence[Action], meta: bytes = NO_META
    ) -> None: ...
    def worker_stats(self, worker: int) -> WorkerStats: ...
