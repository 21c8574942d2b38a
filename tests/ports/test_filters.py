"""The program that narrows a port, run here by a small reading of linux/filter.h.

test_open runs it in the kernel, which hides the outer VLAN tag in the packet's metadata;
here the tag may stand in the frame as well.
"""

from __future__ import annotations

import pytest

from vdp.ports.filters import (
    TAKE_NOTHING,
    Instruction,
    error_program,
    error_program6,
    underlay_program,
)
from vdp.testing import builders

_LD_H_ABS, _LD_B_ABS, _LD_B_IND, _LDX_MSH, _JEQ, _JGE, _RET = 0x28, 0x30, 0x50, 0xB1, 0x15, 0x35, 0x06
_LD_H_IND, _JSET = 0x48, 0x45
_VLAN_TAG_PRESENT = 0xFFFFF000 + 48


def takes(program: tuple[Instruction, ...], frame: bytes, tag_taken_out: bool = False) -> bool:
    """Whether the program keeps the frame.  Loads past its end drop it, as in the kernel."""
    accumulator, index, at = 0, 0, 0
    while True:
        code, if_equal, if_other, constant = program[at]
        at += 1
        if code == _RET:
            return constant != 0
        if code in (_JEQ, _JGE, _JSET):
            is_true = {
                _JEQ: accumulator == constant,
                _JGE: accumulator >= constant,
                _JSET: accumulator & constant != 0,
            }[code]
            at += if_equal if is_true else if_other
        elif constant == _VLAN_TAG_PRESENT:
            accumulator = int(tag_taken_out)
        else:
            size = {_LD_H_ABS: 2, _LD_H_IND: 2, _LD_B_ABS: 1, _LD_B_IND: 1, _LDX_MSH: 1}[code]
            start = constant + (index if code in (_LD_B_IND, _LD_H_IND) else 0)
            if start + size > len(frame):
                return False
            loaded = int.from_bytes(frame[start : start + size], "big")
            if code == _LDX_MSH:
                index = 4 * (loaded & 15)
            else:
                accumulator = loaded


def ether(kind: int, payload: bytes) -> bytes:
    return bytes(12) + kind.to_bytes(2, "big") + payload


def ipv4(protocol: int) -> bytes:
    return ether(0x0800, b"\x45" + bytes(8) + bytes((protocol,)) + bytes(10))


def ipv6(protocol: int) -> bytes:
    return ether(0x86DD, b"\x60" + bytes(5) + bytes((protocol,)) + bytes(33))


@pytest.mark.parametrize("protocols", [[], [47], [47, 1], [4, 41, 47, 115]])
def test_ip_passes_by_protocol(protocols: list[int]) -> None:
    program = underlay_program(protocols)
    for protocol in range(256):
        assert takes(program, ipv4(protocol)) is (protocol in protocols)
        assert not takes(program, ipv6(protocol))


@pytest.mark.parametrize("protocols", [[47], [47, 41]])
def test_ipv6_passes_by_protocol_with_what_may_stand_before_it(protocols: list[int]) -> None:
    program = underlay_program([47, 46], protocols)
    extensions, icmp = [0, 43, 44, 60], 58
    for protocol in range(256):
        assert takes(program, ipv4(protocol)) is (protocol in (46, 47))
        assert takes(program, ipv6(protocol)) is (protocol in [*protocols, *extensions, icmp])


@pytest.mark.parametrize("kind", [0x0806, 0x8100, 0x88A8])
def test_arp_and_tags_always_pass(kind: int) -> None:
    assert takes(underlay_program([]), ether(kind, bytes(46)))


def test_a_frame_whose_tag_was_taken_out_passes() -> None:
    assert takes(underlay_program([47]), ipv4(17), tag_taken_out=True)


@pytest.mark.parametrize("kind", [0x0000, 0x0026, 0x6558, 0x88CC])
def test_other_frames_do_not_pass(kind: int) -> None:
    assert not takes(underlay_program([47]), ether(kind, bytes(46)))


@pytest.mark.parametrize("size", range(14))
def test_what_is_too_short_does_not_pass(size: int) -> None:
    assert not takes(underlay_program([47]), ipv4(47)[:size])


def test_nothing_is_taken_by_the_quiet_one() -> None:
    assert not takes(TAKE_NOTHING, ipv4(47))


PACKET = {
    protocol: builders.ipv4("192.0.2.1", "192.0.2.2", bytes(8), protocol=protocol) for protocol in (17, 47)
}
PACKET6 = {protocol: builders.ipv6("::1", "::2", bytes(8), next_header=protocol) for protocol in (17, 47, 60)}
ERRORS = (3, 4, 5, 11, 12)


def error(kind: int, about: bytes, options: bytes = b"") -> bytes:
    """An IPv4 packet with an ICMP message."""
    message = builders.icmp(kind, 0, 0, about)
    return builders.ipv4("203.0.113.1", "192.0.2.1", message, protocol=builders.IP_ICMP, options=options)


@pytest.mark.parametrize("options", [b"", bytes(4), bytes(40)], ids=["plain", "option", "all-options"])
@pytest.mark.parametrize("front", [0, 14])
def test_icmp_errors_about_the_protocol_pass(front: int, options: bytes) -> None:
    program = underlay_program([47]) if front else error_program(47)
    header = ether(0x0800, b"") if front else b""
    for kind in range(256):
        passes = takes(program, header + error(kind, PACKET[47], options))
        assert passes is (kind in ERRORS)
        assert not takes(program, header + error(kind, PACKET[17], options))


@pytest.mark.parametrize("front", [0, 14])
def test_an_icmp_error_that_quotes_nothing_does_not_pass(front: int) -> None:
    program = underlay_program([47]) if front else error_program(47)
    header = ether(0x0800, b"") if front else b""
    whole = header + error(3, PACKET[47])
    assert takes(program, whole[: front + 20 + 8 + 10])
    assert not takes(program, whole[: front + 20 + 8 + 9])


def test_icmp6_errors_about_the_protocol_or_behind_extension_headers_pass() -> None:
    program = error_program6(47)
    for kind in range(256):
        message = builders.icmp6(kind, 0, 0, PACKET6[47]).data
        assert takes(program, message) is (kind < 128)
    for protocol, passes in ((47, True), (60, True), (17, False)):
        assert takes(program, builders.icmp6(1, 0, 0, PACKET6[protocol]).data) is passes


def udp4(port: int, **fields: int | bytes) -> bytes:
    return builders.ethernet(builders.ipv4("192.0.2.2", "192.0.2.1", builders.udp(4754, port, b""), **fields))  # type: ignore[arg-type]


def udp6(port: int) -> bytes:
    return builders.ethernet(builders.ipv6("fd::2", "fd::1", builders.udp(4754, port, b"")))


@pytest.mark.conformance("L13")
def test_udp_passes_by_port() -> None:
    program = underlay_program([47], [], [4754, 4789], [4755])
    for port in (0, 53, 4753, 4754, 4755, 4789, 65535):
        assert takes(program, udp4(port)) is (port in (4754, 4789))
        assert takes(program, udp4(port, options=b"\1" * 8)) is (port in (4754, 4789))
        assert takes(program, udp6(port)) is (port == 4755)
    assert not takes(underlay_program([47], [47]), udp4(4754))
    assert not takes(underlay_program([47], [47]), udp6(4754))


def test_a_later_fragment_has_no_port() -> None:
    program = underlay_program([47], [], [4754])
    assert takes(program, udp4(4754, flags=1))
    assert not takes(program, udp4(4754, flags=0, fragment=8))


def test_errors_about_udp_pass_where_some_does() -> None:
    quoted = builders.ipv4("192.0.2.1", "192.0.2.2", builders.udp(1, 4754, b""))
    frame = builders.ethernet(
        builders.ipv4("192.0.2.9", "192.0.2.1", builders.icmp(3, 1, 0, quoted), protocol=1)
    )
    assert takes(underlay_program([47], [], [4754]), frame)
    assert not takes(underlay_program([47]), frame)


def test_ports_beyond_what_a_jump_reaches_all_pass() -> None:
    program = underlay_program([47], [47], range(1000, 1300), [4754])
    assert all(takes(program, packet) for packet in (udp4(53), udp6(53)))
    assert max(max(true, false) for _, true, false, _ in program) < 256
