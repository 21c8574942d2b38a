"""The wiring: ports, links, forwarding and plugins around one engine.

`trace` is the whole way of a packet, as decided once a flow:

    port ─► IP input (underlays) ─► handler list ─► link ─► its cell
    port or cell ─► forwarding (rules, bridge, connect, routes) ─► stages ─► link or port

Everything here belongs to the control thread.  Plugins get this object.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from vdp.drops import Drops
from vdp.engine.interface import META_SIZE, Engine, PacketType, PortConfig, PortType, Upcall
from vdp.engine.program import Drop, Program
from vdp.forwarding.forwarding import Forwarding
from vdp.links.gre_demux import GreDemux
from vdp.links.icmp import IcmpErrors
from vdp.links.ip_input import IpInput
from vdp.links.link import Link, LinkError, LinkKind
from vdp.links.paths import PathPending, Paths, PathSource, Way
from vdp.loader import Plugins
from vdp.packet import Packet
from vdp.ports.port import Port
from vdp.protocols.ip import IPv4, IPv6
from vdp.registry import Registered, Registry
from vdp.slowpath import SlowPath
from vdp.stages.pipeline import Egress, standard_pipeline
from vdp.trace import HeaderBudget, Trace, Truncated
from vdp.verdict import Verdict

if TYPE_CHECKING:
    from vdp.netlink.events import IPAddress
    from vdp.netlink.path import Path

K = TypeVar("K", bound=LinkKind)
S = TypeVar("S", bound=BaseModel)

log = logging.getLogger(__name__)

#: One log line a second and cause; the rest is counted (vdp_log_messages_suppressed).
LOG_INTERVAL_S = 1.0
_ADDRESS: dict[int, type[IPv4Address] | type[IPv6Address]] = {4: IPv4Address, 6: IPv6Address}


@dataclass(slots=True)
class Chore:
    """Something to do again and again, next when the engine's clock has reached `due_ns`."""

    act: Callable[[], None]
    interval_ns: int
    due_ns: int


class Datapath:
    """One dataplane: an engine and everything that decides for it."""

    def __init__(
        self,
        engine: Engine,
        path_source: PathSource,
        plugins: Plugins | None = None,
        settings: Mapping[str, BaseModel] | None = None,
    ) -> None:
        self.engine = engine
        self._settings = settings if settings is not None else {}
        self.plugins = plugins if plugins is not None else Plugins()
        self.drops = Drops()
        self.pipeline = standard_pipeline()
        self.paths = Paths(path_source, self._path_changed)
        self.ports: dict[str, Port] = {}
        self.links: dict[str, Link] = {}
        self._by_number: dict[int, Port | Link] = {}
        self._underlays: dict[str, list[Link]] = {}
        self._cookies: list[Callable[[Upcall], None]] = []
        self._chores: list[Chore] = []
        self._said: dict[Hashable, float] = {}
        self.suppressed_messages = 0
        #: Addresses of the host itself, by port; the daemon keeps it (netlink).
        self.host_addresses: Callable[[Port], frozenset[IPAddress]] = lambda port: frozenset()
        self.slowpath = SlowPath(self)
        self.pipeline.changed = self._stages_changed
        self.registry = Registry(self)
        self.forwarding = Forwarding(self)
        self.icmp = IcmpErrors(self)
        self.ip_input = IpInput(self)
        self.gre = GreDemux(self.registry, self.icmp)

    # -- a packet's way -------------------------------------------------------------------

    def trace(self, in_port: int, data: bytes, length: int, meta: bytes) -> tuple[Trace, Program]:
        """Decide for one packet; PathPending when it must wait.  Nothing is changed by it.

        A handler's fault costs its own packet: it is dropped under a named reason.
        """
        trace = Trace(in_port, data, length, meta, self.drops.code)
        packet = Packet(trace)
        try:
            self._receive(packet)
            return trace, packet.program()
        except PathPending:
            raise
        except Truncated:
            reason = "parse_truncated"
        except HeaderBudget:
            reason = "header_budget"
        except (Exception, SystemExit) as error:
            reason = "handler_error"
            trace.cacheable = False
            self.say(logging.ERROR, ("trace", type(error)), "a packet was dropped: %r", error, exc_info=error)
        trace.effects.clear()
        return trace, (Drop(self.drops.code(reason)),)

    def _receive(self, packet: Packet) -> None:
        source = self._by_number.get(packet.in_port)
        if source is None:
            packet.drop("no_port")
            return
        packet.depends(source.tag)
        if isinstance(source, Link):
            if not source.up:
                packet.drop("link_down")
                return
            self.forwarding.forward(packet, source.name)
            return
        packet.depends(("underlay", source.name))
        if source.name in self._underlays:
            if self.ip_input.receive(packet, source) is not Verdict.REJECT:
                return
            if not self.forwarding.takes_part(source.name):
                packet.depends(("member", source.name))
                packet.depends(("rules",))
                packet.drop("not_for_us")
                return
        self.forwarding.forward(packet, source.name)

    def transmit(self, packet: Packet, member: str) -> None:
        """Send towards a port or link, through the stages, until it is output or dropped."""
        egress = self.ports.get(member) or self.links.get(member)
        if egress is None:
            # Traced again when there is a port or link of that name.
            packet.depends(("port", member))
            packet.depends(("link", member))
            packet.drop("no_port")
            return
        packet.depends(egress.tag)
        if isinstance(egress, Link) and not egress.up:
            packet.drop("link_down", egress.counters.tx_dropped)
            return
        self.pipeline.transmit(packet, egress)

    def send(self, member: str, data: bytes, packet_type: PacketType, protocol: int = 0) -> None:
        """Send a packet of our own towards a port or link.  PathPending when the way is not known yet.

        protocol: the EtherType of an L3 packet.  A link may be down: what probes it goes out.
        """
        number = self.number_of(member)
        meta = meta_of(packet_type, protocol)
        trace = Trace(number, data, len(data), meta, self.drops.code)
        packet = Packet(trace)
        self.pipeline.transmit(packet, self.egress(member))
        self.engine.execute(0, number, data, packet.program(), meta)

    def number_of(self, member: str) -> int:
        """The engine's port number of a port, or of a link's cell."""
        found = self.ports.get(member) or self.links.get(member)
        if found is None:
            raise KeyError(f"no port or link {member!r}")
        return found.number

    def egress(self, member: str) -> Egress:
        """The port or link of that name."""
        found = self.ports.get(member) or self.links.get(member)
        if found is None:
            raise KeyError(f"no port or link {member!r}")
        return found

    # -- settings -------------------------------------------------------------------------

    def settings(self, plugin: str, model: type[S]) -> S:
        """A plugin's own table [plugin.NAME], or its defaults."""
        found = self._settings.get(plugin)
        return found if isinstance(found, model) else model()

    # -- ports ----------------------------------------------------------------------------

    def add_port(self, config: PortConfig, **known: object) -> Port:
        """Give the engine a port, and know it by name; `known`: device, netns, mac, opened."""
        number = self.engine.add_port(config)
        port = Port(
            config.name, number, config.type, config.packet_type, config.features, config.mtu,
            queues=max(1, len(config.fds)),
            **known,  # type: ignore[arg-type]
        )  # fmt: skip
        self.ports[port.name] = port
        self._by_number[number] = port
        self.invalidate(port.tag)
        return port

    def remove_port(self, name: str) -> Port:
        """Take it from the engine, with its flows; the caller closes what was opened.

        LinkError EBUSY while links run over it.
        """
        if self._underlays.get(name):
            links = ", ".join(link.name for link in self._underlays[name])
            raise LinkError(errno.EBUSY, name, f"it is the underlay of {links}")
        port = self.ports.pop(name)
        del self._by_number[port.number]
        self.engine.remove_port(port.number)
        self.slowpath.forget_port(port.number)
        self.paths.forget(port)
        for bridge in self.forwarding.bridges.values():
            bridge.forget(name)
        self.invalidate(port.tag)
        self.revalidate()
        return port

    def add_cell(self, name: str, packet_type: PacketType) -> int:
        """A GRO cell in the engine (gro_cells_init); its port number."""
        return self.engine.add_port(PortConfig(name, PortType.CELL, packet_type))

    def remove_cell(self, number: int) -> None:
        """gro_cells_destroy, with the flows of what came out of it."""
        self.engine.remove_port(number)
        self.slowpath.forget_port(number)

    def port_by_number(self, number: int) -> Port | Link | None:
        """The port or link behind an engine port number."""
        return self._by_number.get(number)

    def local_addresses(self, port: Port, version: int = 4) -> frozenset[int]:
        """Addresses under which an underlay port is us: its links', and the host's for `local = any`."""
        links = (link for link in self._underlays.get(port.name, ()) if link.kind.ip_version == version)
        addresses = {address for link in links for address in link.addresses()}
        if 0 in addresses:
            addresses |= self._host_numbers(port, version)
        return frozenset(addresses - {0})

    def own_addresses(self, port: Port, version: int = 4) -> frozenset[int]:
        """Local addresses of an underlay's links that the host has not: vdp answers ARP and ND for them."""
        mine = self.local_addresses(port, version) - self._host_numbers(port, version)
        return frozenset(number for number in mine if not _ADDRESS[version](number).is_multicast)

    def is_local(self, packet: Packet, port: Port, destination: int, version: int) -> bool:
        """Whether what comes in by an underlay port for that address is for us."""
        if port.type in (PortType.IP, PortType.IP6, PortType.MEMORY):
            return True
        packet.depends(("addresses", port.name))
        return destination in self.local_addresses(port, version)

    def _host_numbers(self, port: Port, version: int) -> set[int]:
        return {int(address) for address in self.host_addresses(port) if address.version == version}

    # -- links ----------------------------------------------------------------------------

    def kind(self, type: type[K], name: str | None = None) -> K:
        """The link kind of that class, or name, as a loaded plugin gave it; LookupError where none did."""
        for kind in self.plugins.kinds.values():
            if isinstance(kind, type) and name in (None, kind.name):
                return kind
        raise LookupError(f"no loaded plugin gives link kind {name or type.name!r}")

    def has_kind(self, name: str) -> bool:
        """Whether a loaded plugin gives link kind `name`."""
        return name in self.plugins.kinds

    async def add_link(self, name: str, kind: str, underlay: str, parameters: object) -> Link:
        """newlink of the kind; LinkError when it refuses."""
        link = await self.plugins.kinds[kind].newlink(self, name, underlay, parameters)
        self.links[name] = link
        self._by_number[link.number] = link
        self._underlays.setdefault(underlay, []).append(link)
        self.invalidate(link.tag, ("underlay", underlay), ("addresses", underlay), ("routes",))
        return link

    async def change_link(self, name: str, parameters: object) -> None:
        """changelink of the kind: flows go on as they were until they are traced anew."""
        link = self.links[name]
        await link.kind.changelink(link, parameters)
        self.invalidate(link.tag)
        self.revalidate()

    async def remove_link(self, name: str) -> None:
        """dellink of the kind."""
        link = self.links.pop(name)
        for underlay, links in list(self._underlays.items()):
            if link in links:
                links.remove(link)
                if not links:
                    del self._underlays[underlay]
                self.invalidate(("underlay", underlay), ("addresses", underlay))
        for bridge in self.forwarding.bridges.values():
            bridge.forget(name)
        self._by_number.pop(link.number, None)
        self.invalidate(link.tag, ("routes",))
        await link.kind.dellink(link)
        self.revalidate()

    def set_link_up(self, name: str, up: bool) -> None:
        """Administratively up or down: a link that is down matches no packet and sends none."""
        link = self.links[name]
        link.up = up
        self.engine.set_port_up(link.number, up)
        self.invalidate(link.tag, ("tunnels", link.kind.name), ("routes",))
        self.revalidate()

    def routes_from(self, member: str) -> bool:
        """Whether packets from there may be routed: L3 members only."""
        found = self.ports.get(member) or self.links.get(member)
        return found is not None and found.packet_type is PacketType.L3

    # -- the slow path's other ends -------------------------------------------------------

    def add_cookie(self, act: Callable[[Upcall], None]) -> int:
        """A number for `packet.upcall`: `act` gets the copies that the engine sends up for it."""
        self._cookies.append(act)
        return len(self._cookies) - 1

    def act(self, upcall: Upcall) -> None:
        """Run what an UPCALL action asked for; a failure costs that copy only."""
        try:
            self._cookies[upcall.cookie](upcall)
        except PathPending:
            pass  # what it would have sent is not made: the way is being asked for
        except Exception as error:
            self.say(logging.ERROR, ("act", upcall.cookie), "an upcall failed: %r", error, exc_info=error)

    def every(self, seconds: float, act: Callable[[], None]) -> None:
        """Have `act` called about every so many seconds of the engine's clock; about one is the least."""
        interval_ns = int(seconds * 1e9)
        self._chores.append(Chore(act, interval_ns, self.engine.clock() + interval_ns))

    def run_chores(self) -> None:
        """Do what is due; a failure costs that one time only."""
        now = self.engine.clock()
        for chore in self._chores:
            if chore.due_ns > now:
                continue
            chore.due_ns = now + chore.interval_ns
            try:
                chore.act()
            except Exception as error:
                self.say(logging.ERROR, ("chore", chore.act), "a chore failed: %r", error, exc_info=error)

    def invalidate(self, *tags: Hashable) -> None:
        """What was traced from these is traced again before the next upcalls are served."""
        self.slowpath.invalidate(*tags)

    def revalidate(self) -> None:
        """Do so now."""
        self.slowpath.revalidate()

    def _stages_changed(self) -> None:
        self.invalidate(("stages",))
        self.revalidate()

    def _path_changed(self, way: Way, path: Path | None) -> None:
        for link in self.links.values():
            before = link.mtu
            link.path_changed(way, path)
            if link.mtu != before:
                log.info("link %s: mtu %d", link.name, link.mtu)
                self.invalidate(link.tag)
        self.invalidate(("path", way))
        self.revalidate()
        self.slowpath.release(way)

    # -- saying so ------------------------------------------------------------------------

    def say(self, level: int, cause: Hashable, text: str, *args: object, **options: object) -> None:
        """A log line, once a second and cause; the others are counted."""
        now = time.monotonic()
        if now - self._said.get(cause, -LOG_INTERVAL_S) < LOG_INTERVAL_S:
            self.suppressed_messages += 1
            return
        self._said[cause] = now
        log.log(level, text, *args, **options)  # type: ignore[arg-type]

    def note_ecn(self, packet: Packet, link: Link, ip: IPv4 | IPv6) -> None:
        """log_ecn_error: an ECN pair that should not be, once a second and link."""
        source, tos = ip.source, ip.dscp << 2 | ip.ecn
        text = "%s: non-ECT from %s with TOS=%#x"
        sender = IPv4Address(source) if isinstance(ip, IPv4) else IPv6Address(source)
        packet.on_commit(lambda: self.say(logging.INFO, ("ecn", link.name), text, link.name, sender, tos))

    # -- the registry's host (vdp.registry.Host) -------------------------------------------

    def new_counter(self) -> int:
        """An engine counter."""
        return self.engine.new_counter()

    def handlers_changed(self, name: str) -> None:
        """What a handler list decided is decided anew; no packet reaches a removed handler after."""
        self.invalidate(("handlers", name))
        self.revalidate()

    def handler_failed(self, registered: Registered, error: BaseException) -> None:
        self.say(
            logging.ERROR,
            ("handler", registered.owner, registered.name),
            "plugin %s: handler %s raised %r; the packet goes on as if rejected",
            registered.owner,
            registered.name,
            error,
            exc_info=error,
        )


def meta_of(packet_type: PacketType, protocol: int) -> bytes:
    """Metadata of a packet as received: its type, and of an L3 packet the EtherType."""
    words = (int(packet_type), protocol if packet_type is PacketType.L3 else 0)
    return b"".join(word.to_bytes(4, "big") for word in words).ljust(META_SIZE, b"\0")
