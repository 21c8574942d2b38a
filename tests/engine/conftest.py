"""A bench to try programs on: two frame ports, two layer-3 ports, and shorthands."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources

import pytest

from tests.conftest import EngineFactory
from vdp.engine.interface import (
    MAX_LENGTH,
    NO_META,
    Engine,
    Feature,
    Match,
    MemoryPacket,
    Offload,
    PacketType,
    PortConfig,
    PortType,
    Resolution,
    Resolve,
    Upcall,
)
from vdp.engine.program import Action

REASONS = re.findall(
    r"^VDP_REASON\((\w+),", resources.files("vdp.engine").joinpath("reasons.def").read_text(), re.M
)
POLICY = REASONS.index("policy_rule")
ALL = Feature.CSUM | Feature.TSO4 | Feature.TSO6 | Feature.USO


@contextmanager
def refused(code: int) -> Iterator[None]:
    """Expect a call to be refused with this errno."""
    found: int | None = 0
    try:
        yield
    except OSError as error:
        found = error.errno
    assert errno.errorcode.get(found or 0) == errno.errorcode[code]


class Bench:
    """An engine with ports `a`, `b` (frames) and `x`, `y` (layer 3), all of which take every offload."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.a, self.b = self.memory(name="a"), self.memory(name="b")
        self.x = self.memory(PacketType.L3, name="x")
        self.y = self.memory(PacketType.L3, name="y")

    def memory(
        self,
        packet_type: PacketType = PacketType.L2,
        features: Feature = ALL,
        tx_queue: int = 1024,
        name: str = "memory",
    ) -> int:
        return self.engine.add_port(
            PortConfig(name, PortType.MEMORY, packet_type, features=features, tx_queue=tx_queue)
        )

    def cell(
        self, packet_type: PacketType = PacketType.L3, tx_queue: int = 1024, features: Feature = ALL
    ) -> int:
        return self.engine.add_port(
            PortConfig("cell", PortType.CELL, packet_type, features, tx_queue=tx_queue)
        )

    def match(self, in_port: int, **known: object) -> Match:
        """Everything that comes in there, unless more is known; mask and value as hex."""
        for name in ("mask", "value"):
            known[name] = bytes.fromhex(str(known.get(name, "")))
        known.setdefault("min_length", len(known["mask"]))  # type: ignore[arg-type]
        known.setdefault("max_length", MAX_LENGTH)
        return Match(in_port, **known)  # type: ignore[arg-type]

    def flow(self, in_port: int, *program: Action, **known: object) -> int:
        """Install a flow; its id."""
        return self.engine.install(0, self.match(in_port, **known), program)

    def inject(self, port: int, *packets: bytes | MemoryPacket) -> None:
        for packet in packets:
            self.engine.inject(port, MemoryPacket(packet) if isinstance(packet, bytes) else packet)

    def settle(self) -> None:
        """Poll until nothing is received any more."""
        while self.engine.poll():
            pass

    def send(self, port: int, *packets: bytes | MemoryPacket) -> None:
        self.inject(port, *packets)
        self.settle()

    def collect(self, port: int) -> list[MemoryPacket]:
        """What has been sent to a memory port since."""
        found = []
        while packet := self.engine.collect(port):
            found.append(packet)
        return found

    def sent(self, port: int) -> list[bytes]:
        return [packet.data for packet in self.collect(port)]

    def run(self, program: Sequence[Action], data: bytes, offload: Offload | None = None) -> list[bytes]:
        """Run a program on one packet from x; what came out at y."""
        flow = self.flow(self.x, *program)
        self.send(self.x, MemoryPacket(data, NO_META, offload or Offload()))
        self.engine.remove(0, [flow])
        return self.sent(self.y)

    def drops(self, port: int) -> dict[str, int]:
        """Drop counts of a port by reason, zeros left out."""
        return {REASONS[code]: n for code, n in enumerate(self.engine.port_drops(port)) if n}

    def upcalls(self, count: int = 64) -> list[Upcall]:
        return self.engine.take_upcalls(0, count)

    def resolve(self, *resolutions: Resolution) -> list[int]:
        return self.engine.resolve(0, resolutions)

    def installed(self, upcall: Upcall, *program: Action, **known: object) -> Resolution:
        """The resolution that installs a flow for this upcall's packet."""
        return Resolution(upcall.token, Resolve.INSTALL, self.match(upcall.in_port, **known), program)

    def consume(self) -> None:
        """Take everything off the upcall rings."""
        while upcalls := self.upcalls():
            self.resolve(*(Resolution(upcall.token, Resolve.CONSUME) for upcall in upcalls))


@pytest.fixture
def bench(make_engine: EngineFactory) -> Bench:
    return Bench(make_engine())


@pytest.fixture
def make_bench(make_engine: EngineFactory):  # type: ignore[no-untyped-def]
    """Benches by engine configuration."""
    return lambda **config: Bench(make_engine(**config))
