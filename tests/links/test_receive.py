"""What a tunnel does with what it receives: gre_rcv, parse_gre_header and ip_tunnel_rcv, rule by rule."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, GRE, Ether
from scapy.packet import Raw

from tests import vectors
from tests.plane import L2, L3, MAC_B, MakePlane, Plane
from vdp.testing.builders import ethernet, gre, ipv4

LOCAL, REMOTE = "192.0.2.1", "192.0.2.2"
INNER = bytes(IP(src="10.0.0.2", dst="10.0.0.1", ttl=33) / UDP(sport=1, dport=2) / Raw(b"hello"))
FRAME = bytes(Ether(src="02:00:00:00:00:0a", dst="02:00:00:00:00:0b") / IP(INNER))
FLAGS = [
    dict(zip(("csum", "key", "seq"), bits, strict=True))
    for bits in itertools.product((False, True), repeat=3)
]


def flag_id(flags: dict[str, bool]) -> str:
    return "-".join(name for name, on in flags.items() if on) or "plain"


def outer(payload: bytes, **fields: Any) -> bytes:
    """The outer IP packet of what the remote sends."""
    return bytes(
        IP(src=fields.pop("src", REMOTE), dst=fields.pop("dst", LOCAL), proto=47, **fields) / Raw(payload)
    )


def link_parameters(flags: dict[str, bool]) -> dict[str, Any]:
    on = {name: True for name in ("csum", "seq") if flags[name]}
    return {"local": LOCAL, "remote": REMOTE, **on, **({"key": 42} if flags["key"] else {})}


@pytest.fixture
def gre_plane(plane: Plane) -> Callable[..., Plane]:
    """An L3 underlay, link gre1 with the given parameters, and port lan behind it."""

    def make(**parameters: Any) -> Plane:
        plane.port("underlay", L3)
        plane.port("lan", L3)
        plane.link("gre1", "gre", **{"local": LOCAL, "remote": REMOTE, **parameters})
        plane.connect("lan", "gre1")
        return plane

    return make


@pytest.fixture
def gretap_plane(plane: Plane) -> Callable[..., Plane]:
    """The same with link gt1 in a bridge."""

    def make(**parameters: Any) -> Plane:
        plane.port("underlay", L3)
        plane.port("lan", L2)
        plane.link("gt1", "gretap", **{"local": LOCAL, "remote": REMOTE, **parameters})
        plane.bridge("br0", "lan", "gt1")
        return plane

    return make


def moved(plane: Plane, link: str) -> dict[str, int]:
    """The link's counters that are not zero."""
    return {name: count for name, count in plane.counters(link).items() if count}


# -- the header ------------------------------------------------------------------------------


@pytest.mark.conformance("C5", "C9", "C10", "E7", "E10")
@pytest.mark.parametrize("flags", FLAGS, ids=flag_id)
@pytest.mark.parametrize(
    ("protocol", "inner"),
    [
        (0x0800, INNER),
        (0x86DD, bytes(IPv6(src="fe80::1", dst="fe80::2") / UDP())),
        (0x8847, b"\0\0\x11\xff" + INNER),
    ],
    ids=["ipv4", "ipv6", "mpls"],
)
def test_gre_with_any_options_is_received(
    gre_plane: Callable[..., Plane], flags: dict[str, bool], protocol: int, inner: bytes
) -> None:
    plane = gre_plane(**link_parameters(flags))
    header = GRE(
        proto=protocol, chksum_present=flags["csum"], key_present=flags["key"], seqnum_present=flags["seq"],
        key=42 if flags["key"] else None, sequence_number=7 if flags["seq"] else None,
    )  # fmt: skip
    plane.send("underlay", outer(bytes(header / Raw(inner))))
    assert plane.drops("underlay") == {}
    (out,) = plane.collect("lan")
    assert out.data == inner
    assert int.from_bytes(out.meta[4:8], "big") == protocol
    assert moved(plane, "gre1") == {"rx_packets": 1, "rx_bytes": len(inner)}


@pytest.mark.conformance("C5", "C15", "E9")
@pytest.mark.parametrize("flags", FLAGS, ids=flag_id)
@pytest.mark.parametrize(
    "frame", [FRAME, bytes(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP()), FRAME[:12] + b"\0\x03\x42\x42\x03"],
    ids=["ip", "arp", "llc"],
)  # fmt: skip
def test_gretap_with_any_options_is_received(
    gretap_plane: Callable[..., Plane], flags: dict[str, bool], frame: bytes
) -> None:
    plane = gretap_plane(**link_parameters(flags))
    packet = gre(
        frame,
        0x6558,
        key=42 if flags["key"] else None,
        csum=flags["csum"],
        sequence=7 if flags["seq"] else None,
    )
    plane.send("underlay", outer(packet))
    assert plane.drops("underlay") == {}
    assert plane.received("lan") == [frame]
    assert moved(plane, "gt1") == {"rx_packets": 1, "rx_bytes": len(frame)}


@pytest.mark.conformance("C2", "C3")
@pytest.mark.parametrize("bits", [0x01, 0x02, 0x07, 0x08, 0x40, 0x78, 0x7F])
def test_a_version_without_a_handler_is_dropped(gre_plane: Callable[..., Plane], bits: int) -> None:
    """Byte 1 & 0x7f: reserved bits read as a version too."""
    plane = gre_plane()
    plane.send("underlay", outer(gre(INNER, flags=bits)))
    assert plane.drops("underlay") == {"tunnel_version": 1}


@pytest.mark.conformance("C11")
@pytest.mark.parametrize("bits", [0x0080, 0x0800, 0x0700, 0x0F80])
def test_other_flag_bits_are_not_looked_at(gre_plane: Callable[..., Plane], bits: int) -> None:
    """Acknowledgement, strict source route, recursion control."""
    plane = gre_plane()
    plane.send("underlay", outer(gre(INNER, flags=bits)))
    assert plane.received("lan") == [INNER]


@pytest.mark.conformance("C6", "L1")
def test_source_routing_is_refused(gre_plane: Callable[..., Plane]) -> None:
    plane = gre_plane()
    plane.send("underlay", outer(gre(INNER, flags=0x4000)))
    assert plane.drops("underlay") == {"tunnel_routing": 1}


@pytest.mark.conformance("C1")
@pytest.mark.parametrize("size", range(12))
def test_fewer_than_twelve_bytes_are_no_gre_packet(gre_plane: Callable[..., Plane], size: int) -> None:
    plane = gre_plane()
    plane.send("underlay", outer(gre(bytes(20), 0x1234)[:size]))
    assert plane.drops("underlay") == {"tunnel_short": 1}


@pytest.mark.conformance("C1")
def test_twelve_bytes_are_enough(gre_plane: Callable[..., Plane]) -> None:
    plane = gre_plane()
    plane.send("underlay", outer(gre(bytes(8), 0x1234)))
    assert plane.received("lan") == [bytes(8)]


@pytest.mark.conformance("C5")
@pytest.mark.parametrize("size", [12, 13, 15])
def test_a_header_longer_than_the_packet_is_dropped(gre_plane: Callable[..., Plane], size: int) -> None:
    plane = gre_plane(key=1, csum=True, seq=True)
    plane.send("underlay", outer(gre(b"", key=1, csum=True, sequence=1)[:size]))
    assert plane.drops("underlay") == {"tunnel_truncated": 1}


# -- the checksum ----------------------------------------------------------------------------


@pytest.mark.conformance("C7", "L2")
@pytest.mark.parametrize("size", [7, 8, 1200, 1201])
def test_the_checksum_covers_header_and_payload_of_any_length(
    gre_plane: Callable[..., Plane], size: int
) -> None:
    plane = gre_plane(csum=True)
    payload = bytes(range(256)) * 5
    plane.send("underlay", outer(gre(payload[:size], 0x1234, csum=True)))
    assert plane.received("lan") == [payload[:size]]


@pytest.mark.conformance("C7")
@pytest.mark.parametrize("at", [0, 3, 4, 6, 7, 8, -1], ids=lambda at: f"byte{at}")
def test_a_wrong_checksum_is_dropped(gre_plane: Callable[..., Plane], at: int) -> None:
    """One bit anywhere: flags, protocol, the field itself, Reserved1, payload."""
    plane = gre_plane(csum=True)
    packet = bytearray(gre(INNER, csum=True))
    packet[at] ^= 0x08 if at == 0 else 0x01
    plane.send("underlay", outer(bytes(packet)))
    assert plane.drops("underlay") == {"tunnel_checksum": 1}
    assert moved(plane, "gre1") == {}


@pytest.mark.conformance("C7", "C19")
def test_ethernet_padding_is_not_part_of_the_checksum(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.port("underlay", L2)
    plane.port("lan", L3)
    plane.link("gre1", "gre", csum=True)
    plane.connect("lan", "gre1")
    plane.send("underlay", ethernet(outer(gre(bytes(8), 0x1234, csum=True))) + b"\xaa" * 9)
    assert plane.received("lan") == [bytes(8)]


@pytest.mark.conformance("C7")
def test_a_flow_checks_each_packets_checksum_without_asking_python(gre_plane: Callable[..., Plane]) -> None:
    plane = gre_plane(csum=True)
    good, bad = gre(INNER, csum=True), gre(INNER, checksum=1)
    plane.send("underlay", outer(good))
    upcalls = plane.upcalls
    plane.send("underlay", outer(bad), outer(good), outer(bad))
    assert plane.received("lan") == [INNER] * 2
    assert plane.drops("underlay") == {"tunnel_checksum": 2}
    assert plane.upcalls == upcalls


@pytest.mark.conformance("E2", "J")
@pytest.mark.parametrize("wanted", [False, True])
def test_checksum_and_link_must_agree(gre_plane: Callable[..., Plane], wanted: bool) -> None:
    plane = gre_plane(icsum=wanted)
    plane.send("underlay", outer(gre(INNER, csum=not wanted)))
    assert plane.drops("underlay") == {"tunnel_checksum_policy": 1}
    assert moved(plane, "gre1") == {"rx_errors": 1, "rx_crc_errors": 1}


@pytest.mark.conformance("E2")
def test_the_output_checksum_flag_says_nothing_about_what_is_received(
    gre_plane: Callable[..., Plane],
) -> None:
    plane = gre_plane(ocsum=True)
    plane.send("underlay", outer(gre(INNER)))
    assert plane.received("lan") == [INNER]


# -- sequence numbers ------------------------------------------------------------------------


def numbered(number: int | None) -> bytes:
    return outer(gre(INNER, sequence=number))


@pytest.mark.conformance("E3", "E4", "L3")
@vectors.needed
@pytest.mark.parametrize(
    "case", vectors.load("scenarios/sequence.json").get("cases", ()), ids=lambda c: c["name"]
)
def test_sequence_numbers_as_in_the_scenario(gre_plane: Callable[..., Plane], case: dict[str, Any]) -> None:
    plane = gre_plane(iseq=True)
    for number, accept in zip(case["seqs"], case["accept"], strict=True):
        plane.send("underlay", numbered(number))
        assert len(plane.received("lan")) == accept
    refused = case["accept"].count(0)
    assert plane.drops("underlay") == ({"tunnel_sequence": refused} if refused else {})
    errors = {"rx_errors": refused, "rx_fifo_errors": refused} if refused else {}
    assert {name: n for name, n in moved(plane, "gre1").items() if "error" in name} == errors


@pytest.mark.conformance("E3", "E4")
@pytest.mark.parametrize(
    ("numbers", "accepted"),
    [
        ([0xFFFFFFFE, 0xFFFFFFFF, 0, 1], [1, 1, 1, 1]),
        ([0xFFFFFFF0, 3, 0xFFFFFFF1], [1, 1, 0]),
        ([5, 0x80000005, 6], [1, 1, 0]),
        ([5, 0x80000006], [1, 0]),
        ([7, 6, 8], [1, 0, 1]),
        ([0xFFFFFFFF, 9, 3], [1, 1, 0]),
        ([0xFFFFFFFF, 0xFFFFFFFF], [1, 1]),
    ],
    ids=["wraps", "old-after-wrap", "far-ahead", "half-way-is-old", "refused-number-moves-nothing",
    "zero-is-no-state", "zero-takes-any"],
)  # fmt: skip
def test_sequence_numbers_compare_as_signed_and_wrap(
    gre_plane: Callable[..., Plane], numbers: list[int], accepted: list[int]
) -> None:
    """Expected zero means "no state" (tunnel->i_seqno): any number is taken then."""
    plane = gre_plane(iseq=True)
    found = []
    for number in numbers:
        plane.send("underlay", numbered(number))
        found.append(len(plane.received("lan")))
    assert found == accepted


@pytest.mark.conformance("C10", "E3")
def test_without_iseq_numbers_are_read_over(gre_plane: Callable[..., Plane]) -> None:
    plane = gre_plane(oseq=True)
    plane.send("underlay", *[numbered(number) for number in (9, 3, 3)])
    assert plane.received("lan") == [INNER] * 3


@pytest.mark.conformance("E3")
def test_numbers_of_a_flow_need_no_python(gre_plane: Callable[..., Plane]) -> None:
    plane = gre_plane(iseq=True)
    plane.send("underlay", numbered(1))
    upcalls = plane.upcalls
    plane.send("underlay", *[numbered(number) for number in (2, 2, 3, 4, 1, 5)])
    assert len(plane.received("lan")) == 5
    assert plane.drops("underlay") == {"tunnel_sequence": 2}
    assert plane.upcalls == upcalls


@pytest.mark.conformance("E4")
def test_the_sequence_moves_on_before_ecn_is_looked_at(gre_plane: Callable[..., Plane]) -> None:
    """ip_tunnel_rcv's order: a packet that ECN drops has used up its number."""
    plane = gre_plane(iseq=True)
    plane.send("underlay", outer(gre(INNER, sequence=5), tos=3), numbered(5))
    assert plane.drops("underlay") == {"tunnel_ecn": 1, "tunnel_sequence": 1}


@pytest.mark.conformance("D9")
@pytest.mark.parametrize("source", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"])
def test_a_source_that_nobody_has_reaches_no_tunnel(gre_plane: Callable[..., Plane], source: str) -> None:
    """ip_route_input_slow's martians, at a tunnel that takes any remote."""
    plane = gre_plane(remote="any")
    plane.send("underlay", outer(gre(INNER), src=source), outer(gre(INNER), src="192.0.2.77"))
    assert plane.drops("underlay") == {"ip_source": 1}
    assert plane.received("lan") == [INNER]


# -- what is inside --------------------------------------------------------------------------


@pytest.mark.conformance("C15")
@pytest.mark.parametrize("size", [8, 13])
def test_a_frame_without_its_whole_header_is_dropped(gretap_plane: Callable[..., Plane], size: int) -> None:
    plane = gretap_plane()
    plane.send("underlay", outer(gre(FRAME[:size], 0x6558)))
    assert plane.drops("underlay") == {"tunnel_inner_short": 1}


@pytest.mark.conformance("C15")
def test_a_cut_frame_header_is_found_before_the_tunnel_is(gretap_plane: Callable[..., Plane]) -> None:
    """iptunnel_pull_header comes first: no counter of the link moves, and no number is used up."""
    plane = gretap_plane(iseq=True)
    numbers = [gre(FRAME[:8], 0x6558, sequence=7), gre(FRAME, 0x6558, sequence=6), gre(FRAME[:13], 0x6558)]
    plane.send("underlay", *(outer(packet) for packet in numbers))
    assert plane.drops("underlay") == {"tunnel_inner_short": 2}
    assert moved(plane, "gt1") == {"rx_packets": 1, "rx_bytes": len(FRAME)}


@pytest.mark.conformance("C15")
def test_a_frame_of_fourteen_bytes_is_one(gretap_plane: Callable[..., Plane]) -> None:
    plane = gretap_plane()
    plane.send("underlay", outer(gre(FRAME[:14], 0x6558)))
    assert moved(plane, "gt1") == {"rx_packets": 1, "rx_bytes": 14}


@pytest.mark.conformance("D1", "A11", "B4")
def test_a_gre_link_takes_no_frames_and_a_gretap_link_nothing_else(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.port("underlay", L3)
    plane.link("gre1", "gre", local=LOCAL, remote=REMOTE)
    plane.link("gt1", "gretap", local=LOCAL, remote="192.0.2.7")
    plane.send("underlay", outer(gre(FRAME, 0x6558)), outer(gre(INNER), src="192.0.2.7"))
    assert plane.drops("underlay") == {"tunnel_no_link": 2}


@pytest.mark.conformance("E11")
def test_the_inner_ttl_is_left_alone(gre_plane: Callable[..., Plane]) -> None:
    plane = gre_plane()
    inner = bytes(IP(src="10.0.0.2", dst="10.0.0.1", ttl=1) / UDP())
    plane.send("underlay", outer(gre(inner)))
    assert plane.received("lan") == [inner]


# -- ECN -------------------------------------------------------------------------------------

NAMES = ["Not-ECT", "ECT(1)", "ECT(0)", "CE"]
#: Inner code point after the tunnel, by (outer, inner); None: dropped.  RFC 6040 figure 4.
DECAPSULATED = {
    (0, 0): 0, (0, 1): 1, (0, 2): 2, (0, 3): 3,
    (1, 0): 0, (1, 1): 1, (1, 2): 1, (1, 3): 3,
    (2, 0): 0, (2, 1): 1, (2, 2): 2, (2, 3): 3,
    (3, 0): None, (3, 1): 3, (3, 2): 3, (3, 3): 3,
}  # fmt: skip


def with_ecn(version: str, ecn: int) -> bytes:
    if version == "ipv6":
        return bytes(IPv6(src="fe80::1", dst="fe80::2", tc=0xB8 | ecn) / UDP(sport=1) / Raw(b"hello"))
    return bytes(
        IP(src="10.0.0.2", dst="10.0.0.1", tos=0xB8 | ecn, options=b"\1\1\1\0") / UDP(sport=1) / Raw(b"hello")
    )


@pytest.mark.conformance("E5", "L12")
@pytest.mark.parametrize("kind", ["gre", "gretap"])
@pytest.mark.parametrize("version", ["ipv4", "ipv6"])
@pytest.mark.parametrize(("outside", "inside"), DECAPSULATED, ids=lambda code: NAMES[code])
def test_congestion_marks_come_in_as_rfc_6040_says(
    make_plane: MakePlane, kind: str, version: str, outside: int, inside: int
) -> None:
    plane = make_plane()
    plane.port("underlay", L3)
    plane.port("lan", L2 if kind == "gretap" else L3)
    plane.link("link1", kind, local=LOCAL, remote=REMOTE)
    if kind == "gre":
        plane.connect("lan", "link1")
    else:
        plane.bridge("br0", "lan", "link1")
    header = b"" if kind == "gre" else FRAME[:12] + (b"\x08\0" if version == "ipv4" else b"\x86\xdd")
    protocol = 0x6558 if kind == "gretap" else 0x0800 if version == "ipv4" else 0x86DD
    plane.send("underlay", outer(gre(header + with_ecn(version, inside), protocol), tos=0x10 | outside))
    after = DECAPSULATED[outside, inside]
    if after is None:
        assert plane.drops("underlay") == {"tunnel_ecn": 1}
        assert moved(plane, "link1") == {"rx_errors": 1, "rx_frame_errors": 1}
        assert plane.received("lan") == []
    else:
        assert plane.received("lan") == [header + with_ecn(version, after)], "the inner checksum follows"
        assert moved(plane, "link1") == {"rx_packets": 1, "rx_bytes": len(header) + len(with_ecn(version, 0))}


@pytest.mark.conformance("E5")
@vectors.needed
def test_the_ecn_table_is_that_of_the_scenario() -> None:
    cells = vectors.load("scenarios/ecn_rfc6040.json")["decapsulation"]
    assert cells
    for cell in cells:
        out = cell["rfc6040_and_linux_5_8"]["inner_out"]
        wanted = None if out == "drop" else NAMES.index(out)
        assert DECAPSULATED[NAMES.index(cell["outer"]), NAMES.index(cell["inner"])] == wanted


@pytest.mark.conformance("E6")
def test_a_pair_of_marks_that_should_not_be_is_logged_once_a_second(
    gre_plane: Callable[..., Plane], caplog: pytest.LogCaptureFixture, stopped_time: Callable[[float], None]
) -> None:
    """log_ecn_error: "non-ECT from %pI4 with TOS=%#x", for Not-ECT inside anything that is ECN-capable."""
    plane = gre_plane()
    with caplog.at_level("INFO", "vdp"):
        plane.send("underlay", *[outer(gre(with_ecn("ipv4", 0)), tos=tos) for tos in (0, 1, 2, 3)])
    said = [record.message for record in caplog.records]
    assert said == ["gre1: non-ECT from 192.0.2.2 with TOS=0x1"]
    assert plane.datapath.suppressed_messages == 2


@pytest.mark.conformance("E5")
def test_marks_are_not_sought_in_what_is_not_ip(gretap_plane: Callable[..., Plane]) -> None:
    plane = gretap_plane()
    frame = bytes(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP())
    plane.send("underlay", outer(gre(frame, 0x6558), tos=3))
    assert plane.received("lan") == [frame]


# -- the outer header ------------------------------------------------------------------------


def spoilt(at: int, value: int) -> bytes:
    packet = bytearray(outer(gre(INNER)))
    packet[at] = value
    return bytes(packet)


@pytest.mark.conformance("C21")
@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (spoilt(10, 0), "ip_checksum"),
        (spoilt(0, 0x44), "ip_header"),
        (spoilt(0, 0x65), "ip_header"),
        (ipv4(REMOTE, LOCAL, gre(INNER), protocol=47, total_length=1000), "parse_bad_length"),
        (ipv4(REMOTE, LOCAL, gre(INNER), protocol=47, total_length=19), "parse_bad_length"),
        (ipv4(REMOTE, LOCAL, gre(INNER), protocol=47, flags=1), "fragment_policy"),
        (ipv4(REMOTE, LOCAL, gre(INNER), protocol=47, fragment=1), "fragment_policy"),
        (ipv4(REMOTE, LOCAL, gre(INNER), protocol=47, total_length=20), "tunnel_short"),
        (ipv4(REMOTE, LOCAL, gre(INNER), protocol=47, total_length=31), "tunnel_short"),
        (outer(b"")[:19], "parse_truncated"),
    ],
    ids=["checksum", "ihl-4", "version-6", "too-long", "shorter-than-header", "first-fragment",
    "later-fragment", "empty", "11-bytes", "cut"],
)  # fmt: skip
def test_a_bad_outer_header_is_dropped_under_its_reason(
    make_plane: MakePlane, packet: bytes, reason: str
) -> None:
    plane = make_plane()
    plane.port("underlay", L2)
    plane.link("gre1", "gre")
    plane.send("underlay", ethernet(packet, ethertype=0x0800))
    assert plane.drops("underlay") == {reason: 1}
    assert moved(plane, "gre1") == {}


@pytest.mark.conformance("C21")
def test_a_flow_checks_each_packets_outer_header_without_asking_python(
    gre_plane: Callable[..., Plane],
) -> None:
    plane = gre_plane()
    plane.send("underlay", outer(gre(INNER)))
    upcalls = plane.upcalls
    long = ipv4(REMOTE, LOCAL, gre(INNER), protocol=47, total_length=1000)
    short = ipv4(REMOTE, LOCAL, gre(INNER), protocol=47, total_length=30)
    plane.send("underlay", spoilt(10, 1), long, short)
    assert plane.drops("underlay") == {"ip_checksum": 1, "parse_bad_length": 1, "tunnel_short": 1}
    assert plane.upcalls == upcalls


@pytest.mark.conformance("C5")
def test_options_of_the_outer_header_are_passed_over(gre_plane: Callable[..., Plane]) -> None:
    plane = gre_plane()
    plane.send("underlay", ipv4(REMOTE, LOCAL, gre(INNER), protocol=47, options=b"\1" * 8))
    assert plane.received("lan") == [INNER]


@pytest.mark.conformance("C19")
def test_what_follows_the_outer_packet_is_cut_off(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.port("underlay", L2)
    plane.port("lan", L3)
    plane.link("gre1", "gre")
    plane.connect("lan", "gre1")
    for padding in (1, 20, 300):
        plane.send("underlay", ethernet(outer(gre(INNER))) + bytes(padding))
    assert plane.received("lan") == [INNER] * 3
    assert moved(plane, "gre1") == {"rx_packets": 3, "rx_bytes": 3 * len(INNER)}


@pytest.mark.conformance("C19", "C5")
@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (gre(b"")[:11], "tunnel_short"),
        (gre(b"", key=1, csum=True, sequence=1)[:13], "tunnel_truncated"),
        (gre(FRAME[:13], 0x6558), "tunnel_inner_short"),
        (gre(INNER[:9]), "parse_truncated"),
    ],
    ids=["gre", "options", "ethernet", "ip"],
)
def test_padding_does_not_make_up_for_a_header_that_is_cut_short(
    make_plane: MakePlane, payload: bytes, reason: str
) -> None:
    """To the trace the bytes are there; the engine trims each packet, and sees that they are not its own."""
    plane = make_plane()
    plane.port("underlay", L2)
    plane.link("gre1", "gre")
    plane.link("gt1", "gretap")
    plane.send("underlay", *[ethernet(outer(payload), ethertype=0x0800) + bytes(60)] * 2)
    assert plane.drops("underlay") == {reason: 2}


def test_frames_for_another_station_are_not_ours(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.port("underlay", L2, mac=MAC_B)
    plane.port("lan", L3)
    plane.link("gre1", "gre")
    plane.connect("lan", "gre1")
    packet = outer(gre(INNER))
    plane.send("underlay", ethernet(packet, to="02:00:00:00:00:0c"))
    assert plane.drops("underlay") == {"not_for_us": 1}
    plane.send("underlay", ethernet(packet, to="02:00:00:00:00:0b"), ethernet(packet, to="ff:ff:ff:ff:ff:ff"))
    assert plane.received("lan") == [INNER] * 2


@pytest.mark.conformance("E1", "J")
def test_multicast_is_counted_as_such(gre_plane: Callable[..., Plane]) -> None:
    plane = gre_plane(remote="239.1.1.1")
    plane.send("underlay", outer(gre(INNER), dst="239.1.1.1"))
    assert plane.received("lan") == [INNER]
    assert moved(plane, "gre1") == {"multicast": 1, "rx_packets": 1, "rx_bytes": len(INNER)}


def test_icmp_about_nothing_of_ours_is_left_alone(gre_plane: Callable[..., Plane]) -> None:
    plane = gre_plane()
    plane.send("underlay", bytes(IP(src=REMOTE, dst=LOCAL) / ICMP(type=8)))
    assert plane.drops("underlay") == {"not_for_us": 1}
