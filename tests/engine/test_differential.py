"""native == reference: the same flows, packets and resolutions, and everything visible compared.

A scenario is a row of random operations on a pair of engines; after each one, what came
out (bytes, metadata, marks), upcalls, statistics, drops by reason, counters, states and
flows must be the same.  Flows never overlap: each has its own register value, so which
one takes a packet is no matter of order.  VDP_DIFFERENTIAL=N runs N scenarios.
"""

from __future__ import annotations

import os
from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import START_NS, native_engine
from tests.engine import generate
from tests.engine.books import check_books
from tests.engine.generate import Numbers
from vdp.engine.interface import (
    MAX_LENGTH,
    Engine,
    EngineConfig,
    Feature,
    Match,
    MemoryPacket,
    PacketType,
    PortConfig,
    PortType,
    Resolution,
    Resolve,
    Upcall,
)
from vdp.engine.program import Action
from vdp.testing.reference import ReferenceEngine

VOLUME = int(os.environ.get("VDP_DIFFERENTIAL", "600"))
FLOWS = 4  # a port
STEPS = 12
REGISTER_MASK = bytes(8) + b"\xff" * 4 + bytes(20)
UNLIKE = {"iterations": 0, "busy_ns": 0, "idle_ns": 0, "mask_probes": 0, "packets_free": 0}
FEATURES = [Feature.NONE, Feature.CSUM, Feature(30), Feature(62), Feature(62), Feature.TSO4]
FEATURES += [Feature.CSUM | Feature.TSO4, Feature.CSUM | Feature.TSO4 | Feature.GRE_TSO]


class Pair:
    """Two engines to which the same happens."""

    def __init__(self, random: Random, native: type) -> None:
        self.random = random
        config = EngineConfig(
            packets=16384,
            flows=random.choice([26, 100]),
            masks=random.choice([2, 64]),
            port_masks=random.choice([2, 8, 16]),
            upcall_queue=random.choice([3, 20]),
            upcall_rate=random.choice([0, 10, 5000]),
            action_rate=random.choice([0, 4, 100]),
        )
        self.engines: tuple[Engine, Engine] = (native(config), ReferenceEngine(config))
        self.now = START_NS
        self.set_clock()
        self.types: dict[int, PacketType] = {}
        self.flows: dict[tuple[int, int], Match] = {}  # by the ids of one flow in either engine
        self.held: list[tuple[Upcall, Upcall]] = []
        self.memory = [self.add_port(PortType.MEMORY, kind) for kind in (0, 0, 1, 1)]
        self.cells = [self.add_port(PortType.CELL, kind) for kind in (0, 1)]
        counters = tuple(self.both("new_counter") for _ in range(2))
        initial = random.choice([0, 1, 0xFFFF, 0xFFFFFFFF])
        states = tuple(self.both("new_state", initial) for _ in range(2))
        windows = tuple(self.both("new_window", random.choice([1, 31, 32, 64, 1024])) for _ in range(2))
        self.numbers = Numbers(self.by_type(self.memory), self.by_type(self.cells), counters, states, windows)
        for port in [*self.memory, *self.cells]:
            for register in range(FLOWS):
                if random.random() < 0.9:
                    self.install(port, register)

    def close(self) -> None:
        for engine in self.engines:
            engine.close()

    def each(self, call: str, *arguments: object) -> list[object]:
        """The same call on both; an error is its errno."""
        results: list[object] = []
        for engine in self.engines:
            try:
                results.append(getattr(engine, call)(*arguments))
            except OSError as error:
                results.append(-(error.errno or 0))
        return results

    def both(self, call: str, *arguments: object) -> int:
        """The same call on both with the same result."""
        native, reference = self.each(call, *arguments)
        assert native == reference, call
        assert isinstance(native, int)
        return native

    def set_clock(self) -> None:
        for engine in self.engines:
            engine.set_clock(self.now)

    def add_port(self, kind: PortType, packet_type: int) -> int:
        features = self.random.choice(FEATURES)
        size = self.random.choice([5, 200, 1024])
        number = self.both(
            "add_port", PortConfig("port", kind, PacketType(packet_type), features, tx_queue=size)
        )
        self.types[number] = PacketType(packet_type)
        return number

    def by_type(self, ports: list[int]) -> dict[PacketType, tuple[int, ...]]:
        return {kind: tuple(port for port in ports if self.types[port] == kind) for kind in PacketType}

    # Operations.

    def program(self, in_port: int) -> tuple[Action, ...]:
        return generate.program(self.random, self.numbers, self.types[in_port])

    def match(self, in_port: int, register: int) -> Match:
        """A match for packets with this register, or the one that there is already."""
        value = bytes(8) + register.to_bytes(4, "big") + bytes(20)
        for match in self.flows.values():
            if (match.in_port, match.meta_value) == (in_port, value):
                return match
        mask, wanted = generate.window(self.random)
        least = len(mask.rstrip(b"\0")) + self.random.choice([0, 0, 0, 20])
        most = self.random.choice([MAX_LENGTH] * 4 + [max(least, 200)])
        return Match(in_port, mask, wanted, least, most, REGISTER_MASK, value)

    def install(self, port: int, register: int) -> None:
        match = self.match(port, register)
        native, reference = self.each("install", 0, match, self.program(port))
        self.same_flow(match, native, reference)

    def same_flow(self, match: Match, native: object, reference: object) -> None:
        """Either both made a flow or both failed alike."""
        assert isinstance(native, int)
        assert isinstance(reference, int)
        if native > 0 and reference > 0:
            self.flows[native, reference] = match
        else:
            assert native == reference

    def install_any(self) -> None:
        self.install(self.random.choice([*self.memory, *self.cells]), self.random.randrange(FLOWS))

    def change_flow(self) -> None:
        if not self.flows:
            return
        ids = self.random.choice(list(self.flows))
        program = self.program(self.random.choice([*self.memory, *self.cells]))
        if self.random.random() < 0.5:
            for engine, flow in zip(self.engines, ids, strict=True):
                engine.replace(0, flow, program)
        else:
            del self.flows[ids]
            assert [engine.remove(0, [flow]) for engine, flow in zip(self.engines, ids, strict=True)] == [
                1,
                1,
            ]

    def expire(self) -> None:
        self.now += self.random.choice([0, 10**8, 10**9])
        self.set_clock()
        idle, keep = self.random.choice([10**8, 10**9]), self.random.choice([3, 100])
        native, reference = (set(engine.expire(0, idle, keep)) for engine in self.engines)
        gone = [ids for ids in self.flows if ids[0] in native]
        assert {ids[1] for ids in gone} == reference
        for ids in gone:
            del self.flows[ids]

    def inject(self) -> None:
        port = self.random.choice(self.memory)
        packets: list[MemoryPacket] = []
        for _ in range(self.random.randrange(1, 4)):
            if self.random.random() < 0.4:
                packets += generate.stream(self.random, self.types[port], FLOWS)
            else:
                packets.append(generate.packet(self.random, self.types[port], FLOWS))
        for engine in self.engines:
            for packet in packets:
                engine.inject(port, packet)
        self.poll()

    def poll(self) -> None:
        while self.both("poll"):
            pass

    def execute(self) -> None:
        port = self.random.choice([*self.memory, *self.cells])
        packet = generate.packet(self.random, self.types[port], FLOWS)
        meta = bytes([0, 0, 0, self.types[port]]) + packet.meta[4:]
        self.each("execute", 0, port, packet.data, self.program(port), meta)

    def take(self) -> None:
        count = self.random.choice([1, 2, 64])
        taken = list(zip(*(engine.take_upcalls(0, count) for engine in self.engines), strict=True))
        for native, reference in taken:
            assert replace(native, token=0) == replace(reference, token=0)
        self.held += taken

    def resolve(self) -> None:
        self.take()
        chosen, self.held = self.held[:5], self.held[5:]
        matches: dict[tuple[int, bytes], Match] = {}
        rows, wanted = [], []
        for upcalls in chosen:
            in_port, register = upcalls[0].in_port, upcalls[0].meta[8:12]
            match = self.match(in_port, int.from_bytes(register, "big"))
            match = matches.setdefault((in_port, register), match)
            kind = self.random.choice([Resolve.INSTALL] * 3 + list(Resolve))
            program = self.program(in_port) if self.random.random() < 0.95 else ()
            reason = self.random.randrange(128)
            rows.append([Resolution(upcall.token, kind, match, program, reason) for upcall in upcalls])
            wanted.append(match)
        if not rows:
            return
        columns = zip(self.engines, zip(*rows, strict=True), strict=True)
        results = [engine.resolve(0, column) for engine, column in columns]
        for match, native, reference in zip(wanted, *results, strict=True):
            self.same_flow(match, native, reference)

    def change_port(self) -> None:
        port = self.random.choice([*self.memory, *self.cells])
        if self.random.random() < 0.5:
            self.each("set_port_up", port, self.random.random() < 0.8)
        else:
            self.each("set_port_features", port, self.random.choice(FEATURES))

    def pass_time(self) -> None:
        self.now += self.random.choice([1, 10**8, 10**9, 10**11])
        self.set_clock()

    # Comparing.

    def compare(self) -> None:
        """Assert that nothing visible differs."""
        for port in self.memory:
            while True:
                native, reference = self.each("collect", port)
                assert native == reference, f"sent by port {port}"
                if native is None:
                    break
        self.poll()
        for port in [*self.memory, *self.cells]:
            for call in ("port_stats", "port_drops"):
                native, reference = self.each(call, port)
                assert native == reference, f"{call} of port {port}"
        for counter in self.numbers.counters:
            assert len(set(self.each("read_counter", counter))) == 1
        for state in (*self.numbers.states, *self.numbers.windows):
            self.both("read_state", state)
        numbers = [replace(engine.worker_stats(0), **UNLIKE) for engine in self.engines]
        assert numbers[0] == numbers[1]
        dumps = [{stats.id: stats for stats in engine.dump(0)} for engine in self.engines]
        assert [len(dump) for dump in dumps] == [len(self.flows)] * 2
        for ids in self.flows:
            one, other = (replace(dump[flow], id=0) for dump, flow in zip(dumps, ids, strict=True))
            assert one == other


def scenario(random: Random, native: type) -> None:
    pair = Pair(random, native)
    try:
        steps = [pair.inject] * 8 + [
            pair.install_any,
            pair.resolve,
            pair.resolve,
            pair.execute,
            pair.change_flow,
        ]
        steps += [pair.expire, pair.change_port, pair.pass_time, pair.take]
        for _ in range(STEPS):
            random.choice(steps)()
            pair.compare()
        for engine in pair.engines:
            check_books(engine)
    finally:
        pair.close()


@pytest.fixture(scope="module")
def native() -> type:
    return native_engine()  # type: ignore[return-value]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_both_engines_do_the_same(native: type, random: Random) -> None:
    scenario(random, native)


@pytest.mark.timeout(max(60, VOLUME))
@pytest.mark.parametrize("part", range(10))
def test_both_engines_do_the_same_in_volume(native: type, part: int) -> None:
    for number in range(part, VOLUME, 10):
        try:
            scenario(Random(number), native)
        except Exception as error:
            raise AssertionError(f"scenario {number}") from error
