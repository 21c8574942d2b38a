"""Handlers that decide on what they did not look at through their Packet: the soundness check finds each."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from tests.plane import L3, A, B, Plane
from vdp.api import IPv4, Packet, TunnelInfo, Verdict
from vdp.testing.builders import IP_UDP, gre, ipv4, udp
from vdp.testing.soundness import check_soundness

Handler = Callable[[Packet, IPv4, TunnelInfo], Verdict]


def packet(ttl: int = 64, payload: bytes = b"hello") -> bytes:
    return ipv4(B, A, gre(ipv4("10.0.0.2", "10.0.0.1", udp(1, 2, payload), ttl=ttl)), protocol=47)


def check(plane: Plane, handler: Handler, *packets: bytes, variants: int = 16) -> None:
    """Register the handler before all others and check that list of packets."""
    plane.port("underlay", L3)
    plane.port("lan", L3)
    plane.link("gre1", "gre", local=A, remote=B)
    plane.connect("lan", "gre1")
    plane.datapath.registry.list("gre_cisco").add(handler, priority=1, name="cheater", owner="test")
    checked = packets or (packet(), packet(payload=b"longer payload"))
    check_soundness(plane.datapath, "underlay", *checked, variants=variants)


def test_an_honest_handler_passes(plane: Plane) -> None:
    def honest(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        inner = packet.header(IPv4, info.header_size)
        return packet.drop("policy_rule") if inner.ttl == 1 else Verdict.REJECT

    check(plane, honest, packet(), packet(ttl=1))


def test_reading_the_bytes_behind_the_trace_is_found_with_field_and_line(plane: Plane) -> None:
    def peeks(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        inner = packet.header(IPv4, info.header_size)
        assert inner.version == 4
        return packet.drop("policy_rule") if packet.trace.data[24 + 8] & 1 else Verdict.REJECT

    with pytest.raises(AssertionError) as caught:
        check(plane, peeks, packet())
    text = str(caught.value)
    assert "byte 32 (IPv4.ttl, bits" in text
    line = peeks.__code__.co_firstlineno + 3
    assert f"trace's back at trace/test_cheaters.py:{line}" in text
    assert "but now" in text


def test_reading_the_length_behind_the_trace_is_found(plane: Plane) -> None:
    def measures(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        return packet.drop("policy_rule") if packet.trace.length > 80 else Verdict.REJECT

    with pytest.raises(AssertionError, match=r"length \d+, not \d+"):
        check(plane, measures, packet())


def test_reading_metadata_behind_the_trace_is_found(plane: Plane) -> None:
    def peeks(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        return packet.drop("policy_rule") if packet.trace.meta[31] else Verdict.REJECT

    with pytest.raises(AssertionError, match="metadata word 7"):
        check(plane, peeks, packet())


def test_a_count_kept_between_packets_is_found(plane: Plane) -> None:
    seen = []

    def counts(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        seen.append(1)
        return packet.drop("policy_rule") if len(seen) % 3 == 0 else Verdict.REJECT

    with pytest.raises(AssertionError, match="traced otherwise"):
        check(plane, counts, packet())


def test_what_another_packet_left_behind_is_found(plane: Plane) -> None:
    """Each packet alone is traced alike every time; only after another one it is not."""
    known: set[int] = set()

    def remembers(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        inner = packet.header(IPv4, info.header_size)
        if inner.ttl == 9:
            known.add(1)
        return packet.drop("policy_rule") if known else Verdict.REJECT

    with pytest.raises(AssertionError, match="traced otherwise"):
        check(plane, remembers, packet(ttl=64), packet(ttl=9))


def test_the_time_of_day_is_found(plane: Plane) -> None:
    def watches(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        return packet.drop("policy_rule") if int(time.time()) & 4 else Verdict.REJECT

    with pytest.raises(AssertionError, match="at another time"):
        check(plane, watches, packet())


def test_chance_is_found(plane: Plane) -> None:
    def gambles(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        return packet.drop("policy_rule") if random.random() < 0.5 else Verdict.REJECT

    with pytest.raises(AssertionError, match="traced otherwise"):
        check(plane, gambles, packet())


def test_looking_without_guarding_finds_packets_of_two_megaflows_at_once(plane: Plane) -> None:
    """Two packets that differ in one byte only: no variant of either is needed."""

    def peeks(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        return packet.drop("policy_rule") if packet.trace.data[32] == 77 else Verdict.REJECT

    with pytest.raises(AssertionError, match="than a packet of the same megaflow"):
        check(plane, peeks, packet(), packet(ttl=77), variants=0)


def test_an_uncacheable_handler_may_do_as_it_likes(plane: Plane) -> None:
    """Nothing is installed from it, so that no other packet meets its decision."""

    def gambles(packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        packet.uncacheable()
        return packet.drop("policy_rule") if random.random() < 0.5 else Verdict.REJECT

    check(plane, gambles)


def test_clocks_are_as_before_after_a_check_also_a_failed_one(plane: Plane) -> None:
    clocks = time.time, time.monotonic, time.perf_counter_ns
    with pytest.raises(AssertionError):
        check(plane, lambda packet, ip, info: packet.drop(int(time.time()) & 31))
    assert (time.time, time.monotonic, time.perf_counter_ns) == clocks


def test_packets_of_other_protocols_need_no_link(plane: Plane) -> None:
    plane.port("underlay", L3)
    check_soundness(plane.datapath, "underlay", ipv4(A, B, b"x", protocol=IP_UDP), b"\x60")
