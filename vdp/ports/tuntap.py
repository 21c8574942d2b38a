"""TAP and TUN devices: made by python-pytun, completed by ioctl, named and set up over netlink.

The device is made inside its namespace (a TUN file belongs to the namespace of whoever
opened /dev/net/tun), so a name is only ever taken where it is wanted.  It is not
persistent: it goes with its last fd.

Every frame is preceded by a virtio_net_hdr of 10 bytes.  What the kernel may put into
it on our side is asked for with TUNSETOFFLOAD; what it takes from us is the same on
any kernel that accepts the flag.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import pytun

from vdp.engine.interface import Feature
from vdp.netlink import namespaces
from vdp.ports.errors import PortError

# linux/if_tun.h
_IFF_MULTI_QUEUE = 0x0100
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_IFF_TUN_EXCL = 0x8000
_TUNSETOFFLOAD = 0x400454D0
_TUNSETVNETHDRSZ = 0x400454D8
_TUN_F_CSUM = 0x01
_TUN_F_TSO4 = 0x02
_TUN_F_TSO6 = 0x04
_TUN_F_TSO_ECN = 0x08
_TUN_F_USO4 = 0x20
_TUN_F_USO6 = 0x40

_VNET_HDR_SIZE = 10

#: dev->tx_queue_len of a new device: TUN_READQ_SIZE (drivers/net/tun.c), ether_setup (net/ethernet/eth.c).
DEFAULT_TXQUEUELEN: Mapping[str, int] = {"tun": 500, "tap": 1000}

_TSO = _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6
# From most to least; the first that the kernel accepts is taken.
_OFFLOADS: tuple[tuple[int, Feature], ...] = (
    (
        _TSO | _TUN_F_TSO_ECN | _TUN_F_USO4 | _TUN_F_USO6,
        Feature.CSUM | Feature.TSO4 | Feature.TSO6 | Feature.USO,
    ),
    (_TSO | _TUN_F_TSO_ECN, Feature.CSUM | Feature.TSO4 | Feature.TSO6),
    (_TSO, Feature.CSUM | Feature.TSO4 | Feature.TSO6),
    (_TUN_F_CSUM, Feature.CSUM),
    (0, Feature.NONE),
)


class Queue(Protocol):
    """A queue's file."""

    def fileno(self) -> int: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class KeptQueue:
    """A queue that was made by a process before this one."""

    fd: int

    def fileno(self) -> int:
        return self.fd

    def close(self) -> None:
        os.close(self.fd)


@dataclass(slots=True)
class TunTap:
    """The queues of one device.  features: what the kernel agreed to, both ways."""

    name: str
    queues: list[Queue]
    features: Feature

    @property
    def fds(self) -> tuple[int, ...]:
        return tuple(queue.fileno() for queue in self.queues)

    def close(self) -> None:
        """The last queue takes the device with it."""
        for queue in self.queues:
            queue.close()
        self.queues.clear()


def open_device(name: str, *, tap: bool, netns: str | None, queues: int, offload: bool) -> TunTap:
    """Make the device in the namespace, its queues non-blocking and closed on exec.  PortError."""
    device = TunTap(name, [], Feature.NONE)
    flags = device_flags(tap, queues)
    try:
        for queue in range(queues):
            # Exclusive only for the first: the others join the device that it made.
            wanted = flags | (0 if queue else _IFF_TUN_EXCL)
            device.queues.append(namespaces.run_in(netns, partial(_open_queue, name, wanted)))
        device.features = Feature.VNET_HDR | _negotiate(device.fds, offload)
    except (OSError, pytun.Error) as failure:
        device.close()
        raise PortError(name, _explain(failure, name, netns)) from failure
    return device


def device_flags(tap: bool, queues: int) -> int:
    """What TUNSETIFF is asked for, and TUNGETIFF answers."""
    flags: int = (pytun.IFF_TAP if tap else pytun.IFF_TUN) | _IFF_NO_PI | _IFF_VNET_HDR
    return flags | _IFF_MULTI_QUEUE if queues > 1 else flags


def take_up(name: str, queues: Sequence[KeptQueue], *, offload: bool) -> TunTap:
    """The device of queues that are open already: it has its carrier, and frames that wait.  PortError."""
    device = TunTap(name, list(queues), Feature.NONE)
    try:
        for queue in queues:
            _prepare(queue.fd)
        device.features = Feature.VNET_HDR | _negotiate(device.fds, offload)
    except OSError as failure:
        device.close()
        raise PortError(name, _explain(failure, name, None)) from failure
    return device


def _prepare(fd: int) -> None:
    os.set_inheritable(fd, False)  # pytun opens without O_CLOEXEC
    os.set_blocking(fd, False)
    fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("=i", _VNET_HDR_SIZE))


def _open_queue(name: str, flags: int) -> pytun.TunTapDevice:
    queue = pytun.TunTapDevice(name=name, flags=flags)
    _prepare(queue.fileno())
    return queue


def _negotiate(fds: tuple[int, ...], offload: bool) -> Feature:
    for flags, features in _OFFLOADS if offload else _OFFLOADS[-1:]:
        try:
            for fd in fds:
                fcntl.ioctl(fd, _TUNSETOFFLOAD, flags)
        except OSError as refused:
            if refused.errno != errno.EINVAL:
                raise
        else:
            return features
    return Feature.NONE


def _explain(failure: Exception, name: str, netns: str | None) -> str:
    code = failure.errno if isinstance(failure, OSError) else 0
    where = f" in namespace {netns}" if netns else ""
    if code == errno.ENOENT:
        return "/dev/net/tun is not there; load the tun module (modprobe tun)"
    if code in (errno.EPERM, errno.EACCES):
        return f"not allowed to make device {name}{where}: vdp needs CAP_NET_ADMIN"
    if code in (errno.EBUSY, errno.EEXIST, errno.EINVAL):
        return f"device {name} can not be made{where}: {os.strerror(code)} (is the name taken?)"
    return f"device {name} can not be made{where}: {failure}"
