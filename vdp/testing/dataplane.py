"""A whole dataplane in memory: what plugin authors and the tests try protocols on.

    plane = Dataplane()
    plane.port("underlay", PacketType.L3)
    plane.port("lan", PacketType.L3)
    plane.link("gre1", "gre", underlay="underlay", local="192.0.2.1", remote="192.0.2.2")
    plane.connect("lan", "gre1")
    plane.send("underlay", packet)
    assert plane.received("lan") == [inner]

No thread, no privilege, no kernel: packets are bytes that go in at memory ports and come
out of others, and time stands still unless it is moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from pydantic import BaseModel

from vdp.config.actions import plugin_action_faults
from vdp.config.model import RuleSection
from vdp.datapath import Datapath
from vdp.engine.interface import Engine, MemoryPacket, Offload, PacketType, PortConfig, PortStats, PortType
from vdp.engine.native import NativeEngine
from vdp.forwarding.bridge import Bridge
from vdp.forwarding.routes import Route, RouteTable
from vdp.forwarding.rules import compile_rule
from vdp.links.groups import GroupSource
from vdp.links.link import Link
from vdp.links.paths import PathSource
from vdp.loader import Plugins
from vdp.ports.port import Port
from vdp.protocols.ethernet import EtherType
from vdp.slowpath import NO_LIMIT
from vdp.testing.groups import StaticGroups
from vdp.testing.paths import StaticPaths

#: A stopped clock starts here; 0 would mean the real one.
START_NS = 1_000_000_000_000
#: Flows stay, whatever time passes: a test counts those that it made.
NEVER_IDLE_S = 1e9
#: Rounds after which a dataplane that still has something to do is going round in circles.
MOST_ROUNDS = 10_000


def load_plugins(plugins: Iterable[str]) -> Plugins:
    """Installed plugins by name; one that is not installed as its entry point would be: `hops=vdp_hops`."""
    loaded, names = Plugins(), []
    for plugin in plugins:
        name, is_offered, module = plugin.partition("=")
        if is_offered:
            loaded.offer(name.strip(), module.strip())
        names.append(name.strip())
    loaded.load(names, strict=True)
    return loaded


def checked(plugins: Plugins, tables: Mapping[str, BaseModel | Mapping[str, Any]]) -> dict[str, BaseModel]:
    """Tables [plugin.NAME] as the plugins' models have them; ValueError where one is none's, or wrong."""
    models = plugins.settings()
    unknown = {name for name, table in tables.items() if not isinstance(table, BaseModel)} - models.keys()
    if unknown:
        raise ValueError(f"settings for {', '.join(sorted(unknown))}, which has none or is not loaded")
    return {
        name: table if isinstance(table, BaseModel) else models[name].model_validate(table)
        for name, table in tables.items()
    }


class Dataplane:
    """A Datapath on an engine, with memory ports.

    plugins: by name; one that is not installed as its entry point would be, "hops=vdp_hops".
    settings: tables [plugin.NAME], checked as a configuration's.
    """

    #: Handlers are meant to fail: the fixtures of the test kit do not complain.
    faults = False

    def __init__(
        self,
        engine: Engine | None = None,
        plugins: Iterable[str] = ("gre", "gretap", "wccp"),
        paths: PathSource | None = None,
        settings: Mapping[str, BaseModel | Mapping[str, Any]] | None = None,
        groups: GroupSource | None = None,
    ) -> None:
        loaded = load_plugins(plugins)
        tables = checked(loaded, settings or {})
        self.engine = engine if engine is not None else NativeEngine()
        self.now_ns = START_NS
        self.engine.set_clock(self.now_ns)
        self.paths = paths if paths is not None else StaticPaths()
        self.groups = groups if groups is not None else StaticGroups()
        self.datapath = Datapath(self.engine, self.paths, loaded, tables, self.groups)
        loaded.register(self.datapath, strict=True)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop plugins that were started, and give everything back."""
        if self.datapath.plugins.is_started:
            self._runner.run(self._call_plugins("vdp_stop"))
        self.datapath.paths.close()
        self._runner.close()
        self.engine.close()

    # -- building -------------------------------------------------------------------------

    def port(
        self, name: str, packet_type: PacketType = PacketType.L2, mtu: int = 65535, **known: Any
    ) -> Port:
        """A memory port."""
        return self.datapath.add_port(PortConfig(name, PortType.MEMORY, packet_type, mtu=mtu), **known)

    def link(self, name: str, kind: str, underlay: str = "underlay", **parameters: Any) -> Link:
        """A link of a kind, with its parameters as a configuration would have them."""
        model = self.datapath.plugins.kinds[kind].parameters.model_validate(parameters)
        return self._runner.run(self.datapath.add_link(name, kind, underlay, model))

    def change_link(self, name: str, **parameters: Any) -> None:
        """Other parameters for a link (all of them, as in a configuration)."""
        model = self.datapath.links[name].kind.parameters.model_validate(parameters)
        self._runner.run(self.datapath.change_link(name, model))

    def remove_link(self, name: str) -> None:
        """Take a link away."""
        self._runner.run(self.datapath.remove_link(name))

    def bridge(self, name: str, *members: str, ageing_s: int = 300) -> Bridge:
        """A MAC-learning bridge between ports and links."""
        bridge = Bridge(self.datapath, name, members, ageing_s)
        self.datapath.forwarding.add_bridge(bridge)
        return bridge

    def connect(self, one: str, other: str) -> None:
        """Everything from one goes to the other."""
        self.datapath.forwarding.connect(one, other)

    def rule(self, **section: Any) -> None:
        """A rule more, as a `[[rule]]` of a configuration says it.  ValueError for an action that is none."""
        checked_section = RuleSection.model_validate(section)
        for fault in plugin_action_faults({0: checked_section}, self.datapath.plugins.actions):
            raise ValueError(fault.text())
        rules = self.datapath.forwarding.rules
        self.datapath.forwarding.rules = (*rules, compile_rule(checked_section))

    def route(self, *routes: Route) -> None:
        """These routes between layer-3 members, and no others."""
        self.datapath.forwarding.set_routes(RouteTable(self.datapath, routes))

    def start(self) -> None:
        """Call the plugins' `vdp_start`, as the daemon does once links are up; `close` stops them."""
        self._runner.run(self._call_plugins("vdp_start"))

    async def _call_plugins(self, hook: str) -> None:
        self.datapath.plugins.call(hook, datapath=self.datapath)
        await asyncio.sleep(0)

    # -- traffic --------------------------------------------------------------------------

    def send(self, port: str, *packets: bytes, offload: Offload | None = None) -> None:
        """Let packets arrive at a port, and everything that follows from it happen."""
        self.arrive(port, *packets, offload=offload)
        self.settle()

    def arrive(self, port: str, *packets: bytes, offload: Offload | None = None) -> None:
        """Let packets arrive at a port; nothing happens before `settle`."""
        found = self.datapath.ports[port]
        for data in packets:
            meta = bytearray(32)
            if found.packet_type is PacketType.L3:
                version = data[0] >> 4 if data else 0
                kind = {4: EtherType.IPV4, 6: EtherType.IPV6}.get(version, 0)
                meta[3], meta[4:8] = PacketType.L3, kind.to_bytes(4, "big")
            self.engine.inject(found.number, MemoryPacket(data, bytes(meta), offload or Offload()))

    def settle(self) -> None:
        """Run engine and slow path until neither has anything to do; first what changes asked for."""
        self._runner.run(self._revalidate())
        for _ in range(MOST_ROUNDS):
            received = self.engine.poll()
            served = self._runner.run(self._serve())
            if not received and not served:
                return
        raise RuntimeError("packets go round in circles")

    async def _revalidate(self) -> None:
        self.datapath.revalidate()
        await asyncio.sleep(0)

    async def _serve(self) -> int:
        served = self.datapath.slowpath.run()
        await asyncio.sleep(0)
        return served

    def received(self, port: str) -> list[bytes]:
        """What left by a port since the last look."""
        return [packet.data for packet in self.collect(port)]

    def collect(self, port: str) -> list[MemoryPacket]:
        """The same with metadata and offload state."""
        number = self.datapath.ports[port].number
        packets = []
        while (packet := self.engine.collect(number)) is not None:
            packets.append(packet)
        return packets

    # -- looking --------------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        """Move the clock, and let what depends on it happen; no flow is removed for being idle."""
        self.datapath.slowpath.sweep(NEVER_IDLE_S, NO_LIMIT)  # who listens hears of flows' hits
        self.now_ns += int(seconds * 1e9)
        self.engine.set_clock(self.now_ns)
        self._runner.run(self._do_chores())
        self.settle()

    async def _do_chores(self) -> None:
        self.datapath.run_chores()
        await asyncio.sleep(0)

    def call(self, plugin: str, command: str, *arguments: str) -> object:
        """`vdp plugin call PLUGIN COMMAND ARGUMENT …`: what it answers.  LookupError where there is none."""
        found = self.datapath.commands.find(plugin, command)
        if found is None:
            raise LookupError(f"plugin {plugin} has no command {command!r}")
        return self._runner.run(self.datapath.commands.run(found, *arguments))

    def drops(self, port: str) -> dict[str, int]:
        """Packets lost at a port or link, by the reason's name."""
        counts = self.engine.port_drops(self.datapath.egress(port).number)  # type: ignore[attr-defined]
        return {self.datapath.drops.name(code): count for code, count in enumerate(counts) if count}

    def stats(self, port: str) -> PortStats:
        """What the engine counted at a port, or a link's cell."""
        return self.engine.port_stats(self.datapath.egress(port).number)  # type: ignore[attr-defined]

    def counters(self, link: str) -> dict[str, int]:
        """A link's counters, by the kernel's names."""
        return self.datapath.links[link].stats()

    def counted(self, plugin: str) -> dict[str, tuple[int, int]]:
        """Packets and bytes by a plugin's own counters, as `name{label="value"}`."""
        found = {}
        for family in self.datapath.counters:
            for name, number in family.named() if family.plugin == plugin else ():
                count = self.engine.read_counter(number)
                found[name] = (count.packets, count.bytes)
        return found

    @property
    def upcalls(self) -> int:
        """Packets that Python has seen."""
        return self.datapath.slowpath.upcalls.total()
