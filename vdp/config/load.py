"""From a TOML file to a Config, or to every problem of it at once.

`load` reads text, validates each section on its own, asks the plugins for the
parameters of their links, then checks the sections together.  It touches nothing
but the file.  Called by vdp.daemon and `vdp check`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from vdp.config.checks import CHECKS, Draft
from vdp.config.faults import Fault, Placer, faults_of, unknown_key
from vdp.config.model import (
    ARRAY_SECTIONS,
    TABLE_SECTIONS,
    TOP_LEVEL,
    Config,
    LinkKindInfo,
    LinkSection,
    PluginsSection,
    Section,
)
from vdp.config.nearest import nearest_hint
from vdp.config.positions import KeyPath, Positions, scan
from vdp.config.problem import ConfigError, PluginsFailed, Problem, value_text

Kinds = Callable[[PluginsSection], Mapping[str, LinkKindInfo]]
Settings = Callable[[], Mapping[str, type[BaseModel]]]

# Far more than any configuration, and little enough to read by mistake.
SIZE_MOST = 4 << 20


def _no_settings() -> Mapping[str, type[BaseModel]]:
    return {}


def load(path: Path, kinds: Kinds, settings: Settings = _no_settings) -> Config:
    """The configuration in `path`.  Raises ConfigError with all that is wrong.

    kinds: called once with the plugins section; gives the kinds of link that its
    plugins provide, or raises PluginsFailed, which makes each failure a problem of its entry.
    settings: called after that; the models of the plugins' own tables [plugin.NAME].
    """
    text = _read(path)
    document = _parse(path, text)
    return _Loading(path, document, scan(text), kinds, settings).config()


def _read(path: Path) -> str:
    file = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(SIZE_MOST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError([Problem(file, 0, 0, "", f"can not be read: {reason}")]) from None
    if len(content) > SIZE_MOST:
        raise ConfigError([Problem(file, 0, 0, "", f"larger than {SIZE_MOST >> 20} MiB")])
    try:
        # As tomllib.load does: text in UTF-8, CRLF is a newline.
        return content.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = len(content[content.rfind(b"\n", 0, error.start) + 1 : error.start].decode()) + 1
        raise ConfigError([Problem(file, line, column, "", "not UTF-8, which TOML is")]) from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_problem(str(path), text, str(error))]) from None
    except RecursionError:
        raise ConfigError([Problem(str(path), 1, 1, "", "nested too deeply")]) from None
    except ValueError as error:
        # Python refuses integers of more than 4,300 digits.
        raise ConfigError([Problem(str(path), 1, 1, "", f"not TOML: {error}")]) from None


def _syntax_problem(file: str, text: str, message: str) -> Problem:
    """tomllib tells the place in its words only: "… (at line 3, column 1)", "… (at end of document)"."""
    positions = Positions(text, {})
    match = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    if match:
        line, column = int(match[1]), int(match[2])
    else:
        end = positions.at(len(text.rstrip()))
        line, column = end.line, end.column
    words = re.sub(r" \(at [^()]*\)$", "", message)
    return Problem(
        file, line, column, "", f"not TOML: {words[:1].lower()}{words[1:]}", source=positions.line(line)
    )


class _Loading:
    """One document on its way to a Config."""

    def __init__(
        self, path: Path, document: dict[str, Any], positions: Positions, kinds: Kinds, settings: Settings
    ) -> None:
        self.path = path
        self.document = document
        self.positions = positions
        self.placer = Placer(str(path), positions)
        self.kinds = kinds
        self.settings = settings
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
        draft = Draft(self.document, self.arrays, plugins, kinds, self.placer.line_of)
        for check in CHECKS:
            self.faults.extend(check(draft))
        if self.faults:
            problems = {self.placer.place(fault): None for fault in self.faults}
            raise ConfigError(sorted(problems, key=lambda each: (each.line, each.column)))
        return self.finished()

    def top_level(self) -> None:
        for name in self.document:
            if name not in TOP_LEVEL:
                self.faults.append(unknown_key((name,), TOP_LEVEL))
        version = self.document.get("config_version", 1)
        if type(version) is not int or version != 1:
            self.faults.append(Fault(("config_version",), "1", value_text(version)))
        tables = self.document.get("plugin", {})
        if not isinstance(tables, dict):
            self.faults.append(Fault(("plugin",), "tables [plugin.NAME]", value_text(tables)))
            return
        for name, table in tables.items():
            if not isinstance(table, dict):
                hint = "[plugin.NAME] is a plugin's own table, [plugins] says what is loaded"
                self.faults.append(Fault(("plugin", name), "a table", value_text(table), hint))

    def array(self, name: str, model: type[Section]) -> None:
        entries = self.document.get(name, [])
        if not isinstance(entries, list):
            hint = f"write [[{name}]]" if isinstance(entries, dict) else ""
            self.faults.append(Fault((name,), f"tables [[{name}]]", value_text(entries), hint))
            return
        for index, entry in enumerate(entries):
            section = self.validated(model, (name, index), entry)
            if isinstance(section, Section):
                self.arrays[name][index] = section

    def table(self, name: str, model: type[Section]) -> None:
        raw = self.document.get(name, {})
        if isinstance(raw, list):
            self.faults.append(Fault((name,), f"one table [{name}]", value_text(raw), f"write [{name}]"))
            return
        section = self.validated(model, (name,), raw)
        if isinstance(section, Section):
            self.tables[name] = section

    def validated(
        self, model: type[BaseModel], path: KeyPath, raw: object, known: tuple[str, ...] = ()
    ) -> BaseModel | None:
        try:
            return model.model_validate(raw)
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
                self.faults.append(Fault(path, "a plugin that loads", value_text(name), message=sentence))
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
                hint = nearest_hint(kind, kinds) or (
                    f"kinds here: {', '.join(sorted(kinds)) or 'none'}; is its plugin in plugins.load?"
                )
                expected = "a kind of link that a loaded plugin has"
                self.faults.append(Fault(("link", index, "kind"), expected, value_text(kind), hint))
                continue
            options = {key: value for key, value in raw.items() if key not in own}
            parameters = self.validated(info.parameters, ("link", index), options, own)
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
                self.faults.append(Fault(("plugin", name), "a plugin with settings", value_text(name), hint))

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
            log=tables["log"],
            positions=self.positions,
        )
