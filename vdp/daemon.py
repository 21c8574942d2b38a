"""`vdp -c FILE`: from a configuration to a running dataplane, and back to nothing.

Everything that is made is undone in reverse order, whatever happens: devices,
namespaces and sockets are as found when the daemon has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import importlib
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vdp import capabilities, refusals
from vdp.config import Config, ConfigError, load
from vdp.config.model import MetricsSection, PluginsSection
from vdp.confined import Refused
from vdp.control.peers import group_number, join
from vdp.datapath import Datapath
from vdp.devices import Devices
from vdp.engine.interface import Confine, PortType
from vdp.engine.native import NativeEngine
from vdp.flow_limit import FlowLimit
from vdp.last_words import Culprit
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
from vdp.overload.overload import Overload
from vdp.ports import PortError
from vdp.ports.port import Port
from vdp.running import Running
from vdp.start import STOPS, Start

if TYPE_CHECKING:
    from vdp.inspector import Inspector
    from vdp.metrics.server import MetricsServer
    from vdp.reload.reload import Reload
    from vdp.status import History

log = logging.getLogger("vdp")

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 4
#: Objects made, less those freed, before the garbage collector looks at the young ones (700 by
#: default): a new flow is some hundred that stay.
COLLECT_AFTER = 50_000
#: And at all of them, which with so many flows takes some milliseconds: what reloads and the kernel's
#: messages leave behind in circles would stay until five million objects were made.
COLLECT_S, COLLECT_FLOWS_MOST = 60.0, 500

#: Packets that wait at the start are decided in this time, before anything else is imported.
FIRST_S = 0.005
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
        plugins.hashes = section.hashes
        for failure in plugins.load(section.load, strict=strict or section.strict):
            log.error("%s", failure)
        return plugins.kinds

    configure(log_level or "info", "text")
    start = Start()
    if not start.may_begin():
        return EXIT_OK
    try:
        config = load(path, kinds, plugins.settings, lambda: plugins.actions)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except PluginError as error:
        log.error("%s", error)
        return EXIT_CONFIG
    configure(log_level or config.log.level, config.log.format)
    try:
        join(config.control.group)
        capabilities.close_on_exec()
        kept = capabilities.give_up(config)
        log.debug("capabilities: %s", ", ".join(sorted(kept)) or "none")
        asyncio.run(Daemon(config, plugins, start, strict=strict, log_level=log_level).run())
    except (LinkError, PortError, PluginError) as error:
        log.error("%s", error)
        return EXIT_FAILED
    except OSError as error:
        log.error("%s", error)
        return EXIT_FAILED
    return EXIT_OK


class Daemon:
    """One running configuration."""

    def __init__(
        self,
        config: Config,
        plugins: Plugins,
        start: Start | None = None,
        *,
        strict: bool = False,
        log_level: str | None = None,
    ) -> None:
        self._config = config
        self._log_level = log_level
        self._is_strict = strict or config.plugins.strict
        self._plugins = plugins
        self._start = start or Start()
        self._notify, self._store = self._start.notify, self._start.store
        self._system = System(self._store)
        self._engine = NativeEngine(config.engine.engine_config(Confine[config.security.workers.upper()]))
        self.datapath = Datapath(
            self._engine, KernelPaths(self._system), plugins, config.plugin, KernelGroups()
        )
        self.datapath.host_addresses = self._host_addresses
        self.datapath.addresses_changed = self._addresses_changed
        self.datapath.icmp.limits.rates = config.icmp
        self.datapath.limit.seconds = config.plugins.soft_limit_ms / 1000
        self._running = Running(self.datapath, self._system)
        self._devices = Devices(self._running, self._system, self._attached)
        self._changing = asyncio.Lock()
        self._strict = strict
        self._reload: Reload  # from _serve_control on
        self._metrics: tuple[MetricsSection, MetricsServer] | None = None
        self._inspector: Inspector | None = None
        self._history: History  # from _serve_control on
        self._stopping = asyncio.Event()
        self._reload_asked = asyncio.Event()
        self._refresh = asyncio.Event()
        self._refused = Refused()
        self.datapath.slowpath.sweeper.limit = FlowLimit(config.engine.flows * config.engine.workers)
        self._overload = Overload(self._engine, self.datapath.slowpath, config.overload)
        self._unclaimed: set[str] = set()

    async def run(self) -> None:
        """Bring everything up, forward until told to stop, take everything down."""
        loop = asyncio.get_running_loop()
        for number in STOPS:
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload_asked.set)
        async with AsyncExitStack() as undo:
            undo.callback(self._notify.close)
            undo.callback(self._engine.close)
            undo.push_async_callback(self._system.close)
            words = self.datapath.limit.words = self._start.words
            self._plugins.register(self.datapath, strict=self._is_strict)
            self._blame(words.culprit)
            self._check_kinds()
            undo.push_async_callback(self._running.close)
            undo.callback(self._store.leave)  # what is there is the next process's
            # What is wrong with a device ends the first start; a restart goes on with what there is.
            is_first = not self._store.names
            await self._running.make(self._config, None if is_first else self._devices.expect)
            self._claim_addresses()
            self._engine.start()
            undo.callback(self.datapath.slowpath.flush)
            undo.callback(self._engine.stop)
            self.datapath.limit.start()
            undo.callback(self.datapath.limit.stop)
            loop.add_reader(self._engine.event_fd(), self._serve)
            self.datapath.slowpath.resumed = self._serve
            undo.callback(loop.remove_reader, self._engine.event_fd())
            undo.callback(self.datapath.paths.close)
            undo.callback(self._system.subscribe(self._heard))
            # Packets pass from here on, those that wait first; what looks at the dataplane comes after.
            await asyncio.sleep(FIRST_S)
            inspector = self._inspector = await self._serve_control(undo)
            undo.push_async_callback(self._stop_metrics)
            await self._serve_metrics(self._config.metrics)
            await self._running.complete()
            if unused := self._store.sweep():
                log.debug("let go of what the process before had: %s", ", ".join(unused))
            async with asyncio.TaskGroup() as tasks:
                chores = [
                    tasks.create_task(self._repeat(self._sweep, SWEEP_S)),
                    tasks.create_task(self._repeat(self._sweep_flows, 0)),
                    tasks.create_task(self._repeat(self._overload.watch, 0)),
                    tasks.create_task(self._repeat(self._do_chores, 0)),
                    tasks.create_task(self._repeat(self._keep, KEEP_S)),
                    tasks.create_task(self._repeat(self._collect, COLLECT_S)),
                    tasks.create_task(self._repeat(self._follow, FOLLOW_S)),
                    tasks.create_task(self._repeat(self._reload_when_asked, 0)),
                    tasks.create_task(self._repeat(self._look_at_devices, 0)),
                    tasks.create_task(self._repeat(self._be_watched, 0)),
                    tasks.create_task(self._history.run()),
                ]
                undo.callback(self._plugins.call, "vdp_stop", datapath=self.datapath)
                self._plugins.call("vdp_start", datapath=self.datapath)
                inspector.is_started = True
                # What is there by now stays: the collector, which `run` disabled, would look at it in vain.
                gc.freeze()
                gc.set_threshold(COLLECT_AFTER)
                gc.enable()
                log.info("ready")
                words.ready()
                ports, links = len(self.datapath.ports), len(self.datapath.links)
                self._notify.tell("READY=1", f"STATUS={ports} ports, {links} links")
                await self._stopping.wait()
                self._notify.tell("STOPPING=1")
                inspector.is_started = False
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

    def _blame(self, culprit: Culprit | None) -> None:
        """Pass the handler over, for a while, in which the process before this one ended."""
        registered = culprit.among(self.datapath.registry) if culprit is not None else None
        if culprit is None or registered is None:
            return
        registered.conduct.blame(self._engine.clock(), culprit.times)
        registered.last_error = "the process before ended while it ran"
        left_s = registered.conduct.left_s(self._engine.clock()) or 0.0
        log.error(
            "plugin %s: handler %s is passed over for %.0f s: %s%s",
            registered.owner,
            registered.name,
            left_s,
            registered.last_error,
            f", {culprit.times} times in a row" if culprit.times > 1 else "",
        )

    async def _serve_control(self, undo: AsyncExitStack) -> Inspector:
        await _import("vdp.reload.reload", "vdp.inspector", "vdp.control.methods", "vdp.control.changes")
        await _import("xml.etree.ElementTree", "vdp.status.method")
        from vdp.capture.feed import capture_table
        from vdp.control.changes import change_table, reload_method
        from vdp.control.log_calls import log_table
        from vdp.control.methods import method_table
        from vdp.control.plugin_calls import call_table
        from vdp.control.server import ControlServer
        from vdp.inspector import Inspector
        from vdp.perf.method import perf_table
        from vdp.reload.reload import Reload
        from vdp.status import History
        from vdp.status.method import finding_table

        self._reload = Reload(self._running, self, self._config, self._changing, strict=self._strict)
        inspector = Inspector(self.datapath, self._config)
        inspector.reload = self._reload
        inspector.system = self._system
        inspector.overload = self._overload
        self._history = History(inspector)
        reading = method_table(inspector) | finding_table(self._history)
        methods = reading | change_table(self.datapath, inspector, self._changing)
        methods |= call_table(self.datapath) | capture_table(self.datapath) | log_table()
        methods |= perf_table(self.datapath)
        methods["trace"] = self._trace
        methods["reload"] = reload_method(self._reload, self._changing)
        control = self._config.control
        server = inspector.server = ControlServer(
            control.socket, methods, readers=group_number(control.group), readable=reading.keys()
        )
        await server.start()
        undo.push_async_callback(server.stop)
        return inspector

    async def _trace(self, params: dict[str, Any]) -> object:
        await _import("vdp.testing.reference", "vdp.imaginary.method")
        from vdp.imaginary.method import trace

        return trace(self.datapath, params)

    async def _serve_metrics(self, section: MetricsSection) -> None:
        inspector = self._inspector
        if not section.enabled or inspector is None:
            return
        await _import("prometheus_client", "vdp.metrics.server")
        from vdp.metrics.server import MetricsServer

        server = MetricsServer(section.listen, inspector, self._history)
        await server.start()
        self._metrics = section, server
        inspector.metrics_url = f"http://{section.listen}/metrics"
        log.info("metrics on http://%s/metrics", section.listen)

    async def _stop_metrics(self) -> None:
        metrics, self._metrics = self._metrics, None
        if metrics is not None:
            await metrics[1].stop()
        if self._inspector is not None:
            self._inspector.metrics_url = ""

    # -- another configuration --------------------------------------------------------------

    async def _reload_when_asked(self) -> None:
        await self._reload_asked.wait()
        self._reload_asked.clear()
        await self._reload.run()

    async def set_tables(self, config: Config) -> None:
        """Have [metrics], [log], [icmp], [plugins], [overload] of another configuration in force (Owner)."""
        before = self._metrics[0] if self._metrics else None
        if config.metrics != before:
            await self._stop_metrics()
            try:
                await self._serve_metrics(config.metrics)
            except OSError:
                if before is not None:
                    await self._serve_metrics(before)
                raise
        configure(self._log_level or config.log.level, config.log.format)
        self.datapath.icmp.limits.rates = config.icmp
        self._plugins.hashes = config.plugins.hashes
        if config.overload != self._overload.section:
            self._overload.configure(config.overload)
        seconds = config.plugins.soft_limit_ms / 1000
        if seconds != self.datapath.limit.seconds:
            self.datapath.limit.stop()
            self.datapath.limit.seconds = seconds
            self.datapath.limit.start()

    def adopt(self, config: Config) -> None:
        """That configuration is in force (Owner)."""
        self._config = config
        if self._inspector is not None:
            self._inspector.adopt(config)

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
        """Aged stations, packets that waited too long; what the kernel lost meanwhile."""
        for bridge in self.datapath.forwarding.bridges.values():
            bridge.age(self._engine.clock())
        self.datapath.slowpath.expire_held()
        refusals.follow(self.datapath)
        self._refused.follow(self._engine)
        self.datapath.revalidate()
        for port in list(self.datapath.ports.values()):
            if port.opened is not None:
                with contextlib.suppress(OSError):  # it may be on its way out
                    port.kernel_drops = await port.opened.kernel_drops()

    async def _sweep_flows(self) -> None:
        engine = self._config.engine
        await self._overload.sweep(engine.flow_idle_s, engine.flows)

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

    async def _collect(self) -> None:
        """Give back what nobody can reach any more."""
        if len(self.datapath.slowpath.index) <= COLLECT_FLOWS_MOST:
            gc.collect()

    async def _look_at_devices(self) -> None:
        """Ports whose device is gone, or there again; not while a reload opens and closes some."""
        await self._devices.wait()
        async with self._changing:
            await self._devices.look()

    def _attached(self, port: Port) -> None:
        """A port has a device again: ways and addresses are others."""
        self._unclaimed.add(port.name)
        self._refresh.set()

    async def _be_watched(self) -> None:
        """Tell the service manager, twice as often as it asks, that upcalls are served and workers answer."""
        if not self._notify.watchdog_s:
            await asyncio.Event().wait()
        for worker in range(self._engine.workers):
            self._engine.worker_stats(worker)
        self._notify.tell("WATCHDOG=1")
        await asyncio.sleep(self._notify.watchdog_s / 2)

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
            self._devices.lose(port, f"its device {port.device} is gone")
            return
        self._devices.follow(port, device)
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


async def _import(*names: str) -> None:
    """Import what forwarding does without; the packets that wait for a decision go before each."""
    for name in names:
        await asyncio.sleep(0)
        importlib.import_module(name)
