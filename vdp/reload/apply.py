"""A plan is carried out, act by act; where one fails, those before it are undone, the last first.

    plugins that come ─► ports and links that are simply new ─► links, then ports, that go ─►
    ports and links that change, or were in the way ─► forwarding ─► tables ─► plugins that go

What may fail stands before what disturbs, as far as names, addresses and ends allow.  An act
leaves everything as it was when it fails.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

from vdp.loader import PluginError
from vdp.reload.plan import Change, Plan
from vdp.running import Running, carried

if TYPE_CHECKING:
    import types

    from vdp.config import Config, LinkSection, PortSection
    from vdp.plugin_change import PluginChange

log = logging.getLogger("vdp")

State = Literal["done", "failed", "undone", "not undone"]
Do = Callable[[], Awaitable[None]]


class Tables(Protocol):
    """Who has [metrics], [log] and their like in force."""

    async def set_tables(self, config: Config) -> None:
        """From now on those of this configuration; OSError: those before."""


@dataclass(slots=True)
class Act:
    """One step.  undo: of a step that was done."""

    text: str
    do: Do
    undo: Do
    state: State | None = None
    why: str = ""

    def as_json(self) -> dict[str, str]:
        return {"act": self.text, "state": self.state or "not begun", "why": self.why}


@dataclass(slots=True)
class Application:
    """One plan on its way.  modules: of the plugins that come, imported already."""

    running: Running
    plugins: PluginChange
    tables: Tables
    before: Config
    config: Config
    plan: Plan
    modules: dict[str, types.ModuleType]
    acts: list[Act] = field(default_factory=list)

    async def run(self) -> bool:
        """Whether all was done; `acts` say what was done, what failed and what was undone."""
        for act in self._all():
            self.acts.append(act)
            try:
                await act.do()
            except Exception as error:
                act.state, act.why = "failed", _why(error)
                log.error("reload: %s: %s", act.text, act.why)
                if not isinstance(error, OSError | PluginError):
                    log.debug("reload: %s", act.text, exc_info=error)
                await self._undo()
                return False
            act.state = "done"
            log.info("reload: %s", act.text)
        return True

    async def _undo(self) -> None:
        for act in reversed(self.acts[:-1]):
            try:
                await act.undo()
            except Exception as error:
                act.state, act.why = "not undone", _why(error)
                log.error("reload: %s: could not be undone: %s", act.text, act.why)
            else:
                act.state = "undone"
                log.info("reload: %s: undone", act.text)

    # -- acts, in their order ------------------------------------------------------------------

    def _all(self) -> Iterator[Act]:
        """Each is made when its turn comes: what it does may depend on those before."""
        plan = self.plan
        for change in plan.of("plugin", "+"):
            yield self._load(change)
        new, late = self._sorted(plan.of("port", "+"), self._port_claims)
        for change in new:
            yield self._open(change)
        for change in plan.of("port", "~"):
            yield self._change_port(change)
        yield from self._carry()
        new_links, late_links = self._sorted(plan.of("link", "+"), self._link_claims)
        for change in new_links:
            yield self._add(change)
        for change in plan.of("link", "-", "-/+"):
            yield self._remove(change)
        for change in plan.of("port", "-", "-/+"):
            yield self._close(change)
        for change in (*plan.of("port", "-/+"), *late):
            yield self._open(change)
        for change in plan.of("link", "~"):
            yield self._change_link(change)
        for change in (*plan.of("link", "-/+"), *late_links):
            yield self._add(change)
        forwarding = ("bridge", "connect", "route", "rule")
        if any(change.what in forwarding for change in plan.changes):
            yield self._forward()
        for change in plan.of("plugin", "+"):
            yield self._start(change)
        for change in plan.of("plugin", "~"):
            yield self._renew(change)
        if plan.of("setting", "~"):
            yield self._set_tables()
        for change in plan.of("plugin", "-"):
            yield self._unload(change)

    def _sorted(
        self, new: list[Change], claims: Callable[[Change], set[object]]
    ) -> tuple[list[Change], list[Change]]:
        """New ones that are in nobody's way, and those that have to wait for what goes or changes."""
        moving = [change for change in self.plan.changes if change.sign in ("-", "-/+", "~")]
        taken: set[object] = {
            ("name", change.name) for change in moving if change.what in ("port", "link", "bridge")
        }
        for change in moving:
            taken |= claims(change)
        at_once: list[Change] = []
        late: list[Change] = []
        for change in new:
            (late if taken & {*claims(change), ("name", change.name)} else at_once).append(change)
        return at_once, late

    def _port_claims(self, change: Change) -> set[object]:
        """What no two ports may both have."""
        section: PortSection | None = change.before or change.after
        if change.what != "port" or section is None:
            return set()
        found: set[object] = {("address", section.netns, address) for address in section.address}
        if section.type == "raw":
            found.add(("raw", section.netns, section.interface, section.protocol, section.family))
        return found

    def _link_claims(self, change: Change) -> set[object]:
        """What no two links may both have; and an underlay that is not there yet."""
        if change.what == "port":
            return {("underlay", change.name)} if change.sign == "-/+" else set()
        section: LinkSection | None = change.before or change.after
        if change.what != "link" or section is None:
            return set()
        found: set[object] = {(section.kind, section.underlay, getattr(section.parameters, "identity", None))}
        if change.sign == "+":
            found.add(("underlay", section.underlay))
        return found

    # -- plugins ------------------------------------------------------------------------------

    def _load(self, change: Change) -> Act:
        name = change.name
        settings = self.running.datapath.plugin_settings
        had = settings.get(name)

        def settings_as_before() -> None:
            settings.pop(name, None)
            if had is not None:
                settings[name] = had

        async def load() -> None:
            try:
                self.plugins.load(name, self.modules.get(name), change.after, start=False)
            except BaseException:
                settings_as_before()
                raise

        async def unload() -> None:
            self.plugins.unload(name)
            settings_as_before()

        return Act(f"plugin {name} loaded", load, unload)

    def _start(self, change: Change) -> Act:
        """Its hook vdp_start finds the links that came with it."""

        async def start() -> None:
            self.plugins.start(change.name)

        async def nothing() -> None:
            """Unloading stops it."""

        return Act(f"plugin {change.name} started", start, nothing)

    def _unload(self, change: Change) -> Act:
        name = change.name

        settings = self.running.datapath.plugin_settings
        had = settings.get(name)

        async def unload() -> None:
            self.plugins.unload(name)
            settings.pop(name, None)

        async def load() -> None:
            self.plugins.load(name, settings=had)

        return Act(f"plugin {name} unloaded", unload, load)

    def _renew(self, change: Change) -> Act:
        async def renew(settings: object) -> None:
            self.plugins.renew(change.name, settings)  # type: ignore[arg-type]

        text = f"plugin {change.name} registered anew, with other settings"
        return Act(text, partial(renew, change.after), partial(renew, change.before))

    # -- ports --------------------------------------------------------------------------------

    def _wants(self, config: Config, name: str) -> Do:
        """Another port's tunnels: what it carries is as that configuration says."""
        running = self.running

        async def change() -> None:
            section = next(port for port in config.ports if port.name == name)
            kinds = running.datapath.plugins.kinds
            await running.change_port(section, carried(config, name, kinds, running.taken()))

        return change

    def _open(self, change: Change) -> Act:
        running, section = self.running, change.after

        async def open_it() -> None:
            kinds = running.datapath.plugins.kinds
            await running.open_port(section, carried(self.config, section.name, kinds, running.taken()))

        return Act(f"port {section.name} opened", open_it, partial(running.close_port, section.name))

    def _close(self, change: Change) -> Act:
        running, section = self.running, change.before

        async def open_again() -> None:
            kinds = running.datapath.plugins.kinds
            await running.open_port(section, carried(self.before, section.name, kinds, running.taken()))

        return Act(f"port {section.name} closed", partial(running.close_port, section.name), open_again)

    def _change_port(self, change: Change) -> Act:
        name = change.name
        return Act(
            f"port {name} changed: {change.text}",
            self._wants(self.config, name),
            self._wants(self.before, name),
        )

    def _carry(self) -> Iterator[Act]:
        """Ports that the plan leaves alone, where a plugin that came takes UDP ports by itself."""
        running = self.running
        there = {section.name for section in self.config.ports} & running.ports.keys()
        for name in there - {change.name for change in self.plan.changes if change.what == "port"}:
            opened = running.datapath.ports[name].opened
            if opened is None or opened.underlay is None:
                continue
            kinds = running.datapath.plugins.kinds
            if carried(self.config, name, kinds, running.taken()) != opened.underlay.carried:
                wants = (self._wants(self.config, name), self._wants(self.before, name))
                yield Act(f"port {name} made ready for its tunnels", *wants)

    # -- links --------------------------------------------------------------------------------

    def _add(self, change: Change) -> Act:
        section = change.after
        add, remove = partial(self.running.add_link, section), partial(self.running.remove_link, section.name)
        return Act(f"link {section.name} made", add, remove)

    def _remove(self, change: Change) -> Act:
        section = change.before
        remove, add = partial(self.running.remove_link, section.name), partial(self.running.add_link, section)
        return Act(f"link {section.name} removed", remove, add)

    def _change_link(self, change: Change) -> Act:
        to, back = (partial(self.running.change_link, section) for section in (change.after, change.before))
        return Act(f"link {change.name} changed: {change.text}", to, back)

    # -- the rest -----------------------------------------------------------------------------

    def _forward(self) -> Act:
        async def forward(config: Config) -> None:
            self.running.forward(config)

        text = "bridges, connects, routes and rules as configured"
        return Act(text, partial(forward, self.config), partial(forward, self.before))

    def _set_tables(self) -> Act:
        names = ", ".join(change.name for change in self.plan.of("setting", "~"))
        to, back = (partial(self.tables.set_tables, config) for config in (self.config, self.before))
        return Act(f"{names} as configured", to, back)


def _why(error: Exception) -> str:
    """The failure in a line; vdp's own errors are sentences."""
    if type(error).__str__ is OSError.__str__ and isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if isinstance(error, OSError | PluginError) else f"{type(error).__name__}: {error}"
