"""Control traffic has a queue of its own: the programs that part frames for it, and the socket."""

from __future__ import annotations

import socket

import pytest

from tests.lab import Lab
from vdp.netlink import namespaces
from vdp.ports import filters, raw
from vdp.testing.builders import ETH_IPV4, ETH_TEB, arp, ethernet, gre, icmp, icmp6, ipv4, ipv6, udp

A, B = "192.0.2.1", "192.0.2.2"
INNER = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, bytes(40)))
PING = ipv4("10.0.0.1", "10.0.0.2", icmp(8), protocol=1)
ARP = ethernet(arp(1, "02:00:00:00:00:0a", A, "00:00:00:00:00:00", B), ethertype=0x0806)
ND = ipv6("fe80::1", "fe80::2", icmp6(135, payload=bytes(16)))


def tunnel(payload: bytes, protocol: int, **options: int) -> bytes:
    return ethernet(ipv4(A, B, gre(payload, protocol, **options), protocol=47))


CONTROL = {
    "arp": ARP,
    "icmp": ethernet(PING),
    "nd": ethernet(ND, ethertype=0x86DD),
    "arp in gretap": tunnel(ARP, ETH_TEB),
    "arp in gretap with a key": tunnel(ARP, ETH_TEB, key=7),
    "arp in gretap with a checksum": tunnel(ARP, ETH_TEB, csum=True),
    "arp in gretap with both": tunnel(ARP, ETH_TEB, key=7, csum=True),
    "icmp in gre": tunnel(PING, ETH_IPV4),
    "keepalive": tunnel(ipv4(B, A, gre(b"", 0), protocol=47), ETH_IPV4),
    "keepalive that came back": tunnel(b"", 0),
}
DATA = {
    "udp": ethernet(INNER),
    "gre": tunnel(INNER, ETH_IPV4),
    "gretap": tunnel(ethernet(INNER), ETH_TEB),
    "numbered": tunnel(PING, ETH_IPV4, sequence=5),
    "cut in ip": ethernet(INNER)[:20],
    "cut in gre": tunnel(INNER, ETH_IPV4)[:40],
    "cut behind gre": tunnel(ARP, ETH_TEB)[:45],
    "other": ethernet(bytes(50), ethertype=0x88B5),
}


@pytest.fixture
def part(lab: Lab):  # type: ignore[no-untyped-def]
    """What the two sockets of a port on one end see of frames that the other end sends."""
    left, right = lab.host("left"), lab.host("right")
    lab.cable(left, "192.0.2.1/24", right, "192.0.2.2/24")

    def run(frames: dict[str, bytes], program: tuple[filters.Instruction, ...]) -> list[set[str]]:
        index = namespaces.run_in(left.name, lambda: socket.if_nametoindex("eth0"))
        opened = raw.packet_sockets("eth0", index, left.name)
        sender = namespaces.run_in(right.name, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        end = {False: ethernet(b"end" + bytes(40), ethertype=0x88B6), True: ARP[:-3] + b"end"}
        seen: list[set[str]] = []
        try:
            for control, one in zip((False, True), opened, strict=True):
                filters.attach(one, filters.apart(program, control=control))
            for frame in (*frames.values(), *end.values()):
                sender.sendto(frame, ("eth0", 0))
            for control, one in zip((False, True), opened, strict=True):
                one.settimeout(5)
                got: list[bytes] = []
                while not got or not got[-1].startswith(end[control]):
                    got.append(one.recv(2000)[10:])
                seen.append({name for name, frame in frames.items() if frame in got})
        finally:
            for each in (*opened, sender):
                each.close()
        return seen

    return run


def test_control_traffic_has_a_socket_of_its_own(part) -> None:  # type: ignore[no-untyped-def]
    data, control = part({**CONTROL, **DATA}, filters.TAKE_ALL)
    assert control == set(CONTROL)
    assert data == set(DATA), "what is cut short is lost to neither"
