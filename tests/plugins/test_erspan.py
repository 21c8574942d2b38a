"""vdp_erspan: mirrored frames in GRE, types I, II and III."""

from __future__ import annotations

import errno
import random
from typing import Any

import pytest
from pydantic import ValidationError
from scapy.contrib.erspan import ERSPAN_I, ERSPAN_II, ERSPAN_III, ERSPAN_PlatformSpecific
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Dot1Q, Ether

from tests import vectors
from tests.plane import L2, L3, A, B, MakePlane, Plane
from vdp.links.link import LinkError
from vdp.testing.soundness import check_soundness

PLUGINS = ("gre", "gretap", "erspan")
FRAME = bytes(
    Ether(dst="02:00:00:00:00:0c", src="02:00:00:00:00:0b")
    / IP(tos=0xB8)
    / UDP(sport=1, dport=2)
    / b"mirrored"
)
SHORT, VERSION, FRAME_TYPE = (f"plugin_erspan_{name}" for name in ("short", "version", "frame_type"))
#: A receiver that does not mind the order, so that packets can be sent in any.
ANY_ORDER = {"key": 5, "oseq": True}


@pytest.fixture
def bare(make_plane: MakePlane) -> Plane:
    """An underlay and a monitoring port, no link yet."""
    plane = make_plane(PLUGINS)
    plane.port("underlay", L3)
    plane.port("monitor", L2)
    return plane


def add(plane: Plane, **parameters: Any) -> None:
    plane.link("er0", "erspan", local=A, remote=B, **parameters)
    plane.connect("er0", "monitor")


def incoming(*layers: Any, to: str = A, origin: str = B) -> bytes:
    packet = IP(src=origin, dst=to)
    for layer in layers:
        packet /= layer
    return bytes(packet)


def mirrored(header: Any, frame: bytes = FRAME, *, seq: int | None = 7, proto: int = 0x88BE) -> bytes:
    """A frame behind an ERSPAN header, as scapy writes it."""
    numbered: dict[str, Any] = {} if seq is None else {"seqnum_present": 1, "sequence_number": seq}
    gre = GRE(proto=proto, **numbered)
    return incoming(gre, header, frame)


def type_iii(**fields: Any) -> Any:
    return ERSPAN_III(**{"session_id": 5, "p": 1, **fields})


# -- received -----------------------------------------------------------------------------


@pytest.mark.conformance("L6")
def test_type_i_has_no_header_and_goes_to_the_keyless_link(bare: Plane) -> None:
    add(bare, erspan_ver=0)
    bare.send("underlay", incoming(GRE(proto=0x88BE), FRAME))
    assert bare.received("monitor") == [FRAME]


@pytest.mark.conformance("L9")
@pytest.mark.parametrize(
    "packet",
    [
        mirrored(ERSPAN_II(session_id=5)),
        mirrored(ERSPAN_II(session_id=5), proto=0x22EB),
        mirrored(type_iii(), proto=0x22EB),
        mirrored(type_iii(), proto=0x22EB, seq=None),
        mirrored(type_iii(), proto=0x88BE),
        mirrored(type_iii(o=1) / ERSPAN_PlatformSpecific(platf_id=3, info2=9), proto=0x22EB),
    ],
    ids=["II", "II as 22eb", "III", "III without S", "III as 88be", "III with subheader"],
)
def test_the_version_nibble_decides_whatever_the_gre_protocol(bare: Plane, packet: bytes) -> None:
    add(bare, **ANY_ORDER)
    bare.send("underlay", packet)
    assert bare.received("monitor") == [FRAME]


@pytest.mark.conformance("L7")
def test_the_session_is_the_key_and_shares_a_flow_with_any_vlan_and_index(bare: Plane) -> None:
    add(bare, **ANY_ORDER)
    one, other = (mirrored(ERSPAN_II(session_id=5, vlan=n, cos=n, index=n)) for n in (1, 6))
    bare.send("underlay", one)
    bare.send("underlay", other, mirrored(ERSPAN_II(session_id=6)))
    assert bare.received("monitor") == [FRAME, FRAME]
    assert bare.all_drops() == {"tunnel_no_link": 1}
    assert len(bare.flows("underlay")) == 2


@pytest.mark.parametrize("size", range(4, 20))
def test_a_header_that_is_cut_short_is_dropped(bare: Plane, size: int) -> None:
    add(bare, **ANY_ORDER)
    packet = mirrored(type_iii(o=1) / ERSPAN_PlatformSpecific(), proto=0x22EB)[: 20 + 8 + size]
    whole = IP(packet)
    del whole.len, whole.chksum
    bare.send("underlay", bytes(whole))
    assert bare.all_drops() == {SHORT: 1}


def test_a_longer_gre_header_leaves_less_for_the_session(bare: Plane) -> None:
    add(bare, **ANY_ORDER)
    gre = GRE(proto=0x88BE, seqnum_present=1, sequence_number=1, chksum_present=1)
    bare.send("underlay", incoming(gre, b"\x10\x00\x00"))
    assert bare.all_drops() == {SHORT: 1}


def test_a_length_of_one_packet_binds_no_other_of_its_flow(bare: Plane) -> None:
    """Bytes behind the IP packet satisfy the classifier: the engine must count what IP says."""
    add(bare, **ANY_ORDER)
    whole = mirrored(ERSPAN_II(session_id=5))
    cut = IP(whole)
    cut.len = 20 + 8 + 4
    del cut.chksum
    bare.send("underlay", whole, bytes(cut))
    assert bare.received("monitor") == [FRAME]
    assert bare.all_drops() == {SHORT: 1}
    assert len(bare.flows("underlay")) == 1


@pytest.mark.conformance("L9")
@pytest.mark.parametrize("version", [0, 3, 15])
def test_a_version_that_is_none_is_dropped(bare: Plane, version: int) -> None:
    add(bare, **ANY_ORDER)
    bare.send("underlay", mirrored(ERSPAN_II(ver=version, session_id=5)))
    assert bare.all_drops() == {VERSION: 1}


@pytest.mark.conformance("L8")
@pytest.mark.parametrize("kind", [1, 2, 31])
def test_a_frame_that_is_not_ethernet_is_dropped(bare: Plane, kind: int) -> None:
    add(bare, **ANY_ORDER)
    bare.send("underlay", mirrored(type_iii(ft=kind), proto=0x22EB))
    assert bare.all_drops() == {FRAME_TYPE: 1}


def test_a_gre_key_is_not_erspan(bare: Plane) -> None:
    add(bare, **ANY_ORDER)
    keyed = GRE(proto=0x88BE, key_present=1, key=5, seqnum_present=1, sequence_number=1)
    bare.send("underlay", incoming(keyed, ERSPAN_II(session_id=5), FRAME))
    assert bare.all_drops() == {"tunnel_no_link": 1}


def test_old_sequence_numbers_are_dropped(bare: Plane) -> None:
    add(bare, key=5, seq=True)
    for number in (10, 9, 11):
        bare.send("underlay", mirrored(ERSPAN_II(session_id=5), seq=number))
    assert len(bare.received("monitor")) == 2
    assert bare.counters("er0")["rx_fifo_errors"] == 1


def test_registers_carry_the_headers_to_rules(bare: Plane) -> None:
    add(bare, **ANY_ORDER)
    ii = ERSPAN_II(session_id=5, vlan=0x123, cos=6, en=3, t=1, index=0xABCDE, reserved=0xFFF)
    iii = type_iii(vlan=0x123, cos=6, hw=0x2A, d=1, sgt_other=7)
    for header, proto, detail in ((ii, 0x88BE, 0xABCDE), (iii, 0x22EB, bytes(iii)[8:12])):
        bare.send("underlay", mirrored(header, proto=proto))
        [packet] = bare.collect("monitor")
        assert packet.meta[8:12] == bytes(header)[:4]
        assert packet.meta[12:16] == (detail if isinstance(detail, bytes) else detail.to_bytes(4, "big"))


def test_what_is_received_is_sound(bare: Plane) -> None:
    add(bare, **ANY_ORDER)
    packets = [
        mirrored(ERSPAN_II(session_id=5)),
        mirrored(ERSPAN_II(session_id=6)),
        mirrored(type_iii(), proto=0x22EB),
        mirrored(type_iii(o=1) / ERSPAN_PlatformSpecific(), proto=0x22EB),
        mirrored(type_iii(ft=2), proto=0x22EB),
        mirrored(type_iii(), proto=0x22EB)[:40],
        incoming(GRE(proto=0x88BE), FRAME),
    ]
    check_soundness(bare.datapath, "underlay", *packets, chance=random.Random(3))


# -- sent ---------------------------------------------------------------------------------


def sent(plane: Plane, *frames: bytes) -> list[Any]:
    """What leaves for these frames, as scapy reads it."""
    plane.send("monitor", *frames)
    return [IP(data) for data in plane.received("underlay")]


@pytest.mark.conformance("L6")
def test_type_i_is_the_frame_behind_four_bytes(bare: Plane) -> None:
    add(bare, erspan_ver=0)
    [packet] = sent(bare, FRAME)
    assert bytes(packet[GRE]) == bytes(GRE(proto=0x88BE)) + FRAME
    assert bytes(IP(bytes(packet))[ERSPAN_I].payload) == FRAME


@pytest.mark.conformance("L7")
def test_type_ii_has_session_index_and_numbers(bare: Plane) -> None:
    add(bare, key=123, seq=True, erspan=0xABCDE)
    packets = sent(bare, FRAME, FRAME)
    wanted = ERSPAN_II(session_id=123, index=0xABCDE, cos=0xB8 >> 5)
    assert [bytes(packet[ERSPAN_II]) for packet in packets] == [bytes(wanted) + FRAME] * 2
    first, second = (packet[GRE].sequence_number for packet in packets)
    assert second == first + 1
    assert (packets[0][GRE].proto, packets[0][GRE].key_present) == (0x88BE, 0)


@pytest.mark.conformance("L8")
def test_type_iii_has_direction_and_hardware(bare: Plane) -> None:
    add(bare, key=123, seq=True, erspan_ver=2, erspan_dir="egress", erspan_hwid=42)
    [packet] = sent(bare, FRAME)
    assert packet[GRE].proto == 0x22EB
    wanted = ERSPAN_III(session_id=123, cos=0xB8 >> 5, p=1, hw=42, d=1)
    assert bytes(packet[ERSPAN_III]) == bytes(wanted) + FRAME


@pytest.mark.parametrize("ether_type", [0x0800, 0x86DD, 0x8100, 0x0806])
@pytest.mark.parametrize("size", [0, 60])
def test_the_class_of_what_has_none_is_zero(bare: Plane, ether_type: int, size: int) -> None:
    """Headers that are announced and not there, and a payload that only looks like one."""
    add(bare, okey=0, ikey=1, seq=True)
    payload = b"\xff" * (size if ether_type == 0x0806 else 0)
    frame = FRAME[:12] + ether_type.to_bytes(2, "big") + payload
    [packet] = sent(bare, frame)
    assert bytes(packet[ERSPAN_II]) == bytes(ERSPAN_II(session_id=0)) + frame


def test_a_link_that_sends_no_session_sends_zero(bare: Plane) -> None:
    add(bare, ikey=1, seq=True)
    [packet] = sent(bare, FRAME)
    assert packet[ERSPAN_II].session_id == 0


@pytest.mark.parametrize("version", [1, 2])
def test_a_tag_is_told_in_the_header_and_stays_in_the_frame(bare: Plane, version: int) -> None:
    add(bare, key=1, seq=True, erspan_ver=version)
    frames = [
        bytes(Ether() / Dot1Q(vlan=vlan, prio=prio) / IP() / UDP()) for vlan, prio in ((0x123, 5), (4094, 7))
    ]
    packets = sent(bare, *frames)
    kind = ERSPAN_II if version == 1 else ERSPAN_III
    assert [(p[kind].vlan, p[kind].cos) for p in packets] == [(0x123, 5), (4094, 7)]
    assert [bytes(p[kind].payload) for p in packets] == frames
    assert version == 2 or packets[0][kind].en == 3
    assert len(bare.flows("monitor")) == 1


def test_the_class_of_ipv6_is_that_of_its_traffic_class(bare: Plane) -> None:
    add(bare, key=1, seq=True)
    [packet] = sent(bare, bytes(Ether() / IPv6(tc=0xB8) / UDP()))
    assert packet[ERSPAN_II].cos == 0xB8 >> 5


def test_the_mtu_leaves_room_for_the_headers(bare: Plane) -> None:
    for version, size in ((0, 4), (1, 16), (2, 20)):
        options: dict[str, Any] = {"key": 1, "seq": True} if version else {}
        link = bare.link(f"er{version}", "erspan", local=A, remote=B, erspan_ver=version, **options)
        assert link.mtu == 1500 - 20 - size - 14
        bare.remove_link(f"er{version}")


def test_what_one_end_sends_the_other_receives(make_plane: MakePlane) -> None:
    for version in (0, 1, 2):
        ends = []
        for local, remote in ((A, B), (B, A)):
            plane = make_plane(PLUGINS)
            plane.port("underlay", L3)
            plane.port("monitor", L2)
            options: dict[str, Any] = {"key": 9, "seq": True} if version else {}
            plane.link("er0", "erspan", local=local, remote=remote, erspan_ver=version, **options)
            plane.connect("er0", "monitor")
            ends.append(plane)
        ends[0].send("monitor", *[FRAME] * 3)
        ends[1].send("underlay", *ends[0].received("underlay"))
        assert ends[1].received("monitor") == [FRAME] * 3


# -- configured ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"key": 1},
        {"seq": True},
        {"key": 1, "seq": True, "csum": True},
        {"key": 1024, "seq": True},
        {"ikey": 1, "okey": 1024, "seq": True},
        {"erspan_ver": 0, "key": 1},
        {"erspan_ver": 3, "key": 1, "seq": True},
        {"key": 1, "seq": True, "erspan": 1 << 20},
        {"key": 1, "seq": True, "erspan_ver": 2, "erspan_hwid": 64},
        {"key": 1, "seq": True, "erspan_ver": 2, "erspan_dir": "sideways"},
    ],
)
def test_what_linux_refuses_is_refused(bare: Plane, parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        add(bare, **parameters)


def test_two_links_of_one_session_are_refused(bare: Plane) -> None:
    add(bare, key=1, seq=True)
    with pytest.raises(LinkError) as caught:
        bare.link("er1", "erspan", local=A, remote=B, key=1, seq=True, erspan_ver=2)
    assert caught.value.errno == errno.EEXIST


def test_the_link_tells_its_parameters(bare: Plane) -> None:
    add(bare, key=1, seq=True, erspan_ver=2, erspan_dir="egress", erspan_hwid=3)
    info = bare.datapath.links["er0"].fill_info()
    assert (info["erspan_ver"], info["erspan_dir"], info["erspan_hwid"]) == (2, "egress", 3)


# -- the shared vectors -------------------------------------------------------------------


@pytest.mark.conformance("L6", "L7", "L8")
@vectors.needed
@pytest.mark.parametrize("capture", [name for name in vectors.captures() if "erspan" in name.lower()])
def test_the_captures_agree(make_plane: MakePlane, capture: str) -> None:
    plane = make_plane(PLUGINS)
    plane.port("underlay", L2)
    expected = vectors.expectations(capture)
    links: dict[tuple[str, str, int | None], str] = {}
    for outer, gre in ((each.line["outer"], each.gre) for each in expected):
        session = gre["erspan"].get("session_id")
        place = (outer["src"], outer["dst"], session)
        if place not in links:
            links[place] = f"er{len(links)}"
            options: dict[str, Any] = {"erspan_ver": 0} if session is None else {"key": session, "oseq": True}
            plane.link(links[place], "erspan", local=outer["dst"], remote=outer["src"], **options)
            # A bridge would learn both ends of what is mirrored behind one link.
            plane.port(f"monitor-{links[place]}", L2)
            plane.connect(links[place], f"monitor-{links[place]}")
    for each in expected:
        frame = each.frame
        ip = 18 if frame[12:14] == b"\x81\x00" else 14
        start = ip + (frame[ip] & 15) * 4 + each.gre["inner_offset"]
        plane.send("underlay", frame)
        inner = [data for link in links.values() for data in plane.received(f"monitor-{link}")]
        assert inner == [frame[start : start + each.gre["inner_len"]]], str(each)
    assert expected
    assert plane.all_drops() == {}
