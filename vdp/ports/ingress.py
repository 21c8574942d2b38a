"""What a packet port's tunnels carry is kept from the host's own stack.

A packet socket hears a frame beside the stack, not instead of it: the kernel goes on to
route each tunnel packet, finds nobody to deliver it to, and throws it away, which costs
more than hearing it did.  A classifier on the device's ingress, which comes after packet
sockets, drops it before that: unicast IP packets of the tunnels' protocols to an address
of this host or of its tunnels, without a VLAN tag.  What is for others passes, to be
forwarded.

The classifier hangs on a file descriptor and ends with it (tcx, Linux 6.6).
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from vdp.netlink import Netlink, namespaces
from vdp.ports import bpf

_ADDRESSES_MOST = 4096
_KERNEL_TUNNELS = frozenset({"gre", "gretap", "erspan", "ip6gre", "ip6gretap", "ip6erspan"})
#: PPTP's, which comes up only by what it hears: as long as it is there.
_PPP = "ppp"

# struct __sk_buff
_PACKET_TYPE, _PROTOCOL, _VLAN_PRESENT = 4, 16, 20
_PACKET_HOST = 0
_NEXT, _DROP = -1, 2  # TCX_NEXT, TCX_DROP

_IPV4, _IPV6 = socket.htons(0x0800), socket.htons(0x86DD)
# From the Ethernet header on.
_IPV4_PROTOCOL, _IPV4_DESTINATION = 14 + 9, 14 + 16
_IPV4_FIRST, _IPV4_FRAGMENT, _IPV4_UDP_PORT = 14, 14 + 6, 14 + 20 + 2
_IPV4_PLAIN, _IPV4_IS_FRAGMENT = 0x45, 0x3FFF  # version and no options; MF and offset
_IPV6_NEXT_HEADER, _IPV6_DESTINATION, _IPV6_UDP_PORT = 14 + 6, 14 + 24, 14 + 40 + 2
_UDP = 17
_IPV6_OPTIONS, _IPV6_AFTER_FIRST = 60, 14 + 40  # destination options; their next header
_KEY_SIZE = 16  # on the stack: four words in host order, IPv4 as ::ffff:a.b.c.d


class IngressDrop:
    """Drops on a device what `carried` (family, protocol) and `ports` (family, UDP port) name.  OSError."""

    def __init__(
        self,
        ifindex: int,
        netns: str | None,
        carried: Iterable[tuple[int, int]],
        ports: Iterable[tuple[int, int]] = (),
    ) -> None:
        self._fds: list[int] = []
        self._host: frozenset[IPv4Address | IPv6Address] = frozenset()
        self._claimed: frozenset[IPv4Address | IPv6Address] = frozenset()
        self._addresses: frozenset[IPv4Address | IPv6Address] = frozenset()
        try:
            self._map = self._keep(bpf.hash_map(_KEY_SIZE, _ADDRESSES_MOST))
            program = self._keep(bpf.load_classifier(classifier(self._map, carried, ports)))
            self._keep(namespaces.run_in(netns, lambda: bpf.attach_ingress(program, ifindex)))
        except OSError:
            self.close()
            raise

    def follow(self, netlink: Netlink) -> None:
        """Go by the host's addresses as they are now; drop nothing while it has tunnel devices of its own."""
        links = netlink.links.values()
        is_shared = any(link.kind == _PPP or (link.up and link.kind in _KERNEL_TUNNELS) for link in links)
        addresses = () if is_shared else {address.interface.ip for address in netlink.addresses}
        self.set_addresses(addresses)

    def set_addresses(self, addresses: Iterable[IPv4Address | IPv6Address]) -> None:
        """The host's own, from now on; what is beyond room for 4096 is left to the stack."""
        self._host = frozenset(addresses)
        self._update()

    def claim(self, addresses: Iterable[IPv4Address | IPv6Address]) -> None:
        """Those that only tunnels have: the host would answer that it knows no way there (ip6_pkt_drop)."""
        self._claimed = frozenset(addresses)
        self._update()

    def _update(self) -> None:
        every = sorted(self._host | self._claimed, key=lambda a: (a.version, int(a)))
        wanted = frozenset(every[:_ADDRESSES_MOST])
        for gone in self._addresses - wanted:
            bpf.remove_key(self._map, _key(gone))
        for new in wanted - self._addresses:
            bpf.add_key(self._map, _key(new))
        self._addresses = wanted

    def close(self) -> None:
        """Take it off the device.  May be called twice."""
        while self._fds:
            os.close(self._fds.pop())

    def _keep(self, fd: int) -> int:
        self._fds.append(fd)
        return fd


def classifier(
    map_fd: int, carried: Iterable[tuple[int, int]], ports: Iterable[tuple[int, int]] = ()
) -> list[bpf.Instruction]:
    """The program: frames that a packet socket has heard are dropped, all others go on.

    UDP behind IPv4 options, or in fragments, goes on, too.  Of IPv6's extension headers one is looked
    behind, the destination options of a tunnel (its encapsulation limit, RFC 2473).
    """
    udp: dict[int, list[int]] = {socket.AF_INET: [], socket.AF_INET6: []}
    for family, port in sorted(set(ports)):
        udp[family].append(port)
    protocols: dict[int, list[int]] = {socket.AF_INET: [], socket.AF_INET6: []}
    for family, protocol in sorted(set(carried)):
        protocols[family].append(protocol)
    lines: list[bpf.Line] = [
        _line((bpf.MOVE, 6, 1, 0, 0)),
        _line((bpf.LOAD_W, 2, 6, _PACKET_TYPE, 0)),
        _line((bpf.UNEQUAL, 2, 0, 0, _PACKET_HOST), "next"),
        _line((bpf.LOAD_W, 2, 6, _VLAN_PRESENT, 0)),
        _line((bpf.UNEQUAL, 2, 0, 0, 0), "next"),
        _line((bpf.LOAD_W, 2, 6, _PROTOCOL, 0)),
        _line((bpf.EQUAL, 2, 0, 0, _IPV6), "ipv6"),
        _line((bpf.UNEQUAL, 2, 0, 0, _IPV4), "next"),
        _line((bpf.LOAD_PACKET_B, 0, 0, 0, _IPV4_PROTOCOL)),
        *(_line((bpf.EQUAL, 0, 0, 0, p), "destination4") for p in protocols[socket.AF_INET]),
        *(_line((bpf.EQUAL, 0, 0, 0, _UDP), "udp") for _ in udp[socket.AF_INET][:1]),
        _line((bpf.JUMP, 0, 0, 0, 0), "next"),
        ("ipv6", (bpf.LOAD_PACKET_B, 0, 0, 0, _IPV6_NEXT_HEADER), ""),
        *(_line((bpf.EQUAL, 0, 0, 0, p), "destination6") for p in protocols[socket.AF_INET6]),
        *(_line((bpf.EQUAL, 0, 0, 0, _UDP), "udp6") for _ in udp[socket.AF_INET6][:1]),
        _line((bpf.EQUAL, 0, 0, 0, _IPV6_OPTIONS), "options"),
        _line((bpf.JUMP, 0, 0, 0, 0), "next"),
        ("options", (bpf.LOAD_PACKET_B, 0, 0, 0, _IPV6_AFTER_FIRST), ""),
        *(_line((bpf.EQUAL, 0, 0, 0, p), "destination6") for p in protocols[socket.AF_INET6]),
        _line((bpf.JUMP, 0, 0, 0, 0), "next"),
        ("udp", (bpf.LOAD_PACKET_H, 0, 0, 0, _IPV4_FRAGMENT), ""),
        _line((bpf.ANY_BIT, 0, 0, 0, _IPV4_IS_FRAGMENT), "next"),
        _line((bpf.LOAD_PACKET_B, 0, 0, 0, _IPV4_FIRST)),
        _line((bpf.UNEQUAL, 0, 0, 0, _IPV4_PLAIN), "next"),
        _line((bpf.LOAD_PACKET_H, 0, 0, 0, _IPV4_UDP_PORT)),
        *(_line((bpf.EQUAL, 0, 0, 0, port), "destination4") for port in udp[socket.AF_INET]),
        _line((bpf.JUMP, 0, 0, 0, 0), "next"),
        ("udp6", (bpf.LOAD_PACKET_H, 0, 0, 0, _IPV6_UDP_PORT), ""),
        *(_line((bpf.EQUAL, 0, 0, 0, port), "destination6") for port in udp[socket.AF_INET6]),
        _line((bpf.JUMP, 0, 0, 0, 0), "next"),
        ("destination4", (bpf.STORE_CONSTANT_W, 10, 0, -16, 0), ""),
        _line((bpf.STORE_CONSTANT_W, 10, 0, -12, 0)),
        _line((bpf.STORE_CONSTANT_W, 10, 0, -8, 0xFFFF)),
        _line((bpf.LOAD_PACKET_W, 0, 0, 0, _IPV4_DESTINATION)),
        _line((bpf.STORE_W, 10, 0, -4, 0)),
        _line((bpf.JUMP, 0, 0, 0, 0), "lookup"),
        ("destination6", (bpf.LOAD_PACKET_W, 0, 0, 0, _IPV6_DESTINATION), ""),
        _line((bpf.STORE_W, 10, 0, -16, 0)),
    ]
    for word in range(1, 4):
        lines.append(_line((bpf.LOAD_PACKET_W, 0, 0, 0, _IPV6_DESTINATION + 4 * word)))
        lines.append(_line((bpf.STORE_W, 10, 0, -16 + 4 * word, 0)))
    first, second = bpf.load_map(1, map_fd)
    lines += [
        ("lookup", first, ""),
        _line(second),
        _line((bpf.MOVE, 2, 10, 0, 0)),
        _line((bpf.ADD_CONSTANT, 2, 0, 0, -_KEY_SIZE)),
        _line((bpf.CALL, 0, 0, 0, bpf.MAP_LOOKUP)),
        _line((bpf.EQUAL, 0, 0, 0, 0), "next"),
        _line((bpf.MOVE_CONSTANT, 0, 0, 0, _DROP)),
        _line((bpf.EXIT, 0, 0, 0, 0)),
        ("next", (bpf.MOVE_CONSTANT, 0, 0, 0, _NEXT), ""),
        _line((bpf.EXIT, 0, 0, 0, 0)),
    ]
    return bpf.resolved(_reachable(lines))


def _line(instruction: bpf.Instruction, target: str = "") -> bpf.Line:
    return "", instruction, target


def _reachable(lines: list[bpf.Line]) -> list[bpf.Line]:
    """Without the parts that nobody jumps to: the verifier refuses dead code."""
    wanted = {target for _, _, target in lines} | {"lookup"}
    kept: list[bpf.Line] = []
    part = ""
    for line in lines:
        part = line[0] or part
        if not part or part in wanted:
            kept.append(line)
    return kept


def _key(address: IPv4Address | IPv6Address) -> bytes:
    whole = address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed
    return struct.pack("=4I", *struct.unpack(">4I", whole))
