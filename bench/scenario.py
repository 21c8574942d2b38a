"""Scenarios for the engine's bench: tunnels as vdp makes them, flows as their packets are traced.

A real dataplane (memory ports, the links, routes and plugins of a configuration) decides for
one packet of each tunnel.  What it decides, match and program, goes into a file from which the
C program fills an engine of its own; see bench/c/scenario.h.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Self

from vdp.engine.interface import META_SIZE, WINDOW, EngineConfig, Match, PacketType, PortType, meta_of
from vdp.engine.native import NativeEngine
from vdp.engine.program import Program, encode
from vdp.forwarding.routes import Route
from vdp.protocols.ethernet import EtherType
from vdp.testing.builders import ETH_IPV4, IP_GRE, ethernet, gre, ipv4, udp
from vdp.testing.dataplane import Dataplane

LOCAL = "192.0.2.1"
#: Remote of the first tunnel; the others follow.
REMOTE = IPv4Address("10.0.0.1")
#: Tunnel n leads to the network n of this size from here on.
FAR, FAR_BITS = IPv4Address("100.0.0.0"), 8
NEAR = "172.16.0.1"
_HEAD = struct.Struct("=12I")
_MATCH = struct.Struct(f"=4I{META_SIZE}s{META_SIZE}s{WINDOW}s{WINDOW}s")
ETHERNET_SIZE = 14
IP_SOURCE, IP_DESTINATION = 12, 16


@dataclass(frozen=True)
class Scenario:
    """What was written, and what making it took."""

    path: Path
    tunnels: int
    #: Seconds and bytes a link in the Python process, and seconds of the traces that a tunnel's
    #: first packet asks for.
    link_s: float
    link_bytes: float
    trace_s: float


@dataclass(frozen=True)
class Sort:
    """What tunnels are measured: their kind, the plugins of it, options, and what they put behind IP."""

    kind: str
    plugins: tuple[str, ...]
    options: Mapping[str, Any]
    header: bytes


GRE = Sort("gre", ("gre",), {}, gre(b"", ETH_IPV4))


class Tunnels:
    """A dataplane with so many tunnels between the ports `underlay` (Ethernet) and `lan` (IP)."""

    def __init__(self, count: int, sort: Sort = GRE) -> None:
        engine = NativeEngine(EngineConfig(flows=16))
        self.sort = sort
        self.plane = Dataplane(engine, sort.plugins)
        self.plane.port("underlay", PacketType.L2, mac=bytes.fromhex("020000000002"))
        self.plane.port("lan", PacketType.L3)
        self.count = count
        before, started = _resident(), time.perf_counter()
        for number in range(count):
            ends = {"local": LOCAL, "remote": str(REMOTE + number)}
            self.plane.link(f"gre{number}", sort.kind, **ends, **sort.options)
        self.link_s = (time.perf_counter() - started) / count
        self.link_bytes = (_resident() - before) / count
        far = (
            Route(IPv4Network((int(FAR) + (number << FAR_BITS), 32 - FAR_BITS)), f"gre{number}")
            for number in range(count)
        )
        self.plane.route(Route(IPv4Network("172.16.0.0/16"), "lan"), *far)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.plane.close()

    def inner(self, number: int) -> bytes:
        """64 bytes of IP from the far end of a tunnel."""
        return ipv4(str(FAR + (number << FAR_BITS) + 1), NEAR, udp(1000, 2000, bytes(36)))

    def outer(self, number: int) -> bytes:
        """The same as it comes in by the underlay."""
        carried = self.sort.header + self.inner(number)
        return ethernet(ipv4(str(REMOTE + number), LOCAL, carried, protocol=IP_GRE))

    def outgoing(self, number: int) -> bytes:
        """64 bytes of IP that go into a tunnel."""
        return ipv4(NEAR, str(FAR + (number << FAR_BITS) + 1), udp(1000, 2000, bytes(36)))

    def decapsulation(self) -> Iterator[tuple[Match, Program]]:
        """Two flows a tunnel: at the underlay, and behind its cell."""
        for number in range(self.count):
            link = self.plane.datapath.links[f"gre{number}"]
            yield self._trace("underlay", self.outer(number))
            yield self._trace(link.name, self.inner(number))

    def encapsulation(self) -> Iterator[tuple[Match, Program]]:
        """One flow a tunnel, at the port `lan`."""
        for number in range(self.count):
            yield self._trace("lan", self.outgoing(number))

    def _trace(self, member: str, packet: bytes) -> tuple[Match, Program]:
        datapath = self.plane.datapath
        egress = datapath.egress(member)
        meta = meta_of(egress.packet_type, EtherType.IPV4)
        trace, program = datapath.trace(datapath.number_of(member), packet, len(packet), meta)
        return trace.match(), program

    def write(self, path: Path, way: str) -> Scenario:
        """A scenario of `way` "decapsulation" or "encapsulation"."""
        inbound = way == "decapsulation"
        packet = self.outer(0) if inbound else self.outgoing(0)
        network = ETHERNET_SIZE if inbound else 0
        field = network + (IP_SOURCE if inbound else IP_DESTINATION)
        base, step = (int(REMOTE), 1) if inbound else (int(FAR) + 1, 1 << FAR_BITS)
        datapath = self.plane.datapath
        in_port = datapath.number_of("underlay" if inbound else "lan")
        started = time.perf_counter()
        # First of all: a trace may ask the engine for a state or a header.
        flows = [_flow(*decided) for decided in (self.decapsulation() if inbound else self.encapsulation())]
        took = time.perf_counter() - started
        with path.open("wb") as file:
            file.seek(_HEAD.size)
            for number in range(1, 3 + self.count):
                member = datapath.port_by_number(number)
                kind = PortType.MEMORY if number < 3 else PortType.CELL
                file.write(struct.pack("=2I", kind, getattr(member, "packet_type", 0)))
            # Numbers are handed out from 1 on: the next ones say how many there are.
            counters, states = datapath.engine.new_counter(), datapath.engine.new_state()
            headers = datapath.engine.new_header(bytes(12))
            for number in range(1, states + 1):
                file.write(struct.pack("=I", datapath.engine.read_state(number)))
            file.writelines(flows)
            file.write(packet)
            file.seek(0)
            head = (2 + self.count, counters, states, headers, len(flows), in_port, len(packet))
            file.write(_HEAD.pack(*head, network, field, base, step, self.count))
        return Scenario(path, self.count, self.link_s, self.link_bytes, took / self.count)


def _flow(match: Match, program: Program) -> bytes:
    encoded = encode(program)
    head = _MATCH.pack(
        match.in_port, match.min_length, match.max_length, len(match.mask),
        match.meta_mask, match.meta_value, match.mask, match.value,
    )  # fmt: skip
    return head + struct.pack("=2I", encoded.count, len(encoded.blob)) + encoded.actions + encoded.blob


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
