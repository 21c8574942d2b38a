"""What sections say together: names, members, layers, underlays, duplicates.

Each check takes a Draft, the document with those sections that are right on
their own, and yields faults.  A check looks only at what is valid, so that one
mistake is reported once; names are taken from the raw document, so that a
reference to a port with another mistake is no mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from vdp.config.cautions import takes_anybody
from vdp.config.faults import Fault
from vdp.config.model import (
    MTU_LEAST_IPV6,
    LinkKindInfo,
    LinkSection,
    NoParameters,
    PluginsSection,
    PortSection,
    RouteSection,
    RuleSection,
    Section,
)
from vdp.config.names import named_in
from vdp.config.nearest import nearest_hint
from vdp.config.positions import KeyPath
from vdp.config.problem import key_text
from vdp.config.rules import Drop, Flood, Output, RuleMatch, missing_prerequisites
from vdp.engine.interface import PacketType

S = TypeVar("S", bound=Section)
Check = Callable[["Draft"], Iterator[Fault]]


@dataclass(frozen=True, slots=True)
class Member:
    """A port, link or bridge by name; packet_type None: not known, or a bridge."""

    section: str
    index: int
    type: str
    packet_type: PacketType | None


class Draft:
    """A document in the making: raw tables, valid sections by index, kinds if known, plugins' own tables."""

    def __init__(
        self,
        document: Mapping[str, Any],
        sections: Mapping[str, Mapping[int, Section]],
        plugins: PluginsSection | None,
        kinds: Mapping[str, LinkKindInfo] | None,
        settings: Mapping[str, BaseModel],
        place_of: Callable[[KeyPath], str],
    ) -> None:
        self.document = document
        self._sections = sections
        self.plugins = plugins
        self.kinds = kinds
        self.settings = settings
        self.place_of = place_of
        self.members: dict[str, Member] = {}
        for section in ("port", "link", "bridge"):
            for index, raw in self.raw(section):
                name = raw.get("name")
                if isinstance(name, str):
                    self.members.setdefault(name, self._member(section, index, raw))

    def raw(self, section: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
        entries = self.document.get(section, ())
        if isinstance(entries, list):
            yield from ((i, entry) for i, entry in enumerate(entries) if isinstance(entry, dict))

    def sections(self, name: str, model: type[S]) -> Iterator[tuple[int, S]]:
        for index, section in self._sections.get(name, {}).items():
            if isinstance(section, model):
                yield index, section

    def _member(self, section: str, index: int, raw: Mapping[str, Any]) -> Member:
        if section == "port":
            kind = str(raw.get("type", ""))
            return Member(section, index, kind, _port_packet_type(kind, raw))
        if section == "link":
            kind = str(raw.get("kind", ""))
            info = (self.kinds or {}).get(kind)
            return Member(section, index, kind, info.packet_type if info else None)
        return Member(section, index, "bridge", None)

    def packet_type(self, name: str) -> PacketType | None:
        member = self.members.get(name)
        return member.packet_type if member else None


def _port_packet_type(kind: str, raw: Mapping[str, Any]) -> PacketType | None:
    if kind in ("tap", "tun"):
        return PacketType.L2 if kind == "tap" else PacketType.L3
    if kind == "raw":
        return PacketType.L2 if "interface" in raw else PacketType.L3
    if kind in ("memory", "gro-cell"):
        return PacketType.L3 if raw.get("packet_type") == "l3" else PacketType.L2
    return None


def _quoted(name: str) -> str:
    return f'"{name}"'


def names_are_unique(draft: Draft) -> Iterator[Fault]:
    for section in ("port", "link", "bridge"):
        for index, raw in draft.raw(section):
            name = raw.get("name")
            if not isinstance(name, str):
                continue
            first = draft.members[name]
            if (first.section, first.index) != (section, index):
                place = draft.place_of((first.section, first.index, "name"))
                yield Fault(
                    (section, index, "name"),
                    "a name that no other port, link or bridge has",
                    _quoted(name),
                    f"{place} has it: {key_text((first.section, first.index))}",
                )


# Which keys fit which type of port; raw is two types here.
PORT_KEYS: Mapping[str, tuple[str, ...]] = {
    "address": ("tap", "tun"),
    "netns": ("tap", "tun", "raw"),
    "mac": ("tap",),
    "queues": ("tap", "tun", "raw"),
    "txqueuelen": ("tap", "tun"),
    "offload": ("tap", "tun", "raw"),
    "exclusive": ("raw",),
    "transmit": ("raw",),
    "protocol": ("raw",),
    "family": ("raw",),
    "interface": ("raw",),
    "packet_type": ("memory", "gro-cell"),
    "gro": ("gro-cell",),
}


#: Of a raw port, what is for an interface only.
INTERFACE_KEYS = ("queues", "offload", "exclusive", "transmit")


def takes(port: Mapping[str, Any], key: str) -> bool:
    """Whether a key is for a port of its sort."""
    kind = port.get("type")
    if kind == "raw" and key in (INTERFACE_KEYS if "protocol" in port else ("family",)):
        return False
    return key not in PORT_KEYS or kind in PORT_KEYS[key]


def port_keys_fit_its_type(draft: Draft) -> Iterator[Fault]:
    for index, raw in draft.raw("port"):
        kind = raw.get("type")
        if kind not in ("tap", "tun", "raw", "gro-cell", "memory"):
            continue
        for key, types in PORT_KEYS.items():
            if key in raw and kind not in types:
                expected = f"it only on ports of type {' or '.join(types)}"
                yield Fault(
                    ("port", index, key),
                    expected,
                    f"on type {kind}",
                    hint=f"take it away, or make this a port of type {' or '.join(types)}",
                    message=f"found on a port of type {kind}, expected {expected}",
                    at_key=True,
                )
        if kind == "raw":
            yield from _raw_keys(index, raw)


def _raw_keys(index: int, raw: Mapping[str, Any]) -> Iterator[Fault]:
    path: KeyPath = ("port", index)
    if "family" in raw and "protocol" not in raw:
        expected = "it only beside protocol"
        message = f"found without protocol, expected {expected}"
        hint = "an interface carries both families"
        yield Fault((*path, "family"), expected, "without protocol", hint, message, at_key=True)
    if "protocol" in raw and "interface" in raw:
        expected = "exactly one of protocol and interface"
        message = f"found both protocol and interface, expected {expected}"
        hint = "interface takes frames off a device, protocol takes IP packets from the kernel"
        yield Fault((*path, "interface"), expected, "both", hint, message, at_key=True)
    elif "protocol" not in raw and "interface" not in raw:
        expected = 'protocol (such as "gre") or interface (such as "eth0")'
        message = f"found neither protocol nor interface, expected {expected}"
        hint = 'add protocol = "gre", and the kernel routes; or interface = "eth0", for its frames'
        yield Fault(path, expected, "neither", hint, message=message)
    elif "protocol" in raw:
        for key in INTERFACE_KEYS:
            if key in raw:
                expected = "it only beside interface"
                message = f"found beside protocol, expected {expected}"
                yield Fault((*path, key), expected, "beside protocol", message=message, at_key=True)


def raw_ports_are_distinct(draft: Draft) -> Iterator[Fault]:
    seen: dict[tuple[object, ...], int] = {}
    for index, port in draft.sections("port", PortSection):
        if port.type != "raw":
            continue
        key = "interface" if port.interface else "protocol"
        what = (key, getattr(port, key), port.netns, port.family)
        first = seen.setdefault(what, index)
        if first != index:
            place = draft.place_of(("port", first))
            yield Fault(
                ("port", index, key),
                f"{'an interface' if port.interface else 'a protocol'} that no other raw port has",
                str(getattr(port, key)),
                f"{place} has it: each packet would come in twice",
            )


def addresses_are_distinct(draft: Draft) -> Iterator[Fault]:
    seen: dict[tuple[object, str | None], KeyPath] = {}
    for index, port in draft.sections("port", PortSection):
        for entry, interface in enumerate(port.address):
            path: KeyPath = ("port", index, "address", entry)
            first = seen.setdefault((interface.ip, port.netns), path)
            if first != path:
                place = draft.place_of(first)
                yield Fault(path, "an address used once in a namespace", f'"{interface}"', f"{place} has it")
            if interface.version == 6 and port.mtu is not None and port.mtu < MTU_LEAST_IPV6:
                expected = f"at least {MTU_LEAST_IPV6} on a port with an IPv6 address"
                yield Fault(("port", index, "mtu"), expected, str(port.mtu), kind="out-of-range")


def _known_member(draft: Draft, name: str, path: KeyPath) -> Iterator[Fault]:
    """A fault unless `name` is a port or link."""
    member = draft.members.get(name)
    if member is not None and member.section != "bridge":
        return
    names = [each for each, other in draft.members.items() if other.section != "bridge"]
    found = f"{_quoted(name)}, a bridge" if member else _quoted(name)
    hint = nearest_hint(name, names) or ("known: " + ", ".join(names) if names else "")
    yield Fault(path, "the name of a port or link", found, hint)


def references_exist(draft: Draft) -> Iterator[Fault]:
    """Members, via, in_port and output name ports or links; a member is one once."""
    taken: dict[str, KeyPath] = {}
    for section in ("bridge", "connect"):
        for index, raw in draft.raw(section):
            for place, name in _names(raw.get("members")):
                path: KeyPath = (section, index, "members", place)
                yield from _known_member(draft, name, path)
                first = taken.setdefault(name, path)
                if first != path:
                    yield Fault(
                        path,
                        "a member of one bridge or connect only",
                        _quoted(name),
                        f"{draft.place_of(first)} has it: {key_text(first[:2])}",
                        kind="member-twice",
                    )
    for index, raw in draft.raw("route"):
        if isinstance(raw.get("via"), str):
            yield from _known_member(draft, raw["via"], ("route", index, "via"))
    for index, raw in draft.raw("rule"):
        match = raw.get("match")
        if isinstance(match, dict) and isinstance(match.get("in_port"), str):
            yield from _known_member(draft, match["in_port"], ("rule", index, "match", "in_port"))
        for place, action in _names(raw.get("actions")):
            word, _, name = action.partition(":")
            if word == "output" and name:
                yield from _known_member(draft, name, ("rule", index, "actions", place))


def _names(entries: object) -> Iterator[tuple[int, str]]:
    for place, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, str):
            yield place, entry


def layers_fit(draft: Draft) -> Iterator[Fault]:
    """Bridges carry frames, routes carry bare packets, a connect joins two of a sort."""
    for index, bridge in draft.raw("bridge"):
        for place, name in _names(bridge.get("members")):
            if draft.packet_type(name) is PacketType.L3:
                yield Fault(
                    ("bridge", index, "members", place),
                    "an L2 port or link (tap, gretap, …)",
                    f"{_quoted(name)}, which is L3",
                    "L3 members go into a connect or a route",
                )
    for index, connect in draft.raw("connect"):
        sides = [(name, draft.packet_type(name)) for _, name in _names(connect.get("members"))]
        words = [f"{_quoted(name)}, which is {side.name}" for name, side in sides if side is not None]
        if len(sides) == len(words) == 2 and sides[0][1] is not sides[1][1]:
            hint = "frames (L2): tap, gretap, interface; bare packets (L3): tun, gre, protocol"
            yield Fault(("connect", index, "members"), "two of one layer", " and ".join(words), hint)
    for index, route in draft.raw("route"):
        via = route.get("via")
        if isinstance(via, str) and draft.packet_type(via) is PacketType.L2:
            expected = "an L3 port or link (tun, gre, …)"
            hint = "L2 members go into a bridge or a connect"
            yield Fault(("route", index, "via"), expected, f"{_quoted(via)}, which is L2", hint)


def underlays_carry(draft: Draft) -> Iterator[Fault]:
    expected = "the name of a raw (or memory) port"
    ports = {
        name: member
        for name, member in draft.members.items()
        if member.section == "port" and member.type in ("raw", "memory")
    }
    for index, raw in draft.raw("link"):
        name = raw.get("underlay")
        if not isinstance(name, str) or name in ports:
            continue
        member = draft.members.get(name)
        if member is not None and member.section == "port" and member.type not in ("tap", "tun", "gro-cell"):
            continue  # its type is wrong already
        what = f", a {member.type} {member.section}" if member and member.section != "bridge" else ""
        found = _quoted(name) + (", a bridge" if member and member.section == "bridge" else what)
        hint = nearest_hint(name, ports) or (
            "known: " + ", ".join(ports) if ports else 'add one: type = "raw"'
        )
        yield Fault(("link", index, "underlay"), expected, found, hint)


def underlays_are_of_the_links_family(draft: Draft) -> Iterator[Fault]:
    """A raw IP socket carries one family, and a kind of link runs over one."""
    ports = {port.name: port for _, port in draft.sections("port", PortSection)}
    for index, raw in draft.raw("link"):
        kind = (draft.kinds or {}).get(str(raw.get("kind")))
        port = ports.get(str(raw.get("underlay")))
        if kind is None or port is None or port.type != "raw" or port.protocol is None:
            continue
        family = f"ipv{kind.ip_version}"
        if port.family != family:
            yield Fault(
                ("link", index, "underlay"),
                f"a raw port of family {family}, which {raw.get('kind')} runs over",
                f"{_quoted(port.name)}, of family {port.family}",
                f'set family = "{family}" on a raw port for it: one socket carries one family',
            )


def udp_ports_are_on_an_interface(draft: Draft) -> Iterator[Fault]:
    """A raw socket of one IP protocol carries no tunnels in UDP."""
    ports = {port.name: port for _, port in draft.sections("port", PortSection)}
    for index, link in draft.sections("link", LinkSection):
        kind, port = (draft.kinds or {}).get(link.kind), ports.get(link.underlay)
        if kind is None or port is None or port.protocol is None or isinstance(link.parameters, NoParameters):
            continue  # wrong parameters have been reported already
        if not kind.udp_ports(link.parameters):
            continue
        yield Fault(
            ("link", index, "encap") if "encap" in link.options else ("link", index, "underlay"),
            "an underlay with `interface`, by which a tunnel in UDP goes",
            f"{_quoted(port.name)}, with `protocol`",
            'write interface = "eth0", the device it goes by, in place of protocol',
        )


def links_are_distinct(draft: Draft) -> Iterator[Fault]:
    """Two links of one kind with the same ends and key would claim the same packets (EEXIST)."""
    seen: dict[str, int] = {}
    for index, link in draft.sections("link", LinkSection):
        # The kind's own word for what tells its links apart, where it has one.
        identity = getattr(link.parameters, "identity", None)
        options = sorted((key, repr(value)) for key, value in link.options.items())
        what = repr((link.kind, link.underlay, options if identity is None else identity))
        first = seen.setdefault(what, index)
        if first != index:
            shared = " and parameters" if identity is None else ", ends and received key"
            yield Fault(
                ("link", index),
                "parameters that tell the tunnels apart (local, remote, key, …)",
                f"the same as link[{first}]",
                f"{draft.place_of(('link', first))} has the same kind, underlay{shared}"
                + _and_is_fallback(draft, first),
            )


def _and_is_fallback(draft: Draft, index: int) -> str:
    """A fallback link is of any ends, without a key, and so leaves no room for another such link."""
    sections = dict(draft.sections("link", LinkSection))
    return ", as a fallback" if getattr(sections[index].parameters, "fallback", False) else ""


def bound_links_can_leave(draft: Draft) -> Iterator[Fault]:
    """Frames of a port on an interface leave by that; a tunnel over it can not be bound to another."""
    ports = {port.name: port for _, port in draft.sections("port", PortSection)}
    for index, link in draft.sections("link", LinkSection):
        port, device = ports.get(link.underlay), getattr(link.parameters, "link", None)
        if port is None or port.interface is None or device in (None, port.interface):
            continue
        yield Fault(
            ("link", index, "link"),
            f"{_quoted(port.interface)}, by which all that {_quoted(port.name)} sends leaves",
            _quoted(str(device)),
            "an underlay with `protocol` sends by any device",
        )


def links_have_another_end(draft: Draft) -> Iterator[Fault]:
    """Nobody is at the other end of a tunnel from an address to itself."""
    for index, link in draft.sections("link", LinkSection):
        local, remote = (getattr(link.parameters, key, None) for key in ("local", "remote"))
        if remote is None or remote != local or remote.is_unspecified:
            continue
        yield Fault(
            ("link", index, "remote"),
            "the address of the other end",
            f'"{remote}"',
            hint="write the address of the other host: there `local` and `remote` are swapped",
            message=f'found "{remote}", this is the link\'s own local address',
        )


def open_links_are_meant(draft: Draft) -> Iterator[Fault]:
    """Nothing is taken out of a tunnel from whoever sends it, unless that is said in so many words."""
    for index, link in draft.sections("link", LinkSection):
        why = takes_anybody(link.parameters)
        if why and not link.allow_any_remote:
            key = "fallback" if why == "fallback" else "remote"
            path: KeyPath = ("link", index, key) if key in link.options else ("link", index)
            yield Fault(
                path,
                "the address of the other end, or allow_any_remote = true",
                why,
                "anybody who reaches the underlay could send into what is behind this link; "
                "allow_any_remote = true says that this is meant, inner_allowed bounds it",
                at_key=key in link.options,
            )


def routes_are_distinct(draft: Draft) -> Iterator[Fault]:
    seen: dict[tuple[object, int], int] = {}
    for index, route in draft.sections("route", RouteSection):
        if route.next_hop is not None and route.next_hop.version != route.destination.version:
            expected = f"an IPv{route.destination.version} address, as the destination"
            yield Fault(("route", index, "next_hop"), expected, f'"{route.next_hop}"', kind="wrong-family")
        first = seen.setdefault((route.destination, route.metric), index)
        if first != index:
            yield Fault(
                ("route", index, "destination"),
                "one route to a destination with one metric",
                f'"{route.destination}"',
                f"{draft.place_of(('route', first))} has it; a metric would tell them apart",
            )


def rules_make_sense(draft: Draft) -> Iterator[Fault]:
    seen: dict[str, int] = {}
    for index, rule in draft.sections("rule", RuleSection):
        path: KeyPath = ("rule", index)
        for field, expected, hint in missing_prerequisites(rule.match):
            found = str(getattr(rule.match, field))
            yield Fault((*path, "match", field), expected, found, hint)
        yield from _actions(draft, rule, path)
        first = seen.setdefault(repr((rule.priority, rule.match)), index)
        if first != index:
            yield Fault(
                path,
                "one rule with the same priority and match",
                f"the same as rule[{first}]",
                f"{draft.place_of(('rule', first))} has both",
            )


def metadata_is_of_loaded_plugins(draft: Draft) -> Iterator[Fault]:
    if draft.plugins is None:
        return
    loaded = draft.plugins.load
    for index, raw in draft.raw("rule"):
        match = raw.get("match")
        for name, value in match.items() if isinstance(match, dict) else ():
            if isinstance(value, dict) and name not in RuleMatch.model_fields and name not in loaded:
                path: KeyPath = ("rule", index, "match", name)
                hint = nearest_hint(name, loaded) or f"plugins.load has: {', '.join(loaded) or 'none'}"
                yield Fault(path, "a plugin of plugins.load", _quoted(name), hint, at_key=True)


def _actions(draft: Draft, rule: RuleSection, path: KeyPath) -> Iterator[Fault]:
    source = draft.packet_type(rule.match.in_port) if rule.match.in_port else None
    if source is PacketType.L3:
        for field in ("eth_src", "eth_dst"):
            if getattr(rule.match, field) is not None:
                yield Fault((*path, "match", field), "no Ethernet address with an L3 in_port", "one")
    for place, action in enumerate(rule.actions):
        at: KeyPath = (*path, "actions", place)
        if isinstance(action, Drop) and len(rule.actions) > 1:
            yield Fault(at, "drop alone, or not at all", f"it among {len(rule.actions)} actions")
        elif isinstance(action, Flood) and source is PacketType.L3:
            yield Fault(at, "no flood from an L3 in_port: only bridges flood", '"flood"')
        elif isinstance(action, Output):
            target = draft.packet_type(action.member)
            if source is not None and target is not None and source is not target:
                yield Fault(
                    at,
                    f"an {source.name} port or link, as in_port is",
                    f"{_quoted(action.member)}, which is {target.name}",
                )


def plugins_are_listed(draft: Draft) -> Iterator[Fault]:
    if draft.plugins is None:
        return
    seen: dict[str, int] = {}
    for place, name in enumerate(draft.plugins.load):
        first = seen.setdefault(name, place)
        if first != place:
            yield Fault(("plugins", "load", place), "each plugin once", _quoted(name), kind="listed-twice")
    tables = draft.document.get("plugin", {})
    for name, table in tables.items() if isinstance(tables, dict) else ():
        if isinstance(table, dict) and name not in seen:
            hint = (
                nearest_hint(name, seen) or f"add {_quoted(name)} to plugins.load, which lists what is loaded"
            )
            yield Fault(("plugin", name), "a plugin of plugins.load", _quoted(name), hint, at_key=True)


def names_in_plugin_tables_exist(draft: Draft) -> Iterator[Fault]:
    for plugin, settings in draft.settings.items():
        for found in named_in(settings, ("plugin", plugin)):
            member = draft.members.get(found.name)
            if member is not None and member.section == found.section:
                continue
            names = [each for each, other in draft.members.items() if other.section == found.section]
            known = f"known: {', '.join(names)}" if names else f"there is no [[{found.section}]]"
            yield Fault(
                found.path,
                f"the name of a {found.section}",
                _quoted(found.name) + (f", a {member.section}" if member else ""),
                nearest_hint(found.name, names) or known,
                at_key=found.at_key,
            )


#: Each with the kind of its faults, where they do not say one of their own.
CHECKS: tuple[tuple[str, Check], ...] = (
    ("name-taken", names_are_unique),
    ("misplaced-key", port_keys_fit_its_type),
    ("received-twice", raw_ports_are_distinct),
    ("address-twice", addresses_are_distinct),
    ("unknown-name", references_exist),
    ("wrong-layer", layers_fit),
    ("no-underlay", underlays_carry),
    ("wrong-family", underlays_are_of_the_links_family),
    ("udp-underlay", udp_ports_are_on_an_interface),
    ("same-link", links_are_distinct),
    ("other-device", bound_links_can_leave),
    ("contradiction", links_have_another_end),
    ("open-tunnel", open_links_are_meant),
    ("same-route", routes_are_distinct),
    ("impossible-rule", rules_make_sense),
    ("plugin-not-loaded", metadata_is_of_loaded_plugins),
    ("plugin-not-loaded", plugins_are_listed),
    ("unknown-name", names_in_plugin_tables_exist),
)
