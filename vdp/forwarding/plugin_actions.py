"""What rules have plugins do with a packet: actions made of `PLUGIN.WORD:ARGUMENT`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vdp.config.rules import PluginAction

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.packet import Packet


class PluginActions:
    """The actions in use, each made when a packet first meets it, and anew when its plugin registers anew."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._made: dict[PluginAction, Callable[[Packet], None]] = {}

    def apply(self, packet: Packet, action: PluginAction) -> None:
        """Have the plugin do it.  Without the plugin nobody knows what was meant: policy_rule."""
        packet.depends(("actions", _plugin(action)))
        maker = self._datapath.plugins.actions.get(action.name)
        if maker is None:
            packet.drop("policy_rule")
            return
        act = self._made.get(action)
        if act is None:
            act = maker(action.argument)
            if packet.trace.rehearsal is None:  # else what it took of the engine goes back
                self._made[action] = act
        act(packet)

    def forget(self, plugin: str) -> None:
        """What was made of its actions is made again when it is needed."""
        self._made = {action: act for action, act in self._made.items() if _plugin(action) != plugin}


def _plugin(action: PluginAction) -> str:
    return action.name.partition(".")[0]
