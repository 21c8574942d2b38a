"""The C engine in Python's terms: engine.h, call by call, without any logic of its own.

NativeEngine keeps the contract of vdp.engine.interface.Engine.  Each call releases the
GIL while the engine's worker answers it.  Errors are OSError with the engine's errno.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from vdp.engine._native import ffi, lib
from vdp.engine.interface import (
    META_SIZE,
    NO_META,
    Count,
    EngineConfig,
    Feature,
    FlowStats,
    Match,
    MemoryPacket,
    Offload,
    PortConfig,
    PortStats,
    Resolution,
    Tuning,
    Upcall,
    UpcallReason,
    WorkerStats,
)
from vdp.engine.program import Action, encode

MAX_REASONS: int = lib.VDP_MAX_REASONS
UPCALL_BYTES = 2048
_EXPIRE_CHUNK = 1024
_AGAIN = -11  # -EAGAIN

_PORT_STATES = ("error", "up", "rx_ring", "refuses")
_PORT_SUMS = tuple(name for name in PortStats.__dataclass_fields__ if name not in _PORT_STATES)
_WORKER_FIELDS = tuple(WorkerStats.__dataclass_fields__)


def engine_reasons() -> list[tuple[str, str]]:
    """Name and sentence of the engine's own drop reasons, by code."""
    reasons: list[tuple[str, str]] = []
    while (name := lib.vdp_reason_name(len(reasons))) != ffi.NULL:
        text = lib.vdp_reason_text(len(reasons))
        reasons.append((ffi.string(name).decode(), ffi.string(text).decode()))
    return reasons


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def _fill_program(target: Any, program: Sequence[Action]) -> list[Any]:
    """Set a struct vdp_program; the answer must live as long as it is used.

    A program that cannot be laid out stays empty, which the engine refuses: EINVAL."""
    try:
        encoded = encode(program)
    except (AttributeError, TypeError, ValueError):
        return []
    actions = ffi.from_buffer(encoded.actions)
    blob = ffi.from_buffer(encoded.blob)
    target.actions = ffi.cast("struct vdp_action *", actions)
    target.count = encoded.count
    target.blob = ffi.cast("uint8_t *", blob)
    target.blob_size = len(encoded.blob)
    return [encoded, actions, blob]


def _new_program(program: Sequence[Action]) -> tuple[Any, list[Any]]:
    made = ffi.new("struct vdp_program *")
    return made, _fill_program(made, program)


def _new_match(match: Match) -> Any:
    if len(match.mask) != len(match.value) or len(match.mask) > lib.VDP_WINDOW:
        raise OSError(22, "mask and value must have one size, at most the window's")
    made = ffi.new("struct vdp_match *")
    made.in_port = match.in_port
    made.min_length = match.min_length
    made.max_length = match.max_length
    made.window = len(match.mask)
    ffi.memmove(made.mask, match.mask, len(match.mask))
    ffi.memmove(made.value, match.value, len(match.value))
    ffi.memmove(made.meta_mask, match.meta_mask, META_SIZE)
    ffi.memmove(made.meta_value, match.meta_value, META_SIZE)
    return made


def _new_port(config: PortConfig) -> Any:
    """A struct vdp_port_config."""
    name = config.name.encode()
    most_fds = max(len(config.fds), len(config.send_fds))
    if len(name) >= lib.VDP_NAME_SIZE or most_fds > lib.VDP_MAX_WORKERS:
        raise OSError(22, "the name is too long, or there are too many descriptors")
    native = ffi.new("struct vdp_port_config *")
    native.name = name
    native.type = config.type
    native.packet_type = config.packet_type
    native.features = config.features
    native.mtu = config.mtu
    native.tx_queue = config.tx_queue
    native.fd_count = len(config.fds)
    native.fd = config.fds
    native.send_count = len(config.send_fds)
    native.send_fd = config.send_fds
    native.kept = config.kept
    native.control_count = config.control_count
    return native


class NativeEngine:
    """One struct vdp_engine.  A context manager: leaving it closes it."""

    def __init__(self, config: EngineConfig | None = None) -> None:
        config = config or EngineConfig()
        self._config = config
        native = ffi.new("struct vdp_engine_config *")
        for name in EngineConfig.__dataclass_fields__:
            setattr(native, name, getattr(config, name))
        made = ffi.new("struct vdp_engine **")
        _checked(lib.vdp_engine_new(native, made))
        self._engine = ffi.gc(made[0], lib.vdp_engine_free)
        self._bytes = ffi.new("uint8_t[]", lib.VDP_MAX_LENGTH)

    def __enter__(self) -> NativeEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def workers(self) -> int:
        return self._config.workers

    def close(self) -> None:
        """Stop it and free everything; the ports' descriptors stay open.  Once is enough."""
        engine, self._engine = self._engine, ffi.NULL
        if engine != ffi.NULL:
            ffi.release(engine)

    def _live(self) -> Any:
        if self._engine == ffi.NULL:
            raise OSError(77, "the engine is closed")  # EBADFD
        return self._engine

    @property
    def handle(self) -> Any:
        """The struct vdp_engine, for what stands beside this binding (vdp.engine.tap)."""
        return self._live()

    def start(self) -> None:
        _checked(lib.vdp_engine_start(self._live()))

    def stop(self) -> None:
        _checked(lib.vdp_engine_stop(self._live()))

    def poll(self) -> int:
        return _checked(lib.vdp_engine_poll(self._live()))

    def tune(self, tuning: Tuning) -> None:
        native = ffi.new("struct vdp_tuning *")
        for name in Tuning.__dataclass_fields__:
            setattr(native, name, int(getattr(tuning, name)))
        _checked(lib.vdp_engine_tune(self._live(), native))

    def set_clock(self, now_ns: int) -> None:
        lib.vdp_engine_set_clock(self._live(), now_ns)

    def clock(self) -> int:
        return int(lib.vdp_engine_clock(self._live()))

    def event_fd(self) -> int:
        return int(lib.vdp_engine_event_fd(self._live()))

    def add_port(self, config: PortConfig) -> int:
        return _checked(lib.vdp_port_add(self._live(), _new_port(config)))

    def remove_port(self, port: int) -> None:
        _checked(lib.vdp_port_remove(self._live(), port))

    def detach_port(self, port: int) -> None:
        _checked(lib.vdp_port_detach(self._live(), port))

    def attach_port(self, port: int, config: PortConfig) -> None:
        _checked(lib.vdp_port_attach(self._live(), port, _new_port(config)))

    def set_port_up(self, port: int, up: bool) -> None:
        _checked(lib.vdp_port_set_up(self._live(), port, up))

    def set_port_features(self, port: int, features: Feature) -> None:
        _checked(lib.vdp_port_set_features(self._live(), port, features))

    def port_stats(self, port: int) -> PortStats:
        stats = ffi.new("struct vdp_port_stats *")
        _checked(lib.vdp_port_read(self._live(), port, stats))
        sums = {name: getattr(stats, name) for name in _PORT_SUMS}
        return PortStats(
            **sums,
            error=stats.error,
            up=bool(stats.up),
            rx_ring=stats.rx_ring,
            refuses=Feature(stats.refuses),
        )

    def port_drops(self, port: int) -> list[int]:
        reasons = ffi.new("uint64_t[]", MAX_REASONS)
        _checked(lib.vdp_port_drops(self._live(), port, reasons, MAX_REASONS))
        return list(reasons)

    def inject(self, port: int, packet: MemoryPacket) -> None:
        offload = ffi.new("struct vdp_offload *")
        for name in Offload.__dataclass_fields__:
            setattr(offload, name, int(getattr(packet.offload, name)))
        meta = ffi.from_buffer(packet.meta)
        if len(packet.meta) != META_SIZE:
            raise OSError(22, "metadata of the wrong size")
        data = ffi.cast("uint8_t *", ffi.from_buffer(packet.data))
        _checked(
            lib.vdp_memory_inject(
                self._live(), port, data, len(packet.data), ffi.cast("uint8_t *", meta), offload
            )
        )

    def collect(self, port: int) -> MemoryPacket | None:
        meta = ffi.new("uint8_t[]", META_SIZE)
        offload = ffi.new("struct vdp_offload *")
        length = lib.vdp_memory_collect(self._live(), port, self._bytes, lib.VDP_MAX_LENGTH, meta, offload)
        if length == _AGAIN:
            return None
        _checked(length)
        return MemoryPacket(
            bytes(ffi.buffer(self._bytes, length)),
            bytes(ffi.buffer(meta)),
            Offload(
                bool(offload.needs_csum),
                offload.csum_start,
                offload.csum_offset,
                offload.gso_type,
                offload.gso_size,
                offload.header_size,
            ),
        )

    def new_counter(self) -> int:
        return _checked(lib.vdp_counter_new(self._live()))

    def free_counter(self, counter: int) -> None:
        _checked(lib.vdp_counter_free(self._live(), counter))

    def read_counter(self, counter: int) -> Count:
        count = ffi.new("struct vdp_count *")
        _checked(lib.vdp_counter_read(self._live(), counter, count))
        return Count(count.packets, count.bytes)

    def new_state(self, initial: int = 0) -> int:
        return _checked(lib.vdp_state_new(self._live(), initial))

    def new_window(self, size: int) -> int:
        return _checked(lib.vdp_window_new(self._live(), size))

    def free_state(self, state: int) -> None:
        _checked(lib.vdp_state_free(self._live(), state))

    def read_state(self, state: int) -> int:
        value = ffi.new("uint32_t *")
        _checked(lib.vdp_state_read(self._live(), state, value))
        return int(value[0])

    def judge_sequence(self, state: int, sequence: int, *, explicit: bool, late: bool, waited: bool) -> bool:
        rule = int(explicit) * lib.VDP_SEQUENCE_EXPLICIT | int(late) * lib.VDP_SEQUENCE_LATE
        return bool(_checked(lib.vdp_state_judge(self._live(), state, sequence, rule, waited)))

    def write_state(self, state: int, value: int) -> None:
        _checked(lib.vdp_state_write(self._live(), state, value))

    def new_header(self, data: bytes) -> int:
        return _checked(lib.vdp_header_new(self._live(), ffi.new("uint8_t[]", data), len(data)))

    def write_header(self, header: int, data: bytes) -> None:
        native = ffi.new("uint8_t[]", data)
        _checked(lib.vdp_header_write(self._live(), header, native, len(data)))

    def read_header(self, header: int) -> bytes:
        native = ffi.new("uint8_t[]", lib.VDP_MAX_HEADER)
        return bytes(ffi.buffer(native, lib.vdp_header_read(self._live(), header, native)))

    def free_header(self, header: int) -> None:
        _checked(lib.vdp_header_free(self._live(), header))

    def new_group(self, ports: Sequence[int]) -> int:
        return _checked(lib.vdp_group_new(self._live(), ffi.new("uint32_t[]", list(ports)), len(ports)))

    def write_group(self, group: int, ports: Sequence[int]) -> None:
        native = ffi.new("uint32_t[]", list(ports))
        _checked(lib.vdp_group_write(self._live(), group, native, len(ports)))

    def free_group(self, group: int) -> None:
        _checked(lib.vdp_group_free(self._live(), group))

    def check_program(self, program: Sequence[Action]) -> None:
        native, _keep = _new_program(program)
        _checked(lib.vdp_program_check(native))

    def install(self, worker: int, match: Match, program: Sequence[Action]) -> int:
        native, _keep = _new_program(program)
        return _checked(lib.vdp_flow_install(self._live(), worker, _new_match(match), native))

    def replace(self, worker: int, flow: int, program: Sequence[Action]) -> None:
        native, _keep = _new_program(program)
        _checked(lib.vdp_flow_replace(self._live(), worker, flow, native))

    def remove(self, worker: int, flows: Sequence[int]) -> int:
        ids = ffi.new("uint64_t[]", list(flows))
        return _checked(lib.vdp_flow_remove(self._live(), worker, ids, len(flows)))

    def dump(self, worker: int) -> list[FlowStats]:
        size = self.worker_stats(worker).flows
        stats = ffi.new("struct vdp_flow_stats[]", size)
        count = min(size, _checked(lib.vdp_flow_dump(self._live(), worker, stats, size)))
        return [FlowStats(one.id, one.packets, one.bytes, one.used_ns) for one in stats[0:count]]

    def scan(self, worker: int, slot: int, count: int) -> tuple[list[FlowStats], int]:
        stats = ffi.new("struct vdp_flow_stats[]", count)
        at = ffi.new("uint32_t *", slot)
        found = _checked(lib.vdp_flow_scan(self._live(), worker, at, stats, count))
        whole = struct.iter_unpack("=4Q", ffi.buffer(stats, found * ffi.sizeof("struct vdp_flow_stats")))
        return [FlowStats(*one) for one in whole], at[0]

    def expire(self, worker: int, idle_ns: int, keep: int) -> list[int]:
        ids = ffi.new("uint64_t[]", _EXPIRE_CHUNK)
        expired: list[int] = []
        count = _EXPIRE_CHUNK
        while count == _EXPIRE_CHUNK:
            count = _checked(lib.vdp_flow_expire(self._live(), worker, idle_ns, keep, ids, _EXPIRE_CHUNK))
            expired += list(ids[0:count])
        return expired

    def take_upcalls(self, worker: int, count: int = 64) -> list[Upcall]:
        upcalls = ffi.new("struct vdp_upcall[]", count)
        taken = _checked(lib.vdp_upcall_take(self._live(), worker, upcalls, count))
        return [
            Upcall(
                one.token,
                one.in_port,
                one.length,
                UpcallReason(one.reason),
                one.cookie,
                bytes(ffi.buffer(one.meta)),
                bytes(ffi.buffer(one.data, min(one.length, UPCALL_BYTES))),
                one.gso_type,
                one.gso_size,
            )
            for one in upcalls[0:taken]
        ]

    def resolve(self, worker: int, resolutions: Sequence[Resolution]) -> list[int]:
        native = ffi.new("struct vdp_resolution[]", len(resolutions))
        keep: list[Any] = []
        for target, wanted in zip(native, resolutions, strict=True):
            target.token = wanted.token
            target.kind = wanted.kind
            target.reason = wanted.reason
            if wanted.match is not None:
                keep.append(_new_match(wanted.match))
                target.match = keep[-1]
            if wanted.program:
                keep.append(_fill_program(target.program, wanted.program))
        _checked(lib.vdp_upcall_resolve(self._live(), worker, native, len(resolutions)))
        return [one.result for one in native]

    def execute(
        self, worker: int, in_port: int, data: bytes, program: Sequence[Action], meta: bytes = NO_META
    ) -> None:
        native, _keep = _new_program(program)
        _checked(
            lib.vdp_packet_execute(
                self._live(),
                worker,
                in_port,
                ffi.cast("uint8_t *", ffi.from_buffer(data)),
                len(data),
                ffi.cast("uint8_t *", ffi.from_buffer(meta)),
                native,
            )
        )

    def worker_stats(self, worker: int) -> WorkerStats:
        stats = ffi.new("struct vdp_worker_stats *")
        _checked(lib.vdp_worker_read(self._live(), worker, stats))
        return WorkerStats(**{name: getattr(stats, name) for name in _WORKER_FIELDS})
