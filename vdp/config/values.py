"""The values that configurations are made of: names, addresses, protocols, and how each is checked.

Each type here is an annotated type for a pydantic model: it takes what TOML gives,
refuses with `refuse(expected, hint)`, and yields the parsed thing.  `Kind` is its
name in messages and in docs/configuration.md.  Plugins use them for the
parameters of their links.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainValidator
from pydantic_core import PydanticCustomError

from vdp.capabilities import NUMBERS
from vdp.config.nearest import nearest_hint

# linux/if.h IFNAMSIZ is 16 with the terminating zero.
NAME_SIZE = 15
# linux/un.h: sun_path is 108 bytes with the terminating zero.
SOCKET_PATH_SIZE = 107

ETHER_TYPES: Mapping[str, int] = {
    "ip": 0x0800,
    "ipv4": 0x0800,
    "arp": 0x0806,
    "teb": 0x6558,
    "rarp": 0x8035,
    "vlan": 0x8100,
    "ipv6": 0x86DD,
    "wccp": 0x883E,
    "mpls": 0x8847,
    "mpls_mc": 0x8848,
    "pppoe_disc": 0x8863,
    "pppoe": 0x8864,
    "eapol": 0x888E,
    "qinq": 0x88A8,
    "erspan": 0x88BE,
    "lldp": 0x88CC,
    "macsec": 0x88E5,
    "ptp": 0x88F7,
    "nsh": 0x894F,
}

IP_PROTOCOLS: Mapping[str, int] = {
    "icmp": 1,
    "igmp": 2,
    "ipip": 4,
    "tcp": 6,
    "udp": 17,
    "ipv6": 41,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "icmpv6": 58,
    "ospf": 89,
    "etherip": 97,
    "pim": 103,
    "vrrp": 112,
    "l2tp": 115,
    "sctp": 132,
    "udplite": 136,
    "mpls": 137,
}


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value is, in words that fit behind "expected"."""

    text: str


@dataclass(frozen=True, slots=True)
class Masked:
    """The bits of `value` under `mask`; both of one size, big-endian, no value bit outside the mask."""

    value: bytes
    mask: bytes


def refuse(expected: str, hint: str = "") -> PydanticCustomError:
    """The error of a value that is not what was `expected`."""
    return PydanticCustomError("vdp", "expected {expected}", {"expected": expected, "hint": hint})


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Listed = BeforeValidator(_listed)  # TOML arrays are lists; frozen sections hold tuples


# Names


def device_name(name: str) -> str:
    """A name that Linux takes for a device (dev_valid_name), and that prints."""
    if not name:
        raise refuse("a name of 1 to 15 bytes")
    if len(name.encode()) > NAME_SIZE:
        raise refuse(
            "a name of at most 15 bytes", f"{name.encode()[:NAME_SIZE].decode(errors='ignore')!r} fits"
        )
    if name in (".", "..") or any(c in "/:%" or c.isspace() or not c.isprintable() for c in name):
        raise refuse('a name without "/", ":", "%", blanks and control characters')
    return name


def namespace_name(name: str) -> str:
    """A name under /run/netns."""
    if not name or len(name.encode()) > 255 or name in (".", ".."):
        raise refuse("the name of a network namespace, as `ip netns` shows it")
    if any(c == "/" or c.isspace() or not c.isprintable() for c in name):
        hint = ""
        if name.startswith(("/run/netns/", "/var/run/netns/")):
            hint = f"write {name.rsplit('/', 1)[1]!r}"
        raise refuse("the name of a network namespace, not a path", hint)
    return name


def plugin_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise refuse("the name of a plugin (letters, digits, _ - .)")
    return name


def plugin_hash(text: str) -> str:
    """What a plugin's files must be (vdp.plugin_files)."""
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
        raise refuse('"sha256:" and 64 hexadecimal digits, as `vdp plugin hash` prints it')
    return text


def capability(name: str) -> str:
    """A capability by the kernel's name, or all of them."""
    if name != "all" and name not in NUMBERS:
        raise refuse('a capability, such as "CAP_SYS_TIME", or "all"', nearest_hint(name, NUMBERS))
    return name


def socket_path(path: str) -> str:
    if not path or "\0" in path or path.endswith("/"):
        raise refuse("the path of a UNIX socket")
    if len(path.encode()) > SOCKET_PATH_SIZE:
        raise refuse(f"a path of at most {SOCKET_PATH_SIZE} bytes (the limit of UNIX sockets)")
    return path


DeviceName = Annotated[str, AfterValidator(device_name), Kind("a device name (1 to 15 bytes)")]
NamespaceName = Annotated[str, AfterValidator(namespace_name), Kind("a network namespace's name")]
PluginName = Annotated[str, AfterValidator(plugin_name), Kind("a plugin's name")]
PluginHash = Annotated[str, AfterValidator(plugin_hash), Kind('"sha256:" and 64 hexadecimal digits')]
Capability = Annotated[str, AfterValidator(capability), Kind("a capability's name")]
SocketPath = Annotated[str, AfterValidator(socket_path), Kind("the path of a UNIX socket")]


# Addresses


def address_hint(value: object, other_family: str = "") -> str:
    """What to write in place of `value`, which is no address, or one of the `other_family`."""
    if not isinstance(value, str):
        return ""
    text, slash, _ = value.partition("/")
    try:
        ip_address(text)
    except ValueError:
        is_name = re.fullmatch(r"[A-Za-z0-9_.-]*[A-Za-z][A-Za-z0-9_.-]*", value)
        return "names are not resolved: write the address" if is_name else ""
    return f'write "{text}"' if slash else other_family


def _address(value: Any) -> IPv4Address | IPv6Address:
    expected = 'an IP address, such as "192.0.2.1"'
    if not isinstance(value, str):
        raise refuse(expected)
    try:
        return ip_address(value)
    except ValueError:
        raise refuse(expected, address_hint(value)) from None


def _interface(value: Any) -> IPv4Interface | IPv6Interface:
    expected = 'an address with its prefix length, such as "10.0.0.1/24"'
    if not isinstance(value, str):
        raise refuse(expected)
    try:
        interface = ip_interface(value)
    except ValueError:
        raise refuse(expected) from None
    if "/" not in value:
        raise refuse(expected, f'write "{value}/{24 if interface.version == 4 else 64}"')
    if interface.ip.is_multicast or interface.ip.is_unspecified:
        raise refuse("the address of one host")
    return interface


def _network(value: Any) -> IPv4Network | IPv6Network:
    expected = 'a network, such as "10.20.0.0/16" or "::/0"'
    if not isinstance(value, str):
        raise refuse(expected)
    if value == "default":
        raise refuse(expected, 'write "0.0.0.0/0" or "::/0"')
    try:
        return ip_network(value)
    except ValueError:
        pass
    try:
        near = ip_network(value, strict=False)
    except ValueError:
        raise refuse(expected) from None
    raise refuse("a network without host bits", f'write "{near}"')


_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")


def mac_bytes(text: str) -> bytes:
    """The six bytes of "aa:bb:cc:dd:ee:ff"; refuses anything else."""
    if not _MAC.fullmatch(text):
        raise refuse('a MAC address, such as "02:00:00:00:00:01"')
    return bytes.fromhex(text.replace(":", "").replace("-", ""))


def _station(text: str) -> str:
    address = mac_bytes(text)
    if address[0] & 1 or not any(address):
        # IEEE 802: the group bit is the lowest of the first byte.
        raise refuse("the MAC address of one station, not a group or zero")
    return address.hex(":")


def _masked_mac(value: Any) -> Masked:
    if not isinstance(value, str):
        raise refuse('a MAC address, or address/mask, such as "01:00:00:00:00:00/01:00:00:00:00:00"')
    text, slash, mask_text = value.partition("/")
    address = mac_bytes(text)
    mask = mac_bytes(mask_text) if slash else b"\xff" * 6
    return _masked(address, mask)


def _masked(value: bytes, mask: bytes) -> Masked:
    if any(v & ~m for v, m in zip(value, mask, strict=True)):
        raise refuse("a value without bits outside its mask")
    return Masked(value, mask)


Address = Annotated[IPv4Address | IPv6Address, PlainValidator(_address), Kind("an IP address")]
Interface = Annotated[
    IPv4Interface | IPv6Interface, PlainValidator(_interface), Kind("an address with its prefix length")
]
Network = Annotated[IPv4Network | IPv6Network, PlainValidator(_network), Kind("a network (address/prefix)")]
Mac = Annotated[str, AfterValidator(_station), Kind("a MAC address")]
MaskedMac = Annotated[Masked, PlainValidator(_masked_mac), Kind("a MAC address, or address/mask")]


# Numbers with names


def _number(value: Any) -> int | None:
    """An int, or the text of one in decimal or hexadecimal; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20}", value):
        return int(value, 0 if value[:2] in ("0x", "0X") else 10)
    return None


def _named(value: Any, names: Mapping[str, int], most: int, what: str) -> int:
    number = _number(value)
    if number is None:
        if isinstance(value, str) and value.lower() in names:
            return names[value.lower()]
        hint = nearest_hint(value, names) if isinstance(value, str) else ""
        raise refuse(f"{what} by name or number", hint or f"names: {', '.join(sorted(names))}")
    if not 0 <= number <= most:
        raise refuse(f"{what} from 0 to {most}")
    return number


def _ether_type(value: Any) -> int:
    number = _named(value, ETHER_TYPES, 0xFFFF, "an EtherType")
    if number < 0x0600:
        # IEEE 802.3 clause 3.2.6: smaller values are lengths.
        raise refuse("an EtherType of at least 0x0600")
    return number


def _ip_protocol(value: Any) -> int:
    return _named(value, IP_PROTOCOLS, 255, "an IP protocol")


def _raw_protocol(value: Any) -> int:
    number = _ip_protocol(value)
    if number in (0, 255):
        # raw(7): IPPROTO_RAW sockets send only; 0 is a wildcard that no socket can have.
        raise refuse("an IP protocol from 1 to 254: a raw socket receives no other")
    return number


def _masked_word(value: Any) -> Masked:
    expected = 'a 32-bit number, or "value/mask"'
    if isinstance(value, str) and "/" in value:
        text, _, mask_text = value.partition("/")
        number, mask = _number(text), _number(mask_text)
    else:
        number, mask = _number(value), 0xFFFFFFFF
    if number is None or mask is None or not 0 <= number <= 0xFFFFFFFF or not 0 <= mask <= 0xFFFFFFFF:
        raise refuse(expected)
    return _masked(number.to_bytes(4, "big"), mask.to_bytes(4, "big"))


EtherType = Annotated[int, PlainValidator(_ether_type), Kind("an EtherType by name or number")]
IpProtocol = Annotated[int, PlainValidator(_ip_protocol), Kind("an IP protocol by name or number")]
RawProtocol = Annotated[int, PlainValidator(_raw_protocol), Kind("an IP protocol by name or number")]
MaskedWord = Annotated[Masked, PlainValidator(_masked_word), Kind('a 32-bit number, or "value/mask"')]


# Listening


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a TCP server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def listen_address(value: Any) -> Listen:
    """The address and port of "127.0.0.1:9479" or "[::1]:9479"."""
    expected = 'an address and port, such as "127.0.0.1:9479" or "[::1]:9479"'
    if isinstance(value, Listen):
        return value
    if not isinstance(value, str):
        raise refuse(expected)
    host, colon, port = value.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else "127.0.0.1" if host == "localhost" else host
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        hint = f'write "{value}:9479"' if re.fullmatch(r"[0-9.]+", value) else ""
        raise refuse(expected, hint)
    try:
        address = ip_address(host)
    except ValueError:
        raise refuse(
            expected, f'write an address, "127.0.0.1:{port}": names are not looked up here'
        ) from None
    if (address.version == 6) != bracketed:
        raise refuse(expected, f'write "[{host}]:{port}"' if address.version == 6 else "")
    return Listen(str(address), int(port))


ListenAddress = Annotated[Listen, PlainValidator(listen_address), Kind("an address and port")]
