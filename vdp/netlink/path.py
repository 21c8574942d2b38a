"""The way of a packet out of this host: what `ip route get` says, and the neighbour behind it."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from vdp.netlink.events import IPAddress

ZERO_MAC = bytes(6)


@dataclass(frozen=True, slots=True)
class Path:
    """The first hop towards a destination.

    mtu: of the route where it has one (a learned path MTU, too), else of the link.
    destination_mac: None while the neighbour is unresolved; zeros where the link has
    no such addresses (loopback, TUN).  local: the destination is this host's own.
    header: the engine header that holds both addresses (vdp.links.next_hops), 0: none.
    """

    interface: str
    ifindex: int
    mtu: int
    hard_header_len: int
    source: IPAddress | None
    next_hop: IPAddress
    source_mac: bytes
    destination_mac: bytes | None
    local: bool
    header: int = field(default=0, compare=False)


def next_hop_tag(path: Path) -> tuple[str, int]:
    """What a trace depends on that looked at the MAC addresses of the path."""
    return ("next hop", path.header)


class NoRoute(OSError):
    """The kernel has no way to the destination; errno and sentence are the kernel's."""

    def __init__(self, destination: IPAddress, code: int, sentence: str, source: str | None = None) -> None:
        sender = f" from {source}" if source is not None else ""
        super().__init__(code, f"no route to {destination}{sender}: {sentence}")
        self.destination = destination


class KernelRefused(OSError):
    """A netlink request that the kernel turned down: its errno, and its sentence where it gave one."""

    def __init__(self, what: str, code: int, sentence: str) -> None:
        super().__init__(code, f"{what}: {sentence}")
        self.errname = errno.errorcode.get(code, str(code))


def multicast_mac(address: IPAddress) -> bytes:
    """The Ethernet address of an IP multicast group (RFC 1112, 6.4; RFC 2464, 7)."""
    packed = address.packed
    if address.version == 4:
        return b"\x01\x00\x5e" + bytes((packed[1] & 0x7F,)) + packed[2:]
    return b"\x33\x33" + packed[12:]
