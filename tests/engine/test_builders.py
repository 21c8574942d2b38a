"""vdp.testing.builders against scapy: the same bytes for the same headers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import ARP, GRE, Dot1Q, Ether

from tests.engine.streams import assert_sound
from vdp.testing.builders import (
    ETH_ARP,
    ETH_TEB,
    IP_GRE,
    IP_ICMP,
    arp,
    ethernet,
    gre,
    icmp,
    icmp6,
    ipv4,
    ipv6,
    tcp,
    tcp_timestamp,
    udp,
    unfinished,
    vlan,
)

A, B = "10.0.0.1", "10.0.0.2"
A6, B6 = "2001:db8::1", "2001:db8::2"
MAC, NO_MAC = "02:00:00:00:00:01", "00:00:00:00:00:00"


def ether(kind: int) -> Any:
    return Ether(src=MAC, dst="02:00:00:00:00:02", type=kind)


def test_ethernet_and_its_type() -> None:
    packet = ipv4(A, B, udp(1, 2, b"x"))
    assert ethernet(packet) == bytes(ether(0x0800)) + packet
    packet = ipv6(A6, B6, udp(1, 2, b"x"))
    assert ethernet(packet) == bytes(ether(0x86DD)) + packet


def test_vlan_tags() -> None:
    frame = vlan(vlan(ethernet(ipv4(A, B, udp(1, 2))), 5, priority=3), 7, tpid=0x88A8)
    expected = ether(0x88A8) / Dot1Q(vlan=7, type=0x8100) / Dot1Q(vlan=5, prio=3, type=0x0800)
    assert frame[:22] == bytes(expected)


def test_arp() -> None:
    frame = ethernet(arp(1, MAC, A, NO_MAC, B), ethertype=ETH_ARP)
    assert frame == bytes(ether(ETH_ARP) / ARP(op=1, hwsrc=MAC, psrc=A, hwdst=NO_MAC, pdst=B))


@given(st.binary(max_size=70), st.integers(0, 65535), st.integers(0, 255), st.sampled_from([0, 1, 2, 3]))
def test_ipv4_with_udp(payload: bytes, port: int, ttl: int, flags: int) -> None:
    built = ipv4(A, B, udp(port, 53, payload), ttl=ttl, tos=ttl, id=port, flags=flags)
    expected = IP(src=A, dst=B, ttl=ttl, tos=ttl, id=port, flags=flags) / UDP(sport=port, dport=53) / payload
    assert built == bytes(expected)


@given(st.binary(max_size=70), st.integers(0, 2**32 - 1), st.integers(0, 255))
def test_ipv4_with_tcp(payload: bytes, seq: int, flags: int) -> None:
    options = tcp_timestamp(seq, 7)
    built = ipv4(A, B, tcp(1, 2, payload, seq=seq, ack=seq, flags=flags, options=options, urgent=9))
    header = TCP(sport=1, dport=2, seq=seq, ack=seq, flags=flags, window=65535, urgptr=9)
    header.options = [("NOP", None), ("NOP", None), ("Timestamp", (seq, 7))]
    assert built == bytes(IP(src=A, dst=B, id=0, flags="DF") / header / payload)


@given(st.binary(max_size=70))
def test_ipv6_with_each_transport(payload: bytes) -> None:
    head = IPv6(src=A6, dst=B6, hlim=64, tc=3, fl=5)
    built = [
        ipv6(A6, B6, transport, traffic_class=3, flow_label=5)
        for transport in (udp(1, 2, payload), tcp(1, 2, payload), icmp6(128, 0, 0x00070009, payload))
    ]
    assert built == [
        bytes(head / UDP(sport=1, dport=2) / payload),
        bytes(head / TCP(sport=1, dport=2, flags="A", window=65535) / payload),
        bytes(head / ICMPv6EchoRequest(id=7, seq=9, data=payload)),
    ]


def test_ipv6_with_an_extension_header() -> None:
    built = ipv6(A6, B6, udp(1, 2, b"data"), next_header=60, extensions=b"\x11\0\1\4\0\0\0\0")
    expected = IPv6(src=A6, dst=B6, hlim=64) / IPv6ExtHdrDestOpt(nh=17) / UDP(sport=1, dport=2) / b"data"
    assert built == bytes(expected)


def test_icmp() -> None:
    built = ipv4(A, B, icmp(3, 3, 0, b"quoted"), protocol=IP_ICMP, flags=0)
    assert built == bytes(IP(src=A, dst=B, id=0) / ICMP(type=3, code=3) / b"quoted")


def test_a_udp_checksum_is_never_zero() -> None:
    checksum = ipv4(A, B, udp(1, 2, bytes(2)))[26:28]
    assert ipv4(A, B, udp(1, 2, checksum))[26:28] == b"\xff\xff"


@pytest.mark.parametrize("csum", [False, True])
@pytest.mark.parametrize("key", [None, 0, 0xDEADBEEF])
@pytest.mark.parametrize("sequence", [None, 0, 7])
@pytest.mark.parametrize("inner", [b"even", b"odd"])
def test_gre_with_every_flag(csum: bool, key: int | None, sequence: int | None, inner: bytes) -> None:
    built = gre(inner, ETH_TEB, csum=csum, key=key, sequence=sequence)
    expected = GRE(proto=ETH_TEB, chksum_present=int(csum))
    if key is not None:
        expected.key_present, expected.key = 1, key
    if sequence is not None:
        expected.seqnum_present, expected.sequence_number = 1, sequence
    assert built == bytes(expected / inner)


def test_wrong_values_can_be_asked_for() -> None:
    built = ipv4(A, B, gre(b"", checksum=0x1234), protocol=IP_GRE, total_length=9, checksum=0xBAD, fragment=5)
    packet = IP(built)
    assert (packet.len, packet.chksum, packet.frag, built[24:26]) == (9, 0xBAD, 5, b"\x12\x34")


def test_an_unfinished_checksum_holds_the_pseudo_header_s_sum() -> None:
    whole = ipv4(A, B, udp(1, 2, b"data"))
    left = unfinished(whole, 20, 6, whole[12:20], 17)
    assert left[26:28] == ((0x0A00 + 1 + 0x0A00 + 2 + 17 + 12) % 0xFFFF).to_bytes(2, "big")
    assert_sound(whole)


def test_a_payload_of_bytes_needs_its_protocol() -> None:
    with pytest.raises(ValueError, match="protocol"):
        ipv4(A, B, b"data")
