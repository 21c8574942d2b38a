"""Raw ports: an IP socket for one protocol, or a packet socket on an interface.

IP socket (AF_INET, IP_HDRINCL; AF_INET6, IPV6_HDRINCL): whole IP packets.  The kernel
routes and resolves what is sent, reassembles what is received, and sends nothing longer
than the MTU.  Of IPv6 it keeps the header of what is received: the engine makes it anew.
Beside it `error_socket` hears of ICMP errors about what was sent.  (The socket's own error
queue, IP_RECVERR, would have each error fail a send or receive as well.)

Packet socket (AF_PACKET): Ethernet frames of one interface, with virtio_net_hdr, so that
unfinished checksums and super-packets of a local peer are known as such.  The kernel
sees the same frames: it answers ARP, and, lest it answer tunnel packets with ICMP
protocol unreachable, `quiet_socket` stands in for a listener.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct

from vdp.engine.interface import Feature
from vdp.netlink import namespaces
from vdp.ports import filters

# linux/if_packet.h
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP = 1
_PACKET_DROP_MEMBERSHIP = 2
_PACKET_AUXDATA = 8
_PACKET_VNET_HDR = 15
_PACKET_FANOUT = 18
_PACKET_IGNORE_OUTGOING = 23
_PACKET_MR_PROMISC = 1
_PACKET_MR_ALLMULTI = 2
_PACKET_FANOUT_HASH = 0
_PACKET_FANOUT_FLAG_UNIQUEID = 0x2000
_PACKET_FANOUT_FLAG_IGNORE_OUTGOING = 0x4000
_ETH_P_ALL = 0x0003

_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_DO = 2
# linux/in6.h
_IPV6_HDRINCL = 36
_IPV6_OPTIONS = (_IPV6_HDRINCL, socket.IPV6_RECVPKTINFO, socket.IPV6_RECVTCLASS, socket.IPV6_RECVHOPLIMIT)
_UDP_GRO = 104  # linux/udp.h
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33

BUFFER_SIZE = 8 << 20
_SOCKETS_MOST = 16  # of a port
_FLAGS = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC

# virtio_net_hdr_to_skb takes VIRTIO_NET_HDR_GSO_UDP_L4 from this kernel on.
_USO_SINCE = (6, 2)


def ip_socket(
    protocol: int, netns: str | None, device: str | None = None, family: int = socket.AF_INET
) -> socket.socket:
    """A socket for whole packets of one protocol of a family, on one device when given.  OSError."""

    def make() -> socket.socket:
        return socket.socket(family, socket.SOCK_RAW | _FLAGS, protocol)

    opened = namespaces.run_in(netns, make)
    try:
        if family == socket.AF_INET6:
            for option in _IPV6_OPTIONS:
                opened.setsockopt(socket.IPPROTO_IPV6, option, 1)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        else:
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
            # Packets bring their own DF flag; what is too long comes back as EMSGSIZE.
            opened.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
            # What a tunnel sends to its group is none of its own business (gre_cisco_rcv drops it).
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        if device is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, os.fsencode(device) + b"\0")
        enlarge(opened)
    except OSError:
        opened.close()
        raise
    return opened


def error_socket(protocol: int, netns: str | None, family: int = socket.AF_INET) -> socket.socket:
    """A socket like `ip_socket`'s, for ICMP errors about packets of the protocol only.  OSError."""
    is_ip6 = family == socket.AF_INET6
    kind = socket.IPPROTO_ICMPV6 if is_ip6 else socket.IPPROTO_ICMP
    opened = ip_socket(kind, netns, family=family)
    try:
        filters.attach(opened, (filters.error_program6 if is_ip6 else filters.error_program)(protocol))
        with contextlib.suppress(BlockingIOError):
            while True:  # what came in before the filter was there
                opened.recv(1)
    except OSError:
        opened.close()
        raise
    return opened


def packet_socket(netns: str | None) -> socket.socket:
    """With virtio_net_hdr; it hears nothing before bind names a protocol.  OSError."""
    opened = namespaces.run_in(netns, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW | _FLAGS, 0))
    try:
        opened.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        enlarge(opened)
    except OSError:
        opened.close()
        raise
    return opened


def packet_sockets(
    interface: str, ifindex: int, netns: str | None, *, queues: int = 1
) -> list[socket.socket]:
    """Packet sockets on the interface, sharing its frames by flow when there are several.  OSError.

    The last of them is one for control traffic (control_sockets), whose queue does not fill up
    when there is too much of all else: it hears nothing, and the others all, until both have
    their filters.
    """
    opened: list[socket.socket] = []
    try:
        for number in range(queues + control_sockets(queues)):
            one = packet_socket(netns)
            opened.append(one)
            one.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            one.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            if number >= queues:
                filters.attach(one, filters.TAKE_NOTHING)
            one.bind((interface, _ETH_P_ALL))
        _share(opened[:queues])
    except OSError:
        for one in opened:
            one.close()
        raise
    return opened


def control_sockets(queues: int) -> int:
    """How many of the sockets hear control traffic alone: the last one, if there is room for it."""
    return int(queues < _SOCKETS_MOST)


def take_any_address(one: socket.socket, ifindex: int, wanted: bool) -> None:
    """Have the interface take frames for whatever MAC address (promiscuous), or no more.  OSError."""
    _be_member(one, ifindex, _PACKET_MR_PROMISC, wanted)


def take_any_group(one: socket.socket, ifindex: int, wanted: bool) -> None:
    """Have the interface take frames for whatever multicast group, or no more.  OSError."""
    _be_member(one, ifindex, _PACKET_MR_ALLMULTI, wanted)


def _be_member(one: socket.socket, ifindex: int, kind: int, wanted: bool) -> None:
    # struct packet_mreq { ifindex, type, alen, address[8] }
    request = struct.pack("=iHH8s", ifindex, kind, 0, b"")
    one.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP if wanted else _PACKET_DROP_MEMBERSHIP, request)


def quiet_socket(protocol: int, netns: str | None, family: int = socket.AF_INET) -> socket.socket:
    """A listener for the protocol that keeps nothing: the kernel finds its packets delivered.  OSError."""

    def make() -> socket.socket:
        return socket.socket(family, socket.SOCK_RAW | _FLAGS, protocol)

    opened = namespaces.run_in(netns, make)
    try:
        filters.attach(opened, filters.TAKE_NOTHING)
    except OSError:
        opened.close()
        raise
    return opened


def quiet_udp_socket(port: int, netns: str | None, family: int = socket.AF_INET) -> socket.socket:
    """The same for a UDP port, of any address.  OSError EADDRINUSE where somebody else listens there.

    With UDP_GRO the kernel joins a flow's datagrams as early as it can, before a packet socket
    hears them, and leaves those that come joined alone.
    """

    def make() -> socket.socket:
        return socket.socket(family, socket.SOCK_DGRAM | _FLAGS, 0)

    opened = namespaces.run_in(netns, make)
    try:
        filters.attach(opened, filters.TAKE_NOTHING)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        with contextlib.suppress(OSError):  # before Linux 5.0
            opened.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)
        # For the ports on other interfaces, which do the same.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(("", port))
    except OSError:
        opened.close()
        raise
    return opened


def packet_features(offload: bool) -> Feature:
    """What the kernel takes over a packet socket; it segments in software where the device can not."""
    if not offload:
        return Feature.VNET_HDR
    features = Feature.VNET_HDR | Feature.CSUM | Feature.TSO4 | Feature.TSO6
    return features | Feature.USO if _kernel_release() >= _USO_SINCE else features


def _share(opened: list[socket.socket]) -> None:
    if len(opened) < 2:
        return
    # The group hears in place of its sockets, and so needs IGNORE_OUTGOING said to it, too.
    kind = _PACKET_FANOUT_HASH | _PACKET_FANOUT_FLAG_IGNORE_OUTGOING
    first = kind | _PACKET_FANOUT_FLAG_UNIQUEID
    opened[0].setsockopt(_SOL_PACKET, _PACKET_FANOUT, first << 16)
    group = opened[0].getsockopt(_SOL_PACKET, _PACKET_FANOUT) & 0xFFFF
    for one in opened[1:]:
        one.setsockopt(_SOL_PACKET, _PACKET_FANOUT, group | kind << 16)


def enlarge(opened: socket.socket) -> None:
    """Room for bursts: past the system's bound where allowed, else up to it."""
    for forced, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            opened.setsockopt(socket.SOL_SOCKET, forced, BUFFER_SIZE)
        except PermissionError:
            opened.setsockopt(socket.SOL_SOCKET, plain, BUFFER_SIZE)


def _kernel_release() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()) or 0)
