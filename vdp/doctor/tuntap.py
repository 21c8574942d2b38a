"""Whether a process has a TAP or TUN: one that nobody has, and that stays, is a leftover.

Asked by rtnetlink(7): the files of /sys/class/net are those of one network namespace only.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

# linux/netlink.h, linux/rtnetlink.h
_NLM_F_REQUEST, _RTM_NEWLINK, _RTM_GETLINK = 0x1, 16, 18
_HEADER, _IFINFOMSG, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BxHiII"), struct.Struct("=HH")
_TYPE = 0x3FFF  # NLA_TYPE_MASK
# linux/if_link.h, linux/if_tun.h
_IFLA_LINKINFO, _IFLA_CARRIER = 18, 33
_IFLA_INFO_DATA, _IFLA_TUN_PERSIST = 2, 6
_ANSWER_MOST = 1 << 16


def is_held(index: int) -> bool:
    """Whether a process is attached to the TAP or TUN of that index, in the thread's network namespace.

    The kernel takes a device away when the last one leaves it, unless it is persistent; then it takes
    its carrier.  OSError where there is none.
    """
    attributes = _link(index)
    info = dict(_attributes(attributes.get(_IFLA_LINKINFO, b"")))
    data = dict(_attributes(info.get(_IFLA_INFO_DATA, b"")))
    is_persistent = data.get(_IFLA_TUN_PERSIST, b"\1") != b"\0"
    return not is_persistent or attributes.get(_IFLA_CARRIER, b"\0") != b"\0"


def _link(index: int) -> dict[int, bytes]:
    request = _IFINFOMSG.pack(socket.AF_UNSPEC, 0, index, 0, 0)
    request = _HEADER.pack(_HEADER.size + len(request), _RTM_GETLINK, _NLM_F_REQUEST, 1, 0) + request
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as asked:
        asked.settimeout(5.0)
        asked.send(request)
        answer = asked.recv(_ANSWER_MOST)
    length, kind, *_ = _HEADER.unpack_from(answer)
    if kind != _RTM_NEWLINK:
        (error,) = struct.unpack_from("=i", answer, _HEADER.size)
        raise OSError(-error, f"no device has the index {index}")
    return dict(_attributes(answer[_HEADER.size + _IFINFOMSG.size : length]))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes in a message or an attribute, by type (struct nlattr: each on four bytes)."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _TYPE, data[at + _ATTRIBUTE.size : at + length]
        at += length + 3 & ~3
