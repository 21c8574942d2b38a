"""rtnetlink messages, as pyroute2 decodes them, to the values of `events`.

Pure functions: a message in, a value out, None for what vdp does not look at, Unreadable for what is
not as rtnetlink(7) has it: a kernel that says something new must not end who listens to it.
"""

from __future__ import annotations

import errno
import functools
import reprlib
import socket
from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, TypeVar

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

T = TypeVar("T")


class Unreadable(OSError):
    """A message that is not as rtnetlink(7) has it."""

    def __init__(self, what: str, why: object) -> None:
        super().__init__(errno.EBADMSG, f"a message about {what} that can not be read: {why}")

    def __str__(self) -> str:
        return str(self.strerror)


def _readable(what: str) -> Callable[[Callable[[Any], T]], Callable[[Any], T]]:
    """What the library could not read it leaves out, or as bytes; what comes of that is Unreadable."""

    def of(decode: Callable[[Any], T]) -> Callable[[Any], T]:
        @functools.wraps(decode)
        def read(message: Any) -> T:
            try:
                return decode(message)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise Unreadable(what, error) from error

        return read

    return of


def message_type(message: Any) -> int:
    return int(message["header"]["type"])


def _text(message: Any, name: str) -> str | None:
    """An attribute that is text; what could not be read is bytes, of which ipaddress makes addresses."""
    found = message.get_attr(name)
    if found is None or isinstance(found, str):
        return found
    raise ValueError(f"{name} is {reprlib.repr(found)}")


@_readable("a link")
def link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    return Link(
        index=int(message["index"]),
        name=_text(message, "IFLA_IFNAME") or "",
        mtu=int(message.get_attr("IFLA_MTU") or 0),
        mac=mac(_text(message, "IFLA_ADDRESS")) or b"",
        up=bool(message["flags"] & IFF_UP),
        carrier=bool(message["flags"] & IFF_LOWER_UP),
        noarp=bool(message["flags"] & IFF_NOARP),
        type=int(message["ifi_type"]),
        kind=(_text(info, "IFLA_INFO_KIND") or "") if info is not None else "",
        master=int(message.get_attr("IFLA_MASTER") or 0),
        txqueuelen=int(message.get_attr("IFLA_TXQLEN") or 0),
    )


@_readable("a link")
def is_link(message: Any) -> bool:
    """Not a bridge's message about one of its ports, which has the same type."""
    return int(message["family"]) == socket.AF_UNSPEC


@_readable("an address")
def address(message: Any) -> Address | None:
    if message["family"] not in _INET:
        return None
    # IFA_LOCAL is the address itself; IFA_ADDRESS is the peer's on point-to-point links.
    text = _text(message, "IFA_LOCAL") or _text(message, "IFA_ADDRESS")
    if text is None:
        return None
    return Address(int(message["index"]), ip_interface(f"{text}/{message['prefixlen']}"))


@_readable("a neighbour")
def neighbour(message: Any) -> Neighbour | None:
    """Entries of ARP and ND; forwarding entries of bridges (AF_BRIDGE) are none."""
    if message["family"] not in _INET:
        return None
    destination = _text(message, "NDA_DST")
    if destination is None:
        return None
    return Neighbour(
        ifindex=int(message["ifindex"]),
        address=ip_address(destination),
        mac=mac(_text(message, "NDA_LLADDR")),
        state=int(message["state"]),
    )


@_readable("a route")
def route(message: Any) -> IPNetwork | None:
    """The destination of a route message."""
    family = message["family"]
    if family not in _INET:
        return None
    destination = _text(message, "RTA_DST") or _ANY[family]
    return ip_network(f"{destination}/{min(message['dst_len'], _WIDTH[family])}", strict=False)


def mac(text: str | None) -> bytes | None:
    """'02:00:…' to bytes; None for what is not text or is empty."""
    return bytes.fromhex(text.replace(":", "")) if text else None
