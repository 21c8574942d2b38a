"""From a `[[port]]` section to an open port: one function for every type.

Whatever fails part way is undone before PortError leaves here, so that a refused
configuration leaves the system as it was.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from vdp.config.nearest import nearest_hint
from vdp.engine.interface import Feature, PortConfig, PortType
from vdp.netlink import Link, Netlink, System, namespaces
from vdp.netlink.decode import mac as mac_bytes
from vdp.ports import kept, raw, tuntap
from vdp.ports.carried import Carried, PacketUnderlay
from vdp.ports.errors import PortError
from vdp.ports.opened import OpenedPort
from vdp.ports.transmit import sending_sockets

if TYPE_CHECKING:
    from vdp.config.model import PortSection
    from vdp.service import FdStore

NOTHING = Carried()

_DEFAULT_MTU = 1500
_MOST_MTU = 65535


async def open_port(
    section: PortSection, system: System, carried: Carried = NOTHING, *, programs: bool = True
) -> OpenedPort:
    """Open the port that `section` describes.  PortError.

    carried: what the tunnels over a `raw` port on an interface receive by; programs: as
    PacketUnderlay.carry has it.
    """
    opened = OpenedPort(port_config(section), netns=section.netns)
    try:
        if section.type in ("tap", "tun"):
            await _open_tuntap(section, system, opened)
        elif section.type == "raw" and section.interface is not None:
            await _open_packet(section, system, opened, carried, programs)
        elif section.type == "raw":
            await _open_ip(section, system, opened)
        opened.namespace = namespaces.identity(section.netns)
        keep(opened, section, system.store)
    except BaseException as failure:
        await opened.close()
        if isinstance(failure, OSError):
            raise PortError(section.name, str(failure.strerror or failure)) from failure
        raise
    return opened


def keep(opened: OpenedPort, section: PortSection, store: FdStore) -> None:
    """Have the service manager keep its descriptors for the next process, which has that section."""
    fds = opened.config.fds
    has_ring = opened.config.type is PortType.PACKET  # of frames for that MTU
    names = kept.names(section, opened.config.mtu if has_ring else 0, len(fds))
    if not store.is_there or names == opened.kept:
        return
    is_first = not opened.kept
    store.remove(*opened.kept)
    kept.put(store, names, fds)
    opened.kept = names
    if is_first:

        async def remove() -> None:
            store.remove(*opened.kept)

        opened.on_close(remove)


def port_config(section: PortSection) -> PortConfig:
    """What the engine is told of such a port, as far as that is known before it is open."""
    types = {"tap": PortType.TAP, "tun": PortType.TUN, "gro-cell": PortType.CELL, "memory": PortType.MEMORY}
    if section.type == "raw":
        sort = PortType.IP6 if section.family == "ipv6" else PortType.IP
        kind = sort if section.interface is None else PortType.PACKET
    else:
        kind = types[section.type]
    features = Feature.NONE
    if section.gro if kind is PortType.CELL else kind is PortType.MEMORY and section.offload:
        features = Feature.CSUM | Feature.TSO4 | Feature.TSO6 | Feature.USO
    mtu = section.mtu or (_MOST_MTU if kind in (PortType.IP, PortType.IP6) else _DEFAULT_MTU)
    return PortConfig(section.name, kind, packet_type=section.carries, features=features, mtu=mtu)


def _with_fds(
    config: PortConfig, features: Feature, mtu: int, fds: tuple[int, ...], send_fds: tuple[int, ...] = ()
) -> PortConfig:
    return replace(config, features=features, mtu=mtu, fds=fds, send_fds=send_fds)


async def _open_tuntap(section: PortSection, system: System, opened: OpenedPort) -> None:
    await _claim(section, system, opened)
    netlink = await system.netlink(section.netns)
    device = _take_up(section, system.store)
    if device is None:
        if (taken := await netlink.find_link(section.name)) is not None:
            raise PortError(section.name, _name_taken(taken, section.netns))
        device = tuntap.open_device(
            section.name,
            tap=section.type == "tap",
            netns=section.netns,
            queues=section.queues,
            offload=section.offload,
        )

    async def close_device() -> None:
        device.close()

    opened.on_close(close_device)
    opened.ifindex = await _index_of(section, netlink)
    opened.device, opened.netlink = section.name, netlink
    link = await set_up(section, netlink, opened.ifindex)
    opened.mac = link.mac or None
    opened.config = _with_fds(opened.config, device.features, link.mtu, device.fds)


def _take_up(section: PortSection, store: FdStore) -> tuntap.TunTap | None:
    """The device as the process before left it."""
    is_it = kept.is_device(
        section.name, tuntap.device_flags(section.type == "tap", section.queues), section.netns
    )
    queues = kept.adopt(store, section, 0, section.queues, is_it, tuntap.KeptQueue)
    return tuntap.take_up(section.name, queues, offload=section.offload) if queues else None


async def set_up(section: PortSection, netlink: Netlink, ifindex: int) -> Link:
    """MTU, MAC address, queue length, addresses, then up: in the order in which `ip` would be used."""
    mac = mac_bytes(section.mac)
    if (section.mtu, mac, section.txqueuelen) != (None, None, None):
        await netlink.set_link(ifindex, mtu=section.mtu, mac=mac, txqueuelen=section.txqueuelen)
    there = {known.interface for known in netlink.addresses if known.ifindex == ifindex}
    for address in section.address:
        if address not in there:
            await netlink.add_address(ifindex, address)
    if section.up:
        return await netlink.set_link(ifindex, up=True)
    return await netlink.refresh_link(ifindex)


async def _open_packet(
    section: PortSection, system: System, opened: OpenedPort, carried: Carried, programs: bool
) -> None:
    assert section.interface is not None
    await _claim(section, system, opened)
    netlink = await system.netlink(section.netns)
    link = netlink.link(section.interface)
    where = f" in namespace {section.netns}" if section.netns else ""
    if link is None:
        there = sorted(known.name for known in netlink.links.values())
        near = nearest_hint(section.interface, there)
        words = f"{near} there are: {', '.join(there)}" if near else f"there are: {', '.join(there)}"
        raise PortError(section.name, f"there is no interface {section.interface}{where} ({words})")
    if not link.is_ethernet:
        raise PortError(
            section.name,
            f"{section.interface} carries no Ethernet frames: use `protocol` instead of `interface`",
        )
    mtu = section.mtu or link.mtu
    is_it = kept.is_socket(socket.AF_PACKET, section.netns, ifindex=link.index)
    controls = raw.control_sockets(section.queues)
    sockets = kept.adopt(system.store, section, mtu, section.queues + controls, is_it, kept.socket_of)
    is_kept = bool(sockets)
    sockets = sockets or raw.packet_sockets(link.name, link.index, section.netns, queues=section.queues)
    _close_later(opened, [one.close for one in sockets])
    senders = sending_sockets(section)
    _close_later(opened, [one.close for one in senders])
    underlay = PacketUnderlay(section, netlink, link.index, sockets, senders, system.store, is_kept=is_kept)
    _close_later(opened, [underlay.close])
    underlay.carry(carried, exclusive=section.exclusive, programs=programs)
    opened.underlay = underlay
    opened.sockets, opened.netlink = sockets, netlink
    opened.device, opened.ifindex, opened.mac = link.name, link.index, link.mac
    opened.config = _with_fds(
        opened.config,
        underlay.features,
        mtu,
        tuple(one.fileno() for one in sockets),
        tuple(one.fileno() for one in senders),
    )
    opened.config = replace(opened.config, kept=system.store.is_there, control_count=controls)


async def _open_ip(section: PortSection, system: System, opened: OpenedPort) -> None:
    assert section.protocol is not None
    await _claim(section, system, opened)
    opened.netlink = await system.netlink(section.netns)
    family = socket.AF_INET6 if section.family == "ipv6" else socket.AF_INET
    is_it = kept.is_socket(family, section.netns)
    sockets = kept.adopt(system.store, section, 0, 2, is_it, kept.socket_of)
    if sockets:
        _close_later(opened, [one.close for one in sockets])
        packets, errors = sockets
    else:
        packets = raw.ip_socket(section.protocol, section.netns, family=family)
        _close_later(opened, [packets.close])
        errors = raw.error_socket(section.protocol, section.netns, family)
        _close_later(opened, [errors.close])
    opened.sockets = [packets, errors]
    fds = (packets.fileno(), errors.fileno())
    opened.config = _with_fds(opened.config, Feature.NONE, opened.config.mtu, fds)


async def _claim(section: PortSection, system: System, opened: OpenedPort) -> None:
    netns = section.netns
    system.claim(netns)

    async def release() -> None:
        await system.release(netns)

    opened.on_close(release)


def _close_later(opened: OpenedPort, closes: list[Callable[[], None]]) -> None:
    async def close_all() -> None:
        for close in closes:
            close()

    opened.on_close(close_all)


async def _index_of(section: PortSection, netlink: Netlink) -> int:
    """The new device's index: from the kernel, whose event may not be here yet."""
    link = await netlink.find_link(section.name)
    if link is None:
        raise PortError(section.name, f"device {section.name} went away as soon as it was made")
    return link.index


def _name_taken(link: Link, netns: str | None) -> str:
    what = f"a {link.kind} device" if link.kind else "a device"
    where, ip = (f" in namespace {netns}", f"ip -n {netns}") if netns else ("", "ip")
    return (
        f"the name {link.name} is taken by {what}{where}: "
        f"choose another name, or remove it: {ip} link del {link.name}"
    )
