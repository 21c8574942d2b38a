"""The hooks of a plugin.  pluggy calls them when the dataplane or the plugin starts, never per packet.

A plugin is a module, named by an entry point in the group `vdp`; it implements those of
these functions that it needs, marked with `vdp.api.hookimpl`, and says `vdp_api = 1`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.links.link import LinkKind
    from vdp.stages.pipeline import Pipeline

hookspec = pluggy.HookspecMarker("vdp")
hookimpl = pluggy.HookimplMarker("vdp")

#: The version of what plugins may use (vdp.api); a plugin for another one is not loaded.
API_VERSION = 1


@hookspec
def vdp_link_kinds() -> Iterable[LinkKind]:  # type: ignore[empty-body]
    """The kinds of link that the plugin gives.  Called before the configuration is validated."""


@hookspec
def vdp_drop_reasons() -> Mapping[str, str]:  # type: ignore[empty-body]
    """The plugin's own drop reasons, at most 8: name to sentence.  Counted as plugin_<plugin>_<name>."""


@hookspec
def vdp_register(datapath: Datapath) -> None:
    """Register protocol handlers in `datapath.registry`.  At the start, before any port is opened."""


@hookspec
def vdp_stages(pipeline: Pipeline) -> None:
    """Add stages to the transmit pipeline."""


@hookspec
def vdp_start(datapath: Datapath) -> None:
    """Ports and links are up; traffic may flow."""


@hookspec
def vdp_stop(datapath: Datapath) -> None:
    """The dataplane stops, or the plugin is unloaded; ports are still open."""
