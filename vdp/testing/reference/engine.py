"""ReferenceEngine: the engine's readable twin, all in process and on the caller's thread."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

from vdp.engine.interface import (
    MAX_HEADER,
    MAX_LENGTH,
    MAX_SEQUENCE_WINDOW,
    NO_META,
    Count,
    EngineConfig,
    Feature,
    FlowStats,
    Match,
    MemoryPacket,
    PortConfig,
    PortStats,
    PortType,
    Resolution,
    Tuning,
    Upcall,
    WorkerStats,
)
from vdp.engine.program import Action
from vdp.testing.reference.check import MAX_REASONS, check
from vdp.testing.reference.execute import run
from vdp.testing.reference.packet import Packet
from vdp.testing.reference.ports import Port
from vdp.testing.reference.state import Arrival, State
from vdp.testing.reference.worker import Worker

MAX_WORKERS = 16
MAX_GROUPS = 4096
LEAST_PACKETS = 8
NAME_SIZE = 32


def complete(config: EngineConfig) -> EngineConfig:
    """Zeros become the defaults, where zero says nothing (struct vdp_engine_config)."""
    default = EngineConfig()
    return replace(
        config,
        packets=config.packets or default.packets,
        flows=config.flows or default.flows,
        masks=config.masks or default.masks,
        upcall_queue=config.upcall_queue or default.upcall_queue,
        port_masks=config.port_masks or default.port_masks,
    )


class ReferenceEngine:
    """vdp.engine.interface.Engine in plain Python: memory ports and cells, as many workers as asked.

    Once started, every call settles what it caused before it returns, since there is no thread
    that could.  The pool never runs empty here: `packets` only bounds what upcalls hold."""

    def __init__(self, config: EngineConfig | None = None) -> None:
        self.config = config = complete(config or EngineConfig())
        if not (1 <= config.workers <= MAX_WORKERS and config.packets >= LEAST_PACKETS):
            raise OSError(errno.EINVAL, "engine configuration")
        self.now_ns = 0
        self.is_fair = False
        self.ports: dict[int, Port] = {}
        self.counters: dict[int, Count] = {}
        self.states: dict[int, State] = {}
        self.headers: dict[int, bytes] = {}
        self.groups: dict[int, tuple[int, ...]] = {}
        self.next_port = 1
        self.running = False
        self.event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.workers_ = [Worker(self, index) for index in range(self.config.workers)]

    @property
    def workers(self) -> int:
        return self.config.workers

    def close(self) -> None:
        if self.event >= 0:
            os.close(self.event)
            self.event = -1
        self.ports.clear()

    def start(self) -> None:
        if self.running:
            raise OSError(errno.EBUSY, "started")
        self.running = True
        self._run()

    def stop(self) -> None:
        self.running = False

    def poll(self) -> int:
        if self.running:
            raise OSError(errno.EBUSY, "started")
        return self._turn()

    def _turn(self) -> int:
        """One iteration of each worker; packets received."""
        received = 0
        for worker in self.workers_:
            if worker.index == 0:  # what is injected is worker 0's
                received += sum(worker.receive(port) for port in list(self.ports.values()))
            worker.numbers["iterations"] += 1
            received += worker.flood()
            worker.settle()
        return received

    def _run(self) -> None:
        waits = True
        while self.running and waits:
            waits = self._turn() > 0 or any(port.received for port in self.ports.values())

    def _settle(self, worker: int) -> None:
        """After a call; when started, until nothing is left to do."""
        self._worker(worker).settle()
        self._run()

    def set_clock(self, now_ns: int) -> None:
        self.now_ns = now_ns

    def clock(self) -> int:
        return self.now_ns or time.monotonic_ns()

    def tune(self, tuning: Tuning) -> None:
        """But for what is of real time (holding), or the C engine's alone (taps)."""
        for worker in self.workers_:
            worker.limit(tuning.upcall_rate or self.config.upcall_rate)
        self.is_fair = tuning.fair_queues
        for port in self.ports.values():
            port.is_fair = self.is_fair

    def event_fd(self) -> int:
        return self.event

    def signal(self) -> None:
        """Upcalls wait."""
        os.eventfd_write(self.event, 1)

    # Ports.

    def _port(self, number: int) -> Port:
        if number not in self.ports:
            raise OSError(errno.ENODEV, f"port {number}")
        return self.ports[number]

    def _memory(self, number: int) -> Port:
        port = self._port(number)
        if port.config.type != PortType.MEMORY:
            raise OSError(errno.ENODEV, f"port {number} is no memory port")
        return port

    def add_port(self, config: PortConfig) -> int:
        if config.type not in (PortType.MEMORY, PortType.CELL):
            raise OSError(errno.ENOTSUP, "the reference engine is in process")
        if config.fds or not 0 <= len(config.name.encode()) < NAME_SIZE:
            raise OSError(errno.EINVAL, "port configuration")
        config = replace(config, tx_queue=config.tx_queue or PortConfig("", config.type).tx_queue)
        number = self.next_port
        self.next_port += 1
        self.ports[number] = Port(number, config, config.features, is_fair=self.is_fair)
        return number

    def remove_port(self, port: int) -> None:
        self._port(port)
        for worker in self.workers_:
            worker.forget(port)
        del self.ports[port]

    def detach_port(self, port: int) -> None:
        self._port(port)
        raise OSError(errno.EINVAL, f"port {port} has no device")

    def attach_port(self, port: int, config: PortConfig) -> None:
        self.detach_port(port)

    def set_port_up(self, port: int, up: bool) -> None:
        self._port(port).up = up

    def set_port_features(self, port: int, features: Feature) -> None:
        self._port(port).features = features

    def port_stats(self, port: int) -> PortStats:
        return self._port(port).stats()

    def port_drops(self, port: int) -> list[int]:
        drops = self._port(port).drops
        return [drops[reason] for reason in range(MAX_REASONS)]

    def inject(self, port: int, packet: MemoryPacket) -> None:
        memory = self._memory(port)
        if len(packet.data) > MAX_LENGTH:
            raise OSError(errno.EINVAL, "length")
        memory.received.append(packet)
        self._run()

    def collect(self, port: int) -> MemoryPacket | None:
        sent = self._memory(port).sent
        return sent.popleft() if sent else None

    # Counters and states.

    def new_counter(self) -> int:
        number = next(n for n in range(1, len(self.counters) + 2) if n not in self.counters)
        self.counters[number] = Count(0, 0)
        return number

    def free_counter(self, counter: int) -> None:
        self.read_counter(counter)
        del self.counters[counter]

    def read_counter(self, counter: int) -> Count:
        if counter not in self.counters:
            raise OSError(errno.ENOENT, f"counter {counter}")
        return self.counters[counter]

    def new_state(self, initial: int = 0) -> int:
        number = next(n for n in range(1, len(self.states) + 2) if n not in self.states)
        self.states[number] = State(initial)
        return number

    def new_window(self, size: int) -> int:
        if not 1 <= size <= MAX_SEQUENCE_WINDOW:
            raise OSError(errno.EINVAL, "window")
        number = self.new_state()
        self.states[number].window = size
        return number

    def free_state(self, state: int) -> None:
        self.read_state(state)
        del self.states[state]

    def read_state(self, state: int) -> int:
        if state not in self.states:
            raise OSError(errno.ENOENT, f"state {state}")
        return self.states[state].number

    def judge_sequence(self, state: int, sequence: int, *, explicit: bool, late: bool, waited: bool) -> bool:
        self.read_state(state)
        when = self.workers_[0].last_serial + 1
        arrival = Arrival(0, when, waited, self.workers > 1)
        return deepcopy(self.states[state]).passes(sequence, explicit, late, arrival)

    def write_state(self, state: int, value: int) -> None:
        self.read_state(state)
        self.states[state].write(value)

    def new_header(self, data: bytes) -> int:
        if not 1 <= len(data) <= MAX_HEADER:
            raise OSError(errno.EINVAL, "header")
        number = next(n for n in range(1, len(self.headers) + 2) if n not in self.headers)
        self.headers[number] = data
        return number

    def write_header(self, header: int, data: bytes) -> None:
        if header not in self.headers:
            raise OSError(errno.ENOENT, f"header {header}")
        if not 1 <= len(data) <= MAX_HEADER:
            raise OSError(errno.EINVAL, "header")
        self.headers[header] = data

    def read_header(self, header: int) -> bytes:
        return self.headers.get(header, b"")

    def free_header(self, header: int) -> None:
        if header not in self.headers:
            raise OSError(errno.ENOENT, f"header {header}")
        del self.headers[header]

    def new_group(self, ports: Sequence[int]) -> int:
        number = next(n for n in range(1, len(self.groups) + 2) if n not in self.groups)
        if number > MAX_GROUPS:
            raise OSError(errno.ENOSPC, "groups")
        self.groups[number] = tuple(ports)
        return number

    def write_group(self, group: int, ports: Sequence[int]) -> None:
        if group not in self.groups:
            raise OSError(errno.ENOENT, f"group {group}")
        self.groups[group] = tuple(ports)

    def free_group(self, group: int) -> None:
        self.write_group(group, ())
        del self.groups[group]
        for flood in (flood for worker in self.workers_ for flood in worker.floods):
            if flood.group == group:
                flood.group = 0

    # Flows.

    def _worker(self, index: int) -> Worker:
        if not 0 <= index < len(self.workers_):
            raise OSError(errno.ENODEV, f"worker {index}")
        return self.workers_[index]

    def check_program(self, program: Sequence[Action]) -> None:
        check(program)

    def install(self, worker: int, match: Match, program: Sequence[Action]) -> int:
        flow = self._worker(worker).install(match, program)
        self._worker(worker).drain(flow)
        self._settle(worker)
        return flow.id

    def replace(self, worker: int, flow: int, program: Sequence[Action]) -> None:
        check(program)
        flows = self._worker(worker).flows.flows
        if flow not in flows:
            raise OSError(errno.ENOENT, f"flow {flow}")
        flows[flow].program = tuple(program)

    def remove(self, worker: int, flows: Sequence[int]) -> int:
        return self._worker(worker).flows.remove(flows)

    def dump(self, worker: int) -> list[FlowStats]:
        return [flow.stats for flow in self._worker(worker).flows.flows.values()]

    def scan(self, worker: int, slot: int, count: int) -> tuple[list[FlowStats], int]:
        flows = self.dump(worker)
        behind = slot + count
        return flows[slot:behind], behind if behind < len(flows) else 0

    def expire(self, worker: int, idle_ns: int, keep: int) -> list[int]:
        return self._worker(worker).flows.expire(self.clock(), idle_ns, keep)

    # The slow path.

    def take_upcalls(self, worker: int, count: int = 64) -> list[Upcall]:
        return [held.upcall for held in self._worker(worker).upcalls.take(count)]

    def resolve(self, worker: int, resolutions: Sequence[Resolution]) -> list[int]:
        results = self._worker(worker).resolve(resolutions)
        self._settle(worker)
        return results

    def execute(
        self, worker: int, in_port: int, data: bytes, program: Sequence[Action], meta: bytes = NO_META
    ) -> None:
        check(program)
        port = self._port(in_port)
        packet = Packet(bytearray(data), in_port=in_port)
        packet.meta[:] = meta
        port.books["injected"] += 1
        run(self._worker(worker), packet, program)
        self._settle(worker)

    def worker_stats(self, worker: int) -> WorkerStats:
        return self._worker(worker).stats()
