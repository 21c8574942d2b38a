"""What differs between a configuration and what runs, and how each difference is settled.

Nothing is touched here.  `+` is made, `-` is taken away, `~` is changed and goes on with its
sockets, counters and flows; `-/+` can not be changed so: it is taken away and made anew.
What only a restart can change is a fault, at its place in the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from vdp.config.faults import Fault
from vdp.config.model import OverloadSection
from vdp.config.problem import value_text
from vdp.reload.words import (
    LINK_KEYS,
    action_text,
    carried_text,
    compare,
    compare_links,
    link_text,
    match_text,
    plural,
    port_text,
    shown,
    words_of,
)
from vdp.running import Taken, carried

if TYPE_CHECKING:
    from vdp.config import Config, LinkSection, PortSection
    from vdp.config.model import BridgeSection, ConnectSection, RouteSection, RuleSection, Section
    from vdp.config.positions import KeyPath
    from vdp.links.link import LinkKind
    from vdp.ports import Carried

Sign = Literal["+", "-", "~", "-/+"]

#: Keys of a port that can be changed while it is open, by type; `raw` is two types here.
PORT_KEYS: Mapping[str, Set[str]] = {
    "tap": {"address", "mtu", "mac", "txqueuelen", "up"},
    "tun": {"address", "mtu", "txqueuelen", "up"},
    "interface": {"mtu", "up", "exclusive"},
    "protocol": {"mtu", "up"},
    "gro-cell": {"mtu", "up", "gro"},
    "memory": {"mtu", "up"},
}
#: Keys of tables that are in force at once.
LIVE_KEYS: Mapping[str, Set[str]] = {
    "plugins": {"strict", "soft_limit_ms", "hashes"},
    "metrics": {"enabled", "listen"},
    "icmp": {"ratelimit_ms", "ratemask", "msgs_per_sec", "msgs_burst", "port_unreachable"},
    "security": set(),
    "log": {"level", "format"},
    "overload": set(OverloadSection.model_fields),
    "engine": {"flow_idle_s"},
    "control": set(),
}


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: `name` of a `what` (port, link, …), from section to section."""

    sign: Sign
    what: str
    name: str
    text: str = ""
    before: Any = None
    after: Any = None

    @property
    def line(self) -> str:
        return f"{self.sign} {self.what} {self.name}" + (f": {self.text}" if self.text else "")

    def as_json(self) -> dict[str, str]:
        return {"sign": self.sign, "what": self.what, "name": self.name, "text": self.text}


@dataclass(frozen=True, slots=True)
class Present:
    """What runs.

    plugins: those that are loaded, with their settings.  tables: [engine] and its like, as in
    force.  failing: plugins that could not be loaded before, and can not now.  gone: ports
    whose device was taken away from outside.  refusal: why a link can not take these
    parameters, "" where it can.  lacking: capabilities that vdp gave up, and the keys that need them.
    """

    ports: Mapping[str, PortSection]
    links: Mapping[str, LinkSection]
    bridges: tuple[BridgeSection, ...]
    connects: tuple[ConnectSection, ...]
    routes: tuple[RouteSection, ...]
    rules: tuple[RuleSection, ...]
    plugins: Mapping[str, BaseModel | None]
    tables: Mapping[str, Section]
    carried: Mapping[str, Carried] = field(default_factory=dict)
    taken: Taken = field(default_factory=dict)
    failing: Set[str] = frozenset()
    gone: Set[str] = frozenset()
    refusal: Callable[[str, BaseModel], str] = lambda name, parameters: ""
    lacking: Mapping[str, KeyPath] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes, in the order of the sections, links in that in which they do not get in each other's way.

    kept: how many of each are as they should be.  faults: what a restart is needed for.
    """

    changes: tuple[Change, ...]
    kept: Mapping[str, int]
    faults: tuple[Fault, ...]

    def of(self, what: str, *signs: Sign) -> list[Change]:
        return [change for change in self.changes if change.what == what and change.sign in signs]

    def lines(self) -> list[str]:
        """As `vdp reload --dry-run` prints it."""
        kept = ", ".join(f"{count} {plural(what, count)}" for what, count in self.kept.items() if count)
        return [change.line for change in self.changes] + ([f"= {kept}"] if kept else [])


def make_plan(present: Present, config: Config, kinds: Mapping[str, LinkKind]) -> Plan:
    """What makes what is present what the configuration says.  kinds: of the plugins that it lists."""
    planning = _Planning(present, config, kinds)
    return Plan(tuple(planning.changes()), planning.kept, tuple(planning.faults()))


class _Planning:
    def __init__(self, present: Present, config: Config, kinds: Mapping[str, LinkKind]) -> None:
        self.present = present
        self.config = config
        self.kinds = kinds
        self.kept: Counter[str] = Counter()
        self._new_ports: set[str] = set()  # those that are not the port that is there now

    def changes(self) -> Iterator[Change]:
        yield from self._plugins()
        yield from self._ports()
        yield from self._links()
        yield from self._bridges()
        yield from self._connects()
        yield from self._routes()
        yield from self._rules()
        yield from self._tables()

    # -- plugins ------------------------------------------------------------------------------

    def _plugins(self) -> Iterator[Change]:
        listed = self.config.plugins.load
        for name in self.present.plugins:
            if name not in listed:
                yield Change("-", "plugin", name)
        for name in listed:
            if name in self.present.failing:
                continue
            settings = self.config.plugin.get(name)
            if name not in self.present.plugins:
                yield Change("+", "plugin", name, after=settings)
                continue
            before = self.present.plugins[name]
            if before is None and settings is not None and not settings.model_fields_set:
                before = settings  # it was loaded by command, with defaults
            text = words_of(compare(before, settings)) if settings is not None else ""
            if text:
                yield Change("~", "plugin", name, f"{text}; it registers anew", before, settings)
            else:
                self.kept["plugin"] += 1

    # -- ports --------------------------------------------------------------------------------

    def _ports(self) -> Iterator[Change]:
        wanted = {section.name: section for section in self.config.ports}
        for name, section in self.present.ports.items():
            if name not in wanted:
                yield Change("-", "port", name, before=section)
        for name, section in wanted.items():
            before = self.present.ports.get(name)
            if before is None:
                self._new_ports.add(name)
                yield Change("+", "port", name, port_text(section), after=section)
                continue
            change = self._port(before, section)
            if change is None:
                self.kept["port"] += 1
                continue
            if change.sign == "-/+":
                self._new_ports.add(name)
            yield change

    def _port(self, before: PortSection, after: PortSection) -> Change | None:
        name, differences = after.name, compare(before, after)
        sort = after.type if after.type != "raw" else "interface" if after.interface else "protocol"
        fixed = [key for key in differences if key not in PORT_KEYS[sort]]
        if name in self.present.gone:
            text = "; ".join(filter(None, ("its device is gone: made anew", words_of(differences))))
            return Change("-/+", "port", name, text, before, after)
        if fixed:
            text = f"{words_of(differences)}; {' and '.join(fixed)} can not be changed: made anew"
            return Change("-/+", "port", name, text, before, after)
        parts = [words_of(differences)] if differences else []
        if name in self.present.carried:
            wanted = carried(self.config, name, self.kinds, self.present.taken)
            parts += carried_text(self.present.carried[name], wanted)
        return Change("~", "port", name, "; ".join(parts), before, after) if parts else None

    # -- links --------------------------------------------------------------------------------

    def _links(self) -> Iterator[Change]:
        wanted = {section.name: section for section in self.config.links}
        for name, section in self.present.links.items():
            if name not in wanted:
                yield Change("-", "link", name, before=section)
        changed: dict[str, Change] = {}
        for name, section in wanted.items():
            before = self.present.links.get(name)
            change = (
                self._link(before, section)
                if before
                else Change("+", "link", name, link_text(section), after=section)
            )
            if change is None:
                self.kept["link"] += 1
            elif change.sign == "~":
                changed[name] = change
            else:
                yield change
        yield from _in_order(changed)

    def _link(self, before: LinkSection, after: LinkSection) -> Change | None:
        differences = compare_links(before, after)
        why = ""
        if after.underlay in self._new_ports and before.underlay == after.underlay:
            why = f"as its underlay {after.underlay}"
        elif fixed := [key for key in ("kind", "underlay") if key in differences]:
            why = f"{' and '.join(fixed)} can not be changed"
        elif differences.keys() - set(LINK_KEYS):
            why = self.present.refusal(after.name, after.parameters)
        said = words_of(differences)
        if why:
            text = "; ".join(filter(None, (said, f"{why}: made anew")))
            return Change("-/+", "link", after.name, text, before, after)
        return Change("~", "link", after.name, said, before, after) if said else None

    # -- forwarding ---------------------------------------------------------------------------

    def _bridges(self) -> Iterator[Change]:
        before = {section.name: section for section in self.present.bridges}
        after = {section.name: section for section in self.config.bridges}

        def text(old: BridgeSection, new: BridgeSection) -> str:
            came = [f"+{member}" for member in new.members if member not in old.members]
            went = [f"-{member}" for member in old.members if member not in new.members]
            rest = {key: pair for key, pair in compare(old, new).items() if key != "members"}
            members = f"members {' '.join(came + went)}" if came or went else ""
            return ", ".join(filter(None, (members, words_of(rest))))

        yield from self._compared("bridge", before, after, text, lambda b: " ".join(b.members))

    def _connects(self) -> Iterator[Change]:
        before = {" - ".join(sorted(section.members)): section for section in self.present.connects}
        after = {" - ".join(sorted(section.members)): section for section in self.config.connects}
        yield from self._compared("connect", before, after, lambda old, new: "", lambda _: "")

    def _routes(self) -> Iterator[Change]:
        def keyed(sections: Iterable[RouteSection]) -> dict[str, RouteSection]:
            return {
                f"{section.destination}" + (f" metric {section.metric}" if section.metric else ""): section
                for section in sections
            }

        def text(old: RouteSection, new: RouteSection) -> str:
            return words_of(compare(old, new))

        def where(section: RouteSection) -> str:
            by = f", next hop {section.next_hop}" if section.next_hop else ""
            return f"via {section.via}{by}"

        yield from self._compared("route", keyed(self.present.routes), keyed(self.config.routes), text, where)

    def _rules(self) -> Iterator[Change]:
        def keyed(sections: Iterable[RuleSection]) -> dict[str, RuleSection]:
            return {f"{section.priority} {match_text(section.match)}": section for section in sections}

        def what(section: RuleSection) -> str:
            return ",".join(action_text(action) for action in section.actions)

        def text(old: RuleSection, new: RuleSection) -> str:
            return "" if old == new else f"{what(old)} -> {what(new)}"

        yield from self._compared("rule", keyed(self.present.rules), keyed(self.config.rules), text, what)

    def _compared(
        self,
        what: str,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        difference: Callable[[Any, Any], str],
        describe: Callable[[Any], str],
    ) -> Iterator[Change]:
        for name, section in before.items():
            if name not in after:
                yield Change("-", what, name, before=section)
        for name, section in after.items():
            if name not in before:
                yield Change("+", what, name, describe(section), after=section)
            elif text := difference(before[name], section):
                yield Change("~", what, name, text, before[name], section)
            else:
                self.kept[what] += 1

    # -- tables -------------------------------------------------------------------------------

    def _tables(self) -> Iterator[Change]:
        for table, live in LIVE_KEYS.items():
            before, after = self.present.tables[table], getattr(self.config, table)
            for key, (old, new) in compare(before, after).items():
                if key in live:
                    yield Change("~", "setting", f"{table}.{key}", f"{shown(old)} -> {shown(new)}")

    def faults(self) -> Iterator[Fault]:
        """What is in force until vdp ends, at its place in the file."""
        for table, live in LIVE_KEYS.items():
            before, after = self.present.tables[table], getattr(self.config, table)
            for key, (old, new) in compare(before, after).items():
                if key in live or (table, key) == ("plugins", "load"):
                    continue
                yield Fault(
                    (table, key),
                    expected=f"{value_text(old)}, with which vdp runs",
                    found=value_text(new),
                    hint="it is taken at the start only: restart vdp to have it changed",
                    kind="at-start-only",
                )
        for capability, path in self.present.lacking.items():
            who = "no port" if path[0] == "port" else "nothing"
            yield Fault(
                path,
                expected=f"nothing that needs {capability}",
                found="a key that does",
                hint="restart vdp: it keeps what its configuration needs",
                message=f"needs {capability}, which this vdp gave up at its start, as {who} needed it then",
                kind="at-start-only",
            )


# -- order ------------------------------------------------------------------------------------


def _in_order(changed: Mapping[str, Change]) -> Iterator[Change]:
    """Links that take over what another one has are changed after that; of a ring one is made anew.

    Else the kind would refuse: two links of one kind never have the same ends and key.
    """
    holders = {_identity(change.before): name for name, change in changed.items()}
    done: set[str] = set()
    for first in changed:
        way: list[str] = []
        name: str | None = first
        while name is not None and name not in done and name not in way:
            way.append(name)
            name = holders.get(_identity(changed[name].after))
        if name is not None and name in way and name != way[-1]:
            change = changed[name]
            text = f"{change.text}; another link has these ends and key before it: made anew"
            yield Change("-/+", "link", name, text, change.before, change.after)
            done.add(name)
        for each in reversed(way):
            if each not in done:
                done.add(each)
                yield changed[each]


def _identity(section: LinkSection) -> object:
    """What no two links may both have: the kind's own word for it, else the link itself."""
    identity = getattr(section.parameters, "identity", None)
    return (section.kind, section.underlay, section.name if identity is None else identity)
