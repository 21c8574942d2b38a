"""A topology to try a plugin in, and packets that it should know: its samples.

A plugin gives its own as a function of the dataplane, named by an entry point of the group
`vdp.samples` under the plugin's name; it makes ports and links, and answers packets with the
port that each comes in by:

    def samples(plane: Dataplane) -> Iterable[tuple[str, bytes]]:
        plane.port("underlay", PacketType.L3)
        plane.link("gre1", "gre", local="192.0.2.1", remote="192.0.2.2")
        yield "underlay", ipv4("192.0.2.2", "192.0.2.1", gre(b"…", 0x88B5), protocol=47)

Without it they are made up (`guess`): links of each kind that the plugin gives, and as packets
what those links send, sent back; plain IP and GRE; packets for each place where it has a handler.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import entry_points
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from annotated_types import Ge
from pydantic import BaseModel

from vdp.engine.interface import PacketType
from vdp.links.link import LinkError, LinkKind
from vdp.metadata import SAMPLES
from vdp.protocols.ip import IPProtocol
from vdp.registry import Registered
from vdp.testing import builders
from vdp.testing.dataplane import Dataplane

Samples = Callable[[Dataplane], Iterable[tuple[str, bytes]]]

A, B = "192.0.2.1", "192.0.2.2"
A6, B6 = "2001:db8::1", "2001:db8::2"
#: Payloads of GRE that are tried where a handler of a list does not say what it takes.
PROTOCOLS = (0x0800, 0x86DD, 0x6558, 0x883E, 0x88BE, 0x22EB, 0x880B, 0x88B5, 0x88B6, 0x8847)
#: Of links that are made up.
OPTIONS: tuple[dict[str, Any], ...] = ({}, {"key": 1}, {"key": 2, "seq": True}, {"csum": True, "key": 3})
GRE_LISTS = ("gre_cisco", "gre_before", "ip6gre", "gre6_before", "gre_version", "gre6_version")


class NoSamples(LookupError):
    """The plugin's samples, that an entry point or the command line names, can not be had."""


def samples_of(plugin: str, named: str | None = None) -> Samples | None:
    """A plugin's own samples: of "MODULE:FUNCTION", else of its entry point; None where it has none."""
    if named is not None:
        module, _, function = named.partition(":")
        try:
            found: Samples = getattr(importlib.import_module(module), function or "samples")
        except (ImportError, AttributeError) as error:
            raise NoSamples(f"{named}: {error}") from error
        return found
    for point in entry_points(group=SAMPLES, name=plugin):
        try:
            loaded: Samples = point.load()
        except (ImportError, AttributeError) as error:
            raise NoSamples(f"entry point {plugin} of the group {SAMPLES}: {error}") from error
        return loaded
    return None


def guess(
    plane: Dataplane, kinds: Iterable[str], handlers: Iterable[Registered]
) -> Iterator[tuple[str, bytes]]:
    """Ports, links of those kinds and one of each other, and packets for links and handlers."""
    own = set(kinds)
    for version, underlay in ((4, "underlay"), (6, "underlay6")):
        plane.port(underlay, PacketType.L3)
        for kind in list(plane.datapath.plugins.kinds.values()):
            if kind.ip_version == version:
                for packet in _links(plane, kind, underlay, OPTIONS if kind.name in own else OPTIONS[:1]):
                    if kind.name in own:
                        yield underlay, sent_back(packet)
    missing = own - {link.kind.name for link in plane.datapath.links.values()}
    if missing:
        raise NoSamples(
            f"no link of kind {', '.join(sorted(missing))} could be made up: give samples of your own"
        )
    yield "underlay", builders.ipv4(B, A, builders.udp(2000, 1000, b"sample"))
    yield "underlay6", builders.ipv6(B6, A6, builders.udp(2000, 1000, b"sample"))
    yield "underlay", builders.ipv4(B, A, builders.gre(_inner(PacketType.L3)[0]), protocol=IPProtocol.GRE)
    for handler in handlers:
        for packet in _for_handler(handler):
            yield ("underlay6" if packet[0] >> 4 == 6 else "underlay"), packet


def _links(
    plane: Dataplane, kind: LinkKind, underlay: str, options: Iterable[dict[str, Any]]
) -> Iterator[bytes]:
    """Links of a kind, each between a port and the underlay; what they send of some packets.

    Options that the kind has not, or refuses, are passed over.
    """
    ends = {"local": A, "remote": B} if kind.ip_version == 4 else {"local": A6, "remote": B6}
    for number, more in enumerate(options):
        if more.keys() - kind.parameters.model_fields.keys():
            continue
        lan, link = f"lan-{kind.name}-{number}", f"{kind.name}{number}"
        try:
            plane.link(link, kind.name, underlay, **parameters_of(kind.parameters, ends | more))
        except (LinkError, ValueError):
            continue
        plane.port(lan, kind.packet_type)
        plane.connect(lan, link)
        plane.send(lan, *_inner(kind.packet_type))
        yield from plane.received(underlay)


def _inner(packet_type: PacketType) -> list[bytes]:
    packets = [
        builders.ipv4("10.0.0.1", "10.0.0.2", builders.udp(1000, 2000, b"sample")),
        builders.ipv4("10.0.0.1", "10.0.0.2", builders.tcp(1000, 80, b"sample"), flags=0),
        builders.ipv6("2001:db8:1::1", "2001:db8:2::1", builders.udp(1000, 2000, b"sample")),
    ]
    if packet_type is PacketType.L3:
        return packets
    frames = [builders.ethernet(packet) for packet in packets]
    return [*frames, builders.vlan(frames[0], 5)]


def parameters_of(model: type[BaseModel], known: dict[str, Any]) -> dict[str, Any]:
    """A value for each parameter that must be given: what is known, else the least that it may be."""
    values = {name: value for name, value in known.items() if name in model.model_fields}
    for name, field in model.model_fields.items():
        if name in values or not field.is_required():
            continue
        if field.examples:
            values[name] = field.examples[0]
            continue
        simple: dict[object, object] = {str: "sample", bool: False, IPv4Address: A, IPv6Address: A6}
        least = [each.ge for each in field.metadata if isinstance(each, Ge)]
        values[name] = simple.get(field.annotation, least[0] if least else 1)
    return values


def sent_back(packet: bytes) -> bytes:
    """An IP packet with source and destination exchanged: no checksum changes by that."""
    if packet[0] >> 4 == 6:
        return packet[:8] + packet[24:40] + packet[8:24] + packet[40:]
    return packet[:12] + packet[16:20] + packet[12:16] + packet[20:]


def _for_handler(handler: Registered) -> Iterator[bytes]:
    inner = builders.ipv4("10.0.0.2", "10.0.0.1", builders.udp(2000, 1000, b"sample"))
    if handler.list == "ip_protocol":
        yield builders.ipv4(B, A, inner, protocol=handler.priority)
    elif handler.list == "ip6_protocol":
        yield builders.ipv6(B6, A6, inner, next_header=handler.priority)
    elif handler.list in GRE_LISTS:
        version = handler.priority if handler.list.endswith("_version") else 0
        for protocol in PROTOCOLS:
            for key in (None, 1):
                data = builders.gre(inner, protocol, key=key, flags=version)
                if "6" in handler.list:
                    yield builders.ipv6(B6, A6, data, next_header=IPProtocol.GRE)
                else:
                    yield builders.ipv4(B, A, data, protocol=IPProtocol.GRE)


def modules_of(module: types.ModuleType) -> Iterator[types.ModuleType]:
    """A plugin's module, and those of its package that were imported with it."""
    yield module
    for name, each in sorted(sys.modules.items()):
        if name.startswith(f"{module.__name__}."):
            yield each
