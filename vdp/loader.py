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
        point = self._points.get(name)
        if point is None:
            known = ", ".join(sorted(self._points)) or "none"
            raise PluginError(name, f"is not installed (there is: {known})")
        try:
            module = point.load()
        except Exception as error:
            raise PluginError(name, f"can not be imported: {type(error).__name__}: {error}") from error
        version = getattr(module, "vdp_api", None)
        if version != hookspecs.API_VERSION:
            raise PluginError(
                name, f"is made for API version {version}; this vdp has {hookspecs.API_VERSION}"
            )
        try:
            self._manager.register(module, name)
            self._manager.check_pending()
            kinds = list(self._call(name, "vdp_link_kinds") or ())
        except PluginError:
            self._manager.unregister(name=name)
            raise
        except Exception as error:
            self._manager.unregister(name=name)
            raise PluginError(name, f"failed: {type(error).__name__}: {error}") from error
        for kind in kinds:
            if kind.name in self.kinds:
                self._manager.unregister(name=name)
                raise PluginError(name, f"gives link kind {kind.name!r}, which another plugin gives already")
        self.kinds.update({kind.name: kind for kind in kinds})
        self.kinds_of[name] = [kind.name for kind in kinds]
        info = self.infos[name]
        info.state, info.module = "loaded", module

    def settings(self) -> Mapping[str, type[BaseModel]]:
        """The models of the loaded plugins' own tables, [plugin.NAME]: their `vdp_settings`."""
        return {
            info.name: info.module.vdp_settings
            for info in self.infos.values()
            if info.module is not None and hasattr(info.module, "vdp_settings")
        }

    def register(self, datapath: Datapath, *, strict: bool = False) -> None:
        """Have every loaded plugin register its reasons, handlers and stages; undo a failing one's."""
        for info in [info for info in self.infos.values() if info.state == "loaded"]:
            try:
                for reason, text in (self._call(info.name, "vdp_drop_reasons") or {}).items():
                    datapath.drops.register(info.name, reason, text)
                self._call(info.name, "vdp_register", datapath=datapath)
                self._call(info.name, "vdp_stages", pipeline=datapath.pipeline)
            except Exception as error:
                datapath.registry.remove_owner(info.name)
                datapath.pipeline.remove_owner(info.name)
                failure = PluginError(info.name, f"failed: {type(error).__name__}: {error}")
                info.state, info.error = "failed", str(failure)
                if strict:
                    raise failure from error
                log.error("%s", failure)

    def call(self, hook: str, **arguments: object) -> None:
        """Call a hook of every loaded plugin; a failing one is logged."""
        for info in [info for info in self.infos.values() if info.state == "loaded"]:
            try:
                self._call(info.name, hook, **arguments)
            except Exception as error:
                log.error("plugin %s: %s: %s: %s", info.name, hook, type(error).__name__, error)

    def _call(self, name: str, hook: str, **arguments: object) -> Any:
        """One hook of one plugin, through pluggy; None where it has not that hook."""
        plugin = self._manager.get_plugin(name)
        others = [other for other in self._manager.get_plugins() if other is not plugin]
        answers = self._manager.subset_hook_caller(hook, others)(**arguments)
        return answers[0] if answers else None
