"""Plugins that come, go and are exchanged while packets pass.

    reload    import anew ─► vdp_stop ─► what it registered is taken back ─► registers ─► vdp_start
    renew     the same with the module that it has, for other settings

Flows that rest on its handlers or stages are traced again once, at the end: nothing else is
disturbed, and whose decision stays what it was does not miss a packet.  A plugin that does
not import leaves the one that runs as it is; one that does not register is exchanged back.
Links of its kinds are made again by the new code, and take over what the old ones had of
the engine, so that their flows and counters go on.  A plugin that asked for another's kinds
when it registered registers anew when these come, go or are exchanged.
"""

from __future__ import annotations

import importlib
import logging
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from vdp.links.link import LinkError
from vdp.loader import PluginError
from vdp.registry import fault

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.links.inner import InnerSources
    from vdp.links.link import Link
    from vdp.loader import PluginInfo

log = logging.getLogger(__name__)

Modules = dict[str, types.ModuleType]


@dataclass(frozen=True, slots=True)
class Told:
    """A link that is made again: what it was told, in the words of a configuration."""

    name: str
    kind: str
    underlay: str
    gro: bool
    inner: InnerSources
    options: Mapping[str, Any]

    @classmethod
    def of(cls, link: Link) -> Told:
        underlay = str(link.fill_info()["underlay"])
        return cls(link.name, link.kind.name, underlay, link.gro, link.inner, link.configuration())


class PluginChange:
    """What an operator may do to the plugins of a running dataplane.  PluginError says why not."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._plugins = datapath.plugins
        self._waiting: set[str] = set()  # registered, not started yet

    def load(
        self,
        name: str,
        module: types.ModuleType | None = None,
        settings: BaseModel | None = None,
        *,
        start: bool = True,
    ) -> PluginInfo:
        """Have it register, listed in the configuration or not; `module`: it is imported already.

        start: call its hook vdp_start, too; else `start` does that later.
        """
        if self.is_loaded(name):
            raise PluginError(name, "is loaded already")
        self._plugins.look_again()
        aside = self._set_aside(name) if module is None else {}
        try:
            self._plugins.adopt(name, module or self._plugins.imported(name))
        except PluginError:
            self._put_back(name, aside)
            raise
        if settings is not None:
            self._datapath.plugin_settings[name] = settings
        with self._datapath.slowpath.paused():
            self._plugins.register_one(name, self._datapath)
            self._waiting.add(name)
            if start:
                self.start(name)
            self._renew_others(name, self._plugins.kinds_of[name])
        log.info("plugin %s: loaded", name)
        return self._plugins.infos[name]

    def start(self, name: str) -> None:
        """Call the hook vdp_start of one that was loaded without."""
        self._waiting.discard(name)
        if self._plugins.is_started:
            self._plugins.start_one(name, self._datapath)

    def unload(self, name: str) -> PluginInfo:
        """Take back all that it registered.  PluginError while there are links of its kinds."""
        self._loaded(name)
        links = self._links(name)
        if links:
            held = ", ".join(f"{link.name} ({link.kind.name})" for link in links)
            s, are, its, them = ("s", "are", "their", "them") if len(links) > 1 else ("", "is", "its", "it")
            raise PluginError(
                name, f"can not be unloaded: link{s} {held} {are} of {its} kind; remove {them} first"
            )
        kinds = self._plugins.kinds_of.get(name, [])
        with self._datapath.slowpath.paused():
            self._end(name)
            self._renew_others(name, kinds)
        info = self._plugins.infos[name]
        info.state, info.error = "disabled", ""
        self.forget(name)
        log.info("plugin %s: unloaded", name)
        return info

    def renew(self, name: str, settings: BaseModel) -> PluginInfo:
        """Have it register anew, with other settings; its links stay.  PluginError: it runs on as before."""
        self._loaded(name)
        all_settings, before = self._datapath.plugin_settings, self._datapath.plugin_settings.get(name)
        all_settings[name] = settings
        with self._datapath.slowpath.paused(), self._links_stay(name):
            try:
                self._register_anew(name)
            except PluginError as error:
                if before is None:
                    del all_settings[name]
                else:
                    all_settings[name] = before
                self._begin(name)
                raise PluginError(name, f"{error.sentence}; it runs on with the settings before") from error
        log.info("plugin %s: registered anew, with other settings", name)
        return self._plugins.infos[name]

    async def reload(self, name: str) -> PluginInfo:
        """Import it anew, and exchange what it registered."""
        if name in self._plugins.infos and self._plugins.infos[name].state == "failed":
            return self.load(name)
        before = self._loaded(name)
        half_made = [link.name for link in self._datapath.half_made.values() if link in self._links(name)]
        if half_made:
            raise PluginError(name, f"can not be reloaded: link {half_made[0]} of its kind is being made")
        self._plugins.look_again()
        aside = self._set_aside(name)
        try:
            module = self._plugins.imported(name)
        except PluginError as error:
            self._put_back(name, aside)
            raise PluginError(name, f"{error.sentence}; the one that runs stays") from error
        kinds = self._plugins.kinds_of.get(name, [])
        links = [Told.of(link) for link in self._links(name)]
        with self._datapath.slowpath.halted():
            try:
                await self._take_away(links)
                self._end(name)
                try:
                    self._plugins.adopt(name, module)
                    self._begin(name)
                    await self._make_again(links)
                except (Exception, SystemExit) as error:  # newlink is the plugin's: it may raise anything
                    await self._take_away(links)
                    if self.is_loaded(name):
                        self._end(name)
                    self._put_back(name, aside)
                    self._plugins.adopt(name, before)
                    self._begin(name)
                    await self._make_again(links)
                    raise PluginError(name, f"{_why(error)}; the one before runs again") from error
                finally:
                    self._renew_others(name, {*kinds, *self._plugins.kinds_of.get(name, [])})
            finally:
                for told in links:
                    self._datapath.estates.settle(told.name)
        log.info("plugin %s: reloaded", name)
        return self._plugins.infos[name]

    def is_loaded(self, name: str) -> bool:
        return name in self._plugins.infos and self._plugins.infos[name].state == "loaded"

    def forget(self, name: str) -> None:
        """Have the next import read the files of a plugin that is not loaded."""
        if not self.is_loaded(name):
            self._set_aside(name)

    # -- steps --------------------------------------------------------------------------------

    def _loaded(self, name: str) -> types.ModuleType:
        """The module of a plugin that is loaded."""
        module = self._plugins.infos[name].module if self.is_loaded(name) else None
        if module is None:
            raise PluginError(name, "is not loaded")
        return module

    def _links(self, name: str) -> list[Link]:
        """Links of its kinds, also those that are being made."""
        kinds = self._plugins.kinds_of.get(name, [])
        links = {**self._datapath.links, **self._datapath.half_made}
        return [link for link in links.values() if link.kind.name in kinds]

    def _begin(self, name: str) -> None:
        self._plugins.register_one(name, self._datapath)
        self.start(name)

    def _stop(self, name: str) -> None:
        if name in self._waiting:
            self._waiting.discard(name)
        elif self._plugins.is_started:
            self._plugins.call_one(name, "vdp_stop", datapath=self._datapath)

    def _end(self, name: str) -> None:
        self._stop(name)
        self._plugins.withdraw(name, self._datapath)

    def _register_anew(self, name: str) -> None:
        """With the kinds that it has, whose links stay.  PluginError: it has nothing registered then."""
        module = self._loaded(name)
        kinds = [self._plugins.kinds[kind] for kind in self._plugins.kinds_of[name]]
        self._stop(name)
        self._plugins.take_back(name, self._datapath)
        try:
            self._begin(name)
        except PluginError:
            self._plugins.adopt(name, module, kinds)
            raise

    def _renew_others(self, name: str, kinds: Iterable[str]) -> None:
        """Who asked for these kinds sees that they came, went, or are others now."""
        for other in self._plugins.who_asked(kinds):
            if other == name:
                continue
            with self._links_stay(other):
                try:
                    self._register_anew(other)
                except PluginError as error:
                    self._plugins.infos[other].error = str(error)
                    log.error("%s", error)

    # -- links --------------------------------------------------------------------------------

    @contextmanager
    def _links_stay(self, name: str) -> Iterator[None]:
        """While it registers anew: then they listen by the receivers, and send by the settings, of now."""
        links = [link for link in self._links(name) if link.name in self._datapath.links]
        for link in links:
            link.leave()
        try:
            yield
        finally:
            for link in links:
                self._datapath.invalidate(link.tag)
                try:
                    link.listen()
                except Exception as error:  # it may be the plugin's
                    log.error("link %s receives nothing by UDP any more: %s", link.name, fault(error))

    async def _take_away(self, links: Iterable[Told]) -> None:
        """What they had of the engine is left for those that take their place."""
        for told in links:
            self._datapath.estates.open(told.name)
            if told.name in self._datapath.links:
                await self._datapath.remove_link(told.name, is_end=True)

    async def _make_again(self, links: Iterable[Told]) -> None:
        """LinkError, ValidationError, where the code refuses what it was told."""
        for told in links:
            kind = self._plugins.kinds.get(told.kind)
            if kind is None:
                raise PluginError(
                    told.kind, f"gives link kind {told.kind!r} no more, of which is link {told.name}"
                )
            parameters = kind.parameters.model_validate(dict(told.options))
            link = await self._datapath.add_link(
                told.name, told.kind, told.underlay, parameters, gro=told.gro
            )
            link.change_inner(told.inner)

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


def _why(error: BaseException) -> str:
    """The failure in a line, to go behind "plugin NAME"."""
    if isinstance(error, PluginError):
        return error.sentence
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        return f"takes no longer what a link of its kind was told: {where}: {first['msg']}"
    return f"can not make a link of its kind: {error if isinstance(error, LinkError) else fault(error)}"
