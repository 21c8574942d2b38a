"""The program that narrows a port, run here by a small reading of linux/filter.h.

test_open runs it in the kernel, which hides the outer VLAN tag in the packet's metadata;
here the tag may stand in the frame as well.
"""

from __future__ import annotations

import pytest

from vdp.ports.filters import TAKE_NOTHING, Instruction, underlay_program

_LD_H_ABS, _LD_B_ABS, _JEQ, _RET = 0x28, 0x30, 0x15, 0x06
_VLAN_TAG_PRESENT = 0xFFFFF000 + 48


def takes(program: tuple[Instruction, ...], frame: bytes, tag_taken_out: bool = False) -> bool:
    """Whether the program keeps the frame.  Loads past its end drop it, as in the kernel."""
    accumulator, at = 0, 0
    while True:
        code, if_equal, if_other, constant = program[at]
        at += 1
        if code == _RET:
            return constant != 0
        if code == _JEQ:
            at += if_equal if accumulator == constant else if_other
        elif constant == _VLAN_TAG_PRESENT:
            accumulator = int(tag_taken_out)
        else:
            size = {_LD_H_ABS: 2, _LD_B_ABS: 1}[code]
            if constant + size > len(frame):
                return False
            accumulator = int.from_bytes(frame[constant : constant + size], "big")


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
