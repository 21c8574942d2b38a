"""What programs reach of the engine, mirrored: ports and states as they are now, made when first asked for.

The mirror is written, the engine is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vdp.engine.interface import (
    META_DEVICE,
    META_PROTOCOL,
    Feature,
    Offload,
    PacketType,
    PortConfig,
    PortType,
)
from vdp.links.link import Link
from vdp.testing.reference.offload import load, locate
from vdp.testing.reference.packet import REASONS, Lost, Packet
from vdp.testing.reference.ports import Port as MirroredPort
from vdp.testing.reference.state import ROUND, Arrival, State

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.ports.port import Port

#: IP versions that a raw socket of that sort takes.
VERSIONS = {PortType.IP: (4,), PortType.IP6: (6,), PortType.TUN: (4, 6)}
TCP, UDP = 6, 17
GSO = {(4, TCP): 1, (6, TCP): 4, (4, UDP): 5, (6, UDP): 5}
CHECKSUM_AT = {TCP: 16, UDP: 6}


class MirroredState(State):
    """A number of the engine.  What came in of a window only the engine knows: it is asked."""

    def __init__(self, datapath: Datapath, number: int) -> None:
        super().__init__(datapath.engine.read_state(number))
        self._datapath = datapath
        self._state = number
        self._passed: set[int] = set()

    def passes(self, sequence: int, explicit: bool, late: bool, arrival: Arrival) -> bool:
        if sequence in self._passed:
            return False
        good = self._datapath.engine.judge_sequence(
            self._state, sequence, explicit=explicit, late=late, waited=arrival.waited
        )
        if good:
            self._passed.add(sequence)
            is_ahead = (sequence - self.number) % ROUND < ROUND // 2
            self.value = (sequence + 1) % ROUND if is_ahead or not self.number else self.value
        return good


class Mirror:
    """The ports and states of one dataplane."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._ports: dict[int, MirroredPort] = {}
        self._states: dict[int, MirroredState] = {}

    def port(self, number: int) -> MirroredPort | None:
        """The port, cell or outlet of that number; None where there is none."""
        if number not in self._ports:
            made = self._make(number)
            if made is None:
                return None
            self._ports[number] = made
        return self._ports[number]

    def name(self, number: int) -> str:
        """Its name; of an outlet of a large bridge that of the member behind it."""
        found = self._datapath.port_by_number(number)
        if found is not None:
            return found.name
        return self._datapath.forwarding.outlets.get(number, ("", str(number)))[1]

    def state(self, number: int) -> MirroredState:
        """Lost where the engine has none."""
        if number not in self._states:
            try:
                self._states[number] = MirroredState(self._datapath, number)
            except OSError:
                raise Lost("handler_error") from None
        return self._states[number]

    def group(self, number: int) -> list[int]:
        """The ports of a group: the outlets of the bridge that has it."""
        for bridge in self._datapath.forwarding.bridges.values():
            if bridge.large_flood.group == number:
                return list(bridge.large_flood.outlets.values())
        return []

    def _make(self, number: int) -> MirroredPort | None:
        found = self._datapath.port_by_number(number)
        if found is None:
            if number not in self._datapath.forwarding.outlets:
                return None
            config = PortConfig("", PortType.CELL, PacketType.L2)
        elif isinstance(found, Link):
            features = self._datapath.joined if found.gro else Feature.NONE
            config = PortConfig(found.name, PortType.CELL, found.packet_type, features)
        else:
            config = PortConfig(found.name, found.type, found.packet_type, found.features, found.mtu)
        up = self._datapath.engine.port_stats(number).up
        return MirroredPort(number, config, config.features, up)


def arriving(datapath: Datapath, member: Port | Link, data: bytes, segment_size: int) -> Packet:
    """A packet as the engine would have it from there.  Lost where it would not take it.

    segment_size: it is a super-packet, with segments of so much payload; 0: it is none.
    """
    packet = Packet(bytearray(data), in_port=member.number)
    packet.meta[3] = member.packet_type
    if member.packet_type is PacketType.L3 and data:
        packet.set_word(META_PROTOCOL, {4: 0x0800, 6: 0x86DD}.get(data[0] >> 4, 0))
    if not isinstance(member, Link) and member.type in (PortType.IP, PortType.IP6):
        packet.set_word(META_DEVICE, _device(datapath, member))
    load(packet, _offload(packet, segment_size) if segment_size else Offload())
    return packet


def refusal(port: MirroredPort, packet: Packet) -> int | None:
    """Why a socket would not take a packet whatever its size; None where it would."""
    versions = VERSIONS.get(port.config.type)
    version = packet.data[0] >> 4 if packet.data else 0
    if versions is not None and version not in versions:
        return REASONS["protocol_unsupported"]
    return None


def links_over(datapath: Datapath, port: Port) -> list[Link]:
    """The links whose underlay a port is."""
    return [link for link in datapath.links.values() if getattr(link, "underlay", None) in (port, port.name)]


def _device(datapath: Datapath, port: Port) -> int:
    """Index of the device that a link over it is bound to; 0: none is."""
    devices = [getattr(link, "device", None) for link in links_over(datapath, port)]
    return next((device.index for device in devices if device is not None), 0)


def _offload(packet: Packet, segment_size: int) -> Offload:
    """The marks of a TCP or UDP super-packet; those of nothing else lead to gso_invalid."""
    headers = locate(packet)
    kind = GSO.get((headers.version, headers.protocol)) if headers else None
    if headers is None or kind is None:
        raise Lost("gso_invalid")
    at = CHECKSUM_AT[headers.protocol]
    return Offload(True, headers.transport, at, kind, segment_size, headers.payload)
