"""The harness `netlink`: what the kernel tells of links, addresses, neighbours and routes.

Target: vdp/netlink/decode.py and tables.py, behind pyroute2's reader
Trust:  local: the kernel writes it, but a newer one may say what no older one said
Oracle: a message is taken, passed over or refused as Unreadable (what the library itself raises ends the
        socket, and all is asked for anew); what is known after it has the types that it is said to have
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from socket import AF_BRIDGE, AF_INET, AF_INET6, inet_aton, inet_pton

from vdp.netlink import decode, library
from vdp.netlink.events import RouteChanged
from vdp.netlink.tables import Tables

assert library.AsyncIPRoute  # which lets the library in without all of its modules
from pyroute2.netlink.rtnl.marshal import MarshalRtnl  # noqa: E402

MAC = bytes.fromhex("02000000000a")
A, A6 = inet_aton("192.0.2.1"), inet_pton(AF_INET6, "2001:db8::1")


def attribute(kind: int, data: bytes) -> bytes:
    """struct nlattr, padded to 4 bytes."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def message(kind: int, head: bytes, *attributes: bytes) -> bytes:
    """struct nlmsghdr, the family's own header, attributes."""
    body = head + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def link(kind: int, family: int = 0, flags: int = 0x11043) -> bytes:
    info = attribute(1, b"vlan\0") + attribute(2, attribute(1, b"\5\0"))
    return message(
        kind,
        struct.pack("=BxHiII", family, 1, 4, flags, 0),
        attribute(3, b"eth0\0"),
        attribute(4, struct.pack("=I", 1500)),
        attribute(1, MAC),
        attribute(2, b"\xff" * 6),
        attribute(10, struct.pack("=I", 7)),
        attribute(18, info),
    )


def address(kind: int, family: int, data: bytes, prefix: int) -> bytes:
    head = struct.pack("=BBBBi", family, prefix, 0x80, 0, 4)
    return message(kind, head, attribute(1, data), attribute(2, data), attribute(3, b"eth0\0"))


def neighbour(kind: int, family: int, data: bytes) -> bytes:
    head = struct.pack("=BxxxiHBB", family, 4, 2, 0, 1)
    return message(kind, head, attribute(1, data), attribute(2, MAC), attribute(3, bytes(16)))


def route(kind: int, family: int, data: bytes, prefix: int) -> bytes:
    head = struct.pack("=BBBBBBBBI", family, prefix, 0, 0, 254, 2, 0, 1, 0)
    table, device = attribute(15, b"\xfe\0\0\0"), attribute(4, b"\4\0\0\0")
    metrics = attribute(8, attribute(2, struct.pack("=I", 1400)))
    return message(kind, head, table, attribute(1, data), device, metrics)


SEEDS = (
    *(link(kind) for kind in (decode.RTM_NEWLINK, decode.RTM_DELLINK)),
    link(decode.RTM_NEWLINK, AF_BRIDGE, 0x80),
    *(address(kind, AF_INET, A, 24) for kind in (decode.RTM_NEWADDR, decode.RTM_DELADDR)),
    *(address(kind, AF_INET6, A6, 64) for kind in (decode.RTM_NEWADDR, decode.RTM_DELADDR)),
    *(neighbour(kind, AF_INET, A) for kind in (decode.RTM_NEWNEIGH, decode.RTM_DELNEIGH)),
    *(neighbour(kind, AF_INET6, A6) for kind in (decode.RTM_NEWNEIGH, decode.RTM_DELNEIGH)),
    neighbour(decode.RTM_NEWNEIGH, AF_BRIDGE, A),
    *(route(kind, AF_INET, A, 32) for kind in (decode.RTM_NEWROUTE, decode.RTM_DELROUTE)),
    route(decode.RTM_NEWROUTE, AF_INET6, A6, 128),
    message(decode.RTM_NEWRULE, struct.pack("=BBBBBBBBI", AF_INET, 0, 0, 0, 255, 0, 0, 1, 0)),
)
WORDS = (
    b"\x02",
    b"\x0a",
    b"\xff",
    b"\x00\x00",
    b"\x08\x00\x01\x00",
    b"\x14\x00\x01\x00",
    b"\x0a\x00\x02\x00",
    b"\x04\x00\x01\x00",
    A6,
)


class Messages:
    """The tables of one namespace, which arbitrary messages are put into, and the laws."""

    def __init__(self) -> None:
        self._tables = Tables()
        self._marshal = MarshalRtnl()

    def __call__(self, data: bytes) -> None:
        # Where a message ends, the kernel says right.
        datagram = len(data).to_bytes(4, "little") + data[4:]
        try:
            found = list(self._marshal.parse(datagram))
        except Exception:  # the library's own
            return
        for each in found:
            try:
                events = self._tables.apply(each)
            except decode.Unreadable:
                continue
            for event in events:
                if isinstance(event, RouteChanged):
                    assert isinstance(event.destination, (IPv4Network, IPv6Network, type(None)))
        self._must_hold()

    def _must_hold(self) -> None:
        tables = self._tables
        for index, link in tables.links.items():
            assert index == link.index
            assert isinstance(link.name, str)
            assert isinstance(link.kind, str)
            assert isinstance(link.mac, bytes)
        for address in tables.addresses:
            assert isinstance(address.interface, (IPv4Interface, IPv6Interface))
        for (index, destination), neighbour in tables.neighbours.items():
            assert (index, destination) == (neighbour.ifindex, neighbour.address)
            assert isinstance(destination, (IPv4Address, IPv6Address))
            assert neighbour.mac is None or isinstance(neighbour.mac, bytes)
        if max(map(len, (tables.links, tables.addresses, tables.neighbours))) > 100:
            self._tables = Tables()
