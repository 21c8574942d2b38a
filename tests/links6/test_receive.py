"""What an IPv6 tunnel does with what it receives: ipv6_rcv, gre_rcv of ip6_gre.c and __ip6_tnl_rcv."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import (
    UDP,
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
    RouterAlert,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.links6.packets import (
    FLAGS,
    FRAME,
    INNER,
    INNER6,
    LOCAL,
    REMOTE,
    flag_id,
    gre,
    moved,
    outer,
    parameters,
)
from tests.plane import L2, L3, MAC_B, MakePlane, Plane
from vdp.testing.soundness import check_soundness

Tunnel = Callable[..., Plane]
OTHER = "2001:db8::99"


def limit(value: int = 4) -> IPv6ExtHdrDestOpt:
    """The tunnel encapsulation limit as Linux sends it."""
    return IPv6ExtHdrDestOpt(options=[Raw(bytes((4, 1, value, 1, 1, 0)))], autopad=0)


@pytest.mark.conformance("L18")
@pytest.mark.parametrize("flags", FLAGS, ids=flag_id)
@pytest.mark.parametrize("protocol", [0x0800, 0x86DD, 0x8847], ids=hex)
def test_what_is_inside_comes_out(tunnel: Tunnel, flags: dict[str, bool], protocol: int) -> None:
    plane = tunnel(**parameters(flags))
    inner = {0x0800: INNER, 0x86DD: INNER6}.get(protocol, b"\0\0\x11\xff" + INNER)
    plane.send("underlay", *(outer(gre(inner, protocol, number, **flags)) for number in range(3)))
    assert plane.received("lan") == [inner] * 3
    assert moved(plane) == {"rx_packets": 3, "rx_bytes": 3 * len(inner)}


@pytest.mark.conformance("L18")
@pytest.mark.parametrize("flags", FLAGS, ids=flag_id)
@pytest.mark.parametrize("underlay", [L2, L3], ids=["frames", "packets"])
def test_a_frame_inside_comes_out(tunnel: Tunnel, underlay: Any, flags: dict[str, bool]) -> None:
    plane = tunnel("ip6gretap", underlay, **parameters(flags))
    packet = outer(gre(FRAME, 0x6558, **flags))
    plane.send("underlay", bytes(Ether() / IPv6(packet)) if underlay is L2 else packet)
    assert plane.received("lan") == [FRAME]


def test_padding_of_the_frame_is_not_payload(tunnel: Tunnel) -> None:
    plane = tunnel(underlay=L2)
    plane.send("underlay", bytes(Ether() / IPv6(outer(gre()))) + bytes(7))
    assert plane.received("lan") == [INNER]


def test_a_payload_length_beyond_the_packet_is_refused(tunnel: Tunnel) -> None:
    plane = tunnel()
    plane.send("underlay", outer(gre(), plen=500))
    assert plane.drops("underlay") == {"parse_bad_length": 1}


def test_a_payload_length_without_the_extension_headers_is_refused(tunnel: Tunnel) -> None:
    plane = tunnel()
    plane.send("underlay", outer(limit(), gre(), plen=4))
    assert plane.drops("underlay") == {"parse_bad_length": 1}


EXTENSIONS = {
    "limit": [limit()],
    "hop by hop": [IPv6ExtHdrHopByHop(options=[RouterAlert()])],
    "pad": [IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))])],
    "single pads": [IPv6ExtHdrHopByHop(options=[Raw(bytes(6))], autopad=0)],
    "both": [IPv6ExtHdrHopByHop(options=[RouterAlert()]), limit()],
    "routing": [IPv6ExtHdrRouting(type=0, addresses=[OTHER], segleft=0)],
    "atomic fragment": [IPv6ExtHdrFragment(id=7)],
    "all": [
        IPv6ExtHdrHopByHop(options=[RouterAlert()]),
        limit(),
        IPv6ExtHdrRouting(type=4, addresses=[OTHER], segleft=0),
        IPv6ExtHdrFragment(id=7),
        limit(2),
    ],
}


@pytest.mark.conformance("C22")
@pytest.mark.parametrize("headers", EXTENSIONS.values(), ids=EXTENSIONS)
def test_extension_headers_are_walked(tunnel: Tunnel, headers: list[Any]) -> None:
    plane = tunnel(csum=True)
    packet = outer(*headers, gre(csum=True))
    plane.send("underlay", packet, packet)
    assert plane.received("lan") == [INNER, INNER]
    check_soundness(plane.datapath, "underlay", packet, outer(gre(csum=True)))


def test_a_fragment_is_dropped_where_nobody_reassembles(tunnel: Tunnel) -> None:
    plane = tunnel()
    plane.send(
        "underlay",
        outer(IPv6ExtHdrFragment(m=1), gre()),
        outer(IPv6ExtHdrFragment(offset=10, nh=47), Raw(b"later")),
        outer(IPv6ExtHdrFragment(m=1), limit(), gre()),
        outer(IPv6ExtHdrFragment(offset=10, nh=60), Raw(b"later")),
    )
    assert plane.drops("underlay") == {"fragment_policy": 4}


@pytest.mark.parametrize("protocol", [17, 58, 132])
def test_a_fragment_of_another_protocol_is_not_ours(tunnel: Tunnel, protocol: int) -> None:
    plane = tunnel()
    plane.send("underlay", outer(IPv6ExtHdrFragment(offset=10, nh=protocol), Raw(b"later")))
    assert plane.drops("underlay") == {"not_for_us": 1}


def test_a_route_not_yet_used_up_is_another_hosts(tunnel: Tunnel) -> None:
    plane = tunnel()
    plane.send("underlay", outer(IPv6ExtHdrRouting(type=4, addresses=[OTHER], segleft=1), gre()))
    assert plane.drops("underlay") == {"not_for_us": 1}


@pytest.mark.conformance("C22")
@pytest.mark.parametrize(
    ("kind", "reason"), [(0x1E, None), (0x5E, "ip_option"), (0x9E, "ip_option"), (0xC2, "ip_option")]
)
def test_an_unknown_option_says_what_becomes_of_the_packet(
    tunnel: Tunnel, kind: int, reason: str | None
) -> None:
    plane = tunnel()
    options = IPv6ExtHdrDestOpt(options=[Raw(bytes((kind, 4, 1, 2, 3, 4)))], autopad=0)
    plane.send("underlay", outer(options, gre()))
    assert plane.received("lan") == ([] if reason else [INNER])
    assert plane.drops("underlay") == ({reason: 1} if reason else {})


def test_an_option_longer_than_its_header_is_refused(tunnel: Tunnel) -> None:
    plane = tunnel()
    plane.send(
        "underlay", outer(IPv6ExtHdrDestOpt(options=[Raw(bytes((30, 9, 0, 0, 0, 0)))], autopad=0), gre())
    )
    assert plane.drops("underlay") == {"ip_header": 1}


@pytest.mark.conformance("C22")
@pytest.mark.parametrize(
    "padding",
    [bytes(14), b"\x01\x04" + b"hide", b"\x01\x0c" + bytes(12), b"\0\x01\x08" + bytes(8) + b"\x1e\0\0"],
)
def test_padding_hides_nothing(tunnel: Tunnel, padding: bytes) -> None:
    """ip6_parse_tlv: to the next eight bytes, and zeros."""
    plane = tunnel()
    plane.send("underlay", outer(IPv6ExtHdrDestOpt(options=[Raw(padding)], autopad=0), gre()))
    assert plane.drops("underlay") == {"ip_header": 1}


@pytest.mark.conformance("C22")
def test_a_mobile_nodes_routing_header_is_refused(tunnel: Tunnel) -> None:
    """Type 2 (RFC 6275 6.4), used up or not."""
    plane = tunnel()
    plane.send("underlay", outer(IPv6ExtHdrRouting(type=2, addresses=[OTHER], segleft=0), gre()))
    assert plane.drops("underlay") == {"ip_header": 1}


@pytest.mark.conformance("C22")
def test_hop_by_hop_options_stand_first_or_not_at_all(tunnel: Tunnel) -> None:
    plane = tunnel()
    plane.send("underlay", outer(limit(), IPv6ExtHdrHopByHop(options=[RouterAlert()]), gre()))
    assert plane.drops("underlay") == {"ip_header": 1}


@pytest.mark.conformance("C22")
@pytest.mark.parametrize("size", [0, 39, 40, 47, 48, 55])
def test_a_packet_cut_short_is_dropped(tunnel: Tunnel, size: int) -> None:
    plane = tunnel()
    plane.send("underlay", outer(limit(), gre())[:size] or b"\x60")
    assert sum(plane.drops("underlay").values()) == 1
    assert plane.received("lan") == []


@pytest.mark.conformance("C22")
def test_extension_headers_deeper_than_the_window_are_refused(tunnel: Tunnel) -> None:
    plane = tunnel()
    plane.send(
        "underlay",
        outer(
            *(IPv6ExtHdrDestOpt(options=[Raw(b"\x1e\x3c" + bytes(60))], autopad=0) for _ in range(4)), gre()
        ),
    )
    assert plane.drops("underlay") == {"header_budget": 1}


@pytest.mark.parametrize("source", ["ff02::1", "::1"])
def test_a_source_that_is_a_group_or_the_loopback_address_is_refused(tunnel: Tunnel, source: str) -> None:
    plane = tunnel(remote="any")
    plane.send("underlay", outer(gre(), src=source))
    assert plane.drops("underlay") == {"ip_source": 1}


# -- GRE ---------------------------------------------------------------------------------------


def header(flags: int) -> bytes:
    return flags.to_bytes(2, "big") + b"\x08\0" + INNER


@pytest.mark.conformance("C11", "C12")
def test_all_flag_words(tunnel: Tunnel) -> None:
    """Version 0 without routing; the bits between A and the version are not part of it, as with IPv4."""
    plane = tunnel()
    for flags in range(0, 0x10000, 7):
        before = plane.all_drops()
        plane.send("underlay", outer(Raw(header(flags)), nh=47))
        now = plane.all_drops()
        drops = {
            reason: count - before.get(reason, 0)
            for reason, count in now.items()
            if count != before.get(reason, 0)
        }
        out = plane.received("lan")
        if flags & 7:
            assert drops == {"tunnel_version": 1}, hex(flags)
        elif flags & 0x4000:
            assert drops == {"tunnel_routing": 1}, hex(flags)
        elif flags & 0xA000:  # a checksum that is wrong, a key that no link has
            assert out == [], hex(flags)
        else:
            assert (out, drops) == ([INNER[4:] if flags & 0x1000 else INNER], {}), hex(flags)


def test_sixteen_bytes_are_asked_for(tunnel: Tunnel) -> None:
    plane = tunnel()
    plane.send("underlay", outer(Raw(header(0)[:15]), nh=47), outer(Raw(b"\0\0\x88\x47" + bytes(12)), nh=47))
    assert plane.drops("underlay") == {"tunnel_short": 1}
    assert plane.received("lan") == [bytes(12)]


def test_a_wrong_checksum_is_dropped_packet_by_packet(tunnel: Tunnel) -> None:
    plane = tunnel(csum=True)
    good = outer(limit(), gre(csum=True))
    bad = bytearray(good)
    bad[-1] ^= 1
    plane.send("underlay", good, bytes(bad), good)
    assert plane.received("lan") == [INNER, INNER]
    assert plane.drops("underlay") == {"tunnel_checksum": 1}


def test_an_old_sequence_number_is_dropped(tunnel: Tunnel) -> None:
    plane = tunnel(seq=True)
    plane.send("underlay", *(outer(gre(number=number, seq=True)) for number in (5, 6, 4, 7)))
    assert len(plane.received("lan")) == 3
    assert moved(plane)["rx_fifo_errors"] == 1


def test_no_checksum_where_the_link_wants_one(tunnel: Tunnel) -> None:
    plane = tunnel(csum=True)
    plane.send("underlay", outer(gre()))
    assert moved(plane) == {"rx_errors": 1, "rx_crc_errors": 1}


@pytest.mark.parametrize("underlay", [L2, L3], ids=["frames", "packets"])
def test_port_unreachable_goes_to_who_sent_what_nobody_takes(tunnel: Tunnel, underlay: Any) -> None:
    plane = tunnel(underlay=underlay, key=7)
    packet = outer(limit(), gre())
    plane.send(
        "underlay",
        bytes(Ether(src=MAC_B.hex(":"), dst="02:00:00:00:00:01") / IPv6(packet))
        if underlay is L2
        else packet,
    )
    (answer,) = plane.received("underlay")
    reply = Ether(answer)[IPv6] if underlay is L2 else IPv6(answer)
    assert (reply.src, reply.dst, reply.nh) == (LOCAL, REMOTE, 58)
    error = reply[ICMPv6DestUnreach]
    assert (error.code, bytes(error.payload)) == (4, packet)
    copy = IPv6(bytes(reply))
    del copy[ICMPv6DestUnreach].cksum
    assert bytes(copy) == bytes(reply)
    assert plane.drops("underlay") == {"tunnel_no_link": 1}


def test_nobody_is_told_about_a_group(tunnel: Tunnel) -> None:
    plane = tunnel(key=7)
    plane.send("underlay", outer(gre(), dst="ff02::1"), outer(gre(), src="::"))
    assert plane.received("underlay") == []


@pytest.mark.conformance("L18")
def test_families_do_not_meet(make_plane: MakePlane) -> None:
    """A wildcard link of either family takes nothing of the other one."""
    plane = make_plane(("gre", "gretap", "ip6gre"))
    plane.port("underlay", L3)
    for name, kind in (("four", "gre"), ("six", "ip6gre")):
        plane.link(name, kind)
        plane.port(f"lan-{name}", L3)
        plane.connect(f"lan-{name}", name)
    plane.send("underlay", outer(gre()), bytes(IP(src="192.0.2.2", dst="192.0.2.1") / gre()))
    assert (plane.received("lan-six"), plane.received("lan-four")) == ([INNER], [INNER])


# -- which tunnel -------------------------------------------------------------------------------

PASSES = [
    ({"local": LOCAL, "remote": REMOTE}, True),
    ({"remote": REMOTE}, True),
    ({"local": LOCAL}, True),
    ({}, True),
    ({"local": OTHER, "remote": REMOTE}, False),
    ({"local": LOCAL, "remote": OTHER}, False),
    ({"key": 42}, False),
    ({"key": 0}, True),
]


@pytest.mark.parametrize(("ends", "takes"), PASSES)
def test_a_tunnel_takes_what_its_addresses_and_key_allow(
    make_plane: MakePlane, ends: dict[str, Any], takes: bool
) -> None:
    plane = make_plane(("ip6gre",))
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("link1", "ip6gre", **ends)
    plane.connect("lan", "link1")
    plane.send("underlay", outer(gre()))
    assert plane.received("lan") == ([INNER] if takes else [])


def test_the_passes_are_asked_in_order(make_plane: MakePlane) -> None:
    """Both addresses, then the remote, then the local one, then none: the best that is up."""
    plane = make_plane(("ip6gre",))
    plane.port("underlay", L3)
    links = [{"local": LOCAL, "remote": REMOTE}, {"remote": REMOTE}, {"local": LOCAL}, {}]
    for number, ends in enumerate(links):
        plane.link(f"link{number}", "ip6gre", **ends)
        plane.port(f"lan{number}", L3)
        plane.connect(f"lan{number}", f"link{number}")
    for number in range(4):
        plane.send("underlay", outer(gre()))
        assert [len(plane.received(f"lan{n}")) for n in range(4)] == [int(n == number) for n in range(4)]
        plane.datapath.set_link_up(f"link{number}", False)


def test_a_keyless_packet_is_one_with_key_zero(tunnel: Tunnel) -> None:
    plane = tunnel()
    keyed = gre(key=True)
    keyed.key = 0
    plane.send("underlay", outer(keyed))
    assert plane.received("lan") == [INNER]


def test_a_group_that_is_the_remote_is_listened_to(tunnel: Tunnel) -> None:
    plane = tunnel(remote="ff0e::7")
    plane.send("underlay", outer(gre(), dst="ff0e::7"))
    assert plane.received("lan") == [INNER]
    assert moved(plane)["multicast"] == 1


def test_the_same_tunnel_twice_is_refused(tunnel: Tunnel) -> None:
    plane = tunnel()
    with pytest.raises(OSError, match="link1 has the same"):
        plane.link("link2", "ip6gre", local=LOCAL, remote=REMOTE, key=0)
    plane.link("link3", "ip6gretap", local=LOCAL, remote=REMOTE)


def test_an_address_of_the_host_is_needed_where_local_is_any(make_plane: MakePlane) -> None:
    """An Ethernet interface takes what is for its links only."""
    from ipaddress import ip_address

    plane = make_plane(("ip6gre",))
    port = plane.port("underlay", L2)
    object.__setattr__(port, "type", 3)  # as a packet port
    plane.datapath.host_addresses = lambda port: frozenset({ip_address(LOCAL), ip_address("192.0.2.1")})
    plane.link("link1", "ip6gre")
    plane.port("lan", L3)
    plane.connect("lan", "link1")
    plane.send(
        "underlay", bytes(Ether() / IPv6(outer(gre()))), bytes(Ether() / IPv6(outer(gre(), dst=OTHER)))
    )
    assert plane.received("lan") == [INNER]
    assert plane.drops("underlay") == {"not_for_us": 1}


# -- ECN ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("outside", range(4))
@pytest.mark.parametrize("inside", range(4))
def test_congestion_outside_is_told_inside(tunnel: Tunnel, outside: int, inside: int) -> None:
    plane = tunnel()
    inner = IP(src="10.0.0.2", dst="10.0.0.1", tos=0xB8 | inside) / ICMP()
    plane.send("underlay", outer(gre(bytes(inner)), tc=outside))
    table = {(3, 1): 3, (3, 2): 3, (3, 3): 3, (1, 2): 1}
    if (outside, inside) == (3, 0):
        assert plane.drops("underlay") == {"tunnel_ecn": 1}
        assert moved(plane) == {"rx_errors": 1, "rx_frame_errors": 1}
        return
    (out,) = plane.received("lan")
    assert IP(out).tos == 0xB8 | table.get((outside, inside), inside)
    assert bytes(IP(out)) == bytes(IP(src="10.0.0.2", dst="10.0.0.1", tos=IP(out).tos) / ICMP())


# -- soundness ----------------------------------------------------------------------------------


def test_no_packet_is_mistreated_by_anothers_megaflow(tunnel: Tunnel) -> None:
    for kind, protocol, inner in (("ip6gre", 0x0800, INNER), ("ip6gretap", 0x6558, FRAME)):
        plane = tunnel(kind, key=42, csum=True, seq=True)
        flags = {"key": True, "csum": True, "seq": True}
        packets = [
            outer(gre(inner, protocol, **flags)),
            outer(limit(), gre(inner, protocol, **flags), tc=3),
            outer(IPv6ExtHdrHopByHop(options=[RouterAlert()]), limit(), gre(inner, protocol, **flags)),
            outer(IPv6ExtHdrFragment(m=1), gre(inner, protocol, **flags)),
            outer(IPv6ExtHdrRouting(type=4, addresses=[OTHER], segleft=1), gre(inner, protocol)),
            outer(gre(inner, protocol)),
            outer(UDP() / Raw(b"x")),
            outer(ICMPv6EchoRequest()),
            b"\x60",
        ]
        check_soundness(plane.datapath, "underlay", *packets)


def test_a_flow_is_seen_once(tunnel: Tunnel) -> None:
    plane = tunnel(key=42, seq=True)
    plane.send("underlay", outer(limit(), gre(number=0, key=True, seq=True)))
    before = plane.upcalls
    plane.send(
        "underlay", *(outer(limit(), gre(number=n, key=True, seq=True), fl=n, hlim=n) for n in range(1, 60))
    )
    # The cell has a flow of its own, for packets as they come out of it.
    assert plane.upcalls - before == 0
    assert len(plane.received("lan")) == 60
