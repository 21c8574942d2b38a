"""vdp_erspan over IPv6: what is other than over IPv4, which test_erspan shows."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from scapy.contrib.erspan import ERSPAN_I, ERSPAN_II, ERSPAN_III
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Raw

from tests.plane import L2, L3, MakePlane, Plane
from vdp.links.link import LinkError
from vdp.testing.soundness import check_soundness

PLUGINS = ("ip6gre", "erspan")
A, B = "2001:db8::1", "2001:db8::2"
FRAME = bytes(
    Ether(dst="02:00:00:00:00:0c", src="02:00:00:00:00:0b") / IP(tos=0xB8, ttl=9) / UDP() / b"mirrored"
)
#: A receiver that does not mind the order.
ANY_ORDER = {"key": 5, "oseq": True}


@pytest.fixture
def bare(make_plane: MakePlane) -> Plane:
    plane = make_plane(PLUGINS)
    plane.port("underlay", L3)
    plane.port("monitor", L2)
    return plane


def add(plane: Plane, **parameters: Any) -> None:
    plane.link("er0", "ip6erspan", local=A, remote=B, **parameters)
    plane.connect("er0", "monitor")


def incoming(*layers: Any) -> bytes:
    packet = IPv6(src=B, dst=A, nh=60) / IPv6ExtHdrDestOpt(nh=47, options=[Raw(b"\4\1\4\1\1\0")], autopad=0)
    for layer in layers:
        packet /= layer
    return bytes(packet)


def numbered(protocol: int = 0x88BE) -> Any:
    return GRE(proto=protocol, seqnum_present=1, sequence_number=7)


@pytest.mark.conformance("L6", "L7", "L8", "L9", "L18")
@pytest.mark.parametrize(
    ("parameters", "packet"),
    [
        ({"erspan_ver": 0}, incoming(GRE(proto=0x88BE), ERSPAN_I(), FRAME)),
        (ANY_ORDER, incoming(numbered(), ERSPAN_II(session_id=5), FRAME)),
        (ANY_ORDER, incoming(numbered(0x22EB), ERSPAN_III(session_id=5, p=1), FRAME)),
        (ANY_ORDER, incoming(numbered(0x22EB), ERSPAN_II(session_id=5), FRAME)),
    ],
    ids=["I", "II", "III", "II by its version"],
)
def test_each_type_comes_out_behind_the_link(bare: Plane, parameters: Any, packet: bytes) -> None:
    add(bare, **parameters)
    bare.send("underlay", packet, packet)
    assert bare.received("monitor") == [FRAME, FRAME]
    # __ip6_tnl_rcv counts without the Ethernet header.
    assert bare.counters("er0")["rx_bytes"] == 2 * (len(FRAME) - 14)
    check_soundness(bare.datapath, "underlay", packet)


@pytest.mark.conformance("L7")
def test_another_session_has_no_link(bare: Plane) -> None:
    add(bare, **ANY_ORDER)
    bare.send("underlay", incoming(numbered(), ERSPAN_II(session_id=6), FRAME))
    assert bare.drops("underlay") == {"tunnel_no_link": 1}


@pytest.mark.conformance("L7", "L18")
def test_a_mirrored_frame_goes_out_as_scapy_reads_it(bare: Plane) -> None:
    """With the defaults of the family: hop limit 64, encapsulation limit 4."""
    add(bare, key=5, seq=True, erspan=77)
    bare.send("monitor", FRAME)
    (sent,) = bare.received("underlay")
    ip = IPv6(sent)
    assert (ip.hlim, ip.tc & ~3, ip.nh, sent[40:48]) == (64, 0, 60, bytes((47, 0, 4, 1, 4, 1, 1, 0)))
    gre = GRE(sent[48:])
    head = gre[ERSPAN_II]
    assert (gre.proto, gre.seqnum_present, gre.key_present) == (0x88BE, 1, 0)
    assert (head.ver, head.cos, head.session_id, head.index) == (1, 0xB8 >> 5, 5, 77)
    assert bytes(head.payload) == FRAME


@pytest.mark.conformance("B9")
def test_the_mtu_leaves_room_for_every_header(bare: Plane) -> None:
    for version, size in ((0, 4), (1, 16), (2, 20)):
        options = {} if version == 0 else {"key": 5 + version, "seq": True}
        link = bare.link(f"er{version}", "ip6erspan", local=A, remote=B, erspan_ver=version, **options)
        assert link.mtu == 1500 - 40 - 8 - size - 14


def test_it_needs_who_takes_gre_over_ip6(make_plane: MakePlane) -> None:
    plane = make_plane(("gre", "erspan"))
    plane.port("underlay", L3)
    with pytest.raises(LinkError, match="needs the plugin ip6gre") as caught:
        plane.link("er0", "ip6erspan", local=A, remote=B, key=5, seq=True)
    assert caught.value.errno == errno.EPROTONOSUPPORT
