"""Who is at the other end of the control socket, as the kernel says, and what that one may do.

Root and the daemon's own user may all; members of the group of `[control] group` may ask,
and change nothing; nobody else is answered.  Programs can not pretend (unix(7), SO_PEERCRED,
SO_PEERGROUPS); a user whose groups changed has to log in anew, as for files.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import grp
import os
import socket
import struct
from dataclasses import dataclass

_UCRED = struct.Struct("=iII")  # struct ucred: pid, uid, gid
#: asm-generic/socket.h
_SO_PEERGROUPS = 59
#: Of 4 bytes each, in what Python's getsockopt takes; of who is in more, none counts but the first.
_MOST_GROUPS = 256


class Right(enum.Enum):
    NONE = "nothing"
    READ = "ask"
    ALL = "ask and change"


@dataclass(frozen=True, slots=True)
class Peer:
    """A client's process, user and groups, as they were when it connected."""

    pid: int
    uid: int
    groups: frozenset[int]

    @classmethod
    def of(cls, client: socket.socket) -> Peer:
        pid, uid, gid = _UCRED.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        try:
            raw = client.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _MOST_GROUPS)
        except OSError:  # more groups, or a kernel before 4.13
            raw = b""
        return cls(pid, uid, frozenset((gid, *struct.unpack(f"={len(raw) // 4}I", raw))))


def right_of(peer: Peer, readers: int | None) -> Right:
    """readers: the group whose members may ask."""
    if peer.uid in (0, os.geteuid()):
        return Right.ALL
    return Right.READ if readers in peer.groups else Right.NONE


def join(name: str | None) -> None:
    """Have this process be of the group, so that it may give it the socket without CAP_CHOWN.  OSError."""
    number = group_number(name)
    if number is not None and number not in {os.getegid(), *os.getgroups()}:
        with contextlib.suppress(PermissionError):  # then chown says so
            os.setgroups([*os.getgroups(), number])


def group_number(name: str | None) -> int | None:
    """The number of a group by name, or of digits.  OSError, with a sentence, for one that is not there."""
    if name is None:
        return None
    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        sentence = f"[control] group: there is no group {name!r} here: groupadd --system {name}"
        raise OSError(errno.ENOENT, sentence) from None
