"""Plugins that come, go and are exchanged while packets pass.

    reload    import anew ─► vdp_stop ─► what it registered is taken back ─► registers ─► vdp_start

Flows that rest on its handlers or stages are traced again once, at the end: nothing else is
disturbed, and whose decision stays what it was does not miss a packet.  A plugin that does
not import leaves the one that runs as it is; one that does not register is exchanged back.
Links are held by the code that made them: while there are any of its kinds, it stays.
"""

from __future__ import annotations

import importlib
import logging
import sys
import types
from collections.abc import Callable
from typing import TYPE_CHECKING

from vdp.loader import PluginError

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.loader import PluginInfo

log = logging.getLogger(__name__)

Modules = dict[str, types.ModuleType]


class PluginChange:
    """What an operator may do to the plugins of a running dataplane.  PluginError says why not."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._plugins = datapath.plugins

    def load(self, name: str) -> PluginInfo:
        """Import it and have it register, listed in the configuration or not."""
        if self._is_loaded(name):
            raise PluginError(name, "is loaded already")
        self._plugins.look_again()
        aside = self._set_aside(name)
        try:
            self._plugins.adopt(name, self._plugins.imported(name))
        except PluginError:
            self._put_back(name, aside)
            raise
        with self._datapath.slowpath.paused():
            self._begin(name)
        log.info("plugin %s: loaded", name)
        return self._plugins.infos[name]

    def unload(self, name: str) -> PluginInfo:
        """Take back all that it registered."""
        self._may_go(name, "unloaded")
        with self._datapath.slowpath.paused():
            self._end(name)
        self._set_aside(name)
        info = self._plugins.infos[name]
        info.state, info.error = "disabled", ""
        log.info("plugin %s: unloaded", name)
        return info

    def reload(self, name: str) -> PluginInfo:
        """Import it anew, and exchange what it registered."""
        if name in self._plugins.infos and self._plugins.infos[name].state == "failed":
            return self.load(name)
        before = self._may_go(name, "reloaded")
        self._plugins.look_again()
        aside = self._set_aside(name)
        try:
            module = self._plugins.imported(name)
        except PluginError as error:
            self._put_back(name, aside)
            raise PluginError(name, f"{error.sentence}; the one that runs stays") from error
        with self._datapath.slowpath.paused():
            self._end(name)
            try:
                self._plugins.adopt(name, module)
                self._begin(name)
            except PluginError as error:
                self._put_back(name, aside)
                self._plugins.adopt(name, before)
                self._begin(name)
                raise PluginError(name, f"{error.sentence}; the one before runs again") from error
        log.info("plugin %s: reloaded", name)
        return self._plugins.infos[name]

    # -- steps --------------------------------------------------------------------------------

    def _is_loaded(self, name: str) -> bool:
        return name in self._plugins.infos and self._plugins.infos[name].state == "loaded"

    def _may_go(self, name: str, what: str) -> types.ModuleType:
        """The module of a plugin that is loaded, and that no link needs."""
        module = self._plugins.infos[name].module if self._is_loaded(name) else None
        if module is None:
            raise PluginError(name, "is not loaded")
        kinds = self._plugins.kinds_of.get(name, [])
        links = {**self._datapath.links, **self._datapath.half_made}
        held = [f"{link.name} ({link.kind.name})" for link in links.values() if link.kind.name in kinds]
        if held:
            s, are, its, them = ("s", "are", "their", "them") if len(held) > 1 else ("", "is", "its", "it")
            raise PluginError(
                name, f"can not be {what}: link{s} {', '.join(held)} {are} of {its} kind; remove {them} first"
            )
        return module

    def _begin(self, name: str) -> None:
        self._plugins.register_one(name, self._datapath)
        if self._plugins.is_started:
            self._plugins.start_one(name, self._datapath)

    def _end(self, name: str) -> None:
        if self._plugins.is_started:
            self._plugins.call_one(name, "vdp_stop", datapath=self._datapath)
        self._plugins.withdraw(name, self._datapath)

    # -- modules ------------------------------------------------------------------------------

    def _set_aside(self, name: str) -> Modules:
        """Have the next import read the plugin's files: its modules are not known any more."""
        importlib.invalidate_caches()
        is_its = self._belongs_to(name)
        return {module: sys.modules.pop(module) for module in list(sys.modules) if is_its(module)}

    def _put_back(self, name: str, modules: Modules) -> None:
        """What was set aside is what importing gives again."""
        self._set_aside(name)
        sys.modules.update(modules)

    def _belongs_to(self, name: str) -> Callable[[str], bool]:
        """Whether a module is the plugin's: of its package; below it, where others are of that, too."""
        own = self._plugins.module_name(name)
        root = own.partition(".")[0]
        others = {
            self._plugins.module_name(info.name).partition(".")[0]
            for info in self._plugins.infos.values()
            if info.name != name and info.state == "loaded"
        }
        if root in others or root == "vdp":
            root = own
        return lambda module: bool(root) and (module == root or module.startswith(f"{root}."))
