"""rtnetlink messages, as pyroute2 decodes them, to the values of `events`.

Pure functions: a message in, a value out, None for what vdp does not look at.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from vdp.netlink.events import Address, IPNetwork, Link, Neighbour

# linux/rtnetlink.h
RTM_NEWLINK, RTM_DELLINK = 16, 17
RTM_NEWADDR, RTM_DELADDR = 20, 21
RTM_NEWROUTE, RTM_DELROUTE = 24, 25
RTM_NEWNEIGH, RTM_DELNEIGH = 28, 29
RTM_NEWRULE, RTM_DELRULE = 32, 33

# linux/if.h
IFF_UP = 0x1
IFF_NOARP = 0x80
IFF_LOWER_UP = 0x10000

_INET = (socket.AF_INET, socket.AF_INET6)
_WIDTH = {socket.AF_INET: 32, socket.AF_INET6: 128}
_ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}


def message_type(message: Any) -> int:
    return int(message["header"]["type"])


def link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    return Link(
        index=int(message["index"]),
        name=str(message.get_attr("IFLA_IFNAME") or ""),
        mtu=int(message.get_attr("IFLA_MTU") or 0),
        mac=mac(message.get_attr("IFLA_ADDRESS")) or b"",
        up=bool(message["flags"] & IFF_UP),
        carrier=bool(message["flags"] & IFF_LOWER_UP),
        noarp=bool(message["flags"] & IFF_NOARP),
        type=int(message["ifi_type"]),
        kind=str(info.get_attr("IFLA_INFO_KIND") or "") if info is not None else "",
        master=int(message.get_attr("IFLA_MASTER") or 0),
    )


def is_link(message: Any) -> bool:
    """Not a bridge's message about one of its ports, which has the same type."""
    return int(message["family"]) == socket.AF_UNSPEC


def address(message: Any) -> Address | None:
    if message["family"] not in _INET:
        return None
    # IFA_LOCAL is the address itself; IFA_ADDRESS is the peer's on point-to-point links.
    text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    if text is None:
        return None
    return Address(int(message["index"]), ip_interface(f"{text}/{message['prefixlen']}"))


def neighbour(message: Any) -> Neighbour | None:
    """Entries of ARP and ND; forwarding entries of bridges (AF_BRIDGE) are none."""
    destination = message.get_attr("NDA_DST")
    if message["family"] not in _INET or destination is None:
        return None
    return Neighbour(
        ifindex=int(message["ifindex"]),
        address=ip_address(destination),
        mac=mac(message.get_attr("NDA_LLADDR")),
        state=int(message["state"]),
    )


def route(message: Any) -> IPNetwork | None:
    """The destination of a route message."""
    family = message["family"]
    if family not in _INET:
        return None
    destination = message.get_attr("RTA_DST") or _ANY[family]
    return ip_network(f"{destination}/{min(message['dst_len'], _WIDTH[family])}", strict=False)


def mac(text: str | None) -> bytes | None:
    """'02:00:…' to bytes; None for what is not text or is empty."""
    return bytes.fromhex(text.replace(":", "")) if text else None
