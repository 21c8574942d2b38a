"""Layers of an expression, and the packet that they make.

Every header that vdp or a loaded plugin declares can be named: a few by short names (`NAMES`),
with short names for fields as well, all others by their class (`MplsLabel(label=5)`).  What is
not said of a header is: what names the layer behind it (EtherType, protocol), lengths and checksums,
as they must be; what a `Defaults` knows of the port (addresses, key); zero.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from vdp.expressions.grammar import ExpressionError, Layer, Value
from vdp.header import Field, Header, Octets
from vdp.protocols.arp import Arp
from vdp.protocols.ethernet import Ethernet, EtherType, Vlan, parse_mac
from vdp.protocols.gre import GreBase, GreChecksum, GreKey, GreSequence
from vdp.protocols.ip import Icmp, IPProtocol, IPv4, IPv6, internet_checksum, pseudo_header6
from vdp.protocols.tcp import Tcp
from vdp.protocols.udp import Udp

PAYLOAD = "payload"
#: Bytes that one expression may make.
MOST = 65535


@dataclass(frozen=True, slots=True)
class Name:
    """What a short name stands for: a header, short names of its fields, and what they are if not said."""

    kind: type[Header]
    fields: Mapping[str, str] = field(default_factory=dict)
    usual: Mapping[str, int | bytes] = field(default_factory=dict)
    #: Fields that are worked out where they are not given.
    computed: tuple[str, ...] = ()


_ENDS = {"src": "source", "dst": "destination"}
_PORTS = _ENDS | {"sport": "source", "dport": "destination"}
NAMES: dict[str, Name] = {
    "eth": Name(
        Ethernet,
        _ENDS | {"ethertype": "type"},
        {"source": bytes.fromhex("020000000011"), "destination": bytes.fromhex("020000000012")},
        ("type",),
    ),
    "vlan": Name(
        Vlan, {"vid": "id", "pcp": "priority", "dei": "drop_eligible", "ethertype": "type"}, {}, ("type",)
    ),
    "arp": Name(
        Arp,
        {
            "op": "operation",
            "hwsrc": "sender_mac",
            "psrc": "sender_ip",
            "hwdst": "target_mac",
            "pdst": "target_ip",
        },
        {
            "hardware": 1,
            "protocol": EtherType.IPV4,
            "hardware_size": 6,
            "protocol_size": 4,
            "operation": 1,
            "sender_mac": bytes.fromhex("020000000011"),
            "sender_ip": int(IPv4Address("10.0.0.1")),
            "target_ip": int(IPv4Address("10.0.0.2")),
        },
    ),
    "ip": Name(
        IPv4,
        _ENDS
        | {
            "proto": "protocol",
            "id": "identification",
            "len": "total_length",
            "frag": "fragment",
            "chksum": "checksum",
        },
        {
            "version": 4,
            "ihl": 5,
            "ttl": 64,
            "source": int(IPv4Address("10.0.0.1")),
            "destination": int(IPv4Address("10.0.0.2")),
        },
        ("total_length", "protocol", "checksum"),
    ),
    "ip6": Name(
        IPv6,
        _ENDS
        | {
            "nh": "next_header",
            "hlim": "hop_limit",
            "ttl": "hop_limit",
            "fl": "flow_label",
            "len": "payload_length",
        },
        {
            "version": 6,
            "hop_limit": 64,
            "source": int(IPv6Address("2001:db8::1")),
            "destination": int(IPv6Address("2001:db8::2")),
        },
        ("payload_length", "next_header"),
    ),
    "udp": Name(
        Udp,
        _PORTS | {"len": "length", "chksum": "checksum"},
        {"source": 1024, "destination": 9},
        ("length", "checksum"),
    ),
    "tcp": Name(
        Tcp,
        _PORTS | {"seq": "sequence", "ack": "acknowledgment", "chksum": "checksum"},
        {"source": 1024, "destination": 80, "data_offset": 5, "flags": 0x10, "window": 65535},
        ("checksum",),
    ),
    "icmp": Name(Icmp, {"chksum": "checksum"}, {"type": 8}, ("checksum",)),
    "icmp6": Name(Icmp, {"chksum": "checksum"}, {"type": 128}, ("checksum",)),
    "gre": Name(GreBase, {"proto": "protocol"}, {}, ("protocol",)),
}
#: Fields that are more than one of the header's, or stand behind it.
SPECIAL: dict[str, tuple[str, ...]] = {
    "gre": ("key", "seq", "csum", "checksum"), "ip": ("tos", "df", "mf", "options"), "ip6": ("tos",),
    PAYLOAD: ("size", "hex", "text"),
}  # fmt: skip
#: Fields that stand in a header behind the one that is named.
BEHIND: dict[tuple[str, str], tuple[type[Header], str]] = {
    ("gre", "key"): (GreKey, "key"),
    ("gre", "seq"): (GreSequence, "sequence"),
    ("gre", "checksum"): (GreChecksum, "checksum"),
}
TCP_FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ece": 64, "cwr": 128}
WORDS = {
    "on": 1, "yes": 1, "true": 1, "off": 0, "no": 0, "false": 0, "request": 1, "reply": 2,
    **{each.name.lower(): int(each) for each in IPProtocol},
}  # fmt: skip
ETHERTYPES = {each.name.lower(): int(each) for each in EtherType}
#: What a header of that name is called by the one in front of it.
ETHERTYPE_OF = {"ip": 0x0800, "ip6": 0x86DD, "arp": 0x0806, "vlan": 0x8100}
GRE_PROTOCOL_OF = {"ip": 0x0800, "ip6": 0x86DD, "eth": 0x6558}
PROTOCOL_OF = {"udp": 17, "tcp": 6, "icmp": 1, "icmp6": 58, "gre": 47, "ip": 4, "ip6": 41}
COVERED = {"udp": 17, "tcp": 6, "icmp6": 58}  # checksums with a pseudo header

#: Values of a layer that is not first: by layers, and the place of the one.  None: nothing to say.
Defaults = Callable[[Sequence["Made"], int], Mapping[str, int | bytes | bool]]


@dataclass(slots=True)
class Made:
    """A layer under construction: its values by the header's own names; `given`: those that were written."""

    name: str
    kind: type[Header] | None
    values: dict[str, Any]
    given: frozenset[str]
    column: int


def build(layers: Sequence[Layer], defaults: Defaults, kinds: Sequence[type[Header]]) -> bytes:
    """The packet.  kinds: all declared headers, for those without a short name.  ExpressionError."""
    made = [_read(layer, kinds) for layer in layers]
    for place, layer in enumerate(made):
        usual = dict(NAMES[layer.name].usual) if layer.name in NAMES else {}
        layer.values = usual | dict(defaults(made, place)) | layer.values
    data = b""
    for place in range(len(made) - 1, -1, -1):
        data = _front(made, place, data) + data
        if len(data) > MOST:
            raise ExpressionError(f"the packet is longer than {MOST} bytes", made[place].column)
        data = _finished(made, place, data)
    return data


def _read(layer: Layer, kinds: Sequence[type[Header]]) -> Made:
    name = PAYLOAD if layer.name in ("raw", PAYLOAD) else layer.name
    kind = (
        NAMES[name].kind if name in NAMES else next((each for each in kinds if each.__name__ == name), None)
    )
    if kind is None and name != PAYLOAD:
        known = [*NAMES, PAYLOAD, *sorted({each.__name__ for each in kinds})]
        raise ExpressionError(f"no layer is called {name!r}", layer.column, _near(name, known))
    values: dict[str, Any] = {}
    short = NAMES[name].fields if name in NAMES else {}
    fields = kind.fields() if kind else {}
    for word, (value, column) in layer.fields.items():
        if word in SPECIAL.get(name, ()):
            values[word] = _special(word, value)
            continue
        own = short.get(word, word)
        if own not in fields:
            known = [*fields, *short, *SPECIAL.get(name, ())]
            raise ExpressionError(f"{layer.name} has no field {word!r}", column, _near(word, known))
        values[own] = field_value(fields[own], value)
    return Made(name, kind, values, frozenset(values), layer.column)


def field_named(text: str, column: int, kinds: Sequence[type[Header]]) -> tuple[type[Header], Field[Any]]:
    """The field that "ip.proto" or "IPv4.protocol" names, and its header.  ExpressionError."""
    layer, _, word = text.partition(".")
    if (layer, word) in BEHIND:
        kind, word = BEHIND[layer, word]
        return kind, kind.fields()[word]
    found = NAMES[layer].kind if layer in NAMES else next((k for k in kinds if k.__name__ == layer), None)
    if found is None:
        known = [*NAMES, *sorted({each.__name__ for each in kinds})]
        raise ExpressionError(f"no layer is called {layer!r}", column, _near(layer, known))
    short = NAMES[layer].fields if layer in NAMES else {}
    fields = found.fields()
    if short.get(word, word) not in fields:
        raise ExpressionError(f"{layer} has no field {word!r}", column, _near(word, [*fields, *short]))
    return found, fields[short.get(word, word)]


def _near(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(dict.fromkeys(known))}"


def field_value(item: Field[Any], value: Value) -> int | bytes:
    """What was written, as that field takes it.  ExpressionError."""
    if isinstance(item, Octets):
        try:
            octets = parse_mac(value.text) if item.width == 48 else bytes.fromhex(value.text.replace(":", ""))
            item.encode(octets)
        except ValueError:
            raise ExpressionError(
                f"{item.name}: found {value.text!r}, expected {item.width // 8} bytes in hex", value.column
            ) from None
        return octets
    number = _number(item, value)
    if not 0 <= number < 1 << item.width:
        raise ExpressionError(
            f"{item.name}: {value.text} does not fit {item.width} bits (0 to {(1 << item.width) - 1})",
            value.column,
        )
    return number


def _number(item: Field[int], value: Value) -> int:
    text = value.text
    if item.name == "flags" and item.width == 8:  # of TCP
        parts = text.lower().replace("+", "|").split("|")
        if all(part in TCP_FLAGS for part in parts):
            return sum({TCP_FLAGS[part] for part in parts})
    named = ETHERTYPES if item.name == "type" or (item.name == "protocol" and item.width == 16) else WORDS
    if text.lower() in named:
        return named[text.lower()]
    try:
        if item.width == 32 and text.count(".") == 3:
            return int(IPv4Address(text))
        if item.width == 128:
            return int(IPv6Address(text))
        return int(text, 0)
    except ValueError:
        expected = {128: "an IPv6 address", 32: "a number or an IPv4 address"}.get(item.width, "a number")
        raise ExpressionError(f"{item.name}: found {text!r}, expected {expected}", value.column) from None


class _Plain(Field[int]):
    """A number that is no header's field."""

    def __init__(self, name: str, width: int) -> None:
        super().__init__(width)
        self.name = name


def _special(word: str, value: Value) -> int | bytes | None:
    if word in ("key", "seq") and value.text == "none":
        return None
    if word == "text":
        return value.text.encode()
    if word in ("hex", "options"):
        try:
            return bytes.fromhex(value.text)
        except ValueError:
            raise ExpressionError(
                f"{word}: found {value.text!r}, expected bytes in hex", value.column
            ) from None
    widths = {"key": 32, "seq": 32, "checksum": 16, "tos": 8, "size": 16}
    return int(field_value(_Plain(word, widths.get(word, 1)), value))


def _front(made: Sequence[Made], place: int, behind: bytes) -> bytes:
    """The header, its sums and lengths still to be worked out."""
    layer = made[place]
    values = dict(layer.values)
    following = made[place + 1].name if place + 1 < len(made) else ""
    if layer.kind is None:
        filler = bytes(index & 0xFF for index in range(int(values.get("size", 0))))
        return bytes(values.get("hex", b"")) + bytes(values.get("text", b"")) + filler
    match layer.name:
        case "eth" | "vlan":
            values.setdefault("type", ETHERTYPE_OF.get(following, 0x88B5))
        case "ip":
            return _ipv4(values, following)
        case "ip6":
            values.setdefault("next_header", PROTOCOL_OF.get(following, 59))  # 59: nothing follows
            _set_tos(values)
        case "gre":
            return _gre(values, following)
    return layer.kind.pack(**values)


def _ipv4(values: dict[str, Any], following: str) -> bytes:
    values.setdefault("protocol", PROTOCOL_OF.get(following, 253))  # 253: experiments (RFC 3692)
    _set_tos(values)
    options = bytes(values.pop("options", b""))
    options += bytes(-len(options) % 4)
    df, mf = values.pop("df", 0), values.pop("mf", 0)
    values["fragment"] = values.get("fragment", 0) | df << 14 | mf << 13
    if options and values["ihl"] == 5:
        values["ihl"] = 5 + len(options) // 4
    return IPv4.pack(**values) + options


def _set_tos(values: dict[str, Any]) -> None:
    if "tos" in values:
        tos = values.pop("tos")
        values.setdefault("dscp", tos >> 2)
        values.setdefault("ecn", tos & 3)


def _gre(values: dict[str, Any], following: str) -> bytes:
    """The header with what its flags announce: each flag can be set, or follow from a value."""
    values.setdefault("protocol", GRE_PROTOCOL_OF.get(following, 0x88B5))
    key, sequence, checksum = values.pop("key", None), values.pop("seq", None), values.pop("checksum", None)
    has_checksum = bool(values.pop("csum", checksum is not None))
    flags = {"csum": int(has_checksum), "key": int(key is not None), "seq": int(sequence is not None)}
    tail = GreChecksum.pack(checksum=checksum or 0) if has_checksum else b""
    tail += GreKey.pack(key=key) if key is not None else b""
    tail += GreSequence.pack(sequence=sequence) if sequence is not None else b""
    return GreBase.pack(**values, **flags) + tail


def _finished(made: Sequence[Made], place: int, data: bytes) -> bytes:
    """The layer and all behind it, with lengths and checksums that nobody gave."""
    layer = made[place]
    if layer.kind is None:
        return data
    computed = NAMES[layer.name].computed if layer.name in NAMES else ()
    changed = bytearray(data)
    if "total_length" in computed and "total_length" not in layer.given:
        changed[2:4] = len(data).to_bytes(2, "big")
    if "payload_length" in computed and "payload_length" not in layer.given:
        changed[4:6] = (len(data) - IPv6.SIZE).to_bytes(2, "big")
    if "length" in computed and "length" not in layer.given:
        changed[4:6] = len(data).to_bytes(2, "big")
    if layer.name == "ip" and "checksum" not in layer.given:
        size = _ipv4_size(data)
        changed[10:12] = internet_checksum(bytes(changed[:10]) + b"\0\0" + bytes(changed[12:size]))
    if layer.name == "icmp" and "checksum" not in layer.given:
        changed[2:4] = internet_checksum(bytes(changed[:2]) + b"\0\0" + bytes(changed[4:]))
    if layer.name == "gre" and changed[0] & 0x80 and "checksum" not in layer.given:
        changed[4:6] = internet_checksum(bytes(changed[:4]) + b"\0\0" + bytes(changed[6:]))
    return _with_transport(made, place, changed)


def _ipv4_size(packet: bytes | bytearray) -> int:
    return max(IPv4.SIZE, (packet[0] & 15) * 4)


def _with_transport(made: Sequence[Made], place: int, data: bytearray) -> bytes:
    """An IP packet, with the checksum of the transport header that it carries."""
    layer = made[place]
    behind = made[place + 1] if place + 1 < len(made) else None
    if (
        layer.name not in ("ip", "ip6")
        or behind is None
        or behind.name not in COVERED
        or "checksum" in behind.given
    ):
        return bytes(data)
    front = _ipv4_size(data) if layer.name == "ip" else IPv6.SIZE
    is_later = layer.name == "ip" and bool(data[6] & 0x1F | data[7])
    if is_later or len(data) < front + 8:
        return bytes(data)
    at = front + {"udp": 6, "tcp": 16, "icmp6": 2}[behind.name]
    data[at : at + 2] = b"\0\0"
    number, body = COVERED[behind.name], bytes(data[front:])
    if layer.name == "ip":
        pseudo = bytes(data[12:20]) + number.to_bytes(2, "big") + len(body).to_bytes(2, "big")
    else:
        pseudo = pseudo_header6(bytes(data[8:24]), bytes(data[24:40]), len(body), number)
    total = internet_checksum(pseudo + body)
    data[at : at + 2] = b"\xff\xff" if behind.name == "udp" and total == b"\0\0" else total
    return bytes(data)
