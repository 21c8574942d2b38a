"""vdp_pptp: PPP in GRE version 1 (RFC 2637)."""

from __future__ import annotations

import errno
import random
from typing import Any

import pytest
from pydantic import ValidationError
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE_PPTP
from scapy.layers.ppp import HDLC, PPP

from tests import vectors
from tests.plane import L2, L3, A, B, MakePlane, Plane
from vdp.links.gre_demux import FlagPolicy
from vdp.links.link import LinkError
from vdp.testing.soundness import check_soundness

PLUGINS = ("gre", "pptp")
INNER = bytes(IP(src="10.0.0.2", dst="10.0.0.1") / UDP(sport=1, dport=2) / b"tunnelled")
INNER6 = bytes(IPv6(src="2001:db8::2", dst="2001:db8::1") / UDP(sport=1, dport=2) / b"tunnelled")
OURS, PEERS = 17, 4711
HEADER, CALL, LENGTH, ACK, PROTOCOL = (
    f"plugin_pptp_{name}" for name in ("header", "call", "length", "ack", "protocol")
)


@pytest.fixture
def bare(make_plane: MakePlane) -> Plane:
    """An underlay and an inner port, no link yet."""
    plane = make_plane(PLUGINS)
    plane.port("underlay", L3)
    plane.port("inner", L3)
    return plane


@pytest.fixture
def plane(bare: Plane) -> Plane:
    """The same with a link between the two."""
    add(bare)
    return bare


def add(plane: Plane, **parameters: Any) -> None:
    plane.link("pptp0", "pptp", local=A, remote=B, **{"call_id": OURS, "peer_call_id": PEERS, **parameters})
    plane.connect("pptp0", "inner")


def pptp(payload: bytes = b"", *, seq: int | None = 1, ack: int | None = None, **fields: Any) -> Any:
    """A packet as scapy writes it; `seq` and `ack` set their bits."""
    numbers: dict[str, Any] = {"seqnum_present": int(seq is not None), "acknum_present": int(ack is not None)}
    numbers |= {} if seq is None else {"sequence_number": seq}
    numbers |= {} if ack is None else {"ack_number": ack}
    return GRE_PPTP(call_id=OURS, **numbers, **fields) / payload


def incoming(gre: Any, origin: str = B) -> bytes:
    return bytes(IP(src=origin, dst=A, proto=47) / gre)


FULL, SHORT_PROTOCOL, NO_ADDRESS, SHORTEST = b"\xff\x03\x00\x21", b"\xff\x03\x21", b"\x00\x21", b"\x21"


# -- received -----------------------------------------------------------------------------


@pytest.mark.conformance("A2", "L4")
@pytest.mark.parametrize("front", [FULL, SHORT_PROTOCOL, NO_ADDRESS, SHORTEST])
@pytest.mark.parametrize("ack", [None, 5])
def test_ipv4_comes_out_of_every_form_of_ppp(plane: Plane, front: bytes, ack: int | None) -> None:
    plane.send("underlay", incoming(pptp(front + INNER, ack=ack)))
    assert plane.received("inner") == [INNER]
    assert plane.counters("pptp0")["rx_packets"] == 1


@pytest.mark.parametrize("front", [b"\xff\x03\x00\x57", b"\x57"])
def test_ipv6_comes_out_as_ipv6(plane: Plane, front: bytes) -> None:
    plane.send("underlay", incoming(pptp(front + INNER6)))
    [packet] = plane.collect("inner")
    assert packet.data == INNER6
    assert packet.meta[4:8] == (0x86DD).to_bytes(4, "big")


def test_packets_of_a_call_share_a_flow(plane: Plane) -> None:
    for number in range(1, 9):
        plane.send("underlay", incoming(pptp(FULL + INNER + bytes(number), seq=number)))
    assert len(plane.received("inner")) == 8
    assert len(plane.flows("underlay")) == 1


@pytest.mark.parametrize("padding", [0, 1, 40])
def test_padding_is_cut_off(plane: Plane, padding: int) -> None:
    payload = FULL + INNER
    plane.send("underlay", incoming(pptp(payload + bytes(padding), payload_len=len(payload))))
    assert plane.received("inner") == [INNER]


@pytest.mark.parametrize("missing", [1, 30, 60000])
def test_less_payload_than_announced_is_dropped(plane: Plane, missing: int) -> None:
    payload = FULL + INNER
    plane.send("underlay", incoming(pptp(payload, payload_len=len(payload) + missing)))
    assert plane.all_drops() == {LENGTH: 1}
    assert plane.counters("pptp0")["rx_errors"] == 1


@pytest.mark.parametrize("payload", [b"", b"\xff", b"\xff\x03", b"\xff\x03\x00", b"\x00"])
def test_less_than_ppp_is_dropped(plane: Plane, payload: bytes) -> None:
    plane.send("underlay", incoming(pptp(payload)))
    assert plane.all_drops() == {LENGTH: 1}


@pytest.mark.conformance("L4")
def test_the_length_binds_each_packet_of_a_flow(plane: Plane) -> None:
    """The second differs from the first in its payload length only."""
    payload = FULL + INNER
    plane.send("underlay", incoming(pptp(payload)), incoming(pptp(payload, seq=2, payload_len=3)))
    assert plane.received("inner") == [INNER]
    assert plane.all_drops() == {LENGTH: 1}
    assert len(plane.flows("underlay")) == 1


@pytest.mark.parametrize("ack", [0, 1, 0xFFFFFFFF])
def test_an_acknowledgment_ends_here_and_is_counted(plane: Plane, ack: int) -> None:
    plane.send("underlay", incoming(pptp(seq=None, ack=ack)))
    assert plane.all_drops() == {ACK: 1}
    assert plane.counters("pptp0")["rx_errors"] == 0


def test_an_acknowledgment_has_no_payload(plane: Plane) -> None:
    plane.send("underlay", incoming(pptp(FULL + INNER, seq=None, ack=1)))
    assert plane.all_drops() == {LENGTH: 1}


def test_a_packet_without_both_numbers_is_refused(plane: Plane) -> None:
    plane.send("underlay", incoming(pptp(bytes(20), seq=None, payload_len=0)))
    assert plane.all_drops() == {HEADER: 1}


@pytest.mark.conformance("L4")
@pytest.mark.parametrize(
    "fields",
    [
        {"chksum_present": 1},
        {"routing_present": 1},
        {"key_present": 0},
        {"strict_route_source": 1},
        {"recursion_control": 1},
        {"recursion_control": 4},
        {"proto": 0x0800},
        {"proto": 0x880A},
    ],
    ids=lambda fields: "=".join(map(str, *fields.items())),
)
def test_what_the_rfc_wants_zero_is_zero(plane: Plane, fields: dict[str, int]) -> None:
    plane.send("underlay", incoming(pptp(FULL + INNER, **fields)))
    assert plane.all_drops() == {HEADER: 1}


@pytest.mark.conformance("L4")
@pytest.mark.parametrize("flags", [1, 8, 15])
@pytest.mark.parametrize(("policy", "reason"), [("linux", "tunnel_version"), ("rfc2784", HEADER)])
def test_flags_that_are_reserved_are_refused(plane: Plane, flags: int, policy: str, reason: str) -> None:
    """gre_rcv takes them for a version; where it does not, the handler does."""
    plane.datapath.gre.policy = FlagPolicy(policy)
    plane.send("underlay", incoming(pptp(FULL + INNER, flags=flags)))
    assert plane.all_drops() == {reason: 1}


def test_the_call_and_the_peer_find_the_link(plane: Plane) -> None:
    other = pptp(FULL + INNER)
    other.call_id = OURS + 1
    plane.send("underlay", incoming(other), incoming(pptp(FULL + INNER), origin="192.0.2.99"))
    assert plane.all_drops() == {CALL: 2}


@pytest.mark.parametrize("protocol", [0xC021, 0x8021, 0x00FD, 0x0023])
def test_other_protocols_of_ppp_are_dropped(plane: Plane, protocol: int) -> None:
    plane.send("underlay", incoming(pptp(b"\xff\x03" + protocol.to_bytes(2, "big") + INNER)))
    assert plane.all_drops() == {PROTOCOL: 1}


def test_old_sequence_numbers_are_dropped(plane: Plane) -> None:
    for number in (10, 10, 9, 11):
        plane.send("underlay", incoming(pptp(FULL + INNER, seq=number)))
    assert len(plane.received("inner")) == 2
    assert plane.counters("pptp0")["rx_fifo_errors"] == 2


def test_what_is_received_is_sound(plane: Plane) -> None:
    packets = [
        *(incoming(pptp(front + INNER)) for front in (FULL, SHORT_PROTOCOL, NO_ADDRESS, SHORTEST)),
        incoming(pptp(FULL + INNER, ack=7)),
        incoming(pptp(seq=None, ack=7)),
        incoming(pptp(b"\xff\x03\xc0\x21" + INNER)),
        incoming(pptp(FULL + INNER, recursion_control=1)),
        incoming(pptp(b"\xff")),
    ]
    check_soundness(plane.datapath, "underlay", *packets, chance=random.Random(3))


# -- sent ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("inner", "protocol"), [(INNER, 0x21), (INNER6, 0x57)])
def test_the_header_is_as_scapy_writes_it(plane: Plane, inner: bytes, protocol: int) -> None:
    plane.send("inner", inner, inner)
    first, second = (IP(data) for data in plane.received("underlay"))
    gre = first[GRE_PPTP]
    wanted = GRE_PPTP(call_id=PEERS, seqnum_present=1, sequence_number=gre.sequence_number)
    wanted /= HDLC() / PPP(proto=protocol)
    assert bytes(gre) == bytes(wanted / inner)
    assert second[GRE_PPTP].sequence_number == gre.sequence_number + 1
    assert (first.src, first.dst, first.proto, first.ttl) == (A, B, 47, 64)


def test_what_ppp_has_no_number_for_is_dropped(plane: Plane) -> None:
    plane.send("inner", b"\x00" + bytes(30))
    assert plane.all_drops() == {"protocol_unsupported": 1}
    assert plane.counters("pptp0")["tx_errors"] == 1


def test_what_one_end_sends_the_other_receives(make_plane: MakePlane) -> None:
    ends = []
    for local, remote, call_id, peer_call_id in ((A, B, 1, 2), (B, A, 2, 1)):
        end = make_plane(PLUGINS)
        end.port("underlay", L3)
        end.port("inner", L3)
        end.link("pptp0", "pptp", local=local, remote=remote, call_id=call_id, peer_call_id=peer_call_id)
        end.connect("pptp0", "inner")
        ends.append(end)
    ends[0].send("inner", INNER, INNER6, INNER)
    ends[1].send("underlay", *ends[0].received("underlay"))
    assert sorted(ends[1].received("inner")) == sorted([INNER, INNER6, INNER])


def test_the_mtu_leaves_room_for_the_headers(plane: Plane) -> None:
    assert plane.datapath.links["pptp0"].mtu == 1500 - 20 - 16 - 4


# -- configured ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        {"remote": "any"},
        {"remote": "224.0.0.5"},
        {"call_id": 65536},
        {"peer_call_id": -1},
        {"key": 1},
        {"csum": True},
    ],
)
def test_what_makes_no_sense_is_refused(bare: Plane, parameters: dict[str, Any]) -> None:
    options: dict[str, Any] = {"local": A, "remote": B, "call_id": 1, "peer_call_id": 2}
    with pytest.raises(ValidationError):
        bare.link("pptp0", "pptp", **{**options, **parameters})


def test_two_links_of_one_call_are_refused(plane: Plane) -> None:
    with pytest.raises(LinkError) as caught:
        plane.link("pptp1", "pptp", local=A, remote=B, call_id=OURS, peer_call_id=1)
    assert caught.value.errno == errno.EEXIST


# -- the shared vectors -------------------------------------------------------------------


@pytest.mark.conformance("L4")
@vectors.needed
def test_the_capture_agrees(make_plane: MakePlane) -> None:
    """One frame: LCP, which is parsed to its end and then not for us."""
    plane = make_plane(PLUGINS)
    plane.port("underlay", L2)
    [expected] = vectors.expectations("captures/tcpdump/pptp.pcap")
    ends = {"local": expected.line["outer"]["dst"], "remote": expected.line["outer"]["src"]}
    plane.link("pptp0", "pptp", **ends, call_id=expected.gre["call_id"], peer_call_id=1)
    plane.send("underlay", expected.frame)
    assert plane.all_drops() == {PROTOCOL: 1}
    # The same frame with IPv4 for LCP: what is delivered has the length that is announced.
    start = 14 + 20 + expected.gre["hdr_len"]
    data = bytearray(expected.frame)
    data[start : start + 4] = FULL
    plane.port("inner", L3)
    plane.connect("pptp0", "inner")
    plane.send("underlay", bytes(data))
    [packet] = plane.received("inner")
    assert packet == expected.frame[start + 4 : start + expected.gre["payload_len"]]


@vectors.needed
@pytest.mark.parametrize("name", ["scapy_v1_ppp_lcp", "dpkt_v1_seq_only"])
def test_the_packets_agree(make_plane: MakePlane, name: str) -> None:
    [vector] = [v for f in ("scapy", "dpkt") for v in vectors.load(f"hex/{f}.json") if v["name"] == name]
    wanted = vector["expectation"]
    data = bytes.fromhex(vector["hex_in"])
    packet = data if vector["link"] == "raw-ip" else bytes(IP(src=B, dst=A, proto=47) / data)
    plane = make_plane(PLUGINS)
    plane.port("underlay", L3)
    ends = {"local": IP(packet).dst, "remote": IP(packet).src}
    plane.link("pptp0", "pptp", **ends, call_id=wanted["call_id"], peer_call_id=1)
    plane.send("underlay", packet)
    # 0x880A is not PPP; the other frame is LCP.
    assert plane.all_drops() == {PROTOCOL if wanted["proto"] == "0x880b" else HEADER: 1}
