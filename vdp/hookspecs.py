"""The hooks of a plugin.  pluggy calls them when the dataplane or the plugin starts, never per packet.

A plugin is a module, named by an entry point in the group `vdp`; it implements those of
these functions that it needs, marked with `vdp.api.hookimpl`, and says `vdp_api = 1`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.links.link import LinkKind
    from vdp.packet import Packet
    from vdp.stages.pipeline import Pipeline

    #: Makes an action of what stands behind its word's colon, or of "".  ValueError: a sentence.
    ActionMaker = Callable[[str], Callable[[Packet], None]]

hookspec = pluggy.HookspecMarker("vdp")
hookimpl = pluggy.HookimplMarker("vdp")

#: The version of what plugins may use (vdp.api); a plugin for another one is not loaded.
API_VERSION = 1


@hookspec
def vdp_link_kinds() -> Iterable[LinkKind]:  # type: ignore[empty-body]
    """The kinds of link that the plugin gives.  Called before the configuration is validated."""


@hookspec
def vdp_actions() -> Mapping[str, ActionMaker]:  # type: ignore[empty-body]
    """Forwarding actions for rules: word to maker.  Called before the configuration is validated.

    `actions = ["PLUGIN.WORD:ARGUMENT", "normal"]`: the maker gets the argument ("" where there is
    none), and raises ValueError with a sentence ("expected …"), which is told with file and line.  What it
    returns is called with each packet that is traced through the rule.  It may change the packet,
    which then goes on to the rule's next action, or end it.
    """


@hookspec
def vdp_drop_reasons() -> Mapping[str, str]:  # type: ignore[empty-body]
    """The plugin's own drop reasons, at most 8: name to sentence.  Counted as plugin_<plugin>_<name>.

    A sentence that begins with "not lost" is of packets that end here as they should: a trace says consumed.
    """


@hookspec
def vdp_register(datapath: Datapath) -> None:
    """Register protocol handlers in `datapath.registry`.  At the start, before any port is opened."""


@hookspec
def vdp_stages(pipeline: Pipeline, datapath: Datapath) -> None:
    """Add stages to the transmit pipeline.  Called after `vdp_register`; it need not take both arguments."""


@hookspec
def vdp_start(datapath: Datapath) -> None:
    """Ports and links are up; traffic may flow."""


@hookspec
def vdp_stop(datapath: Datapath) -> None:
    """The dataplane stops, or the plugin is unloaded; ports are still open."""
