"""The forwarding of a dataplane: which rules, bridge, connect or routes a member belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vdp.config.rules import Drop, Flood, Normal, Output, PluginAction, RuleAction
from vdp.forwarding.bridge import Bridge
from vdp.forwarding.plugin_actions import PluginActions
from vdp.forwarding.routes import RouteTable
from vdp.forwarding.rules import Fields, Rule

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.netlink.events import IPAddress
    from vdp.packet import Packet


class Forwarding:
    """Bridges, connects, routes and rules, by member name."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self.bridges: dict[str, Bridge] = {}
        #: Bridge and member by the engine port that copies for the member come by (Flood).
        self.outlets: dict[int, tuple[str, str]] = {}
        self.routes = RouteTable(datapath)
        self._rules: tuple[Rule, ...] = ()
        self._plugin_actions = PluginActions(datapath)
        self._bridge_of: dict[str, Bridge] = {}
        self._other_end: dict[str, str] = {}

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Highest priority first."""
        return self._rules

    @rules.setter
    def rules(self, rules: tuple[Rule, ...]) -> None:
        self._rules = tuple(sorted(rules, key=lambda rule: -rule.priority))
        self._datapath.invalidate(("rules",))

    def add_bridge(self, bridge: Bridge) -> None:
        self.bridges[bridge.name] = bridge
        bridge.large_flood.follow(bridge.members)
        for member in bridge.members:
            self._bridge_of[member] = bridge
            self._datapath.invalidate(("member", member))

    def remove_bridge(self, name: str) -> None:
        bridge = self.bridges.pop(name)
        for member in bridge.members:
            del self._bridge_of[member]
            self._datapath.invalidate(("member", member))
        bridge.large_flood.follow(())

    def change_bridge(self, name: str, members: tuple[str, ...], ageing_s: int, mac_moves: int) -> None:
        """Other members for a bridge; what it learned of those that stay, it knows."""
        bridge = self.bridges[name]
        before, bridge.members, bridge.ageing_s = bridge.members, members, ageing_s
        bridge.limit_moves(mac_moves)
        for member in before:
            if member not in members:
                del self._bridge_of[member]
                bridge.forget(member)
        for member in members:
            self._bridge_of[member] = bridge
        if before != members:  # what is flooded goes to others
            self._datapath.invalidate(*(("member", member) for member in {*before, *members}))
        bridge.large_flood.follow(members)

    def connect(self, one: str, other: str) -> None:
        """Everything from one goes to the other, and to nobody else any more."""
        for member in (one, other):
            if member in self._other_end:
                self.disconnect(member)
        self._other_end[one], self._other_end[other] = other, one
        self._datapath.invalidate(("member", one), ("member", other))

    def disconnect(self, one: str) -> None:
        other = self._other_end.pop(one)
        del self._other_end[other]
        self._datapath.invalidate(("member", one), ("member", other))

    def actions_changed(self, plugin: str) -> None:
        """That plugin gives other actions now, or gives them under other settings."""
        self._plugin_actions.forget(plugin)
        self._datapath.invalidate(("actions", plugin))

    def set_routes(self, routes: RouteTable) -> None:
        self.routes = routes
        self._datapath.invalidate(("routes",))

    def forward(self, packet: Packet, member: str) -> None:
        """Rules first; what none takes goes the normal way."""
        packet.depends(("rules",))
        if self._rules:
            fields = Fields(packet)
            for rule in self._rules:
                if rule.takes(fields, member):
                    self._act(packet, member, rule)
                    return
        self._normal(packet, member)

    def receive_flooded(self, packet: Packet) -> None:
        """What comes out of an outlet of a large bridge goes to the member that is behind it."""
        _, member = self.outlets.get(packet.in_port, ("", ""))
        if member:
            self._datapath.transmit(packet, member)
        else:
            packet.drop("no_port")

    def leads_to(self, packet: Packet, member: str, destination: IPAddress, mac: bytes | None) -> str | None:
        """The member that a packet to `destination`, in a frame to `mac`, goes to from `member`.

        None where that is not certain: rules decide, or the bridge has not learned it.
        """
        packet.depends(("rules",))
        packet.depends(("member", member))
        bridge = self._bridge_of.get(member)
        other = self._other_end.get(member)
        if any(rule.in_port in (None, member) for rule in self._rules):
            return None
        if bridge is not None:
            return bridge.member_of(packet, mac) if mac is not None else None
        if other is None and self._datapath.routes_from(member):
            packet.depends(("routes",))
            return self.routes.member_for(destination)
        return other

    def is_connected(self, member: str) -> bool:
        """Whether all of it goes to one other member."""
        return member in self._other_end

    def takes_part(self, member: str) -> bool:
        """Whether anything is configured for what comes in by that member."""
        return bool(
            member in self._bridge_of
            or member in self._other_end
            or any(rule.in_port in (None, member) for rule in self._rules)
        )

    def _act(self, packet: Packet, member: str, rule: Rule) -> None:
        """In their order: the last one gets the packet, others a copy; plugins' change it for the next."""
        last = len(rule.actions) - 1
        for place, action in enumerate(rule.actions):
            if isinstance(action, PluginAction):
                self._plugin_actions.apply(packet, action)
                if packet.done:
                    return
            else:
                self._apply(packet if place == last else packet.clone(), member, action)
        if not packet.done:  # as in OVS: what no action outputs is dropped
            packet.drop("policy_rule")

    def _apply(self, packet: Packet, member: str, action: RuleAction) -> None:
        match action:
            case Drop():
                packet.drop("policy_rule")
            case Output(name):
                self._datapath.transmit(packet, name)
            case Flood():
                packet.depends(("member", member))
                bridge = self._bridge_of.get(member)
                if bridge is None:
                    packet.drop("no_forwarding")
                else:
                    bridge.flood(packet, member)
            case Normal():
                self._normal(packet, member)

    def _normal(self, packet: Packet, member: str) -> None:
        packet.depends(("member", member))
        bridge = self._bridge_of.get(member)
        other = self._other_end.get(member)
        if bridge is not None:
            bridge.forward(packet, member)
        elif other is not None:
            self._datapath.transmit(packet, other)
        elif self.routes.routes and self._datapath.routes_from(member):
            self.routes.forward(packet)
        else:
            packet.depends(("routes",))
            packet.drop("no_forwarding")
