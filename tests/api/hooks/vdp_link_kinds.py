"""A plugin in one file: a kind of gre link that carries 4 bytes more, a tag, behind the GRE header."""

from collections.abc import Iterable

import pytest

from vdp.api import (
    Bits,
    Datapath,
    EtherType,
    Header,
    IpTunnel,
    IpTunnelKind,
    IPv4,
    LinkKind,
    Packet,
    PacketType,
    TunnelInfo,
    TunnelParameters,
    Verdict,
    hookimpl,
)
from vdp.testing import Dataplane
from vdp.testing.builders import ipv4, udp

vdp_api = 1
PROTOCOL = 0x88BA


class Tag(Header):
    tag = Bits(32)


class Parameters(TunnelParameters):
    tag: int = 0

    @property
    def header_size(self) -> int:
        return super().header_size + Tag.SIZE


class TaggedTunnel(IpTunnel):
    parameters: Parameters

    def push_header(self, packet: Packet, protocol: int) -> None:
        Tag.push(packet, tag=self.parameters.tag)
        super().push_header(packet, PROTOCOL)


class TaggedKind(IpTunnelKind):
    name = "tagged"
    packet_type = PacketType.L3
    parameters = Parameters
    tunnel = TaggedTunnel

    def receive(self, packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        if info.protocol != PROTOCOL:
            return Verdict.REJECT
        tunnel = self.table.lookup(packet, ip.source, ip.destination, info.key)
        if tunnel is None:
            return Verdict.REJECT
        return tunnel.receive(packet, ip, info, EtherType.IPV4, skip=Tag.SIZE)


@hookimpl
def vdp_link_kinds() -> Iterable[LinkKind]:
    return [TaggedKind()]


@hookimpl
def vdp_register(datapath: Datapath) -> None:
    kind = datapath.kind(TaggedKind)
    datapath.registry.list("gre_cisco").add(kind.receive, priority=240, name="tagged_rcv", owner="tagged")


@pytest.mark.vdp("gre", f"tagged={__name__}")
def test_what_one_end_sends_the_other_takes(plane: Dataplane) -> None:
    plane.port("underlay", PacketType.L3)
    plane.port("lan", PacketType.L3)
    plane.link("tagged1", "tagged", local="192.0.2.1", remote="192.0.2.2", tag=7)
    plane.connect("lan", "tagged1")
    inner = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"hello"))
    plane.send("lan", inner)
    (sent,) = plane.received("underlay")
    assert sent[20:] == bytes.fromhex("0000 88ba 00000007") + inner
    back = ipv4("192.0.2.2", "192.0.2.1", sent[20:], protocol=47)
    plane.send("underlay", back)
    assert plane.received("lan") == [inner]
