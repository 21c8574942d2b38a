"""Ethernet (IEEE 802.3) and VLAN tags (802.1Q), and the EtherTypes that vdp names."""

from __future__ import annotations

import enum

from vdp.header import Bits, Header, Octets

BROADCAST = b"\xff" * 6
#: Below this the EtherType field is a length, and an 802.2 header follows (ETH_P_802_3_MIN).
ETH_P_802_3_MIN = 0x0600


class EtherType(enum.IntEnum):
    """What a frame carries (IEEE 802 numbers, linux/if_ether.h); any other number will do as well."""

    IPV4 = 0x0800
    ARP = 0x0806
    TEB = 0x6558  # transparent Ethernet bridging
    VLAN = 0x8100
    IPV6 = 0x86DD
    WCCP = 0x883E
    ERSPAN = 0x88BE
    ERSPAN2 = 0x22EB
    QINQ = 0x88A8


class Ethernet(Header):
    """struct ethhdr: addresses, and what follows."""

    destination = Octets(6)
    source = Octets(6)
    type = Bits(16)


class Vlan(Header):
    """What follows EtherType 0x8100: the tag and the next EtherType."""

    priority = Bits(3)
    drop_eligible = Bits(1)
    id = Bits(12)
    type = Bits(16)


def is_group(mac: bytes) -> bool:
    """Multicast or broadcast."""
    return bool(mac[0] & 1)


def is_link_local(mac: bytes) -> bool:
    """01:80:c2:00:00:0x, which a bridge does not forward (IEEE 802.1D 7.12.6)."""
    return mac[:5] == b"\x01\x80\xc2\x00\x00" and mac[5] & 0xF0 == 0


def format_mac(mac: bytes) -> str:
    return mac.hex(":")


def parse_mac(text: str) -> bytes:
    """Six bytes of "02:00:00:00:00:01".  ValueError for what is not a MAC address."""
    mac = bytes.fromhex(text.replace(":", "").replace("-", ""))
    if len(mac) != 6:
        raise ValueError(f"{text!r} is not a MAC address")
    return mac
