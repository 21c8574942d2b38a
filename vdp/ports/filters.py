"""Classic BPF programs for packet sockets: which frames an underlay port sees.

A port that only carries tunnels need not be shown the rest of an interface's traffic.
The kernel runs the program; an instruction is (code, jt, jf, k) as in linux/filter.h.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterable

_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27

_LD_H_ABS = 0x28
_LD_B_ABS = 0x30
_JEQ = 0x15
_RET = 0x06
_ANCILLARY = 0xFFFFF000  # SKF_AD_OFF
_VLAN_TAG_PRESENT = _ANCILLARY + 48

_ETHERTYPE_AT = 12
_IPV4_PROTOCOL_AT = 14 + 9
_IPV6_NEXT_HEADER_AT = 14 + 6
_IPV4, _ARP, _IPV6 = 0x0800, 0x0806, 0x86DD
_TAGS = (0x8100, 0x88A8)
#: Hop-by-hop options, routing, fragment, ICMPv6, destination options.
_IPV6_BESIDES = {0, 43, 44, 58, 60}
_TAKE_ALL = 0xFFFFFFFF

Instruction = tuple[int, int, int, int]

TAKE_NOTHING: tuple[Instruction, ...] = ((_RET, 0, 0, 0),)


def underlay_program(protocols: Iterable[int], protocols6: Iterable[int] = ()) -> tuple[Instruction, ...]:
    """Frames that pass: IPv4 and IPv6 packets of these protocols, ARP, and what carries a VLAN tag.

    The kernel takes the outer tag out of the frame, so it is asked for by name.  IPv6 is
    matched by the first next-header field only, so where it is wanted, extension headers and
    neighbour discovery pass, too.
    """
    wanted, wanted6 = sorted(set(protocols)), set(protocols6)
    if wanted6:
        wanted6 |= _IPV6_BESIDES
    # Each line: its label, code, constant, and where to go when equal, when not.
    lines: list[tuple[str, int, int, str, str]] = [
        ("", _LD_B_ABS, _VLAN_TAG_PRESENT, "", ""),
        ("", _JEQ, 1, "take", ""),
        ("", _LD_H_ABS, _ETHERTYPE_AT, "", ""),
        ("", _JEQ, _ARP, "take", ""),
        ("", _JEQ, _TAGS[0], "take", ""),
        ("", _JEQ, _TAGS[1], "take", ""),
        ("", _JEQ, _IPV6, "ipv6", ""),
        ("", _JEQ, _IPV4, "", "drop"),
        ("", _LD_B_ABS, _IPV4_PROTOCOL_AT, "", ""),
        *(("", _JEQ, protocol, "take", "") for protocol in wanted),
        ("", _RET, 0, "", ""),
        ("ipv6", _LD_B_ABS, _IPV6_NEXT_HEADER_AT, "", ""),
        *(("", _JEQ, protocol, "take", "") for protocol in sorted(wanted6)),
        ("drop", _RET, 0, "", ""),
        ("take", _RET, _TAKE_ALL, "", ""),
    ]
    labels = {label: at for at, (label, *_) in enumerate(lines) if label}
    return tuple(
        (code, labels.get(equal, at + 1) - at - 1, labels.get(other, at + 1) - at - 1, constant)
        for at, (_, code, constant, equal, other) in enumerate(lines)
    )


def attach(opened: socket.socket, program: Iterable[Instruction]) -> None:
    """Give the socket this program, in place of the one it has."""
    instructions = list(program)
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(code)
    # struct sock_fprog { unsigned short len; struct sock_filter *filter; }
    opened.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(instructions), ctypes.addressof(buffer))
    )


def detach(opened: socket.socket) -> None:
    """Let the socket see everything again."""
    opened.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
