"""bpf(2), as much of it as vdp needs: maps, programs, and links that end with their fd.

Instructions are (code, destination, source, offset, constant), as in linux/bpf.h.  A
program is attached by a link: when the fd is closed, by us or by the end of the process
however it comes, the program is detached.  Everything raises OSError.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

Instruction = tuple[int, int, int, int, int]
#: Label, instruction, label that it jumps to; "" for none.
Line = tuple[str, Instruction, str]

# linux/bpf.h: commands, types
_MAP_CREATE, _MAP_UPDATE, _MAP_DELETE, _PROG_LOAD, _LINK_CREATE = 0, 2, 3, 5, 28
_MAP_TYPE_HASH = 1
_PROG_TYPE_SCHED_CLS = 3
_TCX_INGRESS, _TCX_EGRESS = 46, 47
_PSEUDO_MAP_FD = 1
_ATTRIBUTES_SIZE = 128

# Instruction codes.
LOAD_W = 0x61  # dst = *(u32 *)(src + offset)
# r0 = packet[constant], in host order; r6 is the context.
LOAD_PACKET_W, LOAD_PACKET_H, LOAD_PACKET_B = 0x20, 0x28, 0x30
LOAD_PACKET_AT_H = 0x48  # the same at source + constant
STORE_W = 0x63  # *(u32 *)(dst + offset) = src
STORE_CONSTANT_W = 0x62
MOVE, MOVE_CONSTANT, ADD, ADD_CONSTANT, NEGATE = 0xBF, 0xB7, 0x0F, 0x07, 0x87
EQUAL, UNEQUAL, ANY_BIT, JUMP = 0x15, 0x55, 0x45, 0x05
SAME = 0x1D  # EQUAL, but to a register
CALL, EXIT = 0x85, 0x95
_LOAD_WIDE = 0x18

# Helpers: r0 = f(r1, …).
MAP_LOOKUP = 1  # map, key: the value's address, or 0
STORE_BYTES, LOAD_BYTES = 9, 26  # context, offset, buffer, size (and, to store, flags): 0
SOCKET_COOKIE = 46  # context: the sending socket's SO_COOKIE, or 0
ADJUST_ROOM = 50  # context, bytes, where, flags: 0

# __NR_bpf by machine; elsewhere there is no bpf for us.
_SYSCALLS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}


def hash_map(key_size: int, entries: int) -> int:
    """The fd of an empty hash map with values of one byte."""
    return _bpf(_MAP_CREATE, struct.pack("=IIII", _MAP_TYPE_HASH, key_size, 1, entries))


def add_key(map_fd: int, key: bytes) -> None:
    held, value = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(1)
    _bpf(_MAP_UPDATE, struct.pack("=IIQQQ", map_fd, 0, ctypes.addressof(held), ctypes.addressof(value), 0))


def remove_key(map_fd: int, key: bytes) -> None:
    held = ctypes.create_string_buffer(key, len(key))
    _bpf(_MAP_DELETE, struct.pack("=IIQ", map_fd, 0, ctypes.addressof(held)))


def load_map(register: int, map_fd: int) -> list[Instruction]:
    """Instructions for register = map: two of them."""
    return [(_LOAD_WIDE, register, _PSEUDO_MAP_FD, 0, map_fd), (0, 0, 0, 0, 0)]


def load_number(register: int, number: int) -> list[Instruction]:
    """Instructions for register = a number of 64 bits: two of them."""
    low, high = struct.unpack("=ii", struct.pack("=Q", number))
    return [(_LOAD_WIDE, register, 0, 0, low), (0, 0, 0, 0, high)]


def resolved(lines: list[Line]) -> list[Instruction]:
    """With jumps as offsets, in place of labels."""
    labels = {label: at for at, (label, _, _) in enumerate(lines) if label}
    return [
        (code, destination, source, labels[target] - at - 1 if target else offset, constant)
        for at, (_, (code, destination, source, offset, constant), target) in enumerate(lines)
    ]


def load_classifier(instructions: Iterable[Instruction]) -> int:
    """The fd of a traffic classifier's program, which the kernel has verified."""
    code = b"".join(
        struct.pack("=BBhi", code, source << 4 | destination, offset, constant)
        for code, destination, source, offset, constant in instructions
    )
    program = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    attributes = struct.pack(
        "=IIQQ",
        _PROG_TYPE_SCHED_CLS,
        len(code) // 8,
        ctypes.addressof(program),
        ctypes.addressof(licence),
    )
    # log_level, log_size, log_buf, kern_version, prog_flags, name, ifindex; expected_attach_type
    attributes += struct.pack("=IIQII16sI", 0, 0, 0, 0, 0, b"", 0) + struct.pack("=I", 0)
    return _bpf(_PROG_LOAD, attributes)


def attach_ingress(program_fd: int, ifindex: int) -> int:
    """The fd of a link that runs the program on what the device of this namespace receives (tcx)."""
    return _bpf(_LINK_CREATE, struct.pack("=IIII", program_fd, ifindex, _TCX_INGRESS, 0))


def attach_egress(program_fd: int, ifindex: int) -> int:
    """The same for what the device is about to send."""
    return _bpf(_LINK_CREATE, struct.pack("=IIII", program_fd, ifindex, _TCX_EGRESS, 0))


def _bpf(command: int, attributes: bytes) -> int:
    number = _SYSCALLS.get(os.uname().machine)
    if number is None:
        raise OSError(38, "no number for bpf(2) on this machine")  # ENOSYS
    buffer = ctypes.create_string_buffer(attributes, _ATTRIBUTES_SIZE)
    result = int(ctypes.CDLL(None, use_errno=True).syscall(number, command, buffer, _ATTRIBUTES_SIZE))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
