"""Strategies: headers as declared, packets that are right, packets that are not."""

from __future__ import annotations

import pytest
from hypothesis import find, given
from hypothesis import strategies as st

from vdp.api import Bits, Header, Octets, internet_checksum
from vdp.testing import strategies
from vdp.testing.builders import ipv4, udp


class Odd(Header):
    version = Bits(3)
    flag = Bits(1)
    count = Bits(12)
    name = Octets(3)


@given(strategies.headers(Odd, version=5, count=st.integers(7, 9)))
def test_a_header_has_what_is_given_and_anything_else(data: bytes) -> None:
    assert len(data) == Odd.SIZE == 5
    assert data[0] >> 5 == 5
    assert 7 <= int.from_bytes(data[:2], "big") & 0xFFF <= 9


@pytest.mark.parametrize("wanted", [0, 1, 0xFFF, 0xFFE, 0x800])
def test_edges_come_up(wanted: int) -> None:
    assert find(strategies.values(Odd), lambda given: given["count"] == wanted)["count"] == wanted


def test_a_field_that_is_not_declared_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="Odd has no field versoin"):
        strategies.headers(Odd, versoin=1)


@given(strategies.gre_packets(protocol=0x0800, key=st.one_of(st.none(), st.integers(0, 9))))
def test_a_gre_packet_is_right(packet: bytes) -> None:
    size = (packet[0] & 15) * 4
    assert internet_checksum(packet[:size]) == b"\0\0"
    assert int.from_bytes(packet[2:4], "big") == len(packet)
    assert packet[9] == 47
    if packet[size] & 0x80:
        assert internet_checksum(packet[size:]) == b"\0\0"


@given(strategies.ipv6_packets(next_header=47))
def test_an_ipv6_packet_is_right(packet: bytes) -> None:
    assert int.from_bytes(packet[4:6], "big") == len(packet) - 40
    assert packet[6] == 47


GOOD = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"hello"))


@pytest.mark.parametrize(
    "sort",
    [
        lambda data: len(data) < len(GOOD),
        lambda data: len(data) > len(GOOD),
        lambda data: len(data) == len(GOOD) and data != GOOD,
        lambda data: not data,
    ],
    ids=["cut", "longer", "changed", "empty"],
)
def test_a_packet_is_broken_in_every_way(sort: object) -> None:
    find(strategies.broken(GOOD), sort)  # type: ignore[arg-type]


@given(strategies.broken(b""))
def test_nothing_can_be_broken_too(data: bytes) -> None:
    assert len(data) <= strategies.MOST_LONGER


@given(strategies.joined(b"ab", strategies.headers(Odd), st.just(b"z")))
def test_parts_are_joined_from_the_outside_in(data: bytes) -> None:
    assert data[:2] == b"ab"
    assert len(data) == 2 + Odd.SIZE + 1
    assert data[-1:] == b"z"
