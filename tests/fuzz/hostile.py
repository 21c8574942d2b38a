"""The harness `handlers`: decoders, link kinds, ICMP errors, bridge, routes and rules, all that is traced.

    Target: what Python decides about packets: vdp.links, vdp.forwarding, the plugins
    Trust:  hostile
    Oracle: laws that hold for every packet
              nobody raises: no handler, no effect, no upcall's and no timer's action
              it is counted, once, on each side of each port (vdp.testing.books)
              its trace takes at most 5 ms of processor time
              a flow that takes it does what a trace of it says, then and afterwards
              of some: one that differs in what was not looked at is treated alike (vdp.testing.soundness)

An input is a train: a byte for the world, then packets, each with a byte for the port that it comes in
by and two for its length.  What a campaign makes has one packet, and goes to a world that others have been
to; one that has more begins in a new world, and so does all that comes out of a file.
"""

from __future__ import annotations

import itertools
import logging
import random
import sys
import time
import traceback
import zlib
from collections import deque
from collections.abc import Iterable, Iterator

from tests.fuzz import hostile_world
from tests.fuzz.hostile_world import UNDERLAY, WORLDS
from vdp.engine.interface import PacketType
from vdp.engine.program import Drop, Program
from vdp.flows import Flow
from vdp.links.paths import PathPending
from vdp.registry import Registered
from vdp.testing.actions import say
from vdp.testing.books import check_balance, present_ports
from vdp.testing.fuzz import Fuzzer, constants_of
from vdp.testing.samples import sent_back
from vdp.testing.soundness import Sample, check_soundness, sample_of
from vdp.time_limit import is_others
from vdp.trace import Trace, place

Packets = list[tuple[int, bytes]]
#: No packet may keep Python busy for longer.
MOST_TRACE_S = 0.005
#: It is traced anew so often before it has been too long: a processor that others use is slow at times.
AGAIN = 4
#: Packets that a world sees before it is made anew, and between two ticks of its clock.
MOST_PACKETS, TICK = 2000, 64
MOST_FLOWS = 512
#: One in so many is looked at thoroughly (in what was not looked at), with so many variants.
THOROUGH, VARIANTS = 8, 4
#: Packets that left by the underlay, of which answers and errors are made.
MOST_SENT = 64


def train(world: int, packets: Iterable[tuple[int, bytes]]) -> bytes:
    """An input of packets."""
    return bytes([world]) + b"".join(
        bytes([member]) + len(data).to_bytes(2, "big") + data for member, data in packets
    )


def packets_of(data: bytes) -> tuple[int, Packets]:
    """The world and the packets of an input; any bytes are one."""
    world, at, found = (data[0] if data else 0) % len(WORLDS), 1, []
    while at + 3 <= len(data):
        size = int.from_bytes(data[at + 1 : at + 3], "big")
        found.append((data[at], data[at + 3 : at + 3 + size]))
        at += 3 + size
    return world, found


class World:
    """A dataplane, what fails in it, and the packets that it has seen."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.plane = hostile_world.build(WORLDS[number])
        self.members = hostile_world.members(self.plane)
        self.faults: list[str] = []
        self.seen: Packets = []
        self.sent: deque[bytes] = deque(maxlen=MOST_SENT)
        self.slowest = 0.0
        self._listen()

    def close(self) -> None:
        self.plane.close()

    def _listen(self) -> None:
        """Note every failure, with the line that it comes from; nobody is put into quarantine for it."""

        def note(error: BaseException) -> None:
            frames = traceback.extract_tb(error.__traceback__)
            last = ([frame for frame in frames if is_others(frame.filename)] or frames)[-1]
            where = place(last.filename, last.lineno or 0)
            self.faults.append(f"{where}: {type(error).__name__}: {error}")

        def told(level: int, cause: object, text: str, *args: object, **options: object) -> None:
            error = options.get("exc_info")
            if isinstance(error, BaseException):
                note(error)
            elif level >= logging.ERROR:
                self.faults.append(text % args)

        def failed(registered: Registered, error: BaseException) -> None:
            note(error)

        self.plane.datapath.say = told  # type: ignore[method-assign]
        self.plane.datapath.handler_failed = failed  # type: ignore[method-assign]

    # -- one packet -----------------------------------------------------------------------

    def take(self, member: int, data: bytes, is_thorough: bool) -> tuple[str, Trace | None, Program]:
        """Let it arrive, and hold everything to the laws.  The port's name, and what a trace says of it."""
        self.seen.append((member, data))
        name = self.members[member % len(self.members)]
        plane, index = self.plane, self.plane.datapath.slowpath.index
        sample = sample_of(plane.datapath, name, data)
        trace, program = self._within_time(sample)
        before = set(index.flows)
        plane.send(name, data)
        made = [flow for key, flow in index.flows.items() if key not in before]
        self._must_be_in_order()
        taking = [flow for flow in index.flows.values() if sample.takes(flow.match)]
        self._hold(*((sample, flow) for flow in taking), *((_sample(flow), flow) for flow in made))
        if is_thorough:
            others = [_sample(flow) for flow in made[:3]]
            check_soundness(
                plane.datapath, name, sample, *others, variants=VARIANTS, chance=random.Random(_sum(data))
            )
            self._must_be_in_order()
        if len(index) > MOST_FLOWS:
            plane.datapath.slowpath.flush()
        if len(self.seen) % TICK == 0:
            plane.pass_time(1)
            self._must_be_in_order()
            self._hold(*((_sample(flow), flow) for flow in index.flows.values()))
        return name, trace, program

    def _within_time(self, sample: Sample) -> tuple[Trace | None, Program]:
        least = None
        for _ in range(AGAIN):
            [(trace, program, took)] = self._traces([sample])
            least = took if least is None else min(least, took)
            if least <= MOST_TRACE_S:
                break
        assert least is not None
        self.slowest = max(self.slowest, least)
        assert least <= MOST_TRACE_S, f"its trace takes {least * 1000:.1f} ms of processor time"
        if program and isinstance(program[-1], Drop):
            reason = self.plane.datapath.drops.name(program[-1].reason)
            assert reason not in ("handler_error", "handler_timeout"), f"dropped as {reason}"
        return trace, program

    def _traces(self, samples: Iterable[Sample]) -> list[tuple[Trace | None, Program, float]]:
        """What each is treated like now (no trace: it has to wait), and the processor time that this took."""

        async def traced() -> list[tuple[Trace | None, Program, float]]:
            # A coroutine, because a trace may start asking for a way; it never waits for it.
            return [self._trace(sample) for sample in samples]

        return self.plane._runner.get_loop().run_until_complete(traced())

    def _trace(self, sample: Sample) -> tuple[Trace | None, Program, float]:
        begin = time.thread_time()
        try:
            made, program = self.plane.datapath.trace(
                sample.in_port, sample.data, len(sample.data), sample.meta
            )
        except PathPending:
            return None, (), time.thread_time() - begin
        return made, program, time.thread_time() - begin

    def _must_be_in_order(self) -> None:
        """Nothing has failed, and the books balance."""
        assert not self.faults, "; ".join(self.faults)
        slowpath, engine = self.plane.datapath.slowpath, self.plane.engine
        assert not slowpath.refusals["program"], "the engine refused a program"
        self._collect()
        ports = present_ports(engine)
        check_balance(engine, ports)
        given, taken = sum(s.forwarded for s in ports.values()), sum(s.offered for s in ports.values())
        assert given == taken, f"{given} packets were forwarded, and {taken} offered to a port"
        failure = self.plane.datapath.drops.code("handler_error")
        for port in ports:
            assert not engine.port_drops(port)[failure], f"dropped as handler_error, port {port}"

    def _collect(self) -> None:
        for name in self.members:
            packets = self.plane.received(name)
            if name == UNDERLAY:
                self.sent.extend(packets)

    def _hold(self, *given: tuple[Sample, Flow]) -> None:
        """What a flow does is what is decided now about the packet that is given with it."""
        traces = self._traces(sample for sample, _ in given)
        for (_, flow), (trace, program, _) in zip(given, traces, strict=True):
            if trace is not None:
                assert trace.cacheable, f"a flow takes what is to be decided each time: {flow.match}"
                same = flow.program == program
                assert same, f"a flow does {self._said(flow.program)}, and a trace says {self._said(program)}"

    def _said(self, program: Program) -> str:
        return "; ".join(say(self.plane.datapath, action) for action in program)


def _sample(flow: Flow) -> Sample:
    return Sample(flow.match.in_port, flow.data.ljust(flow.length, b"\0"), flow.meta)


def _sum(data: bytes) -> int:
    return zlib.crc32(data)


class Hostile:
    """An endless source of packets, which learns from what became of them, and the laws."""

    seeds: tuple[bytes, ...] = ()  # `next` begins with what the worlds themselves send

    def __init__(self, seed: int = 1) -> None:
        self._chance = random.Random(seed)
        self._world: World | None = None
        self._fuzzers: dict[int, Fuzzer] = {}
        self._todo = [self._learn_from(number, seed) for number in range(len(WORLDS))]
        self._order = itertools.cycle(range(len(WORLDS)))
        self._slowest = 0.0

    def _learn_from(self, number: int, seed: int) -> list[tuple[str, bytes]]:
        plane = hostile_world.build(WORLDS[number])
        try:
            samples = list(dict.fromkeys(hostile_world.samples(plane)))
        finally:
            plane.close()
        self._fuzzers[number] = Fuzzer(samples, _constants(), seed)
        return samples[::-1]

    @property
    def slowest(self) -> float:
        """Seconds that the most laborious packet took."""
        return max(self._slowest, self._world.slowest if self._world else 0.0)

    def next(self) -> bytes:
        """An input of one packet, for the world as it is now."""
        world = self._current()
        todo = self._todo[world.number]
        member, data = todo.pop() if todo else self._packet(world)
        return train(world.number, [(world.members.index(member), data)])

    def _current(self) -> World:
        if self._world is None or len(self._world.seen) >= MOST_PACKETS:
            self._enter(next(self._order))
        assert self._world is not None
        return self._world

    def _enter(self, number: int) -> World:
        self._leave()
        self._world = World(number)
        return self._world

    def _leave(self) -> None:
        if self._world is not None:
            self._slowest = self.slowest
            self._world.close()
            self._world = None

    def _packet(self, world: World) -> tuple[str, bytes]:
        """One of the fuzzer's, inside another at times, or an answer to ours; most with good checksums."""
        chance, is_frames = self._chance, WORLDS[world.number] is PacketType.L2
        member, data = self._fuzzers[world.number].packet()
        if chance.random() < 0.05:
            inner = data[14:] if is_frames and member == UNDERLAY else data
            member, data = UNDERLAY, hostile_world.framed(hostile_world.nested(inner, chance), is_frames)
        elif world.sent and chance.random() < 0.1:
            sent = chance.choice(world.sent)
            inside = sent[14:] if is_frames else sent
            reply = (
                hostile_world.error_about(inside, chance)
                if chance.random() < 0.7 or len(inside) < 40
                else sent_back(inside)
            )
            member, data = UNDERLAY, hostile_world.framed(reply, is_frames)
            if chance.random() < 0.3:
                at = chance.randrange(len(data))
                data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        if chance.random() < 0.6:
            front = 14 if is_frames and member == UNDERLAY else 0
            data = hostile_world.mended(data, front)
        return member, data

    def check(self, data: bytes) -> None:
        """An input that `next` has made."""
        world = self._current()
        _, packets = packets_of(data)
        for member, packet in packets:
            name, trace, program = world.take(member, packet, _sum(packet) % THOROUGH == 0)
            if trace is not None:
                words = [action.name for action in program]
                self._fuzzers[world.number].learn(name, packet, trace, words, bool(trace.guards))

    def replay(self, data: bytes) -> None:
        """An input out of a file: in a new world, thoroughly."""
        number, packets = packets_of(data)
        world = self._enter(number)
        for member, packet in packets:
            world.take(member, packet, True)
        self._leave()

    def failing(self, data: bytes, seconds: float = 60.0) -> bytes:
        """The input that broke a law, with what was before it, as far as that is needed."""
        if self._world is None:
            return data
        number, packets = self._world.number, list(self._world.seen)
        end = time.monotonic() + seconds
        if not self._fails(number, packets):
            return train(number, packets)
        if self._fails(number, packets[-1:]):
            return train(number, packets[-1:])
        size = len(packets) // 2
        while size and time.monotonic() < end:
            for at in range(0, len(packets) - 1, size):
                fewer = packets[:at] + packets[min(at + size, len(packets) - 1) :]
                if len(fewer) < len(packets) and self._fails(number, fewer):
                    packets = fewer
                    break
            else:
                size //= 2
        return train(number, packets)

    def _fails(self, number: int, packets: Packets) -> bool:
        try:
            self.replay(train(number, packets))
        except Exception:
            return True
        return False

    def close(self) -> None:
        self._leave()


def _constants() -> set[int]:
    """Numbers that the plugins and vdp's own handlers compare with."""
    rooms = ("vdp.links", "vdp.protocols", "vdp.forwarding", *(f"vdp_{n}" for n in hostile_world.PLUGINS))
    names: Iterator[str] = (name for name in list(sys.modules) if name.startswith(rooms))
    found: set[int] = set()
    for name in sorted(names):
        found |= constants_of(sys.modules[name])
    return found
