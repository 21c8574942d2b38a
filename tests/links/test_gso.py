"""Super-packets that the underlay cuts behind GRE: gre_handle_offloads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import GRE

from tests.engine.streams import assert_sound, payload, segment4, segment6, super_packet
from tests.links.test_receive import LOCAL, REMOTE
from tests.plane import L2, L3, Plane
from vdp.engine.interface import Feature, MemoryPacket, Offload, PortConfig, PortType, meta_of
from vdp.testing.builders import ethernet, ipv4, udp
from vdp.testing.reference.checksum import internet_checksum
from vdp.testing.reference.offload import load
from vdp.testing.reference.packet import Packet
from vdp.testing.reference.segment import segment

ALL = Feature.CSUM | Feature.TSO4 | Feature.TSO6 | Feature.USO
DATA = bytes(n * 7 & 0xFF for n in range(5000))
MSS = 1200
BIG = super_packet(segment4(DATA), MSS)
#: Segments of BIG.
COUNT = 5


@pytest.fixture
def tunnel(plane: Plane) -> Callable[..., Plane]:
    """As in test_transmit, on an underlay that cuts behind GRE."""

    def make(kind: str = "gre", features: Feature = ALL | Feature.GRE_TSO, **parameters: Any) -> Plane:
        underlay = PortConfig("underlay", PortType.MEMORY, L3, features=features, mtu=65535)
        plane.datapath.add_port(underlay)
        plane.port("lan", L3 if kind.endswith("gre") else L2)
        plane.link("link1", kind, **{"local": LOCAL, "remote": REMOTE, **parameters})
        if kind.endswith("gre"):
            plane.connect("lan", "link1")
        else:
            plane.bridge("br0", "lan", "link1")
        return plane

    return make


def sent(plane: Plane, packet: MemoryPacket, kind: str = "gre") -> list[MemoryPacket]:
    data, offload = packet.data, packet.offload
    if not kind.endswith("gre"):
        data = ethernet(data, to="02:00:00:00:00:0b", origin="02:00:00:00:00:0a")
        offload = Offload(
            True, offload.csum_start + 14, offload.csum_offset, offload.gso_type, offload.gso_size
        )
    plane.send("lan", data, offload=offload)
    return plane.collect("underlay")


@pytest.mark.conformance("B19", "G17", "H1")
@pytest.mark.parametrize("key", [None, 42])
@pytest.mark.parametrize("kind", ["gre", "gretap"])
def test_it_goes_out_whole(tunnel: Callable[..., Plane], kind: str, key: int | None) -> None:
    plane = tunnel(kind, **({} if key is None else {"ikey": key, "okey": key}))
    (out,) = sent(plane, BIG, kind)
    front = 20 + 4 + 4 * (key is not None) + 14 * (kind == "gretap")
    assert len(out.data) == front + len(BIG.data)
    outer = IP(out.data)
    assert (outer.len, outer[GRE].key) == (len(out.data), key)
    del outer.chksum
    assert IP(bytes(outer)).chksum == IP(out.data).chksum
    assert (out.offload.gso_type, out.offload.gso_size) == (1, MSS)
    assert (out.offload.csum_start, out.offload.header_size) == (front + 20, front + 40)
    (again,) = sent(plane, BIG, kind)
    assert IP(again.data).id == IP(out.data).id + COUNT


@pytest.mark.conformance("G18")
def test_it_counts_as_one_packet_of_many_segments(tunnel: Callable[..., Plane]) -> None:
    """iptunnel_xmit_stats counts sk_buffs."""
    plane = tunnel("gretap")
    sent(plane, BIG, "gretap")
    stats = plane.datapath.links["link1"].stats()
    assert (stats["tx_packets"], stats["tx_bytes"]) == (1, len(BIG.data))
    port = plane.engine.port_stats(plane.datapath.ports["underlay"].number)
    assert (port.tx_packets, port.tx_segments) == (1, COUNT)


CUT: dict[str, tuple[str, dict[str, Any], Feature]] = {
    "sequence numbers": ("gretap", {"seq": True}, ALL | Feature.GRE_TSO),
    "an underlay that does not": ("gretap", {}, ALL),
}


@pytest.mark.conformance("B19", "H7")
@pytest.mark.parametrize("name", CUT)
def test_it_is_cut_before_with(tunnel: Callable[..., Plane], name: str) -> None:
    kind, parameters, features = CUT[name]
    plane = tunnel(kind, features, **parameters)
    out = sent(plane, BIG, kind)
    assert [packet.offload.gso_type for packet in out] == [0] * COUNT
    assert plane.datapath.links["link1"].stats()["tx_packets"] == COUNT


@pytest.mark.conformance("G6", "H1")
@pytest.mark.parametrize("build", [segment4, segment6])
@pytest.mark.parametrize("size", [2 * MSS, 3 * MSS, 2 * MSS - 1, 3 * MSS + 1, 5000])
@pytest.mark.parametrize("kind", ["gre", "gretap"])
def test_one_checksum_is_right_for_all_segments(
    tunnel: Callable[..., Plane], kind: str, size: int, build: Callable[..., bytes]
) -> None:
    plane = tunnel(kind, csum=True)
    out = sent(plane, super_packet(build(DATA[:size], 77), MSS), kind)
    even, rest = divmod(size, MSS)
    assert [packet.offload.gso_type for packet in out] == [(1 if build is segment4 else 4) * (even > 1), 0][
        : 1 + (rest > 0)
    ]
    segments = [data for packet in out for data in cut_behind_gre(packet)]
    assert len(segments) == even + (rest > 0)
    for data in segments:
        assert internet_checksum(data[20:]) == 0
        assert_sound(data[-len(inner_of(data, kind)) :])
    assert b"".join(payload(inner_of(data, kind)) for data in segments) == DATA[:size]


@pytest.mark.conformance("L13", "H1")
@pytest.mark.parametrize("build", [segment4, segment6])
@pytest.mark.parametrize("size", [2 * MSS, 3 * MSS, 2 * MSS - 1, 5000])
@pytest.mark.parametrize(
    "parameters", [{}, {"csum": True, "key": 7}, {"encap_csum": False}], ids=["plain", "csum", "no-checksum"]
)
@pytest.mark.parametrize("kind", ["gre", "gretap"])
def test_in_udp_one_checksum_is_right_for_all_segments(
    tunnel: Callable[..., Plane],
    kind: str,
    parameters: dict[str, Any],
    size: int,
    build: Callable[..., bytes],
) -> None:
    """Nor has the kernel to be told of UDP's: what it cuts has the length alone made anew."""
    plane = tunnel(kind, encap="udp", **parameters)
    out = sent(plane, super_packet(build(DATA[:size], 77), MSS), kind)
    even, rest = divmod(size, MSS)
    alone = rest > 0 and "encap_csum" not in parameters
    if alone and even == 1:
        assert [packet.offload.gso_type for packet in out] == [0, 0]
    else:
        assert [packet.offload.gso_type for packet in out] == [1 if build is segment4 else 4] + [0] * alone
    segments = [data for packet in out for data in cut_behind_gre(packet)]
    assert len(segments) == even + (rest > 0)
    for data in segments:
        udp_size = (len(data) - 20).to_bytes(2, "big")
        whole = bytearray(data[:2] + (len(data)).to_bytes(2, "big") + data[4:24] + udp_size + data[26:])
        if (parameters.get("encap_csum", True)) and not is_unfinished(out, data):
            pseudo = data[12:20] + b"\0\x11" + udp_size
            assert internet_checksum(pseudo + bytes(whole[20:])) == 0
        assert bool(whole[26] | whole[27]) is parameters.get("encap_csum", True)
    front = 20 + 8 + (12 if "csum" in parameters else 4) + 14 * (kind == "gretap")
    assert b"".join(payload(data[front:]) for data in segments) == DATA[:size]


def is_unfinished(out: list[MemoryPacket], data: bytes) -> bool:
    """Is it one that goes alone, with its UDP checksum left to the port?"""
    return any(packet.data == data and packet.offload.csum_start == 20 for packet in out)


@pytest.mark.conformance("L13", "H1", "E12")
@pytest.mark.parametrize("kind", ["gre", "gretap"])
def test_in_udp_it_comes_in_whole(tunnel: Callable[..., Plane], make_plane: Any, kind: str) -> None:
    """From the peer on a veth, which hands it on as it is."""
    (out,) = sent(tunnel(kind, encap="udp"), super_packet(segment4(DATA[: 3 * MSS]), MSS), kind)
    peer = make_plane()
    peer.datapath.add_port(PortConfig("underlay", PortType.MEMORY, L3, features=ALL, mtu=65535))
    inner = PortConfig("lan", PortType.MEMORY, L3 if kind == "gre" else L2, features=ALL, mtu=1500)
    peer.datapath.add_port(inner)
    peer.link("link1", kind, local=REMOTE, remote=LOCAL, encap="udp")
    if kind == "gre":
        peer.connect("lan", "link1")
    else:
        peer.bridge("br0", "lan", "link1")
    peer.send("underlay", out.data, offload=out.offload)
    (came,) = peer.collect("lan")
    assert (came.offload.gso_type, came.offload.gso_size) == (1, MSS)
    assert payload(came.data[14 * (kind == "gretap") :]) == DATA[: 3 * MSS]


def inner_of(data: bytes, kind: str) -> bytes:
    return data[28 + 14 * (kind == "gretap") :]


def cut_behind_gre(packet: MemoryPacket) -> list[bytes]:
    """As gre_gso_segment does: the inner packet is cut, the headers in front are repeated."""
    if not packet.offload.gso_type:
        return [packet.data]
    is_ip4 = packet.offload.gso_type == 1
    front = packet.offload.csum_start - (20 if is_ip4 else 40)
    whole = Packet(bytearray(packet.data[front:]), bytearray(meta_of(L3, 0x0800 if is_ip4 else 0x86DD)))
    load(whole, replace(packet.offload, csum_start=packet.offload.csum_start - front))
    return [packet.data[:front] + bytes(part.data) for part in segment(whole, Feature.NONE, 0)]


def test_datagrams_are_cut_before(tunnel: Callable[..., Plane]) -> None:
    big = super_packet(ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, DATA)), MSS)
    assert len(sent(tunnel(), big)) == COUNT


@pytest.mark.parametrize("size", [65535 - 24, 65535 - 20])
def test_what_one_ip_header_can_not_carry_is_cut_before(tunnel: Callable[..., Plane], size: int) -> None:
    """The longest: 24 bytes of headers, and no IP packet has more than 65,528 (IP_MAX_MTU)."""
    fitting, too_long = 65528 - 24, size
    plane = tunnel()
    for length, whole in ((fitting, True), (fitting + 1, False), (too_long, False)):
        out = sent(plane, super_packet(segment4(bytes(length - 40)), MSS))
        assert (len(out) == 1) is whole, length
        assert sum(packet.data.count(b"\0" * 400) > 0 for packet in out) >= len(out) - 1


@pytest.mark.conformance("G15")
def test_segments_that_the_path_does_not_take_are_cut_before(plane: Plane) -> None:
    """Without DF outside, they are fragments then: each segment of its own, none of the whole."""
    underlay = PortConfig("underlay", PortType.MEMORY, L3, features=ALL | Feature.GRE_TSO, mtu=1000)
    plane.datapath.add_port(underlay)
    plane.port("lan", L3)
    plane.link("link1", "gre", local=LOCAL, remote=REMOTE, pmtudisc=False, ignore_df=True, mtu=1400, ttl=0)
    plane.connect("lan", "link1")
    out = sent(plane, BIG)
    assert all(len(packet.data) <= 1000 for packet in out)
    assert len({IP(packet.data).id for packet in out}) == COUNT


@pytest.mark.conformance("B19")
def test_a_changed_link_is_asked_again(tunnel: Callable[..., Plane]) -> None:
    plane = tunnel("gretap", ikey=1, okey=1)
    assert len(sent(plane, BIG, "gretap")) == 1
    plane.change_link("link1", local=LOCAL, remote=REMOTE, ikey=1, okey=1, seq=True)
    assert len(sent(plane, BIG, "gretap")) == COUNT
