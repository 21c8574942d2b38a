"""The ports, links and forwarding of a configuration: made, changed and taken away, one at a time.

The daemon makes them at its start, a reload changes them while packets pass.  What is here
always knows what there is, by section, whatever failed on the way; `close` takes all of it
away, links before the ports that carry them.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from vdp.engine.interface import Feature, PortType
from vdp.forwarding.bridge import Bridge
from vdp.forwarding.routes import Route, RouteTable
from vdp.forwarding.rules import compile_rule
from vdp.links.inner import InnerSources
from vdp.links.link import LinkError
from vdp.loader import PluginError
from vdp.netlink.decode import mac as mac_bytes
from vdp.ports import Carried, PortError, open_port, refused
from vdp.ports.open import keep, port_config
from vdp.ports.tuntap import DEFAULT_TXQUEUELEN
from vdp.registry import fault

if TYPE_CHECKING:
    from vdp.config import BridgeSection, Config, ConnectSection, LinkSection, PortSection
    from vdp.config.model import RouteSection, RuleSection
    from vdp.datapath import Datapath
    from vdp.links.link import LinkKind
    from vdp.netlink import System
    from vdp.ports import OpenedPort
    from vdp.ports.port import Port

log = logging.getLogger("vdp")

#: MTU of a device of which the configuration says none (ether_setup), and of a raw IP socket.
DEFAULT_MTU, MOST_MTU = 1500, 65535
Step = Callable[[], Awaitable[None]]
Taken = Mapping[int, Set[int]]


class Forwards(Protocol):
    """What a configuration says of forwarding."""

    @property
    def bridges(self) -> tuple[BridgeSection, ...]: ...
    @property
    def connects(self) -> tuple[ConnectSection, ...]: ...
    @property
    def routes(self) -> tuple[RouteSection, ...]: ...
    @property
    def rules(self) -> tuple[RuleSection, ...]: ...


class Links(Forwards, Protocol):
    """And of links."""

    @property
    def links(self) -> tuple[LinkSection, ...]: ...


@dataclass(frozen=True, slots=True)
class _InForce:
    links: tuple[LinkSection, ...]
    bridges: tuple[BridgeSection, ...]
    connects: tuple[ConnectSection, ...]
    routes: tuple[RouteSection, ...]
    rules: tuple[RuleSection, ...]


def members(config: Forwards) -> set[str]:
    """The ports and links that forwarding names: what comes in there goes on, whatever it is."""
    return {
        *(member for bridge in config.bridges for member in bridge.members),
        *(member for connect in config.connects for member in connect.members),
        *(rule.match.in_port for rule in config.rules if rule.match.in_port),
    }


def carried(config: Links, port: str, kinds: Mapping[str, LinkKind], taken: Taken) -> Carried:
    """What the links of a configuration over that port receive by, and with them the plugins.

    taken: UDP ports that plugins take by themselves, by IP version.
    """
    links = [link for link in config.links if link.underlay == port]
    protocols: dict[int, set[int]] = {4: set(), 6: set()}
    udp: dict[int, set[int]] = {version: set(taken.get(version, ()) if links else ()) for version in (4, 6)}
    for link in links:
        kind = kinds[link.kind]
        ports = kind.udp_ports(link.parameters)
        udp[kind.ip_version] |= ports
        if not ports:
            protocols[kind.ip_version].add(kind.ip_protocol)
    is_member = port in members(config)
    return Carried.by(
        protocols[4], protocols[6], udp[4], udp[6], promiscuous=is_member, only=bool(links) and not is_member
    )


def describe_port(port: Port) -> str:
    """The port in a line, as the log says it."""
    where = f" in namespace {port.netns}" if port.netns else ""
    device = f" on {port.device}" if port.device and port.device != port.name else ""
    return f"{port.name}: {port.type.name.lower()}{device}{where}, mtu {port.mtu}"


class Running:
    """What there is of a configuration."""

    def __init__(self, datapath: Datapath, system: System) -> None:
        self.datapath = datapath
        self._system = system
        self.ports: dict[str, PortSection] = {}
        self.links: dict[str, LinkSection] = {}
        self.bridges: tuple[BridgeSection, ...] = ()
        self.connects: tuple[ConnectSection, ...] = ()
        self.routes: tuple[RouteSection, ...] = ()
        self.rules: tuple[RuleSection, ...] = ()

    async def make(self, config: Config, missing: Callable[[Port, str], None] | None = None) -> None:
        """Everything of a configuration, where nothing is yet, but for what `complete` does.

        missing: told of ports that can not be opened; they are there, without a device.  None: PortError.
        """
        for port in config.ports:
            carries = carried(config, port.name, self.datapath.plugins.kinds, self.taken())
            try:
                await self._open_port(port, carries, programs=False)
            except PortError as refused:
                if missing is None or port.type in ("memory", "gro-cell"):
                    raise
                device = port.interface or (None if port.protocol else port.name)
                there = self.datapath.add_port(port_config(port), device=device, netns=port.netns)
                self.ports[port.name] = port
                missing(there, refused.sentence)
        for link in config.links:
            await self.add_link(link)
        self.forward(config)

    async def complete(self) -> None:
        """What packets can pass without, and the kernel takes its time for."""
        for name, section in self.ports.items():
            port = self.datapath.ports[name]
            if port.opened is not None and port.opened.underlay is not None:
                await self._carry(port, port.opened.underlay.carried, section.exclusive)
            self._say_ring(port)
        self.datapath.revalidate()

    def taken(self) -> Taken:
        """UDP ports that plugins take by themselves, by IP version."""
        return {version: udp.taken_by_plugins() for version, udp in self.datapath.udp.items()}

    def carried_now(self) -> dict[str, Carried]:
        """What packet ports carry, by name."""
        opened = {name: port.opened for name, port in self.datapath.ports.items() if port.opened}
        return {name: port.underlay.carried for name, port in opened.items() if port.underlay}

    def gone(self) -> set[str]:
        """Ports whose device was taken away from outside, and could be had again."""
        found = set()
        for name, section in self.ports.items():
            opened = self.datapath.ports[name].opened
            if opened is None or opened.netlink is None or not opened.ifindex:
                continue
            is_there = section.interface is None or opened.netlink.link(section.interface) is not None
            if opened.ifindex not in opened.netlink.links and is_there:
                found.add(name)
        return found

    async def close(self) -> None:
        """Take away all there is; what fails keeps nothing else from going."""
        async with AsyncExitStack() as undo:
            for port in self.ports:
                undo.push_async_callback(self.close_port, port)
            for link in self.links:
                undo.push_async_callback(self.remove_link, link)

    # -- ports --------------------------------------------------------------------------------

    async def open_port(self, section: PortSection, carries: Carried) -> None:
        """PortError, and nothing is left of it."""
        self._say_ring(await self._open_port(section, carries))

    async def _open_port(self, section: PortSection, carries: Carried, *, programs: bool = True) -> Port:
        opened = await open_port(section, self._system, carries, programs=programs)
        datapath = self.datapath
        try:
            port = datapath.add_port(
                opened.config, device=opened.device, netns=opened.netns, mac=opened.mac, opened=opened
            )
        except BaseException as failure:
            await opened.close()
            if isinstance(failure, OSError):
                raise refused(section, failure) from failure
            raise
        self.ports[section.name] = section
        if not section.up:
            self._set_up(port, False)
        datapath.revalidate()
        self._joined_anew()
        log.info("port %s", describe_port(port))
        return port

    def _say_ring(self, port: Port) -> None:
        if (
            port.opened is not None
            and port.type is PortType.PACKET
            and not self.datapath.engine.port_stats(port.number).rx_ring
        ):
            log.info("port %s: the kernel gives no receive ring, it receives by system calls", port.name)

    async def close_port(self, name: str) -> None:
        """LinkError EBUSY while links run over it."""
        port = self.datapath.remove_port(name)
        del self.ports[name]
        if port.opened is not None:
            await port.opened.close()
        self._joined_anew()

    def carries(self, name: str) -> Carried:
        """What a port is to carry, as everything is now."""
        links = tuple(self.links.values())
        now = _InForce(links, self.bridges, self.connects, self.routes, self.rules)
        return carried(now, name, self.datapath.plugins.kinds, self.taken())

    def attach_port(self, port: Port, opened: OpenedPort) -> None:
        """A port that has lost its device gets this one.  OSError, and it has none."""
        datapath, config = self.datapath, opened.config
        datapath.engine.attach_port(port.number, config)
        port.opened, port.device, port.mac, port.mtu = opened, opened.device, opened.mac, config.mtu
        port.features, port.refused = config.features, Feature.NONE
        if port.tells_devices:
            port.tell_devices()
        datapath.invalidate(port.tag, ("underlay", port.name), ("addresses", port.name))
        datapath.revalidate()
        self._joined_anew()
        self._say_ring(port)

    async def change_port(self, section: PortSection, carries: Carried) -> None:
        """Other values for keys that can be changed (vdp.reload.plan says which); OSError: as it was."""
        before, port = self.ports[section.name], self.datapath.ports[section.name]
        was_carried = port.opened.underlay.carried if port.opened and port.opened.underlay else carries
        try:
            for step in self._changes(port, before, section, carries):
                await step()
        except BaseException:
            for step in self._changes(port, section, before, was_carried):
                with contextlib.suppress(OSError):
                    await step()
            raise
        finally:
            self.datapath.invalidate(port.tag)
            self.datapath.revalidate()
        self.ports[section.name] = section
        if port.opened is not None:
            keep(port.opened, section, self._system.store)

    def _changes(
        self, port: Port, before: PortSection, after: PortSection, carries: Carried
    ) -> Iterable[Step]:
        """What makes one of the other, in the order in which `ip` would be used."""
        opened: OpenedPort | None = port.opened
        if opened is not None and opened.underlay is not None:
            yield partial(self._carry, port, carries, after.exclusive)
        if after.mtu != before.mtu:
            yield partial(self._set_mtu, port, after.mtu)
        if opened is not None and opened.netlink is not None and before.type in ("tap", "tun"):
            netlink, index = opened.netlink, opened.ifindex
            if after.mac not in (None, before.mac):
                yield partial(_done, partial(netlink.set_link, index, mac=mac_bytes(after.mac)))
            if after.txqueuelen != before.txqueuelen:
                length = after.txqueuelen or DEFAULT_TXQUEUELEN[after.type]
                yield partial(_done, partial(netlink.set_link, index, txqueuelen=length))
            for address in before.address:
                if address not in after.address:
                    yield partial(netlink.remove_address, index, address)
            for address in after.address:
                if address not in before.address:
                    yield partial(netlink.add_address, index, address)
            if after.up != before.up:
                yield partial(_done, partial(netlink.set_link, index, up=after.up))
        if after.up != before.up:
            yield partial(_at_once, partial(self._set_up, port, after.up))
        if after.gro != before.gro:
            features = port_config(after).features
            yield partial(_at_once, partial(self.datapath.engine.set_port_features, port.number, features))

    async def _carry(self, port: Port, carries: Carried, exclusive: bool) -> None:
        underlay = port.opened.underlay
        underlay.carry(carries, exclusive=exclusive)
        if underlay.features != port.features:
            port.features = underlay.features
            self.datapath.engine.set_port_features(port.number, port.features)
            self.datapath.invalidate(port.tag)

    async def _set_mtu(self, port: Port, mtu: int | None) -> None:
        opened = port.opened
        if opened is None and port.type is not PortType.MEMORY:
            return  # its device is gone: the next one gets it
        if port.type in (PortType.TAP, PortType.TUN):
            mtu = (await opened.netlink.set_link(opened.ifindex, mtu=mtu or DEFAULT_MTU)).mtu
        elif mtu is None and port.type is PortType.PACKET:
            mtu = (await opened.netlink.refresh_link(opened.ifindex)).mtu
        elif mtu is None:
            mtu = MOST_MTU if port.type in (PortType.IP, PortType.IP6) else DEFAULT_MTU
        port.mtu = mtu

    def _set_up(self, port: Port, up: bool) -> None:
        self.datapath.engine.set_port_up(port.number, up)
        port.up = up

    def _joined_anew(self) -> None:
        """Which datagrams cells join depends on all devices (`Datapath.joined`)."""
        for link in self.datapath.links.values():
            link.change_gro(link.gro)

    # -- links --------------------------------------------------------------------------------

    async def add_link(self, section: LinkSection) -> None:
        """LinkError, or PluginError for what its kind raises else; nothing is left of it."""
        datapath = self.datapath
        if not datapath.has_kind(section.kind):
            sentence = f"the plugin of link kind {section.kind!r} failed to start"
            raise LinkError(errno.EOPNOTSUPP, section.name, sentence)
        try:
            link = await datapath.add_link(
                section.name, section.kind, section.underlay, section.parameters, gro=section.gro
            )
        except (OSError, PluginError):
            raise
        except Exception as error:
            giver = datapath.plugins.giver(section.kind)
            log.debug("link %s", section.name, exc_info=error)
            raise PluginError(giver, f"can not make link {section.name}: {fault(error)}") from error
        link.change_inner(InnerSources(section.inner_allowed, section.inner_martians))
        self.links[section.name] = section
        info = link.fill_info()
        log.info(
            "link %s: %s, %s to %s over %s, mtu %d",
            link.name, section.kind, info.get("local"), info.get("remote"), section.underlay, link.mtu,
        )  # fmt: skip

    async def change_link(self, section: LinkSection) -> None:
        """Other parameters for a link that goes on; LinkError: as it was."""
        before, link = self.links[section.name], self.datapath.links[section.name]
        is_as_told = _up(before) == _up(section)
        was_up = link.up
        await self.datapath.change_link(section.name, section.parameters)
        # What set it up or down since stays in force, unless the configuration says something else.
        if link.up != was_up or not is_as_told:
            self.datapath.set_link_up(section.name, was_up if is_as_told else _up(section))
        if section.gro != link.gro:
            link.change_gro(section.gro)
        link.change_inner(InnerSources(section.inner_allowed, section.inner_martians))
        self.datapath.revalidate()
        self.links[section.name] = section

    async def remove_link(self, name: str) -> None:
        """Also a fallback link: the configuration has it no more, or ends."""
        del self.links[name]
        await self.datapath.remove_link(name, is_end=True)

    # -- forwarding ---------------------------------------------------------------------------

    def forward(self, config: Forwards) -> None:
        """Bridges, connects, routes and rules as these say; what is the same is left alone."""
        forwarding, datapath = self.datapath.forwarding, self.datapath
        bridges = {bridge.name: bridge for bridge in config.bridges}
        wanted = {frozenset(connect.members) for connect in config.connects}
        with datapath.slowpath.paused():
            # First out of everything that changes, then into it: members may move.
            for bridge in self.bridges:
                after = bridges.get(bridge.name)
                if after is None:
                    forwarding.remove_bridge(bridge.name)
                elif after != bridge:
                    stay = tuple(member for member in bridge.members if member in after.members)
                    forwarding.change_bridge(bridge.name, stay, after.ageing_s, after.mac_moves)
            for connect in self.connects:
                if frozenset(connect.members) not in wanted:
                    forwarding.disconnect(connect.members[0])
            for bridge in config.bridges:
                what = bridge.name, bridge.members, bridge.ageing_s, bridge.mac_moves
                if bridge.name in forwarding.bridges:
                    forwarding.change_bridge(*what)
                else:
                    forwarding.add_bridge(Bridge(datapath, *what))
            there = {frozenset(connect.members) for connect in self.connects}
            for connect in config.connects:
                if frozenset(connect.members) not in there:
                    forwarding.connect(*connect.members)
            if config.routes != self.routes:
                routes = tuple(Route(r.destination, r.via, r.metric, r.next_hop) for r in config.routes)
                forwarding.set_routes(RouteTable(datapath, routes))
            if config.rules != self.rules:
                forwarding.rules = tuple(compile_rule(rule) for rule in config.rules)
            self.bridges, self.connects = config.bridges, config.connects
            self.routes, self.rules = config.routes, config.rules


def _up(section: LinkSection) -> bool:
    return bool(getattr(section.parameters, "up", True))


async def _done(act: Callable[[], Awaitable[object]]) -> None:
    await act()


async def _at_once(act: Callable[[], object]) -> None:
    act()
