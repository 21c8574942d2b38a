"""The whole way of a reload: the file is read and checked, a plan made, carried out, and told.

One at a time, whoever asks (`vdp reload`, SIGHUP).  Reading and checking are done on a thread,
so that upcalls are served meanwhile.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from vdp import capabilities
from vdp.config import ConfigError, PluginsFailed, load
from vdp.config.faults import Placer
from vdp.links.link import LinkError
from vdp.loader import PluginError, Plugins
from vdp.plugin_change import PluginChange
from vdp.reload.apply import Act, Application, Tables
from vdp.reload.plan import LIVE_KEYS, Plan, Present, make_plan

if TYPE_CHECKING:
    from pydantic import BaseModel

    from vdp.config import Config, Problem
    from vdp.config.model import PluginsSection
    from vdp.links.link import LinkKind
    from vdp.running import Running

log = logging.getLogger("vdp")

Result = Literal["planned", "unchanged", "applied", "invalid", "refused", "failed"]
#: What counts as done; of the others nothing is in force, or it is said what is.
GOOD = frozenset({"unchanged", "applied"})
RESULTS: tuple[Result, ...] = ("applied", "unchanged", "invalid", "refused", "failed")


class Owner(Tables, Protocol):
    """Who runs the configuration."""

    def adopt(self, config: Config) -> None:
        """It is in force."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    planned: a dry run.  invalid: the file is wrong.  refused: it needs a restart.  failed: `acts`
    say how far it came, and what was undone.  notes: what does not stop it.
    """

    result: Result
    path: str
    plan: Plan | None = None
    problems: tuple[Problem, ...] = ()
    acts: tuple[Act, ...] = ()
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "result": self.result,
            "config": self.path,
            "changes": [change.as_json() for change in plan.changes] if plan else [],
            "kept": dict(plan.kept) if plan else {},
            "problems": [problem.as_json() | {"text": problem.render()} for problem in self.problems],
            "acts": [act.as_json() for act in self.acts],
            "notes": list(self.notes),
        }


class Reload:
    """Reads a daemon's configuration anew.  changing: held meanwhile."""

    def __init__(
        self, running: Running, owner: Owner, config: Config, changing: asyncio.Lock, *, strict: bool = False
    ) -> None:
        self._running = running
        self._owner = owner
        self._config = config
        self._changing = changing
        self._is_strict = strict
        self._plugins = running.datapath.plugins
        self._change = PluginChange(running.datapath)
        self.results: Counter[Result] = Counter()
        self.was_good = True
        #: When the configuration in force was read, as time.time().
        self.read_s = time.time()

    async def run(self, *, dry_run: bool = False) -> Outcome:
        """Read the file, and have what it says in force; dry_run: only say what that would mean."""
        async with self._changing:
            outcome = await self._run(dry_run)
        if dry_run:
            return outcome
        self.results[outcome.result] += 1
        self.was_good = outcome.result in GOOD
        if self.was_good:
            self.read_s = time.time()
        return outcome

    async def _run(self, dry_run: bool) -> Outcome:
        path = self._config.path
        if not dry_run:
            log.info("reload: reading %s", path)
        self._plugins.look_again()
        reading = _Reading(self)
        try:
            outcome = await self._decide(reading, dry_run)
        except ConfigError as error:
            outcome = Outcome("invalid", str(path), problems=error.problems)
        finally:
            for name in reading.imported:
                self._change.forget(name)
        self._tell(outcome)
        return outcome

    async def _decide(self, reading: _Reading, dry_run: bool) -> Outcome:
        plugins = reading.plugins
        config = await asyncio.to_thread(
            load, self._config.path, reading.kinds, plugins.settings, lambda: plugins.actions
        )
        path, notes = str(config.path), tuple(reading.notes)
        before = self._in_force()
        present = self._present(before, reading.failing, config)
        plan = await asyncio.to_thread(make_plan, present, config, plugins.kinds)
        if plan.faults:
            placer = Placer(path, config.positions)
            problems = tuple(placer.place(fault) for fault in plan.faults)
            return Outcome("refused", path, plan, problems, notes=notes)
        if dry_run:
            return Outcome("planned", path, plan, notes=notes)
        application = Application(
            self._running, self._change, self._owner, before, config, plan, reading.modules()
        )
        if not await application.run():
            return Outcome("failed", path, plan, acts=tuple(application.acts), notes=notes)
        self._config = config
        self._owner.adopt(config)
        for name in [name for name, info in self._plugins.infos.items() if info.state == "failed"]:
            if name not in config.plugins.load:
                del self._plugins.infos[name]  # it failed for another configuration
        result: Result = "applied" if plan.changes else "unchanged"
        return Outcome(result, path, plan, acts=tuple(application.acts), notes=notes)

    # -- what runs ----------------------------------------------------------------------------

    def _in_force(self) -> Config:
        """The configuration as it is in force, also where an earlier reload failed half-way."""
        running = self._running
        return dataclasses.replace(
            self._config,
            ports=tuple(running.ports.values()),
            links=tuple(running.links.values()),
            bridges=running.bridges,
            connects=running.connects,
            routes=running.routes,
            rules=running.rules,
        )

    def _present(self, config: Config, failing: frozenset[str], wanted: Config) -> Present:
        datapath = self._running.datapath
        settings = datapath.plugin_settings
        return Present(
            ports=self._running.ports,
            links=self._running.links,
            bridges=config.bridges,
            connects=config.connects,
            routes=config.routes,
            rules=config.rules,
            plugins={
                name: settings.get(name) for name in self._plugins.infos if self._change.is_loaded(name)
            },
            tables={table: getattr(config, table) for table in LIVE_KEYS},
            carried=self._running.carried_now(),
            taken=self._running.taken(),
            failing=failing,
            gone=self._running.gone(),
            refusal=self._refusal,
            lacking=capabilities.missing(wanted, config),
        )

    def _refusal(self, name: str, parameters: BaseModel) -> str:
        link = self._running.datapath.links[name]
        try:
            link.kind.check_change(link, parameters)
        except LinkError as error:
            return error.sentence
        return ""

    def is_known_to_fail(self, name: str) -> bool:
        """Whether vdp runs without that plugin because it could not be loaded."""
        infos = self._plugins.infos
        return not self._is_strict and name in infos and infos[name].state == "failed"

    def forget(self, name: str) -> bool:
        """Whether a plugin is not loaded; then it is imported from its files as they are now."""
        if self._change.is_loaded(name):
            return False
        self._change.forget(name)
        return True

    # -- telling ------------------------------------------------------------------------------

    def _tell(self, outcome: Outcome) -> None:
        """To the log; who asked gets the outcome itself."""
        for problem in outcome.problems:
            text = problem.render().splitlines()[0]
            log.error("reload: %s", f"{text} ({problem.hint})" if problem.hint else text)
        for note in outcome.notes:
            log.warning("reload: %s", note)
        if outcome.result in ("invalid", "refused"):
            log.error("reload: nothing is changed")
        elif outcome.result == "failed":
            left = [act for act in outcome.acts if act.state == "not undone"]
            log.error(
                "reload: failed, %s", "what is said above could not be undone" if left else "all is as it was"
            )
        elif outcome.result != "planned":
            count = len(outcome.plan.changes) if outcome.plan else 0
            log.info("reload: done, %d change%s", count, "" if count == 1 else "s")


class _Reading:
    """The plugins of a file that is read: those that run as they are, others imported for it."""

    def __init__(self, reload: Reload) -> None:
        self._reload = reload
        self.plugins = Plugins()
        self.imported: list[str] = []
        self.notes: list[str] = []
        self.failing: frozenset[str] = frozenset()

    def kinds(self, section: PluginsSection) -> Mapping[str, LinkKind]:
        """For vdp.config.load.  PluginsFailed; a plugin that vdp runs without may still fail."""
        self.imported = [name for name in section.load if self._reload.forget(name)]
        self.plugins.hashes = section.hashes
        failures: list[PluginError] = self.plugins.load(section.load)
        known = {f.plugin for f in failures if self._reload.is_known_to_fail(f.plugin) and not section.strict}
        self.failing = frozenset(known)
        self.notes += [f"{failure}; as before" for failure in failures if failure.plugin in known]
        new = {failure.plugin: str(failure) for failure in failures if failure.plugin not in known}
        if new:
            raise PluginsFailed(new, self.plugins.kinds, self.plugins.infos)
        return self.plugins.kinds

    def modules(self) -> dict[str, Any]:
        """Of the plugins that are not loaded yet."""
        found = {name: self.plugins.infos[name].module for name in self.imported if name not in self.failing}
        return {name: module for name, module in found.items() if module is not None}
