"""What GUE links send, as scapy reads it."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from scapy.fields import BitField, ByteField, ShortField, StrLenField
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Packet as Scapy
from scapy.packet import bind_layers
from vdp.api import LinkError, PacketType
from vdp.testing import Dataplane, check_soundness
from vdp.testing.builders import ETH_ARP, ethernet, ipv4, tcp, udp

from vdp_gue.samples import KEY, LOCAL, LOCAL6, QUESTION, QUESTION6, REMOTE, REMOTE6, samples


class GUE(Scapy):
    """Figure of section 3.1 of the draft; scapy has none."""

    name = "GUE"
    fields_desc: ClassVar[list[Any]] = [
        BitField("version", 0, 2),
        BitField("control", 0, 1),
        BitField("hlen", 0, 5),
        ByteField("proto", 0),
        ShortField("flags", 0),
        StrLenField("extension", b"", length_from=lambda header: header.hlen * 4),
    ]


bind_layers(UDP, GUE, dport=6080)
bind_layers(GUE, IP, proto=4)
bind_layers(GUE, IPv6, proto=41)
bind_layers(GUE, GRE, proto=47)


@pytest.fixture
def ready(plane: Dataplane) -> Dataplane:
    """The topology of the samples."""
    list(samples(plane))
    return plane


def sent(plane: Dataplane, *packets: bytes, port: str = "lan") -> list[Scapy]:
    """What leaves by the underlay for these packets of the LAN."""
    plane.send(port, *packets)
    return [(IP if data[0] >> 4 == 4 else IPv6)(data) for data in plane.received("underlay")]


def checksum_is_good(made: Scapy) -> bool:
    again = made.copy()
    del again[UDP].chksum
    return bool(made[UDP].chksum) and type(made)(bytes(again))[UDP].chksum == made[UDP].chksum


@pytest.mark.parametrize(("carried", "proto"), [(QUESTION, 4), (QUESTION6, 41)])
def test_ip_goes_behind_a_gue_header(ready: Dataplane, carried: bytes, proto: int) -> None:
    (made,) = sent(ready, carried)
    assert (made.src, made.dst, made.flags) == (LOCAL, REMOTE, "DF")
    assert (made[GUE].version, made[GUE].hlen, made[GUE].proto, made[GUE].flags) == (0, 0, proto, 0)
    assert 49152 <= made[UDP].sport <= 65535
    assert checksum_is_good(made)
    assert bytes(made[GUE].payload) == carried


def test_over_ipv6_too(ready: Dataplane) -> None:
    (made,) = sent(ready, QUESTION, port="lan6")
    assert (made.src, made.dst, made.nh, made[GUE].proto) == (LOCAL6, REMOTE6, 17, 4)
    assert checksum_is_good(made)
    assert bytes(made[GUE].payload) == QUESTION


def test_frames_go_behind_gre(ready: Dataplane) -> None:
    frame = ethernet(QUESTION)
    (made,) = sent(ready, frame, port="lan2")
    assert (made[GUE].proto, made[GRE].proto, made[GRE].key) == (47, 0x6558, KEY)
    assert checksum_is_good(made)
    assert bytes(made[Ether]) == frame


@pytest.mark.parametrize("carried", [QUESTION, QUESTION6])
def test_variant_1_has_no_header(plane: Dataplane, carried: bytes) -> None:
    plane.port("underlay", PacketType.L3)
    plane.port("lan", PacketType.L3)
    link = plane.link("g", "gue", local=LOCAL, remote=REMOTE, variant=1)
    plane.connect("lan", "g")
    (made,) = sent(plane, carried)
    assert bytes(made)[28:] == carried
    assert link.mtu == 1500 - 28


def test_flows_have_source_ports_of_their_own_and_no_megaflow_more(ready: Dataplane) -> None:
    def flow(port: int) -> bytes:
        return ipv4("10.0.0.1", "10.0.0.2", tcp(port, 80))

    sent(ready, flow(1))
    seen = ready.upcalls
    assert len({made[UDP].sport for made in sent(ready, *map(flow, range(1000, 1064)))}) > 50
    assert ready.upcalls == seen


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"encap_dport": 7000, "encap_sport": 7001}, {"sport": 7001, "dport": 7000}),
        ({"encap_csum": False}, {"chksum": 0}),
        ({"ttl": 9, "tos": 0x48}, {"ttl": 9, "tos": 0x48}),
        ({"pmtudisc": False, "ignore_df": True}, {"flags": 0}),
    ],
    ids=lambda value: "-".join(value),
)
def test_options_are_those_of_ip_link(plane: Dataplane, options: Any, expected: dict[str, Any]) -> None:
    plane.port("underlay", PacketType.L3)
    plane.port("lan", PacketType.L3)
    plane.link("g", "gue", local=LOCAL, remote=REMOTE, **options)
    plane.connect("lan", "g")
    (made,) = sent(plane, QUESTION)
    layer = made if "chksum" not in expected else made[UDP]
    assert {name: getattr(layer, name) for name in expected} == expected


def test_the_mtu_is_what_the_headers_leave(ready: Dataplane) -> None:
    links = ready.datapath.links
    assert [links[name].mtu for name in ("gue", "gue6", "guetap")] == [1468, 1448, 1500 - 20 - 8 - 4 - 8 - 14]


def test_what_it_has_no_number_for_is_not_sent(ready: Dataplane) -> None:
    ready.send("lan", b"\x70" + bytes(40))
    assert ready.received("underlay") == []
    assert ready.drops("lan") == {"plugin_gue_proto": 1}
    assert ready.counters("gue")["tx_errors"] == 1


def test_a_port_is_either_gues_or_gres(ready: Dataplane) -> None:
    with pytest.raises(
        LinkError, match="6080, wanted by fou_udp_recv of vdp, is taken by gue_udp_recv of gue"
    ):
        ready.link("gre1", "gre", local=LOCAL, remote="192.0.2.9", encap="udp", encap_dport=6080)


def test_it_is_sound(ready: Dataplane) -> None:
    arp = ethernet(bytes(28), to="ff:ff:ff:ff:ff:ff", ethertype=ETH_ARP)
    check_soundness(
        ready.datapath, "lan", QUESTION, QUESTION6, ipv4("10.0.0.1", "10.0.0.2", udp(1, 2), tos=3)
    )
    check_soundness(ready.datapath, "lan2", ethernet(QUESTION), ethernet(QUESTION6), arp)
