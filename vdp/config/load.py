"""From a TOML file, and those that it includes, to a Config, or to every problem at once.

`load` has them read and put together (vdp.config.include), validates each section on its own,
asks the plugins for the parameters of their links, then checks the sections together.  It touches
nothing but the files.  Called by vdp.daemon and `vdp check`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from vdp.config.actions import ActionMakers, plugin_action_faults
from vdp.config.checks import CHECKS, Draft
from vdp.config.faults import Fault, Placer, faults_of, unknown_key
from vdp.config.include import Gathered, gather
from vdp.config.model import (
    ARRAY_SECTIONS,
    TABLE_SECTIONS,
    TOP_LEVEL,
    Config,
    LinkKindInfo,
    LinkSection,
    PluginsSection,
    RuleSection,
    Section,
)
from vdp.config.nearest import nearest_hint
from vdp.config.positions import KeyPath
from vdp.config.problem import ConfigError, PluginsFailed, value_text

Kinds = Callable[[PluginsSection], Mapping[str, LinkKindInfo]]
Settings = Callable[[], Mapping[str, type[BaseModel]]]
Actions = Callable[[], ActionMakers]


def _no_settings() -> Mapping[str, type[BaseModel]]:
    return {}


def _no_actions() -> ActionMakers:
    return {}


def load(
    path: Path, kinds: Kinds, settings: Settings = _no_settings, actions: Actions = _no_actions
) -> Config:
    """The configuration in `path`.  Raises ConfigError with all that is wrong.

    kinds: called once with the plugins section; gives the kinds of link that its
    plugins provide, or raises PluginsFailed, which makes each failure a problem of its entry.
    settings: called after that; the models of the plugins' own tables [plugin.NAME].
    actions: likewise; what makes the plugins' actions of rules, by PLUGIN.WORD.
    """
    return _Loading(path, gather(path), kinds, settings, actions).config()


class _Loading:
    """One document on its way to a Config."""

    def __init__(
        self, path: Path, gathered: Gathered, kinds: Kinds, settings: Settings, actions: Actions
    ) -> None:
        self.path = path
        self.gathered = gathered
        self.document = gathered.document
        self.positions = gathered.positions
        self.placer = Placer(str(path), self.positions)
        self.kinds = kinds
        self.settings = settings
        self.actions = actions
        self.plugin_settings: dict[str, BaseModel] = {}
        self.faults: list[Fault] = []
        self.complete = True  # all plugins told their kinds
        self.arrays: dict[str, dict[int, Section]] = {name: {} for name in ARRAY_SECTIONS}
        self.tables: dict[str, Section] = {}

    def config(self) -> Config:
        self.top_level()
        for name, model in ARRAY_SECTIONS.items():
            self.array(name, model)
        for name, model in TABLE_SECTIONS.items():
            self.table(name, model)
        plugins = self.tables.get("plugins")
        assert plugins is None or isinstance(plugins, PluginsSection)
        kinds = self.ask_plugins(plugins) if plugins is not None else None
        if kinds is not None:
            self.link_parameters(kinds)
            self.plugin_tables()
            if self.complete:
                sections = self.arrays["rule"].items()
                rules = {at: rule for at, rule in sections if isinstance(rule, RuleSection)}
                self.faults.extend(plugin_action_faults(rules, self.actions()))
        draft = Draft(self.document, self.arrays, plugins, kinds, self.plugin_settings, self.positions.place)
        for kind, check in CHECKS:
            found = check(draft)
            self.faults.extend(fault if fault.kind else replace(fault, kind=kind) for fault in found)
        problems = dict.fromkeys([*self.gathered.problems, *map(self.placer.place, self.faults)])
        if problems:
            files = [str(file) for file in self.gathered.files]
            raise ConfigError(
                sorted(problems, key=lambda each: (files.index(each.file), each.line, each.column))
            )
        return self.finished()

    def top_level(self) -> None:
        for name in self.document:
            if name not in TOP_LEVEL:
                self.faults.append(unknown_key((name,), TOP_LEVEL))
        version = self.document.get("config_version", 1)
        if type(version) is not int or version != 1:
            self.faults.append(Fault(("config_version",), "1", value_text(version), kind="wrong-value"))
        tables = self.document.get("plugin", {})
        if not isinstance(tables, dict):
            self.faults.append(
                Fault(("plugin",), "tables [plugin.NAME]", value_text(tables), kind="wrong-shape")
            )
            return
        for name, table in tables.items():
            if not isinstance(table, dict):
                hint = "[plugin.NAME] is a plugin's own table, [plugins] says what is loaded"
                self.faults.append(
                    Fault(("plugin", name), "a table", value_text(table), hint, kind="wrong-shape")
                )

    def array(self, name: str, model: type[Section]) -> None:
        entries = self.document.get(name, [])
        if not isinstance(entries, list):
            hint = f"write [[{name}]]" if isinstance(entries, dict) else ""
            expected = f"tables [[{name}]]"
            self.faults.append(Fault((name,), expected, value_text(entries), hint, kind="wrong-shape"))
            return
        for index, entry in enumerate(entries):
            section = self.validated(model, (name, index), entry)
            if isinstance(section, Section):
                self.arrays[name][index] = section

    def table(self, name: str, model: type[Section]) -> None:
        raw = self.document.get(name, {})
        if isinstance(raw, list):
            expected, hint = f"one table [{name}]", f"write [{name}]"
            self.faults.append(Fault((name,), expected, value_text(raw), hint, kind="wrong-shape"))
            return
        section = self.validated(model, (name,), raw)
        if isinstance(section, Section):
            self.tables[name] = section

    def validated(
        self,
        model: type[BaseModel],
        path: KeyPath,
        raw: object,
        known: tuple[str, ...] = (),
        context: Mapping[str, str] | None = None,
    ) -> BaseModel | None:
        """`raw` as the model has it, or None and its faults.  context: for its validators."""
        try:
            return model.model_validate(raw, context=context)
        except ValidationError as error:
            self.faults.extend(faults_of(error, model, path, raw, known))
            return None

    def ask_plugins(self, plugins: PluginsSection) -> Mapping[str, LinkKindInfo]:
        """The kinds that are known; of failed plugins, faults and their absence in self.complete."""
        try:
            return self.kinds(plugins)
        except PluginsFailed as failed:
            self.complete = False
            for name, sentence in failed.failures.items():
                path: KeyPath = ("plugins", "load")
                if name in plugins.load:
                    path = (*path, plugins.load.index(name))
                found, others = value_text(name), set(failed.installed) - {name}
                hint = nearest_hint(name, others) if "is not installed" in sentence else ""
                self.faults.append(
                    Fault(path, "a plugin that loads", found, hint, message=sentence, kind="plugin-fails")
                )
            return failed.kinds

    def link_parameters(self, kinds: Mapping[str, LinkKindInfo]) -> None:
        """Validate each link's own keys, also of a link whose other keys are wrong."""
        entries = self.document.get("link", [])
        own = tuple(LinkSection.model_fields)
        for index, raw in enumerate(entries if isinstance(entries, list) else ()):
            kind = raw.get("kind") if isinstance(raw, dict) else None
            if not isinstance(kind, str):
                continue
            info = kinds.get(kind)
            if info is None and not self.complete:
                continue  # it may be of a plugin that failed
            if info is None:
                known = f"kinds here: {', '.join(sorted(kinds)) or 'none'}; is its plugin in plugins.load?"
                near = nearest_hint(kind, kinds)
                hint = f"{near} Else: {known}" if near else known
                expected = "a kind of link that a loaded plugin has"
                place: KeyPath = ("link", index, "kind")
                self.faults.append(Fault(place, expected, value_text(kind), hint, kind="unknown-kind"))
                continue
            options = {key: value for key, value in raw.items() if key not in own}
            parameters = self.validated(info.parameters, ("link", index), options, own, {"kind": kind})
            section = self.arrays["link"].get(index)
            if parameters is not None and isinstance(section, LinkSection):
                self.arrays["link"][index] = section.with_parameters(parameters)

    def plugin_tables(self) -> None:
        """Validate each [plugin.NAME] of a plugin that has settings; without a table, its defaults."""
        tables = self.document.get("plugin", {})
        models = self.settings()
        for name, model in models.items():
            raw = tables.get(name, {}) if isinstance(tables, dict) else {}
            validated = self.validated(model, ("plugin", name), raw)
            if validated is not None:
                self.plugin_settings[name] = validated
        plugins = self.tables.get("plugins")
        listed = plugins.load if isinstance(plugins, PluginsSection) else ()
        for name in tables if isinstance(tables, dict) and self.complete else ():
            if name in listed and name not in models:
                hint = f"{name} has no settings"
                place: KeyPath = ("plugin", name)
                expected, found = "a plugin with settings", value_text(name)
                self.faults.append(Fault(place, expected, found, hint, kind="unknown-key"))

    def finished(self) -> Config:
        def every(name: str) -> Iterator[Any]:
            yield from self.arrays[name].values()

        tables: dict[str, Any] = dict(self.tables)
        return Config(
            path=self.path,
            ports=tuple(every("port")),
            links=tuple(every("link")),
            bridges=tuple(every("bridge")),
            connects=tuple(every("connect")),
            routes=tuple(every("route")),
            rules=tuple(every("rule")),
            plugins=tables["plugins"],
            plugin=self.plugin_settings,
            metrics=tables["metrics"],
            control=tables["control"],
            engine=tables["engine"],
            icmp=tables["icmp"],
            overload=tables["overload"],
            security=tables["security"],
            log=tables["log"],
            positions=self.positions,
        )
