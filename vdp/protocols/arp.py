"""ARP for IPv4 over Ethernet (RFC 826)."""

from __future__ import annotations

from vdp.header import Bits, Header, Octets

REQUEST = 1
REPLY = 2
ETHERNET = 1


class Arp(Header):
    hardware = Bits(16)
    protocol = Bits(16)
    hardware_size = Bits(8)
    protocol_size = Bits(8)
    operation = Bits(16)
    sender_mac = Octets(6)
    sender_ip = Bits(32)
    target_mac = Octets(6)
    target_ip = Bits(32)
