"""`vdp -c FILE`: from a configuration to a running dataplane, and back to nothing.

Everything that is made is undone in reverse order, whatever happens: devices,
namespaces and sockets are as found when the daemon has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from vdp.config import Config, ConfigError, load
from vdp.config.model import LinkSection, PluginsSection
from vdp.control.changes import change_table
from vdp.control.methods import method_table
from vdp.control.server import ControlServer
from vdp.datapath import Datapath
from vdp.engine.interface import PortType
from vdp.engine.native import NativeEngine
from vdp.forwarding.bridge import Bridge
from vdp.forwarding.routes import Route, RouteTable
from vdp.forwarding.rules import compile_rule
from vdp.inspector import Inspector
from vdp.links.kernel_groups import KernelGroups
from vdp.links.kernel_paths import KernelPaths
from vdp.links.link import LinkError, LinkKind
from vdp.loader import PluginError, Plugins
from vdp.log import configure
from vdp.netlink import System
from vdp.netlink.events import (
    AddressChanged,
    Event,
    IPAddress,
    Link,
    LinkChanged,
    NeighbourChanged,
    RouteChanged,
)
from vdp.ports import PortError, open_port, show_only
from vdp.ports.port import Port

log = logging.getLogger("vdp")

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 4
#: Objects made, less those freed, before the garbage collector looks at the young ones (700 by
#: default): a new flow is some hundred that stay.
COLLECT_AFTER = 50_000

SWEEP_S = 1.0
#: What the kernel says within this time is followed at once.
FOLLOW_S = 0.1
#: Neighbours in use are confirmed to the kernel this often (its own gc_stale_time is 60 s).
KEEP_S = 10.0


def run(path: Path, *, log_level: str | None = None, strict: bool = False) -> int:
    """Run the dataplane of a configuration until SIGTERM or SIGINT; the exit code.

    strict: as `[plugins] strict`, whatever the configuration says.
    """
    plugins = Plugins()

    def kinds(section: PluginsSection) -> dict[str, LinkKind]:
        for failure in plugins.load(section.load, strict=strict or section.strict):
            log.error("%s", failure)
        return plugins.kinds

    configure(log_level or "info", "text")
    try:
        config = load(path, kinds, plugins.settings)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except PluginError as error:
        log.error("%s", error)
        return EXIT_CONFIG
    configure(log_level or config.log.level, config.log.format)
    try:
        asyncio.run(Daemon(config, plugins, strict=strict).run())
    except (LinkError, PortError, PluginError) as error:
        log.error("%s", error)
        return EXIT_FAILED
    except OSError as error:
        log.error("%s", error)
        return EXIT_FAILED
    return EXIT_OK


class Daemon:
    """One running configuration."""

    def __init__(self, config: Config, plugins: Plugins, *, strict: bool = False) -> None:
        self._config = config
        self._is_strict = strict or config.plugins.strict
        self._plugins = plugins
        self._system = System()
        self._engine = NativeEngine(config.engine.engine_config())
        self.datapath = Datapath(
            self._engine, KernelPaths(self._system), plugins, config.plugin, KernelGroups()
        )
        self.datapath.host_addresses = self._host_addresses
        self.datapath.addresses_changed = self._addresses_changed
        self.datapath.icmp.limits.rates = config.icmp
        self.datapath.limit.seconds = config.plugins.soft_limit_ms / 1000
        self._stopping = asyncio.Event()
        self._refresh = asyncio.Event()
        self._unclaimed: set[str] = set()

    async def run(self) -> None:
        """Bring everything up, forward until told to stop, take everything down."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stopping.set)
        async with AsyncExitStack() as undo:
            undo.callback(self._engine.close)
            undo.push_async_callback(self._system.close)
            self._plugins.register(self.datapath, strict=self._is_strict)
            self._check_kinds()
            await self._open_ports(undo)
            await self._add_links(undo)
            self._claim_addresses()
            self._add_forwarding()
            self._engine.start()
            undo.callback(self.datapath.slowpath.flush)
            undo.callback(self._engine.stop)
            self.datapath.limit.start()
            undo.callback(self.datapath.limit.stop)
            loop.add_reader(self._engine.event_fd(), self._serve)
            undo.callback(loop.remove_reader, self._engine.event_fd())
            undo.callback(self.datapath.paths.close)
            inspector = Inspector(self.datapath, self._config)
            methods = method_table(inspector) | change_table(self.datapath, inspector)
            server = ControlServer(self._config.control.socket, methods)
            await server.start()
            undo.push_async_callback(server.stop)
            await self._serve_metrics(undo, inspector)
            undo.callback(self._system.subscribe(self._heard))
            async with asyncio.TaskGroup() as tasks:
                chores = [
                    tasks.create_task(self._repeat(self._sweep, SWEEP_S)),
                    tasks.create_task(self._repeat(self._do_chores, 0)),
                    tasks.create_task(self._repeat(self._keep, KEEP_S)),
                    tasks.create_task(self._repeat(self._follow, FOLLOW_S)),
                ]
                undo.callback(self._plugins.call, "vdp_stop", datapath=self.datapath)
                self._plugins.call("vdp_start", datapath=self.datapath)
                inspector.ready = True
                # What is there by now stays: the collector would look at it in vain.
                gc.freeze()
                gc.set_threshold(COLLECT_AFTER)
                log.info("ready")
                await self._stopping.wait()
                inspector.ready = False
                for chore in chores:
                    chore.cancel()
            log.info("stopping")

    # -- up -------------------------------------------------------------------------------

    def _check_kinds(self) -> None:
        """A link whose plugin failed to register can not be made: nothing is opened for the others."""
        for link in self._config.links:
            if not self.datapath.has_kind(link.kind):
                sentence = f"the plugin of link kind {link.kind!r} failed to start"
                raise LinkError(errno.EOPNOTSUPP, link.name, sentence)

    async def _open_ports(self, undo: AsyncExitStack) -> None:
        members = self._members()
        for section in self._config.ports:
            links = [link for link in self._config.links if link.underlay == section.name]
            kinds = [self._plugins.kinds[link.kind] for link in links]
            carried, carried6 = (_protocols(kinds, links, version) for version in (4, 6))
            udp, udp6 = (_udp_ports(kinds, links, version) for version in (4, 6))
            opened = await open_port(
                section,
                self._system,
                underlay_protocols=carried,
                underlay_protocols6=carried6,
                underlay_udp=udp,
                underlay_udp6=udp6,
                promiscuous=section.name in members,
            )
            if kinds and section.name not in members:
                show_only(opened, carried, carried6, udp, udp6)
            try:
                port = self.datapath.add_port(
                    opened.config, device=opened.device, netns=opened.netns, mac=opened.mac, opened=opened
                )
            except BaseException:
                await opened.close()
                raise
            undo.push_async_callback(self._close_port, port.name)
            if not section.up:
                self._engine.set_port_up(port.number, False)
                port.up = False
            log.info("port %s", describe_port(port))
            if port.type is PortType.PACKET and not self._engine.port_stats(port.number).rx_ring:
                log.info("port %s: the kernel gives no receive ring, it receives by system calls", port.name)

    def _members(self) -> set[str]:
        """The ports and links that forwarding names: what comes in there goes on, whatever it is."""
        config = self._config
        return {
            *(member for bridge in config.bridges for member in bridge.members),
            *(member for connect in config.connects for member in connect.members),
            *(rule.match.in_port for rule in config.rules if rule.match.in_port),
        }

    async def _close_port(self, name: str) -> None:
        port = self.datapath.remove_port(name)
        await port.opened.close()

    async def _add_links(self, undo: AsyncExitStack) -> None:
        for section in self._config.links:
            link = await self.datapath.add_link(
                section.name, section.kind, section.underlay, section.parameters, gro=section.gro
            )
            undo.push_async_callback(self.datapath.remove_link, link.name, is_end=True)
            info = link.fill_info()
            log.info(
                "link %s: %s, %s to %s over %s, mtu %d",
                link.name, section.kind, info.get("local"), info.get("remote"), section.underlay, link.mtu,
            )  # fmt: skip

    def _add_forwarding(self) -> None:
        forwarding = self.datapath.forwarding
        for bridge in self._config.bridges:
            forwarding.add_bridge(Bridge(self.datapath, bridge.name, bridge.members, bridge.ageing_s))
        for connect in self._config.connects:
            forwarding.connect(*connect.members)
        routes = tuple(Route(r.destination, r.via, r.metric, r.next_hop) for r in self._config.routes)
        forwarding.set_routes(RouteTable(self.datapath, routes))
        forwarding.rules = tuple(compile_rule(rule) for rule in self._config.rules)

    async def _serve_metrics(self, undo: AsyncExitStack, inspector: Inspector) -> None:
        section = self._config.metrics
        if not section.enabled:
            return
        from vdp.metrics.server import MetricsServer

        server = MetricsServer(section.listen, inspector)
        await server.start()
        undo.push_async_callback(server.stop)
        inspector.metrics_url = f"http://{section.listen}/metrics"
        log.info("metrics on http://%s/metrics", section.listen)

    # -- running --------------------------------------------------------------------------

    def _serve(self) -> None:
        """Upcalls wait: serve a batch, then let the loop have its turn."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._engine.event_fd(), 8)
        if self.datapath.slowpath.run():
            asyncio.get_running_loop().call_soon(self._serve)

    async def _repeat(self, chore: Callable[[], Awaitable[None]], every_s: float) -> None:
        """A chore, for ever: one that fails is logged, and done again a second later at the latest."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await chore()
            except Exception as error:
                self.datapath.say(logging.ERROR, chore.__name__, "%r", error, exc_info=error)
                await asyncio.sleep(1.0)

    async def _sweep(self) -> None:
        """Idle flows, aged stations, packets that waited too long; what the kernel lost meanwhile."""
        engine = self._config.engine
        self.datapath.slowpath.sweep(engine.flow_idle_s, engine.flows)
        for bridge in self.datapath.forwarding.bridges.values():
            bridge.age(self._engine.clock())
        self.datapath.slowpath.expire_held()
        self.datapath.revalidate()
        for port in list(self.datapath.ports.values()):
            if port.opened is not None:
                with contextlib.suppress(OSError):  # it may be on its way out
                    port.kernel_drops = await port.opened.kernel_drops()

    async def _do_chores(self) -> None:
        """Plugins' chores, each when it is due."""
        await asyncio.sleep(self.datapath.chores_due_s())
        self.datapath.run_chores()
        self.datapath.revalidate()

    async def _keep(self) -> None:
        """Keep next hops alive, and see what the kernel learned of path MTUs.

        ICMP errors about our packets reach the kernel through our raw sockets (raw_err), which
        remembers and ages the path MTU; it sends no event for that.
        """
        self.datapath.forget_unused_paths()
        await self.datapath.paths.keep()
        await self.datapath.paths.refresh()

    async def _follow(self) -> None:
        """Ask again for the ways in use when routes, links, addresses or neighbours changed."""
        await self._refresh.wait()
        self._refresh.clear()
        try:
            await self.datapath.paths.refresh()
        except Exception:
            self._refresh.set()
            raise
        self._claim_addresses()
        self.datapath.revalidate()

    def _heard(self, netns: str | None, event: Event) -> None:
        if isinstance(event, LinkChanged | AddressChanged | RouteChanged | NeighbourChanged):
            self._refresh.set()
        for port in self.datapath.ports.values():
            if port.netns != netns or port.opened is None:
                continue
            if isinstance(event, AddressChanged):
                self.datapath.invalidate(("addresses", port.name))
            elif isinstance(event, LinkChanged) and event.old and event.old.index == port.opened.ifindex:
                self._device_changed(port, event.new)

    def _device_changed(self, port: Port, device: Link | None) -> None:
        """The device of a port has another MTU or MAC address, or is gone."""
        if device is None:
            log.error("port %s: its device %s is gone", port.name, port.device)
            self._engine.set_port_up(port.number, False)
            port.up = False
            return
        mtu, mac = device.mtu, device.mac or None
        if port.type is PortType.PACKET and self._has_mtu(port):
            mtu = port.mtu
        if (mtu, mac) != (port.mtu, port.mac):
            port.mtu, port.mac = mtu, mac
            self.datapath.invalidate(port.tag)
            log.info("port %s: mtu %d, MAC address %s", port.name, mtu, mac.hex(":") if mac else "none")

    def _has_mtu(self, port: Port) -> bool:
        """Whether the configuration says its MTU."""
        return any(section.name == port.name and section.mtu for section in self._config.ports)

    def _host_addresses(self, port: Port) -> frozenset[IPAddress]:
        for netlink in self._system.netlinks:
            if netlink.netns == port.netns:
                return frozenset(address.interface.ip for address in netlink.addresses)
        return frozenset()

    def _addresses_changed(self, port: Port) -> None:
        self._unclaimed.add(port.name)
        self._refresh.set()

    def _claim_addresses(self) -> None:
        """Packets to addresses that only links over a port have are no business of the host's stack."""
        for port in [port for name, port in self.datapath.ports.items() if name in self._unclaimed]:
            if port.opened is not None:
                own, own6 = (self.datapath.own_addresses(port, version) for version in (4, 6))
                port.opened.claim([*map(IPv4Address, own), *map(IPv6Address, own6)])
        self._unclaimed.clear()


def describe_port(port: Port) -> str:
    """The port in a line, as the log says it at start."""
    where = f" in namespace {port.netns}" if port.netns else ""
    device = f" on {port.device}" if port.device and port.device != port.name else ""
    return f"{port.name}: {port.type.name.lower()}{device}{where}, mtu {port.mtu}"


def _udp_ports(kinds: Sequence[LinkKind], links: Sequence[LinkSection], version: int) -> set[int]:
    """UDP ports over that IP version, by which the links receive."""
    return {
        port
        for kind, link in zip(kinds, links, strict=True)
        if kind.ip_version == version
        for port in kind.udp_ports(link.parameters)
    }


def _protocols(kinds: Sequence[LinkKind], links: Sequence[LinkSection], version: int) -> set[int]:
    """IP protocols over that version, by which the links receive."""
    return {
        kind.ip_protocol
        for kind, link in zip(kinds, links, strict=True)
        if kind.ip_version == version and not kind.udp_ports(link.parameters)
    }
