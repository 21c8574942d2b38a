"""A port's descriptors in the service manager's store: their names, and which are still of use.

    NAME queue 0 DIGEST MTU          the digest is of the port's section: changed keys, another port

A descriptor is taken only when it is what the section asks for: of that sort, of the device that
has the name now, in the namespace that has its name now.  Whatever else is there of the port is
let go before it is opened anew, so that its name is free.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Sequence
from hashlib import blake2s
from typing import TYPE_CHECKING, TypeVar

from vdp.netlink import namespaces

if TYPE_CHECKING:
    from vdp.config.model import PortSection
    from vdp.service import FdStore

# linux/if_tun.h, linux/sockios.h
_TUNGETIFF = 0x800454D2
_TUNGETDEVNETNS = 0x54E3
_SIOCGSKNS = 0x894C
_IFREQ = struct.Struct("=16sH22x")
_FLAGS = 0x0001 | 0x0002 | 0x0100 | 0x1000 | 0x4000  # TUN, TAP, MULTI_QUEUE, NO_PI, VNET_HDR

_T = TypeVar("_T")


def names(section: PortSection, mtu: int, count: int) -> tuple[str, ...]:
    """Under which the descriptors of so many queues are kept.

    Of the section counts what is not as by default: a key that only the next version knows is none.
    """
    said = repr(section.model_dump(exclude_defaults=True))
    digest = blake2s(said.encode(), digest_size=8).hexdigest()
    return tuple(f"{_prefix(section)}{queue} {digest} {mtu}" for queue in range(count))


def _prefix(section: PortSection) -> str:
    return f"{section.name} queue "


def adopt(
    store: FdStore,
    section: PortSection,
    mtu: int,
    count: int,
    is_it: Callable[[int], bool],
    make: Callable[[int], _T],
) -> list[_T]:
    """What `make` makes of the port's kept descriptors; none where not all of them are what `is_it` says."""
    wanted = names(section, mtu, count)
    there = [name for name in store.names if name.startswith(_prefix(section))]
    if not there:
        return []
    taken: list[int] = []
    if set(there) == set(wanted):
        taken = [fd for fd in map(store.take, wanted) if fd is not None]
        if all(map(is_it, taken)):
            return [make(fd) for fd in taken]
    for fd in taken:
        os.close(fd)
    store.discard(*there)
    return []


# -- what a descriptor really is ------------------------------------------------------------------


def is_device(name: str, flags: int, netns: str | None) -> Callable[[int], bool]:
    """Says of a descriptor whether it is a queue of that TAP or TUN, with these flags, in that namespace."""

    def check(fd: int) -> bool:
        with contextlib.suppress(OSError):
            answer = fcntl.ioctl(fd, _TUNGETIFF, _IFREQ.pack(b"", 0))
            found, has = _IFREQ.unpack(answer)
            is_named = found.rstrip(b"\0") == os.fsencode(name)
            return is_named and has & _FLAGS == flags & _FLAGS and _is_in(netns, fd, _TUNGETDEVNETNS)
        return False

    return check


def socket_of(fd: int) -> socket.socket:
    """The socket object of a kept descriptor."""
    one = socket.socket(fileno=fd)
    one.setblocking(False)
    return one


def is_socket(family: int, netns: str | None, *, ifindex: int | None = None) -> Callable[[int], bool]:
    """Says of a descriptor whether it is a raw socket of that family, in that namespace.

    ifindex: of the interface that it is bound to.
    """

    def check(fd: int) -> bool:
        with contextlib.suppress(OSError), contextlib.closing(socket.socket(fileno=os.dup(fd))) as one:
            if one.family != family or one.type != socket.SOCK_RAW or not _is_in(netns, fd, _SIOCGSKNS):
                return False
            if ifindex is None:
                return True
            # The name is looked up here, in the namespace of the socket; "" when its device is gone.
            name = one.getsockname()[0]
            return bool(name) and namespaces.run_in(netns, lambda: socket.if_nametoindex(name)) == ifindex
        return False

    return check


def is_there(section: PortSection, fd: int) -> bool:
    """Whether the device of a queue has the section's name, in its namespace."""
    with contextlib.suppress(OSError):
        found, _ = _IFREQ.unpack(fcntl.ioctl(fd, _TUNGETIFF, _IFREQ.pack(b"", 0)))
        is_named = bool(found.rstrip(b"\0") == os.fsencode(section.name))
        return is_named and _is_in(section.netns, fd, _TUNGETDEVNETNS)
    return False


def is_gone(fd: int) -> bool:
    """Whether the device behind a queue of a TAP or TUN exists no more, in whatever namespace."""
    try:
        fcntl.ioctl(fd, _TUNGETIFF, _IFREQ.pack(b"", 0))
    except OSError as error:
        return error.errno in (errno.EBADFD, errno.EBADF)
    return False


def _is_in(netns: str | None, fd: int, request: int) -> bool:
    handle = fcntl.ioctl(fd, request)
    try:
        return os.fstat(handle).st_ino == namespaces.identity(netns)
    finally:
        os.close(handle)


def put(store: FdStore, kept: Sequence[str], fds: Sequence[int]) -> None:
    """Have the descriptors kept under these names."""
    for name, fd in zip(kept, fds, strict=True):
        store.put(name, fd)
