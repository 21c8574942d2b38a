"""The wiring: ports, links, forwarding and plugins around one engine.

`trace` is the whole way of a packet, as decided once a flow:

    port ─► IP input (underlays) ─► handler list ─► link ─► its cell
    port or cell ─► forwarding (rules, bridge, connect, routes) ─► stages ─► link or port

Everything here belongs to the control thread.  Plugins get this object.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial, reduce
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from vdp.called import Called
from vdp.chores import Chores
from vdp.cookies import Act, Cookies, Foretell
from vdp.counters import Counters
from vdp.discipline import Discipline
from vdp.drops import Drops
from vdp.engine.interface import Engine, Feature, PacketType, PortConfig, PortType, Upcall, meta_of
from vdp.engine.program import Drop, Program
from vdp.forwarding.forwarding import Forwarding
from vdp.links import ecn
from vdp.links.addresses import Addresses
from vdp.links.estate import Estates
from vdp.links.gre_demux import GreDemux
from vdp.links.groups import Groups, GroupSource, NoGroups
from vdp.links.icmp import IcmpErrors
from vdp.links.icmp_input import IcmpInput
from vdp.links.identification import Identifications
from vdp.links.ip_input import IpInput
from vdp.links.link import Link, LinkError, LinkKind
from vdp.links.paths import Device, PathPending, Paths, PathSource, Way
from vdp.links.udp_input import UdpInput
from vdp.loader import Plugins
from vdp.packet import Packet
from vdp.plugin_commands import Commands
from vdp.ports.port import Port, taken_whole
from vdp.protocols.ip import IPv4, IPv6
from vdp.registrations import Registrations
from vdp.registry import OWNER, Registered, Registry, fault
from vdp.rehearsal import Rehearsal
from vdp.saying import Saying
from vdp.slowpath import SlowPath
from vdp.stages.pipeline import Egress, standard_pipeline
from vdp.states import States
from vdp.time_limit import HandlerTimeout, TimeLimit
from vdp.trace import HeaderBudget, Trace, Truncated
from vdp.verdict import Verdict

if TYPE_CHECKING:
    from vdp.netlink.events import IPAddress
    from vdp.netlink.path import Path

K = TypeVar("K", bound=LinkKind)
S = TypeVar("S", bound=BaseModel)

log = logging.getLogger(__name__)


class Datapath:
    """One dataplane: an engine and everything that decides for it."""

    def __init__(
        self,
        engine: Engine,
        path_source: PathSource,
        plugins: Plugins | None = None,
        settings: Mapping[str, BaseModel] | None = None,
        group_source: GroupSource | None = None,
    ) -> None:
        self.engine = engine
        self.plugin_settings: dict[str, BaseModel] = dict(settings or {})
        self.plugins = plugins if plugins is not None else Plugins()
        self.drops = Drops()
        self.pipeline = standard_pipeline()
        self.paths = Paths(path_source, self._path_changed, engine)
        self.paths.device_changed = self._device_changed
        self.identifications = Identifications(engine, self.undoable)
        self.groups = Groups(group_source if group_source is not None else NoGroups())
        self.ports: dict[str, Port] = {}
        self.links: dict[str, Link] = {}
        self.half_made: dict[str, Link] = {}  # those whose newlink is not done yet
        self._by_number: dict[int, Port | Link] = {}
        self.underlays: dict[str, list[Link]] = {}
        self._followers: dict[Way, set[Link]] = {}
        self.cookies = Cookies()
        self._saying = Saying(log)
        #: Under way for an imaginary packet: nothing that is decided is put to use.
        self.rehearsal: Rehearsal | None = None
        #: How long a handler may take; the daemon sets and starts it.
        self.limit = TimeLimit()
        self.discipline = Discipline(self)
        self._chores = Chores(engine.clock, self.discipline.call)
        #: Addresses of the host itself, by port; the daemon keeps it (netlink).
        self.host_addresses: Callable[[Port], frozenset[IPAddress]] = lambda port: frozenset()
        #: Told when addresses of an underlay port's links changed.
        self.addresses_changed: Callable[[Port], None] = lambda port: None
        self.addresses = Addresses(
            lambda port: self.underlays.get(port.name, ()), lambda port: self.host_addresses(port)
        )
        self._registered: Registrations | None = None
        self.counters = Counters(self)
        self.states = States(self)
        self.commands = Commands(self)
        self.slowpath = SlowPath(self)
        self.estates = Estates(self.slowpath.when_revalidated)
        self.pipeline.changed = self._stages_changed
        self.pipeline.undoable = self.undoable
        self.drops.undoable = partial(self.undoable, stays=True)
        self.registry: Registry = Registry(self)
        self.forwarding = Forwarding(self)
        self.icmp = IcmpErrors(self)
        self.icmp_input = IcmpInput(self)
        self.udp = {version: UdpInput(self, version) for version in (4, 6)}
        self.ip_input = IpInput(self)
        self.gre = GreDemux(self.registry, self.icmp)

    # -- a packet's way -------------------------------------------------------------------

    def trace(self, in_port: int, data: bytes, length: int, meta: bytes) -> tuple[Trace, Program]:
        """Decide for one packet; PathPending when it must wait.  Nothing is changed by it.

        A handler's fault costs its own packet: it is dropped under a named reason.
        """
        trace = Trace(in_port, data, length, meta, self.drops.code, rehearsal=self.rehearsal)
        packet = Packet(trace)
        run = self.limit.enter()
        registering, self._registered = self._registered, None  # what vdp makes on the way is nobody's
        try:
            self._receive(packet)
            return trace, packet.program()
        except PathPending:
            raise
        except Truncated:
            reason = "parse_truncated"
        except HeaderBudget:
            reason = "header_budget"
        except HandlerTimeout as timeout:
            reason = "handler_timeout"
            trace.cacheable = False
            if timeout.run is run:  # else the handler has been named
                self._say_dropped(in_port, timeout)
        except BaseException as error:
            reason = "handler_error"
            trace.cacheable = False
            self._say_dropped(in_port, error, exc_info=error)
        finally:
            self.limit.leave(run)
            self._registered = registering
        trace.effects.clear()
        return trace, (*packet.tallies(), Drop(self.drops.code(reason)))

    def _say_dropped(self, in_port: int, error: BaseException, **options: object) -> None:
        came = self.member_name(in_port)
        text = "a packet was dropped: %s; it came in by %s"
        self.say(logging.ERROR, ("trace", type(error), in_port), text, fault(error), came, **options)

    def _receive(self, packet: Packet) -> None:
        source = self._by_number.get(packet.in_port)
        if source is None:
            self.forwarding.receive_flooded(packet)
            return
        packet.depends(source.tag)
        if isinstance(source, Link):
            if not source.up:
                packet.drop("link_down")
            elif source.inner.admit(packet, source):
                self.forwarding.forward(packet, source.name)
            return
        packet.depends(("underlay", source.name))
        if source.name in self.underlays:
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

        packet_type: what the member carries; ValueError for another one.  protocol: the EtherType of
        an L3 packet.  A link may be down: what probes it goes out.
        """
        trace, program = self.sending(member, data, packet_type, protocol)
        self.engine.execute(0, trace.in_port, data, program, trace.meta)

    def sending(
        self, member: str, data: bytes, packet_type: PacketType, protocol: int = 0
    ) -> tuple[Trace, Program]:
        """What `send` would have the engine do."""
        egress = self.egress(member)
        if packet_type is not egress.packet_type:
            expected = egress.packet_type.name
            raise ValueError(f"{member}: expected a packet of type {expected}, found {packet_type.name}")
        meta = meta_of(packet_type, protocol)
        trace = Trace(
            self.number_of(member), data, len(data), meta, self.drops.code, rehearsal=self.rehearsal
        )
        packet = Packet(trace)
        registering, self._registered = self._registered, None  # as in `trace`
        try:
            self.pipeline.transmit(packet, egress)
        finally:
            self._registered = registering
        return trace, packet.program()

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
        found = self.plugin_settings.get(plugin)
        if found is None or isinstance(found, model):
            return found if found is not None else model()
        return model.model_validate(found.model_dump(exclude_unset=True))  # it was loaded anew since

    # -- ports ----------------------------------------------------------------------------

    def add_port(self, config: PortConfig, **known: object) -> Port:
        """Give the engine a port, and know it by name; `known`: device, netns, mac, opened."""
        number = self.engine.add_port(config)
        is_ip = config.type in (PortType.IP, PortType.IP6)  # the second socket is for ICMP errors
        port = Port(
            config.name, number, config.type, config.packet_type, taken_whole(config), config.mtu,
            queues=1 if is_ip else max(1, len(config.fds) - config.control_count),
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
        if self.underlays.get(name):
            links = ", ".join(link.name for link in self.underlays[name])
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
        return self.engine.add_port(PortConfig(name, PortType.CELL, packet_type, self.joined))

    @property
    def joined(self) -> Feature:
        """The super-packets that links' cells make: TCP, and UDP where all our devices take it whole."""
        devices = [port for port in self.ports.values() if port.type in (PortType.TAP, PortType.TUN)]
        whole = devices and all(Feature.USO in port.features for port in devices)
        joined = Feature.CSUM | Feature.TSO4 | Feature.TSO6 | (Feature.USO if whole else Feature.NONE)
        return reduce(lambda left, port: left & ~port.refused, devices, joined)

    def remove_cell(self, number: int) -> None:
        """gro_cells_destroy, with the flows of what came out of it."""
        self.engine.remove_port(number)
        self.slowpath.forget_port(number)

    def port_by_number(self, number: int) -> Port | Link | None:
        """The port or link behind an engine port number."""
        return self._by_number.get(number)

    def member_name(self, number: int) -> str:
        """The port of an engine port number, the link whose cell, or the bridge and member whose outlet."""
        found = self._by_number.get(number)
        if found is not None:
            return found.name
        outlet = self.forwarding.outlets.get(number)
        return f"{outlet[0]} to {outlet[1]}" if outlet else str(number)

    def local_addresses(self, port: Port, version: int = 4) -> frozenset[int]:
        """Addresses under which an underlay port is us: its links', and the host's for `local = any`."""
        return self.addresses.of(port, version).local

    def own_addresses(self, port: Port, version: int = 4) -> frozenset[int]:
        """Local addresses of an underlay's links that the host has not: vdp answers ARP and ND for them."""
        return self.addresses.of(port, version).answered

    def is_local(self, packet: Packet, port: Port, destination: int, version: int) -> bool:
        """Whether what comes in by an underlay port for that address is for us."""
        if port.type in (PortType.IP, PortType.IP6, PortType.MEMORY):
            return True
        packet.depends(("addresses", port.name))
        return destination in self.local_addresses(port, version)

    def is_own_source(self, packet: Packet, port: Port, source: int, version: int) -> bool:
        """Whether it claims to come from an address of ours: a link's over that port, or the host's."""
        packet.depends(("addresses", port.name))
        return source in self.addresses.of(port, version).sources

    # -- links ----------------------------------------------------------------------------

    def kind(self, type: type[K], name: str | None = None) -> K:
        """The link kind of that class, or name, as a loaded plugin gave it; LookupError where none did."""
        return self.plugins.kind(type, name)

    def has_kind(self, name: str) -> bool:
        """Whether a loaded plugin gives link kind `name`."""
        return self.plugins.has_kind(name)

    async def add_link(
        self, name: str, kind: str, underlay: str, parameters: object, *, gro: bool = True
    ) -> Link:
        """newlink of the kind; LinkError when it refuses.  A link that came half-way is freed.

        gro: whether its cell joins what it receives.
        """
        try:
            link = await self.plugins.kinds[kind].newlink(self, name, underlay, parameters)
        except BaseException:
            if name in self.half_made:
                self.half_made[name].free()
            raise
        finally:
            self.half_made.pop(name, None)
        link.change_gro(gro)
        self.links[name] = link
        self._by_number[link.number] = link
        self.underlays.setdefault(underlay, []).append(link)
        self.invalidate(link.tag, ("underlay", underlay), ("addresses", underlay), ("routes",))
        self.revalidate()
        return link

    async def change_link(self, name: str, parameters: object) -> None:
        """changelink of the kind: flows go on as they were until they are traced anew."""
        link = self.links[name]
        await link.kind.changelink(link, parameters)
        self.invalidate(link.tag)
        self.revalidate()

    async def remove_link(self, name: str, *, is_end: bool = False) -> None:
        """dellink of the kind.  LinkError EPERM for one that goes only with the dataplane (`is_end`)."""
        if self.links[name].is_permanent and not is_end:
            # ip_tunnel_ioctl, SIOCDELTUNNEL; over netlink Linux does nothing, and says so to nobody.
            raise LinkError(errno.EPERM, name, "a fallback link goes with the dataplane, not before")
        link = self.links.pop(name)
        for underlay, links in list(self.underlays.items()):
            if link in links:
                links.remove(link)
                if not links:
                    del self.underlays[underlay]
                self.invalidate(("underlay", underlay), ("addresses", underlay))
        for bridge in self.forwarding.bridges.values():
            if name not in self.estates:
                bridge.forget(name)
        self._by_number.pop(link.number, None)
        self.invalidate(link.tag, ("routes",))
        await link.kind.dellink(link)
        self.revalidate()

    def follow(self, link: Link, way: Way | None) -> None:
        """Tell the link (`path_changed`) when that way is another from now on, and of no other way."""
        before, link.way = link.way, way
        if way is not None:
            self._followers.setdefault(way, set()).add(link)
        if before is not None and before != way:
            followers = self._followers[before]
            followers.discard(link)
            if not followers:
                del self._followers[before]
                self.paths.release(before)

    def set_link_mtu(self, name: str, mtu: int) -> None:
        """ndo_change_mtu.  LinkError EINVAL, with what would do."""
        link = self.links[name]
        link.change_mtu(mtu)
        self.invalidate(link.tag)
        self.revalidate()

    def set_link_up(self, name: str, up: bool) -> None:
        """Administratively up or down: a link that is down matches no packet and sends none.

        LinkError EADDRNOTAVAIL where it can not be set up.
        """
        link = self.links[name]
        if up:
            link.open()
        else:
            link.close()
        link.up = up
        self.engine.set_port_up(link.number, up)
        self.invalidate(link.tag, ("tunnels", link.kind.name), ("routes",))
        self.revalidate()

    def routes_from(self, member: str) -> bool:
        """Whether packets from there may be routed: L3 members only."""
        found = self.ports.get(member) or self.links.get(member)
        return found is not None and found.packet_type is PacketType.L3

    # -- the slow path's other ends -------------------------------------------------------

    def add_cookie(self, act: Act, foretell: Foretell | None = None) -> int:
        """A number for `packet.upcall`: `act` gets the copies that the engine sends up for it."""
        number = self.cookies.add(act, self._owner_of(act), foretell)
        self.undoable(partial(self.cookies.remove, number))
        return number

    def act(self, upcall: Upcall) -> None:
        """Run what an UPCALL action asked for; a failure costs that copy only."""
        called = self.cookies.called(upcall.cookie)
        if called is not None:  # else its plugin is gone
            self.discipline.call(called, upcall)

    def every(self, seconds: float, act: Callable[[], None]) -> None:
        """Have `act` called about every so many seconds of the engine's clock; 0.01 is the least."""
        chore = self._chores.add(seconds, act, self._owner_of(act))
        self.undoable(partial(self._chores.remove, chore))

    def calls(self) -> Iterator[Called]:
        """Timers and upcalls, vdp's own among them."""
        return chain(self._chores, self.cookies)

    def _owner_of(self, act: object) -> str:
        """The plugin that registers right now, or else whose code it is."""
        registering = self._registered.owner if self._registered is not None else ""
        return registering or self.plugins.owner_of(str(getattr(act, "__module__", ""))) or OWNER

    def chores_due_s(self) -> float:
        """How long to wait until something is due: 10 ms to a second."""
        return self._chores.due_s()

    def run_chores(self) -> None:
        """Do what is due; a failure costs that one time only."""
        self.discipline.end_quarantines()
        self._chores.run()

    def invalidate(self, *tags: Hashable) -> None:
        """What was traced from these is traced again before the next upcalls are served."""
        for tag in tags:
            if isinstance(tag, tuple) and tag[0] == "addresses":
                self.addresses.forget(tag[1])
                if tag[1] in self.ports:
                    self.addresses_changed(self.ports[tag[1]])
        self.slowpath.invalidate(*tags)

    def revalidate(self) -> None:
        """Do so now."""
        self.slowpath.revalidate()

    def _stages_changed(self) -> None:
        self.invalidate(("stages",))
        self.revalidate()

    def _path_changed(self, way: Way, path: Path | None, changed: Hashable) -> None:
        self._bind_again(self._followers.get(way, ()), lambda link: link.path_changed(way, path))
        self.invalidate(changed)
        self.revalidate()
        self.slowpath.release(way)

    def _device_changed(self, port: str, name: str, device: Device | None) -> None:
        self._bind_again(self.links.values(), lambda link: link.device_changed(port, name, device))
        self.revalidate()

    def _bind_again(self, links: Iterable[Link], tell: Callable[[Link], None]) -> None:
        """Have these links look at what changed under them: their MTU may be another then."""
        for link in tuple(links):
            before = link.mtu
            tell(link)
            if link.mtu != before:
                log.info("link %s: mtu %d", link.name, link.mtu)
                self.invalidate(link.tag)

    def forget_unused_paths(self) -> None:
        """Ways that no flow and no waiting packet needs any more are asked for no longer."""
        slowpath = self.slowpath

        def is_used(way: Way) -> bool:
            return slowpath.index.rests_on(("path", way)) or slowpath.holds(way)

        # What goes with them is the engine's to give out again: no flow may go by what was the way.
        slowpath.when_revalidated(lambda: self.paths.forget_unused(is_used))

    # -- saying so ------------------------------------------------------------------------

    def say(self, level: int, cause: Hashable, text: str, *args: object, **options: object) -> None:
        """A log line, once a second and cause; the others are counted."""
        if self.rehearsal is not None:
            self.rehearsal.said.append(text % args)
            return
        self._saying.say(level, cause, text, *args, **options)

    @property
    def suppressed_messages(self) -> int:
        """Lines that were not logged, because one for the same cause had been."""
        return self._saying.suppressed

    def note_ecn(self, packet: Packet, link: Link, ip: IPv4 | IPv6) -> None:
        """log_ecn_error: an ECN pair that should not be, once a second and link."""
        line = ecn.complaint(link.name, ip)
        packet.on_commit(lambda: self.say(logging.INFO, ("ecn", link.name), *line))

    # -- registering ----------------------------------------------------------------------

    @contextmanager
    def attempt(self, owner: str = "") -> Iterator[Registrations]:
        """What is registered within is taken back, last first, when that ends by an exception.

        Handlers, stages, drop reasons, chores, cookies: whoever they are said to belong to.
        owner: the plugin that registers.
        Flows are traced again at its end, once.
        """
        with self.slowpath.paused():
            outer, self._registered = self._registered, Registrations(owner)
            registered = self._registered
            try:
                yield registered
            except BaseException:
                registered.undo()
                raise
            finally:
                self._registered = outer

    def undoable(self, undo: Callable[[], None], stays: bool = False) -> None:
        """Something was registered; `undo` takes it back when the attempt fails that it is part of.

        It does so also when the plugin is unloaded, unless it `stays`.
        """
        registered = self._registered if self.rehearsal is None else self.rehearsal.registered
        if registered is not None:
            registered.add(undo, stays)

    # -- the registry's host (vdp.registry.Host) -------------------------------------------

    def new_counter(self) -> int:
        """An engine counter."""
        return self.engine.new_counter()

    def retire(self, counters: Iterable[int]) -> None:
        """Give engine counters back, as soon as no flow counts by them."""
        for counter in counters:
            self.slowpath.when_revalidated(partial(self.engine.free_counter, counter))

    def handlers_changed(self, name: str) -> None:
        """What a handler list decided is decided anew; no packet reaches a removed handler after."""
        self.invalidate(("handlers", name))
        self.revalidate()

    def handler_failed(self, registered: Registered, error: BaseException) -> None:
        """A handler raised, or took too long."""
        self.discipline.failed(registered, error)
