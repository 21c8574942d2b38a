"""Finding and loading plugins: entry points, an allow-list, and one clear line for each failure.

Nothing that is not listed is imported.  What a plugin is called, by whom and in which
version is read from its distribution's metadata, without importing it.
"""

from __future__ import annotations

import logging
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Literal

import pluggy
from pydantic import BaseModel

from vdp import hookspecs
from vdp.registrations import Registrations
from vdp.registry import RegistryError

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.links.link import LinkKind

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
    sentence = error.strerror if isinstance(error, RegistryError) else f"{type(error).__name__}: {error}"
    return PluginError(name, f"failed: {' '.join(str(sentence).split())}")


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


class Plugins:
    """The plugins of one dataplane."""

    def __init__(self) -> None:
        self._points = installed()
        self.infos: dict[str, PluginInfo] = {
            name: PluginInfo(
                name, point.dist.name if point.dist else "", point.dist.version if point.dist else ""
            )
            for name, point in self._points.items()
        }
        self._manager = pluggy.PluginManager("vdp")
        self._manager.add_hookspecs(hookspecs)
        self.kinds: dict[str, LinkKind] = {}
        self.kinds_of: dict[str, list[str]] = {}  # by plugin
        self.is_started = False  # vdp_start has been called
        self._registered: dict[str, Registrations] = {}

    def load(self, names: Sequence[str], *, strict: bool = False) -> list[PluginError]:
        """Import the listed plugins; the failures, or with `strict` the first one raised."""
        failures = []
        for name in names:
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
        try:
            module: types.ModuleType = point.load()
        except (Exception, SystemExit) as error:
            why = " ".join(f"{type(error).__name__}: {error}".split())
            raise PluginError(name, f"can not be imported: {why}") from error
        version = getattr(module, "vdp_api", None)
        if version is None:
            raise PluginError(name, f"does not say vdp_api = {hookspecs.API_VERSION}, the API it is made for")
        if version != hookspecs.API_VERSION:
            raise PluginError(
                name, f"is made for API version {version}; this vdp has {hookspecs.API_VERSION}"
            )
        return module

    def adopt(self, name: str, module: types.ModuleType) -> None:
        """Take in an imported plugin, with its link kinds; PluginError."""
        try:
            self._manager.register(module, name)
            self._manager.check_pending()
            kinds = list(self._call(name, "vdp_link_kinds") or ())
            for kind in kinds:
                if kind.name in self.kinds or [other.name for other in kinds].count(kind.name) > 1:
                    giver = "another plugin gives" if kind.name in self.kinds else "it gives"
                    raise PluginError(name, f"gives link kind {kind.name!r}, which {giver} already")
        except (Exception, SystemExit) as error:
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            raise _failed(name, error) from error
        self.kinds.update({kind.name: kind for kind in kinds})
        self.kinds_of[name] = [kind.name for kind in kinds]
        info = self.infos[name]
        info.state, info.error, info.module = "loaded", "", module

    def look_again(self) -> None:
        """Other plugins, or other versions, may have been installed since."""
        self._points = installed()
        for name, point in self._points.items():
            info = self.infos.setdefault(name, PluginInfo(name))
            info.distribution = point.dist.name if point.dist else ""
            info.version = point.dist.version if point.dist else ""

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
        """Have every loaded plugin register its reasons, handlers and stages.

        All that a failing one has registered is taken back, last first, and its link kinds at last.
        """
        for info in [info for info in self.infos.values() if info.state == "loaded"]:
            try:
                self.register_one(info.name, datapath)
            except PluginError as failure:
                if strict:
                    raise
                log.error("%s", failure)

    def register_one(self, name: str, datapath: Datapath) -> None:
        """The same for one; PluginError, and it is as if it had not been loaded."""
        try:
            with datapath.attempt() as registered:
                self.enlist(name, datapath)
        except (Exception, SystemExit) as error:
            self._drop(name)
            failure = _failed(name, error)
            self.infos[name].state, self.infos[name].error = "failed", str(failure)
            raise failure from error
        self._registered[name] = registered

    def withdraw(self, name: str, datapath: Datapath) -> None:
        """Take back all that it registered, its link kinds at last; the names of drop reasons stay."""
        self._registered.pop(name).take_back()
        datapath.registry.remove_owner(name)
        datapath.pipeline.remove_owner(name)
        datapath.drops.retire(name)
        self._drop(name)

    def _drop(self, name: str) -> None:
        for kind in self.kinds_of.pop(name, []):
            del self.kinds[kind]
        self._manager.unregister(name=name)
        self.infos[name].module = None

    def enlist(self, name: str, datapath: Datapath) -> None:
        """Have one loaded plugin register its reasons, handlers and stages; what it raises comes through."""
        for reason, text in (self._call(name, "vdp_drop_reasons") or {}).items():
            datapath.drops.register(name, reason, text)
        self._call(name, "vdp_register", datapath=datapath)
        self._call(name, "vdp_stages", pipeline=datapath.pipeline)

    def call(self, hook: str, **arguments: Any) -> None:
        """Call a hook of every loaded plugin; a failing one is logged."""
        if hook in ("vdp_start", "vdp_stop"):
            self.is_started = hook == "vdp_start"
        for info in [info for info in self.infos.values() if info.state == "loaded"]:
            if hook == "vdp_start":
                self.start_one(info.name, **arguments)
            else:
                self.call_one(info.name, hook, **arguments)

    def start_one(self, name: str, datapath: Datapath) -> None:
        """Its hook vdp_start; what it registers then goes with it, too."""
        with datapath.attempt() as registered:
            self.call_one(name, "vdp_start", datapath=datapath)
        self._registered.setdefault(name, Registrations()).extend(registered)

    def call_one(self, name: str, hook: str, **arguments: object) -> None:
        """A hook of one plugin; it is logged when it fails."""
        try:
            self._call(name, hook, **arguments)
        except (Exception, SystemExit) as error:
            log.error("plugin %s: %s: %s: %s", name, hook, type(error).__name__, error)

    def _call(self, name: str, hook: str, **arguments: object) -> Any:
        """One hook of one plugin, through pluggy; None where it has not that hook."""
        plugin = self._manager.get_plugin(name)
        others = [other for other in self._manager.get_plugins() if other is not plugin]
        answers = self._manager.subset_hook_caller(hook, others)(**arguments)
        return answers[0] if answers else None
