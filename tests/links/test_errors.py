"""ICMP errors about a tunnel's own packets: which link they reach, and what it makes of them (ipgre_err)."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, IPv6

from tests.links.errors import LEAST, ROUTER, error4, frag_needed, unreachable
from tests.plane import L2, L3, MAC_A, A, B, MakePlane, Plane
from vdp.links.gre_tunnel import GreTunnel
from vdp.links.path_mtu import CHANGES
from vdp.links.tunnel_errors import Effect
from vdp.testing.builders import arp, ethernet, internet_checksum, ipv4, ipv6, mac, tcp, udp
from vdp.testing.soundness import check_soundness

INNER = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"hello"))
INNER6 = ipv6("2001:db8:1::1", "2001:db8:1::2", udp(1, 2, b"hello"))
FRAME = ethernet(INNER)


def tunnel(plane: Plane, kind: str = "gre", packet_type: Any = L3, **parameters: Any) -> GreTunnel:
    """A link to B between ports underlay and lan."""
    if "underlay" not in plane.datapath.ports:
        plane.port("underlay", L3)
        plane.port("lan", packet_type)
    link = plane.link("t0", kind, **{"local": A, "remote": B, **parameters})
    plane.connect("lan", "t0")
    assert isinstance(link, GreTunnel)
    return link


def sent(plane: Plane, inner: bytes = INNER) -> bytes:
    """What the underlay gets for an inner packet."""
    plane.send("lan", inner)
    (packet,) = plane.received("underlay")
    return packet


def effects(link: GreTunnel) -> dict[str, int]:
    return {effect.value: count for effect, count in link.errors.effects.items()}


# -- which link ------------------------------------------------------------------------------

KINDS: dict[str, tuple[dict[str, Any], bytes, int]] = {
    "gre": ({}, INNER, LEAST),
    "gretap": ({}, FRAME, LEAST),
    "wccp": ({}, INNER, LEAST),
    "nvgre": ({"vsid": 0x1234, "flow_id": 9}, FRAME, LEAST),
    "erspan": ({"key": 7, "seq": True}, FRAME, LEAST + 4),
    "pptp": ({"call_id": 7, "peer_call_id": 8}, INNER, LEAST),
}


@pytest.mark.conformance("A8", "I")
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_reaches_the_link_of_any_kind_that_sent_the_packet(make_plane: MakePlane, kind: str) -> None:
    parameters, inner, size = KINDS[kind]
    plane = make_plane(tuple(KINDS))
    link = tunnel(plane, kind, L3 if inner is INNER else L2, **parameters)
    packet = sent(plane, inner)
    plane.send("underlay", unreachable(packet, size=size))
    assert effects(link) == {"failure": 1}
    assert plane.datapath.icmp_input.outcomes == {"received": 1}
    assert plane.drops("underlay") == {"icmp_error": 1}


@pytest.mark.conformance("I")
@pytest.mark.parametrize(
    ("options", "size", "matches"),
    [
        ({"key": 42}, LEAST, True),
        ({"key": 42, "csum": True}, LEAST, False),
        ({"key": 42, "csum": True}, LEAST + 3, False),
        ({"key": 42, "csum": True}, LEAST + 4, True),
        ({"csum": True}, LEAST, True),
        ({"seq": True}, LEAST, True),
        ({"key": 42, "csum": True, "seq": True}, LEAST + 4, True),
        ({}, LEAST - 4, True),
        ({}, LEAST - 5, False),
    ],
)
def test_the_quotation_must_reach_down_to_the_key(
    plane: Plane, options: dict[str, Any], size: int, matches: bool
) -> None:
    link = tunnel(plane, **options)
    plane.send("underlay", unreachable(sent(plane), size=size))
    assert effects(link) == ({"failure": 1} if matches else {})


@pytest.mark.conformance("A9", "I")
def test_a_bad_gre_checksum_is_tolerated(plane: Plane) -> None:
    """What it covers is cut."""
    link = tunnel(plane, csum=True)
    packet = bytearray(sent(plane))
    packet[24] ^= 0xFF
    plane.send("underlay", unreachable(bytes(packet)))
    assert effects(link) == {"failure": 1}


@pytest.mark.conformance("I")
def test_the_key_that_is_sent_counts(plane: Plane) -> None:
    """Linux asks for the key that is received: with two of them, no error would reach the link."""
    link = tunnel(plane, ikey=1, okey=2)
    packet = sent(plane)
    plane.send("underlay", unreachable(packet))
    assert effects(link) == {"failure": 1}
    plane.change_link("t0", local=A, remote=B, ikey=1, okey=3)
    plane.send("underlay", unreachable(packet))
    assert effects(link) == {"failure": 1}


def test_of_links_with_the_same_addresses_the_key_tells(plane: Plane) -> None:
    first = tunnel(plane, key=1)
    others = [plane.link(f"t{n}", "gre", local=A, remote=B, key=n) for n in (2, 3)]
    plane.send("underlay", unreachable(sent(plane)))
    assert effects(first) == {"failure": 1}
    assert all(isinstance(other, GreTunnel) and not other.errors.effects for other in others)


@pytest.mark.parametrize("local", [A, "any"])
def test_a_link_without_local_address_is_found_too(plane: Plane, local: str) -> None:
    link = tunnel(plane, local=local)
    plane.send("underlay", unreachable(sent(plane)))
    assert effects(link) == {"failure": 1}


@pytest.mark.conformance("I")
@pytest.mark.parametrize(
    "change",
    [
        {"key": b"\0\0\0\x2b"},
        {"destination": b"\xc0\0\2\3"},
        {"protocol_type": b"\x65\x58"},
        {"version": b"\x20\x01"},
        {"routing": b"\x60\x00"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_error_about_anything_else_changes_nothing(plane: Plane, change: dict[str, bytes]) -> None:
    places = {"key": 24, "destination": 16, "protocol_type": 22, "version": 20, "routing": 20}
    link = tunnel(plane, key=42)
    packet = bytearray(sent(plane))
    for name, value in change.items():
        packet[places[name] : places[name] + len(value)] = value
    plane.send("underlay", unreachable(bytes(packet)), frag_needed(bytes(packet), 1000))
    assert effects(link) == {}
    assert link.mtu == 1472
    assert plane.datapath.icmp_input.outcomes == {"reject": 2}


def test_a_link_that_is_down_hears_nothing(plane: Plane) -> None:
    link = tunnel(plane)
    packet = sent(plane)
    plane.datapath.set_link_up("t0", False)
    plane.send("underlay", unreachable(packet))
    assert effects(link) == {}


# -- what is believed at all -----------------------------------------------------------------


@pytest.mark.parametrize("what", ["checksum", "length", "fragment", "source", "quoted-version", "quoted-ihl"])
def test_an_error_that_is_not_sound_is_not_believed(plane: Plane, what: str) -> None:
    link = tunnel(plane, local="any")  # to whom any source address would do
    packet = bytearray(sent(plane))
    if what == "fragment":
        packet[7] = 1
    elif what == "source":
        packet[12:16] = b"\xc0\0\2\x09"
    elif what == "quoted-version":
        packet[0] = 0x65
    elif what == "quoted-ihl":
        packet[0] = 0x44
    error = bytearray(unreachable(bytes(packet)))
    if what == "source":
        error = bytearray(unreachable(sent(plane)))
        error[28:56] = packet[:28]
        error[22:24] = bytes(2)
        error[22:24] = internet_checksum(error[20:]).to_bytes(2, "big")
    elif what == "checksum":
        error[22] ^= 1
    elif what == "length":
        del error[-4:]
    plane.send("underlay", bytes(error))
    assert effects(link) == {}
    assert plane.datapath.icmp_input.outcomes["received"] == 0


def test_padding_behind_an_error_is_no_part_of_it(plane: Plane) -> None:
    link = tunnel(plane)
    plane.send("underlay", unreachable(sent(plane)) + bytes(6))
    assert effects(link) == {"failure": 1}


def test_icmp_that_is_no_error_or_about_others_is_left_to_the_host(plane: Plane) -> None:
    tunnel(plane)
    about_udp = ipv4(A, B, udp(1, 2, b"hello"))
    for kind, about in ((8, sent(plane)), (0, sent(plane)), (13, sent(plane)), (3, about_udp)):
        plane.send("underlay", error4(about, kind, 1))
    assert plane.drops("underlay") == {"not_for_us": 4}
    assert not plane.datapath.icmp_input.outcomes


@pytest.mark.conformance("I")
def test_on_an_ethernet_underlay_they_are_frames(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.port("underlay", L2, mac=MAC_A)
    plane.port("lan", L3)
    link = tunnel(plane)
    frame = sent(plane)
    for to in (MAC_A, mac("02:00:00:00:00:99")):
        plane.send("underlay", ethernet(unreachable(frame[14:]), to=to.hex(":")))
    assert effects(link) == {"failure": 1}
    assert plane.drops("underlay") == {"icmp_error": 1, "not_for_us": 1}


@pytest.mark.conformance("I")
def test_a_flood_of_errors_costs_python_no_more_than_the_action_rate(make_plane: MakePlane) -> None:
    plane = make_plane(action_rate=10)
    link = tunnel(plane)
    packet = sent(plane)
    plane.send("underlay", unreachable(packet))
    before = plane.upcalls
    for _ in range(10):
        plane.send("underlay", *[unreachable(packet)] * 50)
    assert plane.upcalls - before == 4, "with the first one, half a second's worth"
    assert effects(link) == {"failure": 5}
    assert plane.drops("underlay") == {"icmp_error": 501}
    assert len(plane.flows("underlay")) == 1


def test_the_megaflow_of_an_error_takes_no_others(plane: Plane) -> None:
    tunnel(plane, key=42)
    packet = sent(plane)
    about_udp = ipv4(A, B, udp(1, 2, b"hello"))
    errors = [unreachable(packet), frag_needed(packet, 1000), error4(packet, 11, 1), unreachable(about_udp)]
    check_soundness(plane.datapath, "underlay", *errors, error4(packet, 8), unreachable(packet, size=15))


# -- what is made of them --------------------------------------------------------------------


@pytest.mark.conformance("I")
@pytest.mark.parametrize(
    ("kind", "code", "ttl", "effect"),
    [
        (3, 0, 64, Effect.FAILURE),
        (3, 1, 64, Effect.FAILURE),
        (3, 2, 64, Effect.FAILURE),
        (3, 3, 64, Effect.IGNORED),
        (3, 5, 64, Effect.IGNORED),
        (3, 13, 64, Effect.FAILURE),
        (3, 1, "inherit", Effect.FAILURE),
        (11, 0, 64, Effect.FAILURE),
        (11, 0, "inherit", Effect.IGNORED),
        (11, 0, 0, Effect.IGNORED),
        (11, 1, 64, Effect.IGNORED),
        (12, 0, 64, Effect.IGNORED),
        (4, 0, 64, Effect.IGNORED),
        (5, 1, 64, Effect.ROUTE),
    ],
)
def test_what_each_type_and_code_does(
    plane: Plane, kind: int, code: int, ttl: int | str, effect: Effect
) -> None:
    link = tunnel(plane, ttl=ttl)
    plane.send("underlay", error4(sent(plane), kind, code))
    assert link.errors.effects == {effect: 1}
    assert link.errors.count == (effect is Effect.FAILURE)


@pytest.mark.conformance("I")
def test_to_many_remotes_no_one_failure_means_anything(make_plane: MakePlane) -> None:
    plane = make_plane()
    link = tunnel(plane, remote="239.1.1.1")
    packet = sent(plane)
    plane.send("underlay", unreachable(packet))
    assert effects(link) == {"ignored": 1}


@pytest.mark.conformance("I", "G15")
@pytest.mark.parametrize("kind", ["gre", "gretap"])
def test_the_path_mtu_is_learned_at_once_told_to_senders_and_ages(plane: Plane, kind: str) -> None:
    link = tunnel(plane, kind, L3 if kind == "gre" else L2)
    large = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, bytes(1300)))
    large = large if kind == "gre" else ethernet(large)
    packet = sent(plane, large)
    before = link.mtu
    plane.send("underlay", frag_needed(packet, 1300))
    assert link.mtu == before - 200
    plane.send("lan", large)
    assert plane.received("underlay") == []
    (answer,) = plane.received("lan")
    found = IP(answer[0 if kind == "gre" else 14 :])[ICMP]
    assert (found.type, found.code, found.nexthopmtu) == (3, 4, link.mtu)
    plane.pass_time(599)
    assert link.mtu == before - 200
    plane.pass_time(1.5)
    assert link.mtu == before
    assert sent(plane, large)


@pytest.mark.conformance("I")
@pytest.mark.parametrize(
    ("said", "learned"),
    [(1000, 1000), (552, 552), (551, 552), (68, 552), (0, 552), (1500, 1500), (9000, 1500)],
)
def test_a_path_mtu_is_no_less_than_a_sender_must_put_up_with(plane: Plane, said: int, learned: int) -> None:
    """net.ipv4.route.min_pmtu, also where a router says none (before RFC 1191)."""
    link = tunnel(plane)
    plane.send("underlay", frag_needed(sent(plane), said))
    assert link.mtu == learned - 24


def test_what_the_kernel_knows_of_a_path_is_its_own_to_age(plane: Plane) -> None:
    """The kernel hears the same error: it is asked at once, and then only what it says counts."""
    link = tunnel(plane)
    packet = sent(plane)
    plane.paths.mtu = 1300
    plane.send("underlay", frag_needed(packet, 1300))
    assert link.mtu == 1276
    plane.paths.mtu = 1500
    plane._runner.run(plane.datapath.paths.refresh())
    assert link.mtu == 1476


def test_an_error_again_makes_it_last_again(plane: Plane) -> None:
    link = tunnel(plane)
    packet = sent(plane)
    plane.send("underlay", frag_needed(packet, 1300))
    plane.pass_time(500)
    plane.send("underlay", frag_needed(packet, 1200))
    plane.pass_time(500)
    assert link.mtu == 1176


@pytest.mark.parametrize("kernel_hears", [False, True])
def test_who_forges_errors_does_not_keep_us_tracing(plane: Plane, kernel_hears: bool) -> None:
    """Some changes at once, as a path with several narrow links has them; then one a second."""
    link = tunnel(plane)
    packet = sent(plane)
    seen = [link.mtu]

    def hear(mtu: int) -> None:
        if kernel_hears:
            plane.paths.mtu = mtu
        plane.send("underlay", frag_needed(packet, mtu))
        if link.mtu != seen[-1]:
            seen.append(link.mtu)

    for mtu in range(1499, 1460, -1):
        hear(mtu)
    assert seen == [1476 - change for change in range(CHANGES + 1)]
    plane.pass_time(1)
    hear(1450)
    assert link.mtu == 1426


@pytest.mark.conformance("I")
def test_links_to_one_remote_share_its_path_mtu_and_others_have_their_own(plane: Plane) -> None:
    link = tunnel(plane)
    packet = sent(plane)
    beside = plane.link("t1", "gre", local=A, remote=B, key=1)
    other = plane.link("t2", "gre", local=A, remote="192.0.2.3")
    plane.send("underlay", frag_needed(packet, 1300))
    assert (link.mtu, beside.mtu, other.mtu) == (1276, 1272, 1476)


# -- link failure ----------------------------------------------------------------------------


@pytest.mark.conformance("G16")
def test_as_many_packets_as_there_were_errors_tell_their_sender(plane: Plane) -> None:
    link = tunnel(plane)
    packet = sent(plane)
    plane.send("underlay", *[unreachable(packet)] * 3)
    assert link.errors.count == 3
    for left in (2, 1, 0, 0):
        plane.send("lan", INNER)
        assert link.errors.count == left
    assert len(plane.received("underlay")) == 4, "they are sent all the same"
    answers = [IP(data) for data in plane.received("lan")]
    assert [(a.src, a.dst, a[ICMP].type, a[ICMP].code) for a in answers] == [
        ("10.0.0.2", "10.0.0.1", 3, 1)
    ] * 3
    assert all(bytes(answer)[28:] == INNER for answer in answers)
    assert plane.counters("t0")["tx_errors"] == 0


@pytest.mark.conformance("G16")
def test_an_ipv6_sender_gets_address_unreachable(plane: Plane) -> None:
    tunnel(plane)
    packet = sent(plane)
    plane.send("underlay", unreachable(packet))
    plane.send("lan", INNER6)
    (answer,) = map(IPv6, plane.received("lan"))
    assert (answer.src, answer.dst) == ("2001:db8:1::2", "2001:db8:1::1")
    assert answer[ICMPv6DestUnreach].code == 3


def test_what_is_not_ip_tells_nobody_and_counts_all_the_same(plane: Plane) -> None:
    link = tunnel(plane, "gretap", L2)
    packet = sent(plane, FRAME)
    question = ethernet(
        arp(1, "02:00:00:00:00:01", "10.0.0.1", "00:00:00:00:00:00", "10.0.0.2"), ethertype=0x0806
    )
    plane.send("underlay", unreachable(packet))
    plane.send("lan", question)
    assert (plane.received("lan"), link.errors.count) == ([], 0)


@pytest.mark.conformance("G16", "I")
def test_errors_count_for_thirty_seconds_from_the_last_one(plane: Plane) -> None:
    link = tunnel(plane)
    packet = sent(plane)
    plane.send("underlay", unreachable(packet))
    plane.pass_time(29)
    plane.send("underlay", unreachable(packet))
    assert link.errors.count == 2
    plane.pass_time(29)
    assert (link.errors.count, link.errors.age_s) == (2, 29)
    assert str(link.errors.last_from) == ROUTER
    plane.pass_time(2)
    assert (link.errors.count, link.errors.age_s, link.errors.last_from) == (0, None, None)
    assert sent(plane)
    assert plane.received("lan") == []
    plane.send("underlay", unreachable(packet))
    assert link.errors.count == 1


def test_no_flow_is_traced_again_for_a_failure(plane: Plane) -> None:
    """A forger must not be able to keep the slow path busy: the engine counts down by itself."""
    tunnel(plane)
    packet = sent(plane)
    (before,) = plane.flows("lan")
    for _ in range(3):
        plane.send("underlay", unreachable(packet))
        plane.send("lan", INNER)
    assert plane.flows("lan") == [before]


@pytest.mark.conformance("I", "G15")
def test_of_a_learned_path_mtu_an_ipv6_sender_is_told(plane: Plane) -> None:
    tunnel(plane, mtu=1500)
    large = ipv6("2001:db8:1::1", "2001:db8:1::2", tcp(1, 2, bytes(1400)))
    packet = sent(plane, large)
    plane.send("underlay", frag_needed(packet, 1400))
    plane.send("lan", large)
    (answer,) = map(IPv6, plane.received("lan"))
    assert answer[ICMPv6PacketTooBig].mtu == 1376
