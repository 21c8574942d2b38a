"""GRE-in-UDP (RFC 8086): what goes out in UDP, and what is taken that comes in it."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Packet as Scapy
from scapy.packet import Raw, bind_layers, split_layers

from tests.links.errors import error4, unreachable
from tests.plane import L2, L3, A, B, MakePlane, Plane
from vdp.engine.interface import Feature, Offload, PortConfig, PortType
from vdp.links.link import LinkError
from vdp.testing.builders import arp, ethernet, gre, ipv4, ipv6, pseudo_sum, tcp, udp
from vdp.testing.soundness import check_soundness
from vdp.verdict import Verdict

A6, B6 = "2001:db8::1", "2001:db8::2"
GRE_UDP, UDP_L4 = 4754, 5
INNER = ipv4("10.0.0.1", "10.0.0.2", udp(1000, 53, b"question"))
ANSWER = ipv4("10.0.0.2", "10.0.0.1", udp(53, 1000, b"an answer"))
ETHERTYPE_IPV4, ETHERTYPE_TEB = 0x0800, 0x6558


@pytest.fixture(autouse=True)
def port_4754() -> Any:
    """scapy has GRE behind this port by RFC 8086, once told."""
    bind_layers(UDP, GRE, dport=GRE_UDP)
    yield
    split_layers(UDP, GRE, dport=GRE_UDP)


@pytest.fixture
def plane(make_plane: MakePlane) -> Plane:
    plane = make_plane(("gre", "gretap", "ip6gre", "wccp"))
    for name in ("underlay", "lan"):
        plane.port(name, L3)
    return plane


def tunnel(plane: Plane, **options: Any) -> None:
    plane.link("gre1", "gre", **({"local": A, "remote": B, "encap": "udp"} | options))
    plane.connect("lan", "gre1")


def tunnel6(plane: Plane, name: str = "gre6", **options: Any) -> None:
    plane.link(name, "ip6gre", **({"local": A6, "remote": B6, "encap": "udp"} | options))


def sent(plane: Plane, *packets: bytes) -> list[Scapy]:
    """What leaves the underlay for packets of the LAN, as scapy reads it."""
    plane.send("lan", *packets)
    return [(IP if data[0] >> 4 == 4 else IPv6)(data) for data in plane.received("underlay")]


def datagram(payload: bytes, **fields: Any) -> Scapy:
    """What the remote sends; `udp` in fields: of the UDP header."""
    header = {"sport": 50000, "dport": GRE_UDP} | fields.pop("udp", {})
    ends = {"src": B, "dst": A} | fields
    return (IPv6 if ":" in ends["src"] else IP)(**ends) / UDP(**header) / Raw(payload)


def assert_checksum_good(packet: Scapy) -> None:
    again = type(packet)(bytes(packet))
    del again[UDP].chksum
    assert type(packet)(bytes(again))[UDP].chksum == packet[UDP].chksum != 0


# -- what is sent -------------------------------------------------------------------------


@pytest.mark.conformance("L13", "B5")
def test_the_headers_are_ip_udp_gre(plane: Plane) -> None:
    tunnel(plane, key=7, csum=True, seq=True)
    (packet,) = sent(plane, INNER)
    assert [layer.__name__ for layer in packet.layers()][:4] == ["IP", "UDP", "GRE", "IP"]
    assert (packet.proto, packet[UDP].dport, packet[UDP].len) == (17, GRE_UDP, len(packet) - 20)
    assert packet[GRE].key == 7
    assert bytes(packet[GRE].payload) == INNER
    assert_checksum_good(packet)
    assert packet.len == len(packet)


@pytest.mark.conformance("L13")
def test_the_same_over_ipv6_behind_the_encapsulation_limit(plane: Plane) -> None:
    tunnel6(plane)
    plane.connect("lan", "gre6")
    (packet,) = sent(plane, INNER)
    names = [layer.__name__ for layer in packet.layers()]
    assert names[:4] == ["IPv6", "IPv6ExtHdrDestOpt", "UDP", "GRE"]
    assert packet[IPv6ExtHdrDestOpt].nh == 17
    assert bytes(packet[GRE].payload) == INNER
    assert_checksum_good(packet)


@pytest.mark.conformance("L13", "G20")
def test_the_source_port_is_one_of_the_flow(plane: Plane) -> None:
    """RFC 8086 3.2.1: 49152 to 65535, the same for all packets of a flow."""
    tunnel(plane)
    flows = [
        [ipv4("10.0.0.1", "10.0.0.2", tcp(40000 + n, 80, bytes(size)), id=size) for size in (0, 10, 900)]
        for n in range(64)
    ]
    ports = [{packet[UDP].sport for packet in sent(plane, *flow)} for flow in flows]
    assert all(len(of_flow) == 1 for of_flow in ports)
    assert all(port >= 0xC000 for (port,) in ports)
    assert len({port for (port,) in ports}) > 60
    assert len(plane.flows("lan")) == 1, "the engine makes it: no megaflow for each flow"


@pytest.mark.conformance("G20")
@pytest.mark.parametrize("change", ["10.0.0.3", "10.1.0.2"])
def test_addresses_count_where_there_are_no_ports(plane: Plane, change: str) -> None:
    tunnel(plane)
    one, same, other = (
        ipv4("10.0.0.1", to, payload, protocol=50)
        for to, payload in (("10.0.0.2", b"12345678"), ("10.0.0.2", b"87654321"), (change, b"12345678"))
    )
    ports = [packet[UDP].sport for packet in sent(plane, one, same, other)]
    assert ports[0] == ports[1] != ports[2]


@pytest.mark.conformance("G20")
def test_a_packet_that_may_be_cut_goes_by_its_addresses(plane: Plane) -> None:
    """Later fragments have no ports, and should go the same way."""
    tunnel(plane, pmtudisc=False)
    packets = [ipv4("10.0.0.1", "10.0.0.2", udp(port, 53, b"x"), flags=0) for port in (1, 2)]
    assert len({packet[UDP].sport for packet in sent(plane, *packets)}) == 1


@pytest.mark.conformance("G20")
def test_inner_ipv6_and_frames_have_flows_too(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.port("underlay", L3)
    plane.port("lan", L2)
    plane.link("gt", "gretap", local=A, remote=B, encap="udp")
    plane.connect("lan", "gt")
    frames = [
        ethernet(arp(1, source, "10.0.0.1", "00:00:00:00:00:00", "10.0.0.2"), origin=source, ethertype=0x0806)
        for source in ("02:00:00:00:00:0a", "02:00:00:00:00:0b")
    ]
    frames += [ethernet(ipv6("fd::1", "fd::2", udp(1, port, b"x"))) for port in (1, 2)]
    packets = sent(plane, *frames)
    assert [bytes(packet[GRE].payload) for packet in packets] == frames
    assert len({packet[UDP].sport for packet in packets}) == 4


@pytest.mark.conformance("L13")
def test_ports_can_be_told(plane: Plane) -> None:
    tunnel(plane, encap_dport=4755, encap_sport=1234)
    (packet,) = sent(plane, INNER)
    assert (packet[UDP].sport, packet[UDP].dport) == (1234, 4755)
    plane.send("underlay", bytes(datagram(gre(ANSWER), udp={"dport": 4755})))
    assert plane.received("lan") == [ANSWER]
    plane.send("underlay", bytes(datagram(gre(ANSWER))))
    assert plane.received("lan") == []


@pytest.mark.conformance("L13")
def test_without_checksums_the_field_is_zero(plane: Plane) -> None:
    tunnel(plane, encap_csum=False)
    (packet,) = sent(plane, INNER)
    assert packet[UDP].chksum == 0


@pytest.mark.conformance("B5")
def test_the_mtu_is_eight_less(plane: Plane) -> None:
    tunnel(plane, mtu=None)
    link = plane.datapath.links["gre1"]
    assert (link.mtu, link.overhead) == (1500 - 20 - 8 - 4, 32)  # type: ignore[attr-defined]
    tunnel6(plane)
    assert plane.datapath.links["gre6"].mtu == 1500 - 48 - 8 - 4


@pytest.mark.conformance("H1", "B5")
def test_a_super_packet_is_cut_first_and_each_datagram_has_its_own_headers(plane: Plane) -> None:
    tunnel(plane, seq=True)
    data = bytes(range(250)) * 12
    packet = ipv4("10.0.0.1", "10.0.0.2", tcp(1000, 80, data))
    plane.send("lan", packet, offload=Offload(True, 20, 16, 1, 1000))
    packets = [IP(data) for data in plane.received("underlay")]
    assert [packet[GRE].sequence_number for packet in packets] == [1, 2, 3]
    assert len({packet[UDP].sport for packet in packets}) == 1
    assert b"".join(bytes(packet[TCP].payload) for packet in packets) == data
    for one in packets:
        assert_checksum_good(one)


def test_a_port_that_finishes_checksums_gets_them_unfinished(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.port("lan", L3)
    plane.datapath.add_port(
        PortConfig("underlay", PortType.MEMORY, L3, features=Feature.CSUM | Feature.USO, mtu=1500)
    )
    tunnel(plane)
    plane.send("lan", INNER)
    (packet,) = plane.collect("underlay")
    assert packet.offload == Offload(True, 20, 6)
    size = len(packet.data) - 20
    assert IP(packet.data)[UDP].chksum == pseudo_sum(packet.data[12:20], 17, size)


# -- what is received ---------------------------------------------------------------------


@pytest.mark.conformance("L13")
@pytest.mark.parametrize("options", [{}, {"key": 7, "csum": True}])
def test_it_is_taken_off(plane: Plane, options: dict[str, Any]) -> None:
    tunnel(plane, **options)
    header = gre(ANSWER, key=options.get("key"), csum=options.get("csum", False))
    plane.send("underlay", bytes(datagram(header)))
    assert plane.received("lan") == [ANSWER]
    assert plane.counters("gre1")["rx_packets"] == 1


@pytest.mark.conformance("L13", "B5")
def test_a_link_takes_what_came_as_it_sends(plane: Plane) -> None:
    """Two links that differ in that alone are told apart."""
    tunnel(plane)
    plane.send("underlay", ipv4(B, A, gre(ANSWER), protocol=47))
    assert plane.received("lan") == []
    assert plane.drops("underlay") == {"tunnel_no_link": 1}
    plane.port("other", L3)
    plane.link("plain", "gre", local=A, remote=B)
    plane.connect("other", "plain")
    plane.send("underlay", ipv4(B, A, gre(ANSWER), protocol=47), bytes(datagram(gre(ANSWER))))
    assert plane.received("other") == plane.received("lan") == [ANSWER]


@pytest.mark.conformance("C5")
def test_a_plain_link_takes_nothing_from_udp(plane: Plane) -> None:
    plane.link("plain", "gre", local=A, remote=B)
    plane.connect("lan", "plain")
    plane.send("underlay", bytes(datagram(gre(ANSWER))))
    assert plane.received("lan") == []
    assert plane.drops("underlay") == {"not_for_us": 1}, "nobody listens: it is the host's"


def test_where_nobody_listens_the_host_s_datagrams_are_one_flow(plane: Plane) -> None:
    """And so are the ICMP errors about what it sent; a link that listens is found all the same, at once."""
    plane.link("plain", "gre", local=A, remote=B)
    plane.connect("lan", "plain")
    for port in (53, 123, 4754):
        plane.send("underlay", ipv4(B, A, udp(port, port)), unreachable(ipv4(A, B, udp(port, port))))
    assert len(plane.flows("underlay")) == 2
    tunnel(plane)
    plane.send("underlay", bytes(datagram(gre(ANSWER))))
    assert plane.received("lan") == [ANSWER]


@pytest.mark.conformance("L13")
def test_a_wrong_checksum_is_refused_and_none_is_not(plane: Plane) -> None:
    tunnel(plane)
    good = datagram(gre(ANSWER))
    plane.send("underlay", bytes(good), bytes(datagram(gre(ANSWER), udp={"chksum": 0})))
    assert plane.received("lan") == [ANSWER] * 2
    plane.send("underlay", bytes(datagram(gre(ANSWER), udp={"chksum": 1})))
    assert plane.received("lan") == []
    assert plane.drops("underlay") == {"l4_checksum": 1}
    assert len(plane.flows("underlay")) == 1, "the engine looks at it, packet by packet"


@pytest.mark.conformance("L13")
def test_over_ipv6_none_is_refused_unless_the_link_sends_none(plane: Plane) -> None:
    """RFC 8086 5.2: between the two addresses that are configured for it, no others."""
    tunnel6(plane)
    plane.connect("lan", "gre6")

    def arrive(source: str, **fields: Any) -> list[bytes]:
        plane.send("underlay", bytes(datagram(gre(ANSWER), src=source, dst=A6, udp=fields)))
        return plane.received("lan")

    assert arrive(B6) == [ANSWER]
    assert arrive(B6, chksum=0) == []
    assert plane.drops("underlay") == {"l4_checksum": 1}
    tunnel6(plane, "open6", remote="2001:db8::3", encap_csum=False)
    assert arrive(B6, chksum=0) == []
    plane.change_link("gre6", local=A6, remote=B6, encap="udp", encap_csum=False)
    assert arrive(B6, chksum=0) == [ANSWER]
    assert arrive(B6, chksum=1) == [], "one that is there must be good"
    plane.change_link("gre6", local=A6, remote=B6, encap="udp")
    assert arrive(B6, chksum=0) == []


@pytest.mark.conformance("L13")
@pytest.mark.parametrize("length", [0, 7, 8 + 200])
def test_a_length_that_can_not_be_is_refused(plane: Plane, length: int) -> None:
    tunnel(plane)
    plane.send("underlay", bytes(datagram(gre(ANSWER), udp={"len": length, "chksum": 0})))
    assert plane.drops("underlay") == {"parse_bad_length": 1}


def test_what_is_behind_the_udp_length_is_not_part_of_it(plane: Plane) -> None:
    tunnel(plane)
    packet = IP(bytes(datagram(gre(ANSWER)))) / Raw(b"behind")
    del packet.len, packet.chksum
    plane.send("underlay", bytes(packet))
    assert plane.received("lan") == [ANSWER]


@pytest.mark.conformance("F10", "B5")
def test_joined_datagrams_are_cut_and_what_is_inside_is_joined(plane: Plane) -> None:
    """As they come from a local sender, or out of the kernel's UDP GRO."""
    tunnel(plane)
    pieces = [
        gre(ipv4("10.0.0.2", "10.0.0.1", tcp(1000, 80, bytes([n]) * 100, seq=100 * n), id=n))
        for n in range(4)
    ]
    offload = Offload(True, 20, 6, UDP_L4, len(pieces[0]))
    plane.send("underlay", bytes(datagram(pieces[0])))
    plane.received("lan")
    plane.send("underlay", bytes(datagram(b"".join(pieces))), offload=offload)
    assert plane.drops("underlay") == {}
    assert b"".join(bytes(IP(data)[TCP].payload) for data in plane.received("lan")) == b"".join(
        bytes([n]) * 100 for n in range(4)
    )
    assert plane.stats("underlay").segmented == 3
    assert plane.stats("gre1").merged == 3


def test_an_unfinished_checksum_is_a_good_one(plane: Plane) -> None:
    """It was not on any wire yet: a peer on this machine leaves it to the card that there is not."""
    tunnel(plane)
    packet = datagram(gre(ANSWER), udp={"chksum": 0x1234})
    plane.send("underlay", bytes(packet), offload=Offload(True, 20, 6))
    assert plane.received("lan") == [ANSWER]


def test_other_udp_is_left_to_the_host(plane: Plane) -> None:
    tunnel(plane)
    plane.send("underlay", ipv4(B, A, udp(1, 53, b"x")))
    assert plane.drops("underlay") == {"not_for_us": 1}


@pytest.mark.conformance("L13")
@pytest.mark.parametrize("protocol", [17, 1])
def test_fragments_of_udp_and_icmp_are_left_to_the_host(plane: Plane, protocol: int) -> None:
    tunnel(plane)
    plane.port("host", L2)
    plane.port("wire", L2)
    plane.bridge("br0", "host", "wire")
    plane.link("gre2", "gre", "wire", local=A, remote=B, encap="udp")
    frame = ethernet(ipv4(B, A, bytes(64), protocol=protocol, flags=1))
    plane.send("wire", frame)
    assert plane.received("host") == [frame]


# -- around it ----------------------------------------------------------------------------


@pytest.mark.conformance("C12")
def test_errors_about_the_outer_packet_find_the_link(plane: Plane) -> None:
    tunnel(plane, ttl=64)
    (packet,) = sent(plane, INNER)
    plane.send("underlay", unreachable(bytes(packet), size=20 + 8 + 8))
    assert plane.datapath.links["gre1"].errors.count == 1  # type: ignore[union-attr]


def test_errors_about_the_hosts_own_udp_are_left_to_it(plane: Plane) -> None:
    tunnel(plane)
    plane.send("underlay", error4(ipv4(A, B, udp(1, 53, b"x")), 3, 1, size=36))
    assert plane.drops("underlay") == {"not_for_us": 1}


@pytest.mark.conformance("B22")
def test_what_it_is_carried_in_is_for_good(plane: Plane) -> None:
    tunnel(plane)
    with pytest.raises(LinkError) as refused:
        plane.change_link("gre1", local=A, remote=B)
    assert refused.value.errno == errno.EOPNOTSUPP
    assert len(sent(plane, INNER)) == 1


def test_a_port_that_a_plugin_has_is_refused(plane: Plane) -> None:
    table = plane.datapath.registry.table("udp_port")
    table.add(lambda packet, ip, udp: Verdict.REJECT, slot=GRE_UDP, name="mine", owner="me")
    with pytest.raises(LinkError) as refused:
        tunnel(plane)
    assert refused.value.errno == errno.EBUSY
    assert "gre1" not in plane.datapath.links


def test_the_port_is_the_hosts_again_when_the_last_link_goes(plane: Plane) -> None:
    tunnel(plane)
    plane.link("gre2", "gre", local=A, remote="192.0.2.3", encap="udp")
    plane.remove_link("gre1")
    plane.send("underlay", bytes(datagram(gre(ANSWER), src="192.0.2.3")))
    assert plane.counters("gre2")["rx_packets"] == 1
    plane.remove_link("gre2")
    assert GRE_UDP not in plane.datapath.registry.table("udp_port")


def test_options_of_udp_without_it_are_refused(plane: Plane) -> None:
    with pytest.raises(ValueError, match='encap_dport without encap = "udp"'):
        plane.link("gre1", "gre", local=A, remote=B, encap_dport=1)


@pytest.mark.conformance("L13")
@pytest.mark.parametrize("options", [{}, {"key": 7, "csum": True, "seq": True}])
def test_traces_are_sound(plane: Plane, options: dict[str, Any]) -> None:
    tunnel(plane, **options)
    tunnel6(plane, **options)
    header = gre(
        ANSWER, key=options.get("key"), csum="csum" in options, sequence=1 if "seq" in options else None
    )
    received = [
        bytes(datagram(header, **more))
        for more in ({}, {"udp": {"chksum": 0}}, {"udp": {"dport": 53}}, {"src": B6, "dst": A6})
    ]
    check_soundness(plane.datapath, "underlay", *received)
    tagged = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"x"), options=b"\1" * 4)
    check_soundness(plane.datapath, "lan", INNER, tagged, ipv6("fd::1", "fd::2", udp(1, 2, b"x")))


@pytest.mark.conformance("L13")
def test_frames_come_through_too(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.port("underlay", L3)
    plane.port("lan", L2)
    plane.link("gt", "gretap", local=A, remote=B, encap="udp")
    plane.connect("lan", "gt")
    frame = bytes(Ether(src="02:00:00:00:00:0a", dst="02:00:00:00:00:0b") / IP(ANSWER))
    plane.send("underlay", bytes(datagram(gre(frame, ETHERTYPE_TEB))))
    assert plane.received("lan") == [frame]
