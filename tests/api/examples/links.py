"""Examples of docs/api/links.md."""

import asyncio
import errno
from ipaddress import IPv4Address
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from vdp.api import (
    Address,
    Address6,
    Endpoint6Parameters,
    EndpointParameters,
    FrameParameters,
    GreTunnel,
    GreTunnelKind,
    Ip6Tunnel,
    Ip6TunnelKind,
    IpTunnel,
    IpTunnelKind,
    Link,
    LinkError,
    LinkKind,
    LinkName,
    Mac,
    Packet,
    PacketType,
    PortName,
    SequenceParameters,
    Sequencing,
    Tap6Parameters,
    TapParameters,
    Tunnel6Parameters,
    TunnelParameters,
    TunnelTable,
    UdpParameters,
)
from vdp.testing import Dataplane
from vdp.testing.builders import gre, ipv4, udp

ENDS = {"local": "192.0.2.1", "remote": "192.0.2.2"}
ENDS6 = {"local": "2001:db8::1", "remote": "2001:db8::2"}
INNER = ipv4("10.0.0.1", "10.0.0.2", udp(1000, 2000, b"hello"))


class Nowhere(Link):
    """A link that drops what is sent by it, and counts that."""

    def encapsulate(self, packet: Packet) -> None:
        packet.drop("policy_rule", self.counters.tx_dropped)

    def fill_info(self) -> dict[str, Any]:
        return {}


class Parameters(BaseModel):
    pass


class NowhereKind(LinkKind):
    name = "nowhere"
    packet_type = PacketType.L3
    parameters = Parameters

    async def newlink(self, datapath: Any, name: str, underlay: str, parameters: Any) -> Nowhere:
        if name == "everywhere":
            raise LinkError(errno.EINVAL, name, "a link nowhere can not be called so")
        return Nowhere(datapath, name, self, parameters)

    async def dellink(self, link: Link) -> None:
        link.free()


# shows: Link, LinkKind
def test_a_kind_makes_links(plane: Dataplane) -> None:
    datapath = plane.datapath
    datapath.plugins.kinds["nowhere"] = NowhereKind()  # what the hook vdp_link_kinds does
    plane.port("lan", PacketType.L3)
    link = plane.link("null0", "nowhere", underlay="lan")
    plane.connect("lan", "null0")
    plane.send("lan", INNER)
    assert (link.mtu, link.up, plane.counters("null0")["tx_dropped"]) == (1500, True, 1)
    plane.remove_link("null0")
    assert not datapath.links


# shows: LinkError
def test_a_link_that_can_not_be_made_says_why() -> None:
    with pytest.raises(LinkError, match="link everywhere: a link nowhere can not be called so") as refused:
        asyncio.run(NowhereKind().newlink(None, "everywhere", "lan", None))
    assert refused.value.errno == errno.EINVAL


# shows: LinkName, PortName, Address, Address6, Mac
def test_settings_say_what_their_values_are() -> None:
    class Settings(BaseModel):
        watched: dict[LinkName, PortName] = {}
        server: Address = IPv4Address("192.0.2.1")
        server6: Address6 | None = None
        station: Mac | None = None

    settings = Settings.model_validate({"server": "198.51.100.7", "station": "02:00:00:00:00:01"})
    assert settings.server == IPv4Address("198.51.100.7")
    with pytest.raises(ValidationError):
        Settings.model_validate({"server": "somewhere"})


# shows: IpTunnel, IpTunnelKind, GreTunnel, GreTunnelKind
def test_a_kind_with_another_name_is_a_kind_of_its_own(plane: Dataplane) -> None:
    class Counted(IpTunnel):
        def push_header(self, packet: Packet, protocol: int) -> None:
            packet.count(self.counters.multicast)
            super().push_header(packet, protocol)

    class CountedKind(IpTunnelKind):
        name = "counted"
        packet_type = PacketType.L3
        tunnel = Counted

    plane.datapath.plugins.kinds["counted"] = CountedKind()  # what the hook vdp_link_kinds does
    plane.port("underlay", PacketType.L3)
    plane.port("lan", PacketType.L3)
    link = plane.link("c1", "counted", **ENDS)
    plane.connect("lan", "c1")
    plane.send("lan", INNER)
    assert plane.received("underlay")[0][20:] == gre(INNER)
    assert plane.counters("c1")["multicast"] == 1
    assert isinstance(link, GreTunnel)
    assert isinstance(link.kind, GreTunnelKind)


# shows: Ip6Tunnel, Ip6TunnelKind
@pytest.mark.vdp("gre", "ip6gre")
def test_the_same_over_ipv6(plane: Dataplane) -> None:
    plane.port("underlay", PacketType.L3)
    plane.port("lan", PacketType.L3)
    link = plane.link("gre6", "ip6gre", encaplimit="none", **ENDS6)
    plane.connect("lan", "gre6")
    plane.send("lan", INNER)
    assert plane.received("underlay")[0][40:] == gre(INNER)
    assert isinstance(link, Ip6Tunnel)
    assert isinstance(link.kind, Ip6TunnelKind)


# shows: TunnelTable
def test_a_received_packet_finds_its_tunnel(plane: Dataplane) -> None:
    plane.port("underlay", PacketType.L3)
    plane.link("any", "gre", local="192.0.2.1")
    plane.link("one", "gre", **ENDS)
    tunnels: TunnelTable = plane.datapath.kind(IpTunnelKind, "gre").table
    assert {tunnel.name for tunnel in tunnels} == {"any", "one"}
    plane.send("underlay", ipv4("192.0.2.2", "192.0.2.1", gre(INNER), protocol=47))
    plane.send("underlay", ipv4("192.0.2.9", "192.0.2.1", gre(INNER), protocol=47))
    assert [plane.counters(name)["rx_packets"] for name in ("one", "any")] == [1, 1]


# shows: EndpointParameters, TunnelParameters, TapParameters, FrameParameters
def test_parameters_are_models_of_a_links_table() -> None:
    ends = EndpointParameters.model_validate(ENDS)
    assert (str(ends.local), ends.ttl, ends.up) == ("192.0.2.1", "inherit", True)
    tunnel = TunnelParameters.model_validate(ENDS | {"key": "0.0.0.42", "csum": True})
    assert (tunnel.input_key, tunnel.header_size) == (42, 12)
    frames = TapParameters.model_validate(ENDS | {"mac": "02:00:00:00:00:01"})
    assert isinstance(frames, FrameParameters)
    with pytest.raises(ValidationError):
        TunnelParameters.model_validate({"local": "2001:db8::1"})


# shows: Endpoint6Parameters, Tunnel6Parameters, Tap6Parameters
def test_parameters_of_tunnels_over_ipv6() -> None:
    ends = Endpoint6Parameters.model_validate(ENDS6)
    assert ends.outer_size == 40 + 8  # an encapsulation limit goes along
    assert Tunnel6Parameters.model_validate(ENDS6 | {"key": 7}).header_size == 8
    assert Tap6Parameters.model_validate(ENDS6 | {"mac": "02:00:00:00:00:01"}).mac == "02:00:00:00:00:01"


# shows: UdpParameters
def test_a_tunnel_in_udp_has_ports() -> None:
    class VxlanParameters(UdpParameters, EndpointParameters):
        pass

    parameters = VxlanParameters.model_validate(ENDS | {"encap_dport": 4789})
    assert (parameters.encap_port, parameters.encap_source, parameters.udp_checksum) == (4789, None, True)


# shows: SequenceParameters, Sequencing
def test_how_sequence_numbers_are_kept_is_configured() -> None:
    assert issubclass(TunnelParameters, SequenceParameters)
    numbered = TunnelParameters.model_validate(ENDS | {"iseq": True, "seq_window": 64})
    assert numbered.sequencing == Sequencing(checked=True, window=64)
    with pytest.raises(ValidationError, match="seq_window without iseq"):
        TunnelParameters.model_validate(ENDS | {"seq_window": 64})
