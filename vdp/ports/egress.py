"""TCP super-packets inside GRE, which a packet port hands to the kernel whole.

virtio_net_hdr has no words for a tunnel: the kernel takes what a packet socket sends for
headers of TCP all the way, and would repeat the outer ones as they are.  A classifier on the
device's egress tells it: it takes the outer headers off and puts them on again, as what they
are (bpf_skb_adjust_room), so that the packet goes on as one of the kernel's own GRE or UDP
tunnels (SKB_GSO_GRE, SKB_GSO_UDP_TUNNEL).  It is cut by the device, by the stack in front of
it, or not at all: a veth hands it on to its peer.

    | Ethernet | IP | (UDP) | GRE | (Ethernet) | IP | TCP | …
               ◄────────── size ──────────────►  off, and on again

It looks at the port's own sockets' super-packets alone, which it knows by their cookies
(SO_COOKIE), and only at GRE headers that the engine lets through (offload.h).  Datagrams that go
in one write (train.h) are super-packets, too: what is in the first of them ends before they do.

The classifier hangs on a file descriptor and ends with it (tcx, Linux 6.6).
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Sequence

from vdp.netlink import namespaces
from vdp.ports import bpf

# struct __sk_buff
_LENGTH, _PROTOCOL, _GSO_SIZE = 0, 16, 176
_NEXT, _DROP = -1, 2  # TCX_NEXT, TCX_DROP
_SO_COOKIE = 57

_IPV4, _IPV6 = socket.htons(0x0800), socket.htons(0x86DD)
_ETHERNET = 14
_IPV4_SIZE, _IPV4_TOTAL, _IPV4_PROTOCOL = 20, _ETHERNET + 2, _ETHERNET + 9
_IPV6_SIZE, _IPV6_PAYLOAD, _IPV6_NEXT, _EXTENSION = 40, _ETHERNET + 4, _ETHERNET + 6, _ETHERNET + 40
_UDP, _GRE, _DESTINATION_OPTIONS = 17, 47, 60
_UDP_SIZE = 8
_OPTIONS_SIZE = 8  # a tunnel encapsulation limit
_GRE_SIZE, _GRE_OPTION, _CHECKSUM, _KEY = 4, 4, 0x8000, 0x2000
_GRE_IPV4, _GRE_IPV6, _GRE_ETHERNET = 0x0800, 0x86DD, 0x6558
_BUFFER = 88  # room for the longest: 40 + 8 + 8 + 12 + 14

# linux/bpf.h, enum bpf_adj_room_mode and BPF_F_ADJ_ROOM_*
_AT_MAC = 1
_FIXED_GSO, _NO_CSUM_RESET = 1 << 0, 1 << 5
_ENCAP_IPV4, _ENCAP_IPV6, _ENCAP_GRE, _ENCAP_UDP = 1 << 1, 1 << 2, 1 << 3, 1 << 4
_ENCAP_ETHERNET = 1 << 6 | _ETHERNET << 56
_DECAP_IPV4, _DECAP_IPV6 = 1 << 7, 1 << 8
_KEEP = _FIXED_GSO | _NO_CSUM_RESET


class GreSuperPackets:
    """Makes super-packets in GRE, sent by `sockets`, what they are on a device.  OSError."""

    def __init__(self, ifindex: int, netns: str | None, sockets: Iterable[socket.socket]) -> None:
        self._fds: list[int] = []
        try:
            program = self._keep(bpf.load_classifier(classifier([cookie(one) for one in sockets])))
            self._keep(namespaces.run_in(netns, lambda: bpf.attach_egress(program, ifindex)))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Take it off the device.  May be called twice."""
        while self._fds:
            os.close(self._fds.pop())

    def _keep(self, fd: int) -> int:
        self._fds.append(fd)
        return fd


def cookie(of: socket.socket) -> int:
    """The number that no other socket of this machine has had."""
    return int(struct.unpack("=Q", of.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8))[0])


def classifier(cookies: Sequence[int]) -> list[bpf.Instruction]:
    """The program.  r6: context, r7: size of the outer headers, r8 and r9: flags to put on, to take off."""
    lines = [
        _line((bpf.MOVE, 6, 1, 0, 0)),
        _line((bpf.LOAD_W, 2, 6, _GSO_SIZE, 0)),
        _line((bpf.EQUAL, 2, 0, 0, 0), "next"),
        _line((bpf.CALL, 0, 0, 0, bpf.SOCKET_COOKIE)),
    ]
    for number in cookies:
        lines += [*_lines(bpf.load_number(2, number)), _line((bpf.SAME, 0, 2, 0, 0), "ours")]
    lines += [
        _line((bpf.JUMP, 0, 0, 0, 0), "next"),
        ("ours", (bpf.LOAD_W, 2, 6, _PROTOCOL, 0), ""),
        _line((bpf.EQUAL, 2, 0, 0, _IPV6), "ipv6"),
        _line((bpf.UNEQUAL, 2, 0, 0, _IPV4), "next"),
        _line((bpf.LOAD_PACKET_B, 0, 0, 0, _IPV4_PROTOCOL)),
        _line((bpf.MOVE_CONSTANT, 7, 0, 0, _IPV4_SIZE)),
        _line((bpf.MOVE_CONSTANT, 8, 0, 0, _KEEP | _ENCAP_GRE | _ENCAP_IPV4)),
        _line((bpf.EQUAL, 0, 0, 0, _GRE), "gre"),
        _line((bpf.EQUAL, 0, 0, 0, _UDP), "udp"),
        _line((bpf.JUMP, 0, 0, 0, 0), "next"),
        ("ipv6", (bpf.MOVE_CONSTANT, 7, 0, 0, _IPV6_SIZE), ""),
        _line((bpf.MOVE_CONSTANT, 8, 0, 0, _KEEP | _ENCAP_GRE | _ENCAP_IPV6)),
        _line((bpf.LOAD_PACKET_B, 0, 0, 0, _IPV6_NEXT)),
        _line((bpf.EQUAL, 0, 0, 0, _GRE), "gre"),
        _line((bpf.EQUAL, 0, 0, 0, _UDP), "udp"),
        _line((bpf.UNEQUAL, 0, 0, 0, _DESTINATION_OPTIONS), "next"),
        _line((bpf.LOAD_PACKET_H, 0, 0, 0, _EXTENSION)),  # what follows it, and that it is 8 bytes long
        _line((bpf.ADD_CONSTANT, 7, 0, 0, _OPTIONS_SIZE)),
        _line((bpf.EQUAL, 0, 0, 0, _GRE << 8), "gre"),
        _line((bpf.UNEQUAL, 0, 0, 0, _UDP << 8), "next"),
        ("udp", (bpf.ADD_CONSTANT, 7, 0, 0, _UDP_SIZE), ""),
        _line((bpf.ADD_CONSTANT, 8, 0, 0, _ENCAP_UDP - _ENCAP_GRE)),
        ("gre", (bpf.LOAD_PACKET_AT_H, 0, 7, 0, _ETHERNET), ""),
        _line((bpf.MOVE_CONSTANT, 9, 0, 0, _GRE_SIZE)),
        _line((bpf.EQUAL, 0, 0, 0, 0), "protocol"),
        _line((bpf.ADD_CONSTANT, 9, 0, 0, _GRE_OPTION)),
        _line((bpf.EQUAL, 0, 0, 0, _KEY), "protocol"),
        _line((bpf.EQUAL, 0, 0, 0, _CHECKSUM), "protocol"),
        _line((bpf.ADD_CONSTANT, 9, 0, 0, _GRE_OPTION)),
        _line((bpf.UNEQUAL, 0, 0, 0, _CHECKSUM | _KEY), "unknown"),
        ("protocol", (bpf.LOAD_PACKET_AT_H, 0, 7, 0, _ETHERNET + 2), ""),
        _line((bpf.ADD, 7, 9, 0, 0)),
        _line((bpf.UNEQUAL, 0, 0, 0, _GRE_ETHERNET), "bare"),
        *_lines(bpf.load_number(2, _ENCAP_ETHERNET)),
        _line((bpf.ADD, 8, 2, 0, 0)),
        _line((bpf.MOVE_CONSTANT, 9, 0, 0, _KEEP)),
        _line((bpf.ADD_CONSTANT, 7, 0, 0, _ETHERNET)),
        _line((bpf.LOAD_PACKET_AT_H, 0, 7, 0, _ETHERNET - 2)),
        _line((bpf.EQUAL, 0, 0, 0, _GRE_IPV4), "inside4"),
        _line((bpf.EQUAL, 0, 0, 0, _GRE_IPV6), "inside6"),
        _line((bpf.JUMP, 0, 0, 0, 0), "unknown"),
        # The packet becomes of the IP version inside while the outer headers are off.
        ("bare", (bpf.MOVE_CONSTANT, 9, 0, 0, _KEEP | _DECAP_IPV4), ""),
        _line((bpf.EQUAL, 0, 0, 0, _GRE_IPV4), "inside4"),
        _line((bpf.MOVE_CONSTANT, 9, 0, 0, _KEEP | _DECAP_IPV6)),
        _line((bpf.UNEQUAL, 0, 0, 0, _GRE_IPV6), "unknown"),
        ("inside6", (bpf.LOAD_PACKET_AT_H, 0, 7, 0, _IPV6_PAYLOAD), ""),
        _line((bpf.ADD_CONSTANT, 0, 0, 0, _IPV6_SIZE)),
        _line((bpf.JUMP, 0, 0, 0, 0), "whole"),
        ("inside4", (bpf.LOAD_PACKET_AT_H, 0, 7, 0, _IPV4_TOTAL), ""),
        ("whole", (bpf.LOAD_W, 2, 6, _LENGTH, 0), ""),
        _line((bpf.ADD_CONSTANT, 0, 0, 0, _ETHERNET)),
        _line((bpf.ADD, 0, 7, 0, 0)),
        _line((bpf.SAME, 0, 2, 0, 0), "change"),
        ("unknown", (bpf.ANY_BIT, 8, 0, 0, _ENCAP_UDP), "next"),
        _line((bpf.JUMP, 0, 0, 0, 0), "drop"),
        ("change", (bpf.MOVE, 1, 6, 0, 0), ""),
        _line((bpf.MOVE_CONSTANT, 2, 0, 0, _ETHERNET)),
        _line((bpf.MOVE, 3, 10, 0, 0)),
        _line((bpf.ADD_CONSTANT, 3, 0, 0, -_BUFFER)),
        _line((bpf.MOVE, 4, 7, 0, 0)),
        *_call_or_drop(bpf.LOAD_BYTES),
        _line((bpf.MOVE, 1, 6, 0, 0)),
        _line((bpf.MOVE, 2, 7, 0, 0)),
        _line((bpf.NEGATE, 2, 0, 0, 0)),
        _line((bpf.MOVE_CONSTANT, 3, 0, 0, _AT_MAC)),
        _line((bpf.MOVE, 4, 9, 0, 0)),
        *_call_or_drop(bpf.ADJUST_ROOM),
        _line((bpf.MOVE, 1, 6, 0, 0)),
        _line((bpf.MOVE, 2, 7, 0, 0)),
        _line((bpf.MOVE_CONSTANT, 3, 0, 0, _AT_MAC)),
        _line((bpf.MOVE, 4, 8, 0, 0)),
        *_call_or_drop(bpf.ADJUST_ROOM),
        _line((bpf.MOVE, 1, 6, 0, 0)),
        _line((bpf.MOVE_CONSTANT, 2, 0, 0, _ETHERNET)),
        _line((bpf.MOVE, 3, 10, 0, 0)),
        _line((bpf.ADD_CONSTANT, 3, 0, 0, -_BUFFER)),
        _line((bpf.MOVE, 4, 7, 0, 0)),
        _line((bpf.MOVE_CONSTANT, 5, 0, 0, 0)),
        *_call_or_drop(bpf.STORE_BYTES),
        ("next", (bpf.MOVE_CONSTANT, 0, 0, 0, _NEXT), ""),
        _line((bpf.EXIT, 0, 0, 0, 0)),
        ("drop", (bpf.MOVE_CONSTANT, 0, 0, 0, _DROP), ""),
        _line((bpf.EXIT, 0, 0, 0, 0)),
    ]
    return bpf.resolved(lines)


def _line(instruction: bpf.Instruction, target: str = "") -> bpf.Line:
    return "", instruction, target


def _lines(instructions: Iterable[bpf.Instruction]) -> list[bpf.Line]:
    return [_line(one) for one in instructions]


def _call_or_drop(helper: int) -> list[bpf.Line]:
    """What is half changed may not go out."""
    return [_line((bpf.CALL, 0, 0, 0, helper)), _line((bpf.UNEQUAL, 0, 0, 0, 0), "drop")]
