"""What a tunnel sends: gre_build_header and ip_tunnel_xmit, byte by byte, read by scapy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, GRE, Dot1Q, Ether
from scapy.packet import Packet as Scapy
from scapy.packet import Raw

from tests.links.test_receive import FLAGS, FRAME, INNER, LOCAL, REMOTE, flag_id, link_parameters, moved
from tests.plane import L2, L3, MakePlane, Plane
from vdp.engine.interface import Offload
from vdp.testing.builders import pseudo_sum
from vdp.testing.paths import NEXT_HOP_MAC, SOURCE_MAC

INNER6 = bytes(IPv6(src="fe80::1", dst="fe80::2", hlim=9, tc=0xB9) / UDP(sport=1, dport=2) / Raw(b"hello"))
ARP_FRAME = bytes(Ether(src="02:00:00:00:00:0a", dst="ff:ff:ff:ff:ff:ff") / ARP())


def packet(**fields: Any) -> bytes:
    """An IPv4 packet to be sent."""
    return bytes(IP(src="10.0.0.1", dst="10.0.0.2", **fields) / UDP(sport=1, dport=2) / Raw(b"hello"))


@pytest.fixture
def tunnel(plane: Plane) -> Callable[..., Plane]:
    """Ports lan (bridged or connected to link1 of the given kind) and underlay (L3)."""

    def make(kind: str = "gre", **parameters: Any) -> Plane:
        plane.port("underlay", L3)
        plane.port("lan", L2 if kind == "gretap" else L3)
        plane.link("link1", kind, **{"local": LOCAL, "remote": REMOTE, **parameters})
        if kind == "gretap":
            plane.bridge("br0", "lan", "link1")
        else:
            plane.connect("lan", "link1")
        return plane

    return make


def sent(plane: Plane, *packets: bytes) -> list[Any]:
    """What leaves the underlay for these, as scapy reads it."""
    plane.send("lan", *packets)
    return [IP(data) for data in plane.received("underlay")]


def checksum_ok(layer: Scapy, name: str) -> bool:
    """Whether scapy computes the same checksum for the layer and what it carries."""
    copy = type(layer)(bytes(layer))
    setattr(copy, name, None)
    return bytes(copy) == bytes(layer)


@pytest.mark.conformance("G5", "B17", "L2", "L3")
@pytest.mark.parametrize("flags", FLAGS, ids=flag_id)
@pytest.mark.parametrize("kind", ["gre", "gretap"])
def test_the_header_has_what_the_flags_say_in_rfc_2890_order(
    tunnel: Callable[..., Plane], kind: str, flags: dict[str, bool]
) -> None:
    plane = tunnel(kind, **link_parameters(flags))
    inner = FRAME if kind == "gretap" else INNER
    (out,) = sent(plane, inner)
    header = out[GRE]
    assert (out.src, out.dst, out.proto, out.version, out.ihl) == (LOCAL, REMOTE, 47, 4, 5)
    assert header.proto == (0x6558 if kind == "gretap" else 0x0800)
    assert (header.chksum_present, header.key_present, header.seqnum_present) == tuple(
        map(int, flags.values())
    )
    assert header.key == (42 if flags["key"] else None)
    assert header.sequence_number == (1 if flags["seq"] else None)
    assert (
        header.routing_present,
        header.strict_route_source,
        header.recursion_control,
        header.flags,
        header.version,
    ) == (0,) * 5
    assert out.len == len(bytes(out)) == 20 + 4 + 4 * sum(flags.values()) + len(inner)
    assert bytes(out).endswith(inner)
    assert checksum_ok(out, "chksum")
    if flags["csum"]:
        assert checksum_ok(header, "chksum")
        assert bytes(header)[6:8] == b"\0\0"


@pytest.mark.conformance("G5", "G6")
@pytest.mark.parametrize("flags", FLAGS, ids=flag_id)
@pytest.mark.parametrize("kind", ["gre", "gretap"])
def test_what_is_sent_is_received_by_the_same_configuration_on_the_other_side(
    make_plane: MakePlane, tunnel: Callable[..., Plane], kind: str, flags: dict[str, bool]
) -> None:
    here = tunnel(kind, **link_parameters(flags))
    there = make_plane()
    there.port("underlay", L3)
    there.port("lan", L2 if kind == "gretap" else L3)
    there.link("link1", kind, **{**link_parameters(flags), "local": REMOTE, "remote": LOCAL})
    if kind == "gretap":
        there.bridge("br0", "lan", "link1")
        packets = [FRAME, ARP_FRAME, FRAME + bytes(1), FRAME]
    else:
        there.connect("lan", "link1")
        packets = [INNER, INNER6, packet(ttl=3), INNER]
    for each in packets:
        here.send("lan", each)
        there.send("underlay", *here.received("underlay"))
    assert there.received("lan") == packets
    assert there.drops("underlay") == {}


@pytest.mark.conformance("G8")
@pytest.mark.parametrize(("inner", "protocol"), [(INNER, 0x0800), (INNER6, 0x86DD)], ids=["ipv4", "ipv6"])
def test_gre_names_the_protocol_that_it_carries(
    tunnel: Callable[..., Plane], inner: bytes, protocol: int
) -> None:
    (out,) = sent(tunnel(), inner)
    assert out[GRE].proto == protocol


@pytest.mark.conformance("G7")
@pytest.mark.parametrize(
    "frame", [FRAME, ARP_FRAME, bytes(Ether() / Dot1Q(vlan=5) / IP(INNER))], ids=["ip", "arp", "vlan"]
)
def test_gretap_always_says_ethernet(tunnel: Callable[..., Plane], frame: bytes) -> None:
    (out,) = sent(tunnel("gretap"), frame)
    assert out[GRE].proto == 0x6558
    assert bytes(out)[24:] == frame


@pytest.mark.conformance("G17", "G4")
def test_identification_and_sequence_grow_by_one_a_packet(tunnel: Callable[..., Plane]) -> None:
    """The first sequence number is 1: __gre_xmit counts before it sends."""
    plane = tunnel(seq=True)
    first = sent(plane, INNER)
    upcalls = plane.upcalls
    out = first + sent(plane, *[INNER] * 4, INNER6)
    assert [each[GRE].sequence_number for each in out] == [1, 2, 3, 4, 5, 6]
    assert [each.id - out[0].id for each in out] == list(range(6))
    assert plane.upcalls == upcalls + 1, "one more flow, for IPv6"


@pytest.mark.conformance("D10")
def test_input_flags_say_nothing_about_what_is_sent(tunnel: Callable[..., Plane]) -> None:
    (out,) = sent(tunnel(ikey=5, icsum=True, iseq=True), INNER)
    assert bytes(out)[20:24] == b"\0\0\x08\0"


@pytest.mark.conformance("D10")
def test_output_key_zero_is_a_key(tunnel: Callable[..., Plane]) -> None:
    (out,) = sent(tunnel(okey=0), INNER)
    assert bytes(out)[20:28] == b"\x20\0\x08\0\0\0\0\0"


# -- tos, ttl, DF ----------------------------------------------------------------------------


@pytest.mark.conformance("G11")
@pytest.mark.parametrize(
    ("ttl", "inner", "wanted"),
    [(7, packet(ttl=33), 7), (255, packet(ttl=33), 255), ("inherit", packet(ttl=33), 33), (0,
    packet(ttl=33), 33),
     ("inherit", INNER6, 9), ("inherit", b"\x11" * 30, 64)],
    ids=["fixed", "most", "inherit", "zero-inherits", "inherit-ipv6", "no-ip"],
)  # fmt: skip
def test_the_outer_ttl_is_fixed_or_the_payloads(
    tunnel: Callable[..., Plane], ttl: int | str, inner: bytes, wanted: int
) -> None:
    (out,) = sent(tunnel(ttl=ttl), inner)
    assert out.ttl == wanted


@pytest.mark.conformance("G11")
def test_frames_that_carry_no_ip_get_the_default_ttl(tunnel: Callable[..., Plane]) -> None:
    (out,) = sent(tunnel("gretap"), ARP_FRAME)
    assert out.ttl == 64


@pytest.mark.conformance("G11")
def test_the_ttl_of_each_packet_is_inherited_without_asking_python(tunnel: Callable[..., Plane]) -> None:
    plane = tunnel("gretap", ttl="inherit")
    frames = [FRAME[:14] + packet(ttl=ttl) for ttl in (64, 1, 255, 9)]
    sent(plane, frames[0])
    upcalls = plane.upcalls
    assert [out.ttl for out in sent(plane, *frames)] == [64, 1, 255, 9]
    assert plane.upcalls == upcalls


@pytest.mark.conformance("G10", "L12")
@pytest.mark.parametrize(
    ("tos", "inner", "wanted"),
    [(0, packet(tos=0xB8), 0), (0x28, packet(tos=0xB8), 0x28), ("inherit", packet(tos=0xB8), 0xB8),
     ("inherit", packet(tos=0xBA), 0xBA), (0x28, packet(tos=0xBA), 0x2A), (0x2B, packet(tos=0), 0x28),
     ("inherit", INNER6, 0xB9), ("inherit", b"\x11" * 30, 0), (0xFF, b"\x11" * 30, 0xFC)],
    ids=["zero", "fixed", "inherit", "inherit-ect", "fixed-and-ect", "own-ecn-bits-do-not-count", "ipv6",
    "no-ip", "no-ip-fixed"],
)  # fmt: skip
def test_the_outer_tos_is_fixed_or_the_payloads_and_its_ecn_bits_always_are(
    tunnel: Callable[..., Plane], tos: int | str, inner: bytes, wanted: int
) -> None:
    (out,) = sent(tunnel(tos=tos), inner)
    assert out.tos == wanted


@pytest.mark.conformance("G10", "L12")
@pytest.mark.parametrize(
    ("inside", "outside"), [(0, 0), (1, 1), (2, 2), (3, 2)], ids=["Not-ECT", "ECT(1)", "ECT(0)", "CE"]
)
@pytest.mark.parametrize("kind", ["gre", "gretap"])
def test_a_congestion_mark_goes_out_as_ect(
    tunnel: Callable[..., Plane], kind: str, inside: int, outside: int
) -> None:
    """INET_ECN_encapsulate: CE starts anew as ECT(0)."""
    (out,) = sent(tunnel(kind), (FRAME[:14] if kind == "gretap" else b"") + packet(tos=inside))
    assert out.tos == outside


@pytest.mark.conformance("G12")
@pytest.mark.parametrize(
    ("parameters", "inner_df", "wanted"),
    [({}, False, True), ({}, True, True), ({"pmtudisc": False}, False, False), ({"pmtudisc": False}, True,
    True),
     ({"pmtudisc": False, "ignore_df": True}, True, False)],
    ids=["pmtudisc", "pmtudisc-df", "nopmtudisc", "nopmtudisc-df", "ignore-df"],
)  # fmt: skip
def test_do_not_fragment_is_the_links_or_the_payloads(
    tunnel: Callable[..., Plane], parameters: dict[str, bool], inner_df: bool, wanted: bool
) -> None:
    (out,) = sent(tunnel(**parameters), packet(flags="DF" if inner_df else 0))
    assert (out.flags == "DF") is wanted
    assert out.frag == 0


@pytest.mark.conformance("G12", "G17")
def test_a_fragment_inside_makes_none_outside(tunnel: Callable[..., Plane]) -> None:
    """Of the inner flags only DF is taken over."""
    (out,) = sent(tunnel(pmtudisc=False), packet(flags="MF", frag=5))
    assert (int(out.flags), out.frag) == (0, 0)


# -- where it goes ---------------------------------------------------------------------------


@pytest.mark.conformance("B10")
def test_on_an_ethernet_underlay_the_next_hop_is_addressed(plane: Plane) -> None:
    plane.port("underlay", L2)
    plane.port("lan", L3)
    plane.link("link1", "gre", local=LOCAL, remote=REMOTE)
    plane.connect("lan", "link1")
    plane.send("lan", INNER)
    (frame,) = plane.received("underlay")
    assert frame[:14] == NEXT_HOP_MAC + SOURCE_MAC + b"\x08\0"
    assert IP(frame[14:])[GRE].proto == 0x0800


@pytest.mark.conformance("B10")
def test_without_a_local_address_the_routes_source_is_used(tunnel: Callable[..., Plane]) -> None:
    plane = tunnel(local="any")
    (out,) = sent(plane, INNER)
    assert out.src == str(plane.paths.source)  # type: ignore[attr-defined]


def test_without_a_remote_there_is_nowhere_to_send(tunnel: Callable[..., Plane]) -> None:
    plane = tunnel(remote="any")
    assert sent(plane, INNER) == []
    assert plane.drops("lan") == {"no_route": 1}
    assert moved(plane, "link1") == {"tx_errors": 1, "tx_fifo_errors": 1}


@pytest.mark.conformance("G13")
def test_without_a_route_it_is_a_carrier_error(make_plane: MakePlane) -> None:
    from ipaddress import IPv4Address

    from vdp.testing.paths import StaticPaths

    plane = make_plane(paths=StaticPaths(unreachable={IPv4Address(REMOTE)}))
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("link1", "gre", local=LOCAL, remote=REMOTE)
    plane.connect("lan", "link1")
    plane.send("lan", INNER)
    assert plane.drops("lan") == {"no_route": 1}
    assert moved(plane, "link1") == {"tx_errors": 1, "tx_carrier_errors": 1}


@pytest.mark.conformance("B29")
def test_a_link_that_is_down_sends_nothing(tunnel: Callable[..., Plane]) -> None:
    """dev_queue_xmit on a device without IFF_UP: tx_dropped."""
    plane = tunnel()
    sent(plane, INNER)
    plane.datapath.set_link_up("link1", False)
    assert sent(plane, INNER) == []
    assert plane.drops("lan") == {"link_down": 1}
    assert moved(plane, "link1")["tx_dropped"] == 1
    plane.datapath.set_link_up("link1", True)
    assert len(sent(plane, INNER)) == 1


@pytest.mark.conformance("G18", "B27", "J")
def test_counters_count_the_payload_from_its_network_header_on(plane: Plane) -> None:
    """iptunnel_xmit: skb->len - skb_inner_network_offset: for gretap without the Ethernet header."""
    for name, kind in (("gre1", "gre"), ("gt1", "gretap")):
        plane.port(f"under-{name}", L3)
        plane.port(f"lan-{name}", L2 if kind == "gretap" else L3)
        plane.link(name, kind, underlay=f"under-{name}", local=LOCAL, remote=REMOTE, key=1)
    plane.connect("lan-gre1", "gre1")
    plane.bridge("br0", "lan-gt1", "gt1")
    plane.send("lan-gre1", *[INNER] * 3)
    plane.send("lan-gt1", FRAME)
    assert moved(plane, "gre1") == {"tx_packets": 3, "tx_bytes": 3 * len(INNER)}
    assert moved(plane, "gt1") == {"tx_packets": 1, "tx_bytes": len(FRAME) - 14}


# -- offloads --------------------------------------------------------------------------------


def unfinished_tcp(payload: int, size: int) -> tuple[bytes, Offload]:
    """A TCP super-packet with an unfinished checksum, and its metadata."""
    from scapy.layers.inet import TCP

    data = bytearray(
        bytes(IP(src="10.0.0.1", dst="10.0.0.2", flags="DF") / TCP(flags="A", seq=1) / Raw(bytes(payload)))
    )
    data[36:38] = pseudo_sum(bytes(data[12:20]), 6, len(data) - 20).to_bytes(2, "big")
    gso = {"gso_type": 1, "gso_size": size, "header_size": 40} if payload > size else {}
    return bytes(data), Offload(True, 20, 16, **gso)


@pytest.mark.conformance("G3", "G6", "H5")
@pytest.mark.parametrize("csum", [False, True])
def test_an_unfinished_checksum_is_finished_before_the_tunnels_own(
    tunnel: Callable[..., Plane], csum: bool
) -> None:
    plane = tunnel(csum=csum)
    data, offload = unfinished_tcp(100, 1400)
    plane.send("lan", data, offload=offload)
    (out,) = [IP(found) for found in plane.received("underlay")]
    inner = IP(bytes(out)[24 + 4 * csum :])
    assert checksum_ok(inner.payload, "chksum") or bytes(inner) == bytes(_finished(inner))
    if csum:
        assert checksum_ok(out[GRE], "chksum")


def _finished(inner: Any) -> Any:
    """The same packet with the TCP checksum that scapy computes."""
    from scapy.layers.inet import TCP

    copy = IP(bytes(inner))
    copy[TCP].chksum = None
    return copy


@pytest.mark.conformance("G3", "H1", "H7", "B19")
@pytest.mark.parametrize("flags", FLAGS, ids=flag_id)
def test_a_super_packet_is_cut_and_each_segment_has_a_header_of_its_own(
    tunnel: Callable[..., Plane], flags: dict[str, bool]
) -> None:
    plane = tunnel(**link_parameters(flags))
    data, offload = unfinished_tcp(4000, 1200)
    plane.send("lan", data, offload=offload)
    found = [IP(each) for each in plane.received("underlay")]
    assert len(found) == 4
    size = 24 + 4 * sum(flags.values())
    for number, out in enumerate(found):
        inner = IP(bytes(out)[size:])
        assert bytes(inner) == bytes(_finished(inner))
        assert out.id - found[0].id == number
        assert not flags["csum"] or checksum_ok(out[GRE], "chksum")
        assert not flags["seq"] or out[GRE].sequence_number == 1 + number
    assert b"".join(bytes(out)[size + 40 :] for out in found) == data[40:]
    assert moved(plane, "link1")["tx_packets"] == 4


@pytest.mark.conformance("G15")
def test_what_is_larger_than_the_links_mtu_is_dropped(tunnel: Callable[..., Plane]) -> None:
    plane = tunnel(mtu=500)
    fits, over = (bytes(IP(flags="DF") / Raw(bytes(size - 20))) for size in (500, 501))
    assert len(sent(plane, fits, over)) == 1
    assert plane.drops("lan") == {"mtu_exceeded": 1}


def test_a_frame_may_be_as_large_as_mtu_header_and_tag(tunnel: Callable[..., Plane]) -> None:
    """is_skb_forwardable: mtu + hard_header_len + VLAN_HLEN."""
    plane = tunnel("gretap", mtu=500)
    frames = [(FRAME[:12] + b"\x12\x34").ljust(size, b"\0") for size in (518, 519)]
    assert len(sent(plane, *frames)) == 1
    assert plane.drops("lan") == {"mtu_exceeded": 1}


@pytest.mark.conformance("G15")
def test_segments_count_against_the_mtu_one_by_one(tunnel: Callable[..., Plane]) -> None:
    plane = tunnel(mtu=1240)
    data, offload = unfinished_tcp(4000, 1200)
    plane.send("lan", data, offload=offload)
    assert len(plane.received("underlay")) == 4
    data, offload = unfinished_tcp(4000, 1201)
    plane.send("lan", data, offload=offload)
    assert plane.received("underlay") == []
    assert plane.drops("lan") == {"mtu_exceeded": 1}
