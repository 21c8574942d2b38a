"""Finding and loading plugins: entry points, an allow-list, and one clear line for each failure.

Nothing that is not listed is imported.  What a plugin is called, by whom and in which
version is read from its distribution's metadata, without importing it.
"""

from __future__ import annotations

import difflib
import logging
import types
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pluggy
from pydantic import BaseModel

from vdp import hookspecs, plugin_files
from vdp.plugin_contract import HOOKS, contract_broken, mapping
from vdp.registrations import Registrations
from vdp.registry import RegistryError, fault
from vdp.saying import is_plugins

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.hookspecs import ActionMaker
    from vdp.links.link import LinkKind

K = TypeVar("K", bound="LinkKind")

log = logging.getLogger(__name__)

GROUP = "vdp"


class PluginError(Exception):
    """A plugin that can not be loaded; the text is a sentence, `plugin` its name."""

    def __init__(self, plugin: str, sentence: str) -> None:
        super().__init__(f"plugin {plugin} {sentence}")
        self.plugin = plugin
        self.sentence = sentence


def _failed(name: str, error: BaseException) -> PluginError:
    """A plugin's own fault, in a line."""
    if isinstance(error, PluginError):
        return error
    return PluginError(name, f"failed: {_in_a_line(error)}")


def _in_a_line(error: BaseException) -> str:
    """What, and where, if that is in the plugin; what vdp refuses says enough."""
    if isinstance(error, RegistryError):
        return str(error)
    said = fault(error) if is_plugins(error) else f"{type(error).__name__}: {error}"
    return " ".join(said.split())


def _is_of(plugin: str, action: str) -> bool:
    """Whether an action of rules, PLUGIN.WORD, is that plugin's."""
    return action.partition(".")[0] == plugin


@dataclass(slots=True)
class PluginInfo:
    """A plugin that is installed, listed, or both."""

    name: str
    distribution: str = ""
    version: str = ""
    state: Literal["loaded", "failed", "disabled"] = "disabled"  # disabled: installed, not listed
    error: str = ""
    module: types.ModuleType | None = field(default=None, repr=False)


def installed() -> dict[str, EntryPoint]:
    """The entry points of the group, by name; nothing is imported."""
    return {point.name: point for point in entry_points(group=GROUP)}


@lru_cache(maxsize=64)
def _said(distribution: Distribution | None) -> tuple[str, str]:
    """Its name and version; read once of one that has many plugins."""
    return (distribution.name, distribution.version) if distribution else ("", "")


class Plugins:
    """The plugins of one dataplane."""

    def __init__(self) -> None:
        self._points = installed()
        self.infos = {name: PluginInfo(name, *_said(point.dist)) for name, point in self._points.items()}
        self._manager = pluggy.PluginManager("vdp")
        self._manager.add_hookspecs(hookspecs)
        self.kinds: dict[str, LinkKind] = {}
        self.kinds_of: dict[str, list[str]] = {}  # by plugin, of those that are loaded, in that order
        self.actions: dict[str, ActionMaker] = {}  # of rules, by PLUGIN.WORD
        self.is_started = False  # vdp_start has been called
        #: What the files of plugins must be, where that is said ([plugins] hashes).
        self.hashes: Mapping[str, str] = {}
        self._registered: dict[str, Registrations] = {}
        #: Kinds that plugins asked for when they registered, and who registers right now.
        self._asked: dict[str, set[str]] = {}
        self._registering: str | None = None

    def offer(self, name: str, module: str) -> None:
        """A module that is not installed, as if it were: by an entry point NAME = MODULE."""
        self._points[name] = EntryPoint(name, module, GROUP)
        self.infos[name] = PluginInfo(name)

    def load(self, names: Sequence[str], *, strict: bool = False) -> list[PluginError]:
        """Import the listed plugins, each once; the failures, or with `strict` the first one raised."""
        failures = []
        for name in dict.fromkeys(names):
            try:
                self._load(name)
            except PluginError as error:
                self.infos.setdefault(name, PluginInfo(name)).state = "failed"
                self.infos[name].error = str(error)
                if strict:
                    raise
                failures.append(error)
        return failures

    def _load(self, name: str) -> None:
        self.adopt(name, self.imported(name))

    def imported(self, name: str) -> types.ModuleType:
        """Its module, made for this version of the API; PluginError."""
        point = self._points.get(name)
        if point is None:
            known = ", ".join(sorted(self._points)) or "none"
            raise PluginError(name, f"is not installed (there is: {known})")
        pinned = self.hashes.get(name)
        if pinned is not None:
            self._require(name, point.module, pinned)
        try:
            with plugin_files.untouched() if pinned is not None else nullcontext():
                module: types.ModuleType = point.load()
        except (Exception, SystemExit) as error:
            raise PluginError(name, f"can not be imported: {_in_a_line(error)}") from error
        broken = contract_broken(module)
        if broken:
            raise PluginError(name, broken)
        return module

    def _require(self, name: str, module: str, pinned: str) -> None:
        """Its files are those that the configuration trusts; PluginError."""
        try:
            found = plugin_files.digest(module)
        except (LookupError, ImportError, OSError) as error:
            raise PluginError(name, f"can not be looked at: {_in_a_line(error)}") from error
        if found != pinned:
            raise PluginError(
                name,
                f"is not imported: its files are {found}, [plugins] hashes has {pinned}; look at what "
                f"changed, then `vdp plugin hash {name}` prints the new line",
            )

    def adopt(
        self, name: str, module: types.ModuleType, kinds_it_had: Sequence[LinkKind] | None = None
    ) -> None:
        """Take in an imported plugin, with its link kinds, or those that it had; PluginError."""
        try:
            self._manager.register(module, name)
            self._refuse_unknown_hooks(name, module)
            self._manager.check_pending()
            kinds = list(self._call(name, "vdp_link_kinds") or ()) if kinds_it_had is None else kinds_it_had
            for kind in kinds:
                if kind.name in self.kinds or [other.name for other in kinds].count(kind.name) > 1:
                    giver = "another plugin gives" if kind.name in self.kinds else "it gives"
                    raise PluginError(name, f"gives link kind {kind.name!r}, which {giver} already")
                kind.parameters.model_rebuild()  # deferred by its class: what is wrong is the plugin's fault
            actions = mapping("vdp_actions", self._call(name, "vdp_actions"))
        except (Exception, SystemExit) as error:
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            raise _failed(name, error) from error
        self.kinds.update({kind.name: kind for kind in kinds})
        self.kinds_of[name] = [kind.name for kind in kinds]
        self.actions.update({f"{name}.{word}": maker for word, maker in actions.items()})
        info = self.infos[name]
        info.state, info.error, info.module = "loaded", "", module

    def _refuse_unknown_hooks(self, name: str, module: types.ModuleType) -> None:
        """PluginError where a function says @hookimpl and there is no such hook, with the likely one."""
        for called in vars(module):
            if called not in HOOKS and self._manager.parse_hookimpl_opts(module, called) is not None:
                near = difflib.get_close_matches(called, HOOKS, 1)
                meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(HOOKS))}"
                raise PluginError(name, f"failed: unknown hook {called!r}: {meant}")

    def kind(self, sort: type[K], name: str | None = None) -> K:
        """The link kind of that class, or name, as a loaded plugin gave it; LookupError where none did."""
        self._note_asked(name or str(getattr(sort, "name", "")))
        for kind in self.kinds.values():
            if isinstance(kind, sort) and name in (None, kind.name):
                return kind
        wanted = name or sort.name
        by = f"the plugin {wanted!r}" if wanted in self._points else "the plugin that does"
        raise LookupError(
            f"no loaded plugin gives link kind {wanted!r}: "
            f"list {by} under [plugins] load (for tests: in vdp_plugins)"
        )

    def giver(self, kind: str) -> str:
        """The plugin that gives a link kind; KeyError where none that is loaded does."""
        return {each: name for name, kinds in self.kinds_of.items() for each in kinds}[kind]

    def owner_of(self, module: str) -> str:
        """The loaded plugin of whose package that module is; empty for nobody's."""
        for info in self.infos.values():
            own = info.module.__name__ if info.module is not None else ""
            if own and (module == own or module.startswith(f"{own}.")):
                return info.name
        return ""

    def has_kind(self, name: str) -> bool:
        """Whether a loaded plugin gives link kind `name`."""
        self._note_asked(name)
        return name in self.kinds

    def _note_asked(self, kind: str) -> None:
        if self._registering is not None:
            self._asked.setdefault(self._registering, set()).add(kind)

    def who_asked(self, kinds: Iterable[str]) -> list[str]:
        """The loaded plugins whose registrations may be others when these kinds are."""
        wanted = set(kinds)
        loaded = (info.name for info in self.infos.values() if info.state == "loaded")
        return [name for name in loaded if wanted & self._asked.get(name, set())]

    def look_again(self) -> None:
        """Other plugins, or other versions, may have been installed since."""
        self._points = installed()
        for name, point in self._points.items():
            info = self.infos.setdefault(name, PluginInfo(name))
            info.distribution, info.version = _said(point.dist)

    def module_name(self, name: str) -> str:
        """The dotted name of the module that a plugin is; empty for one that is not installed."""
        module = self.infos[name].module if name in self.infos else None
        if module is not None:
            return module.__name__
        return self._points[name].module if name in self._points else ""

    def settings(self) -> Mapping[str, type[BaseModel]]:
        """The models of the loaded plugins' own tables, [plugin.NAME]: their `vdp_settings`."""
        return {
            info.name: info.module.vdp_settings
            for info in self.infos.values()
            if info.module is not None and hasattr(info.module, "vdp_settings")
        }

    def register(self, datapath: Datapath, *, strict: bool = False) -> None:
        """Have every loaded plugin register its reasons, handlers and stages, in the order of loading.

        All that a failing one has registered is taken back, last first, and its link kinds at last.
        """
        for name in list(self.kinds_of):
            try:
                self.register_one(name, datapath)
            except PluginError as failure:
                if strict:
                    raise
                log.error("%s", failure)

    def register_one(self, name: str, datapath: Datapath) -> None:
        """The same for one; PluginError, and it is as if it had not been loaded."""
        try:
            with datapath.attempt(name) as registered:
                self.enlist(name, datapath)
        except (Exception, SystemExit) as error:
            self._drop(name)
            failure = _failed(name, error)
            self.infos[name].state, self.infos[name].error = "failed", str(failure)
            raise failure from error
        self._registered[name] = registered
        datapath.forwarding.actions_changed(name)

    def withdraw(self, name: str, datapath: Datapath) -> None:
        """Take back all that it registered, its link kinds at last; the names of drop reasons stay."""
        self.take_back(name, datapath)
        self._drop(name)

    def take_back(self, name: str, datapath: Datapath) -> None:
        """The same, but for its link kinds: it may register anew."""
        self._registered.pop(name, Registrations()).take_back()
        datapath.registry.remove_owner(name)
        datapath.pipeline.remove_owner(name)
        datapath.drops.retire(name)
        datapath.forwarding.actions_changed(name)

    def _drop(self, name: str) -> None:
        for kind in self.kinds_of.pop(name, []):
            del self.kinds[kind]
        self.actions = {action: maker for action, maker in self.actions.items() if not _is_of(name, action)}
        self._manager.unregister(name=name)
        self.infos[name].module = None

    def enlist(self, name: str, datapath: Datapath) -> None:
        """Have one loaded plugin register its reasons, handlers and stages; what it raises comes through."""
        self._asked[name] = set()
        self._registering = name
        try:
            for reason, text in mapping("vdp_drop_reasons", self._call(name, "vdp_drop_reasons")).items():
                datapath.drops.register(name, reason, text)
            self._call(name, "vdp_register", datapath=datapath)
            self._call(name, "vdp_stages", pipeline=datapath.pipeline, datapath=datapath)
        finally:
            self._registering = None

    def call(self, hook: str, **arguments: Any) -> None:
        """Call a hook of every loaded plugin; a failing one is logged."""
        if hook in ("vdp_start", "vdp_stop"):
            self.is_started = hook == "vdp_start"
        for name in list(self.kinds_of):
            if hook == "vdp_start":
                self.start_one(name, **arguments)
            else:
                self.call_one(name, hook, **arguments)

    def start_one(self, name: str, datapath: Datapath) -> None:
        """Its hook vdp_start; what it registers then goes with it, too."""
        with datapath.attempt(name) as registered:
            self.call_one(name, "vdp_start", datapath=datapath)
        self._registered.setdefault(name, Registrations()).extend(registered)

    def call_one(self, name: str, hook: str, **arguments: object) -> None:
        """A hook of one plugin; it is logged when it fails."""
        try:
            self._call(name, hook, **arguments)
        except (Exception, SystemExit) as error:
            log.error("plugin %s: %s: %s", name, hook, _in_a_line(error))

    def _call(self, name: str, hook: str, **arguments: object) -> Any:
        """One hook of one plugin, through pluggy; None where it has not that hook."""
        plugin = self._manager.get_plugin(name)
        others = [other for other in self._manager.get_plugins() if other is not plugin]
        answers = self._manager.subset_hook_caller(hook, others)(**arguments)
        return answers[0] if answers else None
