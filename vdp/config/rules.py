"""Rules as configurations write them: OVS-style match fields and actions.

Words and prerequisites are those of ovs-fields(7) and ovs-actions(7).  The
forwarding layer compiles what is here (vdp.forwarding); nothing here looks at
packets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StrictInt, StrictStr

from vdp.config.nearest import nearest_hint
from vdp.config.values import (
    DeviceName,
    EtherType,
    IpProtocol,
    Kind,
    Masked,
    MaskedMac,
    MaskedWord,
    Network,
    device_name,
    refuse,
)

ETH_TYPE_IP, ETH_TYPE_IPV6 = 0x0800, 0x86DD
# Protocols whose first four bytes are source and destination port.
PORTED_PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp", 136: "udplite"}


@dataclass(frozen=True, slots=True)
class Drop:
    """The packet goes nowhere (policy_rule)."""


@dataclass(frozen=True, slots=True)
class Output:
    """Out of the port or link of that name."""

    member: str


@dataclass(frozen=True, slots=True)
class Flood:
    """Out of every other member of the in-port's bridge."""


@dataclass(frozen=True, slots=True)
class Normal:
    """What bridge, connect and routes would have done without the rule."""


@dataclass(frozen=True, slots=True)
class PluginAction:
    """What a plugin does with the packet, which then goes on to the next action."""

    name: str  # PLUGIN.WORD
    argument: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.argument}" if self.argument else self.name


RuleAction = Drop | Output | Flood | Normal | PluginAction

ACTION_FORMS = ("drop", "output:NAME", "flood", "normal", "PLUGIN.WORD:ARGUMENT")


def parse_action(value: Any) -> RuleAction:
    """One action of a rule; refuses what is none."""
    expected = 'one of "drop", "output:NAME", "flood", "normal", or a plugin\'s "PLUGIN.WORD"'
    if isinstance(value, RuleAction):
        return value
    if not isinstance(value, str):
        raise refuse(expected)
    word, colon, argument = value.partition(":")
    if word == "output":
        if not argument:
            raise refuse(expected, 'output names a port or link: "output:tap0"')
        return Output(device_name(argument))
    plugin, dot, name = word.partition(".")
    if dot and plugin and name:
        return PluginAction(word, argument)
    plain: Mapping[str, RuleAction] = {"drop": Drop(), "flood": Flood(), "normal": Normal()}
    if colon or word not in plain:
        raise refuse(expected, nearest_hint(word, [*plain, "output"]))
    return plain[word]


Action = Annotated[RuleAction, PlainValidator(parse_action), Kind("an action")]


class RuleMatch(BaseModel):
    """What a rule takes; a field that is left out takes anything.

    Tables with other names hold the metadata that plugins set, by plugin:
    `match = { gre = { key = 42 } }`.
    """

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, defer_build=True)
    __pydantic_extra__: dict[str, dict[str, StrictInt | StrictStr]] = Field(init=False)

    in_port: DeviceName | None = Field(default=None, description="port or link that the packet came in by")
    eth_src: MaskedMac | None = Field(default=None, description="Ethernet source")
    eth_dst: MaskedMac | None = Field(default=None, description="Ethernet destination")
    eth_type: EtherType | None = Field(
        default=None,
        description="EtherType; of an L3 packet, that of its protocol. Implied by `ip_src` and `ip_dst`",
    )
    ip_src: Network | None = Field(default=None, description="IPv4 or IPv6 source")
    ip_dst: Network | None = Field(default=None, description="IPv4 or IPv6 destination")
    ip_proto: IpProtocol | None = Field(default=None, description="IP protocol, or next header of IPv6")
    tp_src: int | None = Field(
        default=None, ge=0, le=65535, description="source port of TCP, UDP, SCTP or UDP-Lite"
    )
    tp_dst: int | None = Field(default=None, ge=0, le=65535, description="destination port of the same")
    reg0: MaskedWord | None = Field(
        default=None, description="register that handlers set; `reg1` to `reg4` likewise"
    )
    reg1: MaskedWord | None = Field(default=None, description="")
    reg2: MaskedWord | None = Field(default=None, description="")
    reg3: MaskedWord | None = Field(default=None, description="")
    reg4: MaskedWord | None = Field(default=None, description="")

    @property
    def registers(self) -> dict[int, Masked]:
        """The registers that are matched, by number (0: metadata word 2)."""
        words = (self.reg0, self.reg1, self.reg2, self.reg3, self.reg4)
        return {number: word for number, word in enumerate(words) if word is not None}

    @property
    def metadata(self) -> Mapping[str, Mapping[str, int | str]]:
        """Plugins' metadata to match, by plugin and name."""
        return self.__pydantic_extra__ or {}

    @property
    def ether_type(self) -> int | None:
        """eth_type as written, else what an IP address implies, else None."""
        if self.eth_type is not None:
            return self.eth_type
        for network in (self.ip_src, self.ip_dst):
            if network is not None:
                return ether_type_of(network)
        return None


def ether_type_of(network: IPv4Network | IPv6Network) -> int:
    return ETH_TYPE_IP if network.version == 4 else ETH_TYPE_IPV6


def missing_prerequisites(match: RuleMatch) -> Iterator[tuple[str, str, str]]:
    """(field, expected, hint) of each field that can not match beside the others (ovs-fields(7))."""
    for name, network in (("ip_src", match.ip_src), ("ip_dst", match.ip_dst)):
        if network is not None and ether_type_of(network) != match.ether_type:
            wanted = "IPv4" if match.ether_type == ETH_TYPE_IP else "IPv6"
            if match.ether_type in (ETH_TYPE_IP, ETH_TYPE_IPV6):
                yield name, f"an {wanted} network, as the fields beside it say", ""
            else:
                yield name, 'no IP address beside an eth_type other than "ip" and "ipv6"', ""
    if match.ip_proto is not None and match.ether_type not in (ETH_TYPE_IP, ETH_TYPE_IPV6):
        yield "ip_proto", 'eth_type = "ip" or "ipv6" beside it', 'add eth_type = "ip"'
    for name, port in (("tp_src", match.tp_src), ("tp_dst", match.tp_dst)):
        if port is not None and match.ip_proto not in PORTED_PROTOCOLS:
            yield name, 'ip_proto = "tcp", "udp", "sctp" or "udplite" beside it', 'add ip_proto = "tcp"'


def match_words(match: RuleMatch) -> list[str]:
    """What it takes, as `field=value`, as it may be written in a configuration."""
    words = [
        f"{name}={_match_word(name, value)}"
        for name in type(match).model_fields
        if (value := getattr(match, name)) is not None
    ]
    extra = match.__pydantic_extra__ or {}
    return words + [
        f"{plugin}.{name}={value}" for plugin, has in extra.items() for name, value in has.items()
    ]


def _match_word(name: str, value: object) -> str:
    if name == "eth_type":
        return f"0x{value:04x}"
    if isinstance(value, Masked):
        separator = ":" if len(value.value) == 6 else ""
        parts = [
            part.hex(separator) if separator else f"0x{part.hex()}" for part in (value.value, value.mask)
        ]
        return parts[0] if not value.mask.strip(b"\xff") else "/".join(parts)
    return str(value)


def action_word(action: RuleAction) -> str:
    """The action as it is written in a configuration."""
    if isinstance(action, Output):
        return f"output:{action.member}"
    return str(action) if isinstance(action, PluginAction) else type(action).__name__.lower()
