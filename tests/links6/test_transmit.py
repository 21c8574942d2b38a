"""What an IPv6 tunnel sends: gre_build_header and ip6_tnl_xmit, byte by byte, read by scapy."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrHopByHop,
    RouterAlert,
)
from scapy.layers.l2 import ARP, GRE, Ether
from scapy.packet import Raw

from tests import vectors
from tests.links6.packets import FLAGS, FRAME, INNER, INNER6, LOCAL, REMOTE, flag_id, moved, parameters
from tests.plane import L2, L3, MakePlane, Plane
from vdp.engine.interface import Offload
from vdp.testing.builders import pseudo_sum
from vdp.testing.paths import NEXT_HOP_MAC, SOURCE_MAC, StaticPaths
from vdp.testing.soundness import check_soundness

Tunnel = Callable[..., Plane]
ARP_FRAME = bytes(Ether(src="02:00:00:00:00:0a", dst="ff:ff:ff:ff:ff:ff") / ARP())
OPTION = bytes((47, 0, 4, 1, 4, 1, 1, 0))


def sent(plane: Plane, *packets: bytes) -> list[Any]:
    """What leaves the underlay for these, as scapy reads it."""
    plane.send("lan", *packets)
    return [IPv6(data) for data in plane.received("underlay")]


def packet(**fields: Any) -> bytes:
    return bytes(IP(src="10.0.0.1", dst="10.0.0.2", **fields) / UDP(sport=1, dport=2) / Raw(b"hello"))


def packet6(**fields: Any) -> bytes:
    return bytes(
        IPv6(src="2001:db8:9::1", dst="2001:db8:9::2", **fields) / UDP(sport=1, dport=2) / Raw(b"hello")
    )


# -- the headers --------------------------------------------------------------------------------


@pytest.mark.conformance("L18")
@pytest.mark.parametrize("flags", FLAGS, ids=flag_id)
@pytest.mark.parametrize("kind", ["ip6gre", "ip6gretap"])
def test_headers_stand_in_order(tunnel: Tunnel, kind: str, flags: dict[str, bool]) -> None:
    """IPv6, the encapsulation limit, then GRE with checksum, key, sequence; scapy agrees on every byte."""
    plane = tunnel(kind, flowlabel=0, **parameters(flags))
    payload, protocol = (FRAME, 0x6558) if kind == "ip6gretap" else (INNER, 0x0800)
    out = sent(plane, payload, payload)
    assert len(out) == 2
    for number, ip in enumerate(out):
        assert (ip.src, ip.dst, ip.nh, ip.hlim, ip.tc, ip.fl) == (LOCAL, REMOTE, 60, 64, 0, 0)
        assert ip.plen == len(ip) - 40
        assert bytes(ip)[40:48] == OPTION
        header = GRE(bytes(ip)[48:])
        assert (header.chksum_present, header.key_present, header.seqnum_present) == tuple(
            int(flags[name]) for name in ("csum", "key", "seq")
        )
        assert header.proto == protocol
        if flags["key"]:
            assert header.key == 42
        if flags["seq"]:
            assert header.sequence_number == 1 + number
        if flags["csum"]:
            copy = GRE(bytes(header))
            copy.chksum = None
            assert bytes(copy) == bytes(header)
        assert bytes(header).endswith(payload)
        assert len(header) == 4 + 4 * sum(flags.values()) + len(payload)


def test_no_limit_no_option(tunnel: Tunnel) -> None:
    (ip,) = sent(tunnel(encaplimit="none", flowlabel=0), INNER)
    assert bytes(ip) == bytes(IPv6(src=LOCAL, dst=REMOTE, hlim=64, nh=47) / GRE(proto=0x0800) / Raw(INNER))


def test_the_limit_is_the_configured_one(tunnel: Tunnel) -> None:
    (ip,) = sent(tunnel(encaplimit=0), INNER)
    assert bytes(ip)[40:48] == bytes((47, 0, 4, 1, 0, 1, 1, 0))


def with_limit(value: int, *before: Any) -> bytes:
    tunnelled = IPv6(src="2001:db8:9::1", dst="2001:db8:9::2")
    for header in before:
        tunnelled = tunnelled / header
    option = IPv6ExtHdrDestOpt(options=[Raw(bytes((1, 0, 4, 1, value, 0)))], autopad=0)
    return bytes(tunnelled / option / UDP() / Raw(b"x"))


@pytest.mark.parametrize("configured", [4, "none"])
def test_a_limit_inside_counts_down(tunnel: Tunnel, configured: Any) -> None:
    """RFC 2473 4.1.1: also where the tunnel itself sets none."""
    plane = tunnel(encaplimit=configured)
    alert = IPv6ExtHdrHopByHop(options=[RouterAlert()])
    out = sent(plane, with_limit(3), with_limit(1, alert))
    assert [bytes(ip)[44] for ip in out] == [2, 0]
    assert [ip.nh for ip in out] == [60, 60]


@pytest.mark.conformance("G21")
@pytest.mark.parametrize("kind", ["ip6gre", "ip6gretap"])
def test_a_limit_of_zero_inside_is_the_end(tunnel: Tunnel, kind: str) -> None:
    plane = tunnel(kind)
    inner = with_limit(0)
    frame = bytes(Ether(src="02:00:00:00:00:0a", dst="02:00:00:00:00:0b") / IPv6(inner))
    assert sent(plane, inner if kind == "ip6gre" else frame) == []
    (answer,) = plane.received("lan")
    error = (IPv6(answer) if kind == "ip6gre" else Ether(answer)[IPv6])[ICMPv6ParamProblem]
    assert (error.code, error.ptr) == (0, 40 + 2 + 2 + 2)  # IPv6, the header's front, PadN, type and size
    assert bytes(error.payload) == inner
    assert plane.all_drops() == {"loop_guard": 1}
    assert moved(plane) == {"tx_errors": 1, "tx_dropped": 1}


def test_a_packet_from_the_other_end_does_not_go_back_there(tunnel: Tunnel) -> None:
    plane = tunnel()
    looping = bytes(IPv6(src=REMOTE, dst="2001:db8:9::2") / UDP())
    assert len(sent(plane, looping, packet6())) == 1
    assert plane.all_drops() == {"loop_guard": 1}
    neighbours = (bytes(IPv6(src=f"2001:db8:0:1::{n}", dst="2001:db8:9::2") / UDP()) for n in (1, 3))
    check_soundness(plane.datapath, "lan", looping, packet6(), *neighbours)


@pytest.mark.parametrize(
    ("tos", "inside", "outside"), [(0, 0xB8, 0), (0x28, 0xB8, 0x28), ("inherit", 0xB8, 0xB8)]
)
@pytest.mark.parametrize("make", [lambda tc: packet(tos=tc), lambda tc: packet6(tc=tc)], ids=["ipv4", "ipv6"])
def test_the_traffic_class_is_fixed_or_inherited(
    tunnel: Tunnel, make: Any, tos: Any, inside: int, outside: int
) -> None:
    (ip,) = sent(tunnel(tos=tos), make(inside))
    assert ip.tc == outside


@pytest.mark.parametrize("inside", range(4))
@pytest.mark.parametrize("make", [lambda tc: packet(tos=tc), lambda tc: packet6(tc=tc)], ids=["ipv4", "ipv6"])
def test_ecn_goes_outside_and_congestion_begins_anew(tunnel: Tunnel, make: Any, inside: int) -> None:
    (ip,) = sent(tunnel(), make(inside))
    assert ip.tc == (2 if inside == 3 else inside)


@pytest.mark.parametrize("ttl", [7, 255])
def test_the_hop_limit_is_fixed(tunnel: Tunnel, ttl: int) -> None:
    (ip,) = sent(tunnel(ttl=ttl), INNER)
    assert ip.hlim == ttl


@pytest.mark.parametrize("ttl", ["inherit", 0])
def test_or_each_packets_own(tunnel: Tunnel, ttl: Any) -> None:
    plane = tunnel(ttl=ttl)
    assert [ip.hlim for ip in sent(plane, packet(ttl=9), packet(ttl=10), packet6(hlim=11))] == [9, 10, 11]
    plane = tunnel("ip6gretap", ttl=ttl)
    assert [ip.hlim for ip in sent(plane, ARP_FRAME, FRAME)] == [64, 33]


# -- the flow label -----------------------------------------------------------------------------


def test_a_flow_label_is_fixed(tunnel: Tunnel) -> None:
    assert [ip.fl for ip in sent(tunnel(flowlabel=0xABCDE), INNER, INNER6)] == [0xABCDE, 0xABCDE]


def test_a_flow_label_is_inherited_packet_by_packet(tunnel: Tunnel) -> None:
    plane = tunnel(flowlabel="inherit")
    labels = [0xABCDE, 0x12345, 0, 0xFFFFF]
    assert [ip.fl for ip in sent(plane, *(packet6(fl=label) for label in labels))] == labels
    before = plane.upcalls
    sent(plane, packet6(fl=77))
    assert plane.upcalls == before


def flows() -> list[bytes]:
    """Packets of flows that differ in one thing each."""
    tcp = [
        bytes(IP(src="10.0.0.1", dst="10.0.0.2", flags="DF") / TCP(sport=40000 + n, dport=80))
        for n in range(40)
    ]
    back = [
        bytes(IP(src="10.0.0.2", dst="10.0.0.1", flags="DF") / TCP(sport=80, dport=40000 + n))
        for n in range(40)
    ]
    six = [bytes(IPv6(src="fe80::1", dst="fe80::2") / UDP(sport=40000 + n, dport=53)) for n in range(40)]
    hosts = [bytes(IP(src=f"10.0.0.{n}", dst="10.9.0.1") / ICMP()) for n in range(1, 41)]
    return [*tcp, *back, *six, *hosts]


@pytest.mark.conformance("G20")
def test_flows_have_labels_of_their_own_and_keep_them(tunnel: Tunnel) -> None:
    plane = tunnel()
    packets = flows()
    labels = [ip.fl for start in range(0, 160, 40) for ip in sent(plane, *packets[start : start + 40])]
    for start in range(0, 160, 40):
        assert len(set(labels[start : start + 40])) == 40
    assert [ip.fl for ip in sent(plane, *packets)] == labels
    assert len(plane.flows("lan")) == 3, "one megaflow for TCP, UDP over IPv6, and ICMP each"


@pytest.mark.conformance("G20")
def test_all_fragments_of_a_packet_have_one_label(tunnel: Tunnel) -> None:
    """A later fragment has no ports: what may be cut has the label of its addresses."""
    plane = tunnel()
    ends = {"src": "10.0.0.1", "dst": "10.0.0.2", "proto": 17, "id": 7}
    first = bytes(IP(**ends, flags="MF") / UDP(sport=1000, dport=53) / Raw(bytes(24)))
    rest = bytes(IP(**ends, frag=4) / Raw(bytes(range(24))))
    long = bytes(IP(**ends) / UDP(sport=1000, dport=53) / Raw(bytes(2000)))
    out = sent(plane, first, rest, long)
    assert len(out) == 4, "the long one is cut in two"
    assert len({ip.fl for ip in out}) == 1


def test_what_is_no_ip_has_label_zero(tunnel: Tunnel) -> None:
    (ip,) = sent(tunnel("ip6gretap"), ARP_FRAME)
    assert ip.fl == 0


# -- the way ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "path_mtu", "options", "mtu"),
    [
        ("ip6gre", 1500, {}, 1500 - 40 - 8 - 4),
        ("ip6gre", 1500, {"encaplimit": "none"}, 1456),
        ("ip6gre", 1500, {"key": 1, "csum": True, "seq": True}, 1436),
        ("ip6gretap", 1500, {}, 1434),
        ("ip6gretap", 9000, {}, 8934),
        ("ip6gre", 1300, {}, 1280),
        ("ip6gretap", 1300, {}, 1280),
        ("ip6gre", 1500, {"mtu": 500}, 500),
        ("ip6gre", 1500, {"remote": "any"}, 1448),
    ],
)
def test_the_mtu_is_what_the_way_leaves(
    tunnel: Tunnel, kind: str, path_mtu: int, options: dict[str, Any], mtu: int
) -> None:
    """ip6gre_tnl_link_config_route; without a way ip6gre_tunnel_init_common."""
    plane = tunnel(kind, paths=StaticPaths(mtu=path_mtu), **options)
    assert plane.datapath.links["link1"].mtu == mtu


def test_a_packet_that_just_fits_is_sent_and_one_more_is_not(tunnel: Tunnel) -> None:
    plane = tunnel()
    fits, over = (
        bytes(IP(src="10.0.0.1", dst="10.0.0.2", flags="DF") / Raw(bytes(size - 20))) for size in (1448, 1449)
    )
    (ip,) = sent(plane, fits, over)
    assert len(ip) == 1500
    (answer,) = plane.received("lan")
    assert (IP(answer)[ICMP].type, IP(answer)[ICMP].code, IP(answer)[ICMP].nexthopmtu) == (3, 4, 1448)


def test_an_ipv6_sender_is_told_packet_too_big(tunnel: Tunnel) -> None:
    plane = tunnel()
    over = bytes(IPv6(src="2001:db8:9::1", dst="2001:db8:9::2", nh=59) / Raw(bytes(1449 - 40)))
    assert sent(plane, over) == []
    (answer,) = plane.received("lan")
    assert IPv6(answer)[ICMPv6PacketTooBig].mtu == 1448


def test_a_path_below_the_least_mtu_tells_ipv4_senders_what_it_takes(tunnel: Tunnel) -> None:
    """The link keeps 1280 (IPV6_MIN_MTU); ip6_tnl_xmit goes by the path, for IPv4 inside."""
    plane = tunnel(paths=StaticPaths(mtu=1300))
    over = bytes(IP(src="10.0.0.1", dst="10.0.0.2", flags="DF") / Raw(bytes(1249 - 20)))
    fits = bytes(IP(src="10.0.0.1", dst="10.0.0.2", flags="DF") / Raw(bytes(1248 - 20)))
    (ip,) = sent(plane, over, fits)
    assert len(ip) == 1300
    (answer,) = plane.received("lan")
    assert IP(answer)[ICMP].nexthopmtu == 1248
    assert moved(plane)["tx_errors"] == 1


def test_or_cuts_what_they_let_be_cut(tunnel: Tunnel) -> None:
    plane = tunnel(paths=StaticPaths(mtu=1300))
    whole = bytes(IP(src="10.0.0.1", dst="10.0.0.2") / Raw(bytes(1249 - 20)))
    out = sent(plane, whole)
    assert [len(ip) <= 1300 for ip in out] == [True, True]
    assert moved(plane)["tx_packets"] == 2


def test_a_frame_goes_to_the_neighbour(tunnel: Tunnel) -> None:
    plane = tunnel(underlay=L2)
    plane.send("lan", INNER)
    (frame,) = plane.received("underlay")
    ether = Ether(frame)
    assert (ether.dst, ether.src, ether.type) == (NEXT_HOP_MAC.hex(":"), SOURCE_MAC.hex(":"), 0x86DD)
    assert ether[IPv6].dst == REMOTE


def test_without_a_route_nothing_is_sent(tunnel: Tunnel) -> None:
    plane = tunnel(paths=StaticPaths(unreachable={IPv6Address(REMOTE)}))
    assert sent(plane, INNER) == []
    assert plane.all_drops() == {"no_route": 1}
    assert moved(plane) == {"tx_errors": 1, "tx_dropped": 1, "tx_carrier_errors": 1}


def test_without_a_local_address_the_ways_own_is_the_source(tunnel: Tunnel) -> None:
    plane = tunnel(local="any", paths=StaticPaths(source6=IPv6Address("2001:db8::77")))
    (ip,) = sent(plane, INNER)
    assert ip.src == "2001:db8::77"


def test_a_tunnel_without_a_remote_only_listens(tunnel: Tunnel) -> None:
    plane = tunnel(remote="any")
    assert sent(plane, INNER) == []
    assert plane.all_drops() == {"no_route": 1}


def test_bytes_are_counted_from_the_inner_network_header(tunnel: Tunnel) -> None:
    plane = tunnel("ip6gretap", key=1, csum=True)
    sent(plane, FRAME, FRAME)
    assert moved(plane) == {"tx_packets": 2, "tx_bytes": 2 * len(INNER)}


@pytest.mark.parametrize("csum", [False, True])
def test_a_super_packet_is_cut_and_every_segment_has_its_headers(tunnel: Tunnel, csum: bool) -> None:
    """Also with a checksum over each one (FEATURES H4)."""
    plane = tunnel(csum=csum, seq=True)
    data = bytes(range(256)) * 12
    super_packet = (
        IP(src="10.0.0.1", dst="10.0.0.2", id=100) / TCP(sport=1, dport=2, seq=1000, flags="PA") / Raw(data)
    )
    raw = bytearray(bytes(super_packet))
    raw[36:38] = struct.pack("!H", pseudo_sum(bytes(raw[12:20]), 6, len(raw) - 20))
    offload = Offload(True, 20, 16, gso_type=1, gso_size=1000, header_size=40)
    plane.send("lan", bytes(raw), offload=offload)
    out = [IPv6(data) for data in plane.received("underlay")]
    assert len(out) == 4
    payload = b""
    for number, ip in enumerate(out):
        assert ip.plen == len(ip) - 40
        header = GRE(bytes(ip)[48:])
        assert header.sequence_number == 1 + number
        if csum:
            copy = GRE(bytes(header))
            copy.chksum = None
            assert bytes(copy) == bytes(header)
        inner = IP(bytes(header)[-len(header.payload) :])
        assert (inner.id, inner[TCP].seq) == (100 + number, 1000 + 1000 * number)
        copy4 = IP(bytes(inner))
        del copy4.chksum, copy4[TCP].chksum
        assert bytes(copy4) == bytes(inner)
        payload += bytes(inner[TCP].payload)
    assert payload == data


# -- against others -----------------------------------------------------------------------------


def untagged(capture: str) -> list[bytes]:
    """The packets of a capture whose frames have one VLAN tag."""
    return [frame[18:] for frame in vectors.frames(f"captures/yanet/065_balancer_gre__001-{capture}.pcap")]


@vectors.needed
def test_ipv4_goes_into_ipv6_as_yanet_sends_it(make_plane: MakePlane) -> None:
    """Its balancer sends without an encapsulation limit and without a flow label; and back."""
    pairs = list(zip(untagged("send"), untagged("expect"), strict=True))
    assert len(pairs) == 4
    for inner, wanted in pairs:
        ip = IPv6(wanted)
        for ends in ((ip.src, ip.dst), (ip.dst, ip.src)):
            plane = make_plane(("ip6gre",))
            plane.port("underlay", L3)
            plane.port("lan", L3)
            ours = {"local": ends[0], "remote": ends[1]}
            plane.link("link1", "ip6gre", **ours, encaplimit="none", flowlabel=0, ttl=ip.hlim)
            plane.connect("lan", "link1")
            if ends == (ip.src, ip.dst):
                plane.send("lan", inner)
                assert plane.received("underlay") == [wanted]
            else:
                plane.send("underlay", wanted)
                assert plane.received("lan") == [inner]


# -- configuration ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"local": "192.0.2.1"},
        {"remote": "fe80::1%eth0"},
        {"flowlabel": 0x100000},
        {"flowlabel": "random"},
        {"encaplimit": 256},
        {"encaplimit": "some"},
        {"remote": "ff0e::7", "local": "any"},
        {"local": "ff0e::7"},
        {"pmtudisc": False},
        {"key": 1, "ikey": 2},
        {"mtu": 67},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(make_plane: MakePlane, wrong: dict[str, Any]) -> None:
    plane = make_plane(("ip6gre",))
    plane.port("underlay", L3)
    with pytest.raises(ValueError):
        plane.link("link1", "ip6gre", **wrong)


def test_fill_info_gives_the_parameters_back(tunnel: Tunnel) -> None:
    plane = tunnel(ikey=1, okey=2, csum=True, flowlabel="inherit", encaplimit="none", ttl="inherit", tos=8)
    info = plane.datapath.links["link1"].fill_info()
    wanted = {
        "local": LOCAL,
        "remote": REMOTE,
        "underlay": "underlay",
        "ikey": 1,
        "okey": 2,
        "iflags": ["csum", "key"],
        "oflags": ["csum", "key"],
        "ttl": "inherit",
        "tos": 8,
        "flowlabel": "inherit",
        "encaplimit": "none",
    }
    assert info | wanted == info


def test_no_packet_is_mistreated_by_anothers_megaflow(tunnel: Tunnel) -> None:
    for label in ("auto", "inherit"):
        plane = tunnel(flowlabel=label, tos="inherit", ttl="inherit", csum=True)
        samples = [INNER, INNER6, packet(tos=3), packet6(tc=3), with_limit(3), with_limit(0), *flows()[::10]]
        check_soundness(plane.datapath, "lan", *samples, packet(flags="MF"), packet(frag=3))
        plane = tunnel("ip6gretap", underlay=L2, flowlabel=label, seq=True)
        frames = [bytes(Ether(FRAME[:12] + b"\x86\xdd") / Raw(data)) for data in (INNER6, with_limit(2))]
        check_soundness(plane.datapath, "lan", FRAME, ARP_FRAME, *frames)
