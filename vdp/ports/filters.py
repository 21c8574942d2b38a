"""Classic BPF programs for sockets: which frames an underlay port sees, and which ICMP errors.

A port that only carries tunnels need not be shown the rest of an interface's traffic, and
of ICMP nothing but errors that quote a packet of its protocols.  The kernel runs the
program; an instruction is (code, jt, jf, k) as in linux/filter.h.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence

_SO_ATTACH_FILTER = 26

_LD_LEN = 0x80
_LD_H_ABS = 0x28
_LD_B_ABS = 0x30
_LD_B_IND = 0x50
_LD_H_IND = 0x48
_LDX_MSH = 0xB1  # X = 4 * (byte & 15): an IPv4 header's length
_JEQ = 0x15
_JGE = 0x35
_JSET = 0x45
_RET = 0x06
_ANCILLARY = 0xFFFFF000  # SKF_AD_OFF
_VLAN_TAG_PRESENT = _ANCILLARY + 48
_NETWORK = 0xFFF00000  # SKF_NET_OFF: from the network header on
_GRE, _GRE_CHECKSUM, _GRE_KEY, _TEB = 47, 0x8000, 0x2000, 0x6558
_GRE_AT, _GRE_SIZE, _GRE_OPTION_SIZE = 20, 4, 4  # behind a plain IPv4 header
_IPV4_PLAIN = 0x45

_ETHERNET_SIZE = 14
_ETHERTYPE_AT = 12
_IPV4_PROTOCOL_AT = 9
_IPV4_FRAGMENT_AT, _IPV4_OFFSET = 6, 0x1FFF
_IPV6_NEXT_HEADER_AT = 6
_IPV6_SIZE = 40
_UDP, _UDP_PORT_AT = 17, 2
#: UDP ports that one program asks for; a jump reaches 255 instructions.
_PORTS_MOST = 64
_IPV4, _ARP, _IPV6 = 0x0800, 0x0806, 0x86DD
_TAGS = (0x8100, 0x88A8)
_ICMP, _ICMP_SIZE = 1, 8
#: ICMP types that are errors (RFC 1122 3.2.2); ICMPv6's are those below 128.
_ICMP_ERRORS = (3, 4, 5, 11, 12)
_ICMP6_INFORMATIONAL = 128
#: Hop-by-hop options, routing, fragment, destination options.
_IPV6_EXTENSIONS = {0, 43, 44, 60}
_ICMP6 = 58
_TAKE_ALL = 0xFFFFFFFF

Instruction = tuple[int, int, int, int]
#: Before labels are resolved: label, code, constant, and where to go when true, when not.
Line = tuple[str, int, int, str, str]

TAKE_NOTHING: tuple[Instruction, ...] = ((_RET, 0, 0, 0),)
TAKE_ALL: tuple[Instruction, ...] = ((_RET, 0, 0, _TAKE_ALL),)


def underlay_program(
    protocols: Iterable[int],
    protocols6: Iterable[int] = (),
    udp_ports: Iterable[int] = (),
    udp_ports6: Iterable[int] = (),
) -> tuple[Instruction, ...]:
    """Frames that pass: IPv4 and IPv6 packets of these protocols, ICMP errors about them, ARP, tagged ones.

    The kernel takes the outer VLAN tag out of the frame, so it is asked for by name.  IPv6 is
    matched by the first next-header field only, so where it is wanted, extension headers, all
    of ICMPv6 and so neighbour discovery pass, too.  Of UDP it is what goes to these ports, but
    all where those are too many to ask for one by one.
    """
    wanted, wanted6 = sorted(set(protocols)), set(protocols6)
    ports, ports6 = sorted(set(udp_ports)), sorted(set(udp_ports6))
    if len(ports) + len(ports6) > _PORTS_MOST:
        wanted, wanted6 = sorted({*wanted, _UDP}), {*wanted6, _UDP}
        ports = ports6 = []
    if wanted6 or ports6:
        wanted6 |= {*_IPV6_EXTENSIONS, _ICMP6}
    return _assembled(
        [
            ("", _LD_B_ABS, _VLAN_TAG_PRESENT, "", ""),
            ("", _JEQ, 1, "take", ""),
            ("", _LD_H_ABS, _ETHERTYPE_AT, "", ""),
            ("", _JEQ, _ARP, "take", ""),
            ("", _JEQ, _TAGS[0], "take", ""),
            ("", _JEQ, _TAGS[1], "take", ""),
            ("", _JEQ, _IPV6, "ipv6", ""),
            ("", _JEQ, _IPV4, "", "drop"),
            ("", _LD_B_ABS, _ETHERNET_SIZE + _IPV4_PROTOCOL_AT, "", ""),
            *_any_of(wanted, "take"),
            *_any_of([_UDP] if ports else [], "udp"),
            ("", _JEQ, _ICMP, "icmp", "drop"),
            ("ipv6", _LD_B_ABS, _ETHERNET_SIZE + _IPV6_NEXT_HEADER_AT, "", ""),
            *_any_of(sorted(wanted6), "take"),
            *_any_of([_UDP] if ports6 else [], "udp6"),
            ("", _RET, 0, "", ""),
            # A later fragment has no port.
            ("udp", _LD_H_ABS, _ETHERNET_SIZE + _IPV4_FRAGMENT_AT, "", ""),
            ("", _JSET, _IPV4_OFFSET, "drop", ""),
            ("", _LDX_MSH, _ETHERNET_SIZE, "", ""),
            ("", _LD_H_IND, _ETHERNET_SIZE + _UDP_PORT_AT, "", ""),
            *_any_of(ports, "take"),
            ("", _RET, 0, "", ""),
            ("udp6", _LD_H_ABS, _ETHERNET_SIZE + _IPV6_SIZE + _UDP_PORT_AT, "", ""),
            *_any_of(ports6, "take"),
            ("", _RET, 0, "", ""),
            *_icmp_lines("icmp", _ETHERNET_SIZE, [*wanted, _UDP] if ports else wanted),
        ]
    )


def apart(program: Iterable[Instruction], *, control: bool) -> tuple[Instruction, ...]:
    """Of what passes the program: control traffic alone, or all but that.

    ARP, ICMP, ICMPv6, also in GRE (but not with sequence numbers, which would not be in order then)
    or in Ethernet in that, and GRE keepalives.  What the kernel took out of the
    frame, a VLAN tag, is not looked at.
    """
    # A load beyond the frame's end would end the program, and lose the frame.
    lines: list[Line] = [
        ("", _LD_LEN, 0, "", ""),
        ("", _JGE, _ETHERNET_SIZE + _GRE_AT + _GRE_SIZE, "", "no"),
        ("", _LD_H_ABS, _ANCILLARY, "", ""),  # SKF_AD_PROTOCOL
        ("", _JEQ, _ARP, "yes", ""),
        ("", _JEQ, _IPV6, "ipv6", ""),
        ("", _JEQ, _IPV4, "", "no"),
        ("", _LD_B_ABS, _NETWORK + _IPV4_PROTOCOL_AT, "", ""),
        ("", _JEQ, _ICMP, "yes", ""),
        ("", _JEQ, _GRE, "", "no"),
        ("", _LD_B_ABS, _NETWORK, "", ""),
        ("", _JEQ, _IPV4_PLAIN, "", "no"),
        ("", _LD_H_ABS, _NETWORK + _IPV4_FRAGMENT_AT, "", ""),
        ("", _JSET, _IPV4_OFFSET, "no", ""),
        ("", _LD_H_ABS, _NETWORK + _GRE_AT, "", ""),
        ("", _JEQ, 0, "plain", ""),
        ("", _JEQ, _GRE_KEY, "one", ""),
        ("", _JEQ, _GRE_CHECKSUM, "one", ""),
        ("", _JEQ, _GRE_CHECKSUM | _GRE_KEY, "two", "no"),
        *_carried_lines("plain", _GRE_SIZE),
        *_carried_lines("one", _GRE_SIZE + _GRE_OPTION_SIZE),
        *_carried_lines("two", _GRE_SIZE + 2 * _GRE_OPTION_SIZE),
        ("ipv6", _LD_B_ABS, _NETWORK + _IPV6_NEXT_HEADER_AT, "", ""),
        ("", _JEQ, _ICMP6, "yes", "no"),
    ]
    ends, goes_on = ("no", "yes") if control else ("yes", "no")
    return (*_resolved([*lines, (ends, _RET, 0, "", "")], goes_on), *program)


def _carried_lines(label: str, size: int) -> list[Line]:
    """Behind a plain IPv4 header, a GRE header of so many bytes: is what it carries control traffic?"""
    inner = _NETWORK + _GRE_AT + size
    enough = _ETHERNET_SIZE + _GRE_AT + size + _ETHERNET_SIZE + _IPV6_NEXT_HEADER_AT + 1
    return [
        (label, _LD_H_ABS, _NETWORK + _GRE_AT + 2, "", ""),
        ("", _JEQ, 0, "yes", ""),  # a keepalive that came back
        ("", _LD_LEN, 0, "", ""),
        ("", _JGE, enough, "", "no"),
        ("", _LD_H_ABS, _NETWORK + _GRE_AT + 2, "", ""),
        ("", _JEQ, _TEB, f"{label} frame", ""),
        ("", _JEQ, _IPV4, f"{label} ipv4", ""),
        ("", _JEQ, _IPV6, f"{label} ipv6", "no"),
        (f"{label} frame", _LD_H_ABS, inner + _ETHERTYPE_AT, "", ""),
        ("", _JEQ, _ARP, "yes", ""),
        ("", _JEQ, _IPV6, "", "no"),
        ("", _LD_B_ABS, inner + _ETHERNET_SIZE + _IPV6_NEXT_HEADER_AT, "", ""),
        ("", _JEQ, _ICMP6, "yes", "no"),
        (f"{label} ipv4", _LD_B_ABS, inner + _IPV4_PROTOCOL_AT, "", ""),
        ("", _JEQ, _ICMP, "yes", ""),
        ("", _JEQ, _GRE, "yes", "no"),  # a keepalive, which is to come back
        (f"{label} ipv6", _LD_B_ABS, inner + _IPV6_NEXT_HEADER_AT, "", ""),
        ("", _JEQ, _ICMP6, "yes", "no"),
    ]


def error_program(protocol: int) -> tuple[Instruction, ...]:
    """For a raw ICMP socket, which sees IPv4 packets: errors about packets of the protocol."""
    return _assembled(_icmp_lines("", 0, [protocol]))


def error_program6(protocol: int) -> tuple[Instruction, ...]:
    """For a raw ICMPv6 socket, which sees the message: errors about packets of the protocol.

    As in `underlay_program`, what begins with extension headers may be one.
    """
    return _assembled(
        [
            ("", _LD_B_ABS, 0, "", ""),
            ("", _JGE, _ICMP6_INFORMATIONAL, "drop", ""),
            ("", _LD_B_ABS, _ICMP_SIZE + _IPV6_NEXT_HEADER_AT, "", ""),
            *_any_of(sorted({protocol, *_IPV6_EXTENSIONS}), "take"),
        ]
    )


def _icmp_lines(label: str, front: int, protocols: Sequence[int]) -> list[Line]:
    """An IPv4 packet at `front` carries ICMP: take it if that is an error about one of the protocols."""
    return [
        (label, _LDX_MSH, front, "", ""),
        ("", _LD_B_IND, front, "", ""),
        *_any_of(_ICMP_ERRORS, "error"),
        ("", _RET, 0, "", ""),
        ("error", _LD_B_IND, front + _ICMP_SIZE + _IPV4_PROTOCOL_AT, "", ""),
        *_any_of(protocols, "take"),
    ]


def _any_of(values: Iterable[int], target: str) -> Iterator[Line]:
    return (("", _JEQ, value, target, "") for value in values)


def _assembled(lines: list[Line]) -> tuple[Instruction, ...]:
    """The program, with its ends put behind: what comes to them is dropped, or taken."""
    return _resolved([*lines, ("drop", _RET, 0, "", ""), ("take", _RET, _TAKE_ALL, "", "")])


def _resolved(lines: list[Line], behind: str = "behind") -> tuple[Instruction, ...]:
    """With jumps as numbers of instructions.  behind: the label of what comes after the last."""
    labels = {label: at for at, (label, *_) in enumerate(lines) if label}
    labels[behind] = len(lines)
    return tuple(
        (code, labels.get(true, at + 1) - at - 1, labels.get(false, at + 1) - at - 1, constant)
        for at, (_, code, constant, true, false) in enumerate(lines)
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
