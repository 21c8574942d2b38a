"""Rules by priority, OVS-style: match fields, then drop, output, flood or normal.

Only the fields that a rule names are looked at, and only until one differs, so that
rules cost a flow no more mask than they need (OVS: staged lookup).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from vdp.config.model import RuleSection
from vdp.config.rules import RuleAction, match_words
from vdp.config.values import Masked
from vdp.engine.interface import PacketType
from vdp.header import Bits
from vdp.protocols.ethernet import Ethernet, EtherType, Vlan
from vdp.protocols.ip import IPProtocol, IPv4, IPv6, Ports

if TYPE_CHECKING:
    from vdp.packet import Packet

PORTED = frozenset({IPProtocol.TCP, IPProtocol.UDP, 132, 136})


class Fields:
    """The OVS fields of a packet, read when asked for.  None: the packet has no such field."""

    def __init__(self, packet: Packet) -> None:
        self.packet = packet

    @cached_property
    def ethernet(self) -> Ethernet | None:
        is_frame = self.packet.packet_type is PacketType.L2 and self.packet.has(Ethernet.SIZE)
        return self.packet.header(Ethernet) if is_frame else None

    @cached_property
    def _network(self) -> tuple[int, int]:
        """EtherType behind VLAN tags, and where its header begins."""
        if self.ethernet is None:
            return self.packet.protocol, 0
        kind, at = self.ethernet.type, Ethernet.SIZE
        while kind in (EtherType.VLAN, EtherType.QINQ) and self.packet.has(at + Vlan.SIZE):
            kind, at = self.packet.header(Vlan, at).type, at + Vlan.SIZE
        return kind, at

    @property
    def eth_type(self) -> int:
        return self._network[0]

    @cached_property
    def ip(self) -> IPv4 | IPv6 | None:
        kind, at = self._network
        header: type[IPv4 | IPv6] | None = {EtherType.IPV4: IPv4, EtherType.IPV6: IPv6}.get(kind)  # type: ignore[call-overload]
        return self.packet.header(header, at) if header and self.packet.has(at + header.SIZE) else None

    @property
    def ip_proto(self) -> int | None:
        if self.ip is None:
            return None
        return self.ip.protocol if isinstance(self.ip, IPv4) else self.ip.next_header

    @cached_property
    def ports(self) -> Ports | None:
        if self.ip is None or self.ip_proto not in PORTED:
            return None
        if isinstance(self.ip, IPv4):
            if self.ip.fragment & 0x1FFF:
                return None
            at = self.ip.offset + self.ip.ihl * 4
        else:
            at = self.ip.offset + IPv6.SIZE
        return self.packet.header(Ports, at) if self.packet.has(at + Ports.SIZE) else None


Test = Callable[[Fields], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, ready to be asked: every test must hold."""

    priority: int
    in_port: str | None
    tests: tuple[Test, ...]
    actions: tuple[RuleAction, ...]
    #: What it takes, in words.
    match: tuple[str, ...] = ()

    def takes(self, fields: Fields, member: str) -> bool:
        return (self.in_port is None or self.in_port == member) and all(test(fields) for test in self.tests)


def compile_rule(section: RuleSection) -> Rule:
    """The rule of a configuration section."""
    match = section.match
    tests: list[Test] = []
    for name, field in (("eth_src", Ethernet.source), ("eth_dst", Ethernet.destination)):
        masked = getattr(match, name)
        if masked is not None:
            tests.append(_masked_test(masked, field.start))
    network = match.ip_src or match.ip_dst
    eth_type = match.eth_type
    if eth_type is None and network is not None:
        eth_type = EtherType.IPV4 if isinstance(network, IPv4Network) else EtherType.IPV6
    if eth_type is not None:
        wanted = eth_type
        tests.append(lambda fields: fields.eth_type == wanted)
    for net, direction in ((match.ip_src, "source"), (match.ip_dst, "destination")):
        if net is not None:
            tests.append(_network_test(int(net.network_address), net.prefixlen, direction))
    if match.ip_proto is not None:
        protocol = match.ip_proto
        tests.append(lambda fields: fields.ip_proto == protocol)
    for number, direction in ((match.tp_src, "source"), (match.tp_dst, "destination")):
        if number is not None:
            tests.append(_port_test(number, direction))
    for register, masked in match.registers.items():
        tests.append(_register_test(register, masked))
    words = tuple(match_words(match))
    return Rule(section.priority, match.in_port, tuple(tests), tuple(section.actions), words)


def _masked_test(masked: Masked, start: int) -> Test:
    def test(fields: Fields) -> bool:
        if fields.ethernet is None:
            return False
        found = fields.packet.read_masked(start // 8, masked.mask)
        return found == masked.value

    return test


def _network_test(address: int, prefix: int, direction: str) -> Test:
    def test(fields: Fields) -> bool:
        if fields.ip is None:
            return False
        if prefix == 0:
            return True
        field: Bits = getattr(type(fields.ip), direction)
        found = fields.packet.read_bits(fields.ip.place, field.start, prefix, f"ip.{direction}")
        return found == address >> (field.width - prefix)

    return test


def _port_test(number: int, direction: str) -> Test:
    return lambda fields: fields.ports is not None and bool(getattr(fields.ports, direction) == number)


def _register_test(register: int, masked: Masked) -> Test:
    mask, value = int.from_bytes(masked.mask, "big"), int.from_bytes(masked.value, "big")
    return lambda fields: fields.packet.register(register, mask) == value
