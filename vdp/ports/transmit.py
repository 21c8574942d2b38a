"""The sockets that a packet port sends by, apart from those that hear.

Who waits for frames on a socket pays for each frame that leaves by it: the kernel tells whoever
waits that there is room again (sock_def_write_space).  So each worker sends by a socket on which
nobody waits: a packet socket, or, with `transmit = "xdp"`, an AF_XDP socket, which the engine
binds to a queue of the device.
"""

from __future__ import annotations

import errno
import logging
import socket
from typing import TYPE_CHECKING

from vdp.netlink import namespaces
from vdp.ports import raw
from vdp.ports.errors import PortError

if TYPE_CHECKING:
    from vdp.config.model import PortSection

log = logging.getLogger(__name__)

_AF_XDP = 44  # linux/socket.h
_LEAVE_OUT = "or leave `transmit` out"

_REFUSALS = {
    errno.EBUSY: f"another AF_XDP socket has a queue of it: end who has it, {_LEAVE_OUT}",
    errno.EMSGSIZE: f"AF_XDP takes frames of 4096 bytes at most: set `mtu` to 4074 or less, {_LEAVE_OUT}",
    errno.ENOBUFS: f"4 MB of memory can not be locked: raise RLIMIT_MEMLOCK (LimitMEMLOCK=), {_LEAVE_OUT}",
    errno.EAFNOSUPPORT: "this kernel has no AF_XDP (CONFIG_XDP_SOCKETS): leave `transmit` out",
}


def sending_sockets(section: PortSection) -> list[socket.socket]:
    """One for each of the port's queues.  PortError, OSError."""
    opened: list[socket.socket] = []
    try:
        for _ in range(section.queues):
            opened.append(_xdp_socket(section) if section.transmit == "xdp" else _packet_socket(section))
    except BaseException:
        for one in opened:
            one.close()
        raise
    if section.transmit == "xdp":
        log.info("port %s: sends by AF_XDP, which tcpdump, tc and nftables do not see", section.name)
    return opened


def refused(section: PortSection, error: OSError) -> PortError:
    """What the engine could not do with the port, said for the operator."""
    if section.transmit == "xdp":
        sentence = _REFUSALS.get(error.errno or 0, f"{error.strerror}: leave `transmit` out")
        return PortError(section.name, f'{section.interface} takes no `transmit = "xdp"`: {sentence}')
    return PortError(section.name, str(error.strerror or error))


def _packet_socket(section: PortSection) -> socket.socket:
    """It hears nothing: bound to no protocol."""
    assert section.interface is not None
    one = raw.packet_socket(section.netns)
    try:
        one.bind((section.interface, 0))
    except OSError:
        one.close()
        raise
    return one


def _xdp_socket(section: PortSection) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    try:
        one = namespaces.run_in(section.netns, lambda: socket.socket(_AF_XDP, kind, 0))
    except OSError as error:
        raise refused(section, error) from error
    raw.enlarge(one)
    return one
