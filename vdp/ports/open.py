"""From a `[[port]]` section to an open port: one function for every type.

Whatever fails part way is undone before PortError leaves here, so that a refused
configuration leaves the system as it was.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from vdp.engine.interface import Feature, PortConfig, PortType
from vdp.netlink import Link, Netlink, System
from vdp.netlink.decode import mac as mac_bytes
from vdp.ports import egress, filters, ingress, raw, tuntap
from vdp.ports.errors import PortError
from vdp.ports.opened import OpenedPort
from vdp.protocols.ip import IPProtocol

if TYPE_CHECKING:
    from vdp.config.model import PortSection

log = logging.getLogger(__name__)

_DEFAULT_MTU = 1500
_MOST_MTU = 65535


async def open_port(
    section: PortSection,
    system: System,
    *,
    underlay_protocols: Iterable[int] = (),
    underlay_protocols6: Iterable[int] = (),
    underlay_udp: Iterable[int] = (),
    underlay_udp6: Iterable[int] = (),
    promiscuous: bool = False,
) -> OpenedPort:
    """Open the port that `section` describes.  PortError.

    underlay_protocols, underlay_protocols6: IPv4 and IPv6 protocols whose tunnels run over a
    `raw` port on an interface; the kernel is kept from refusing them.  underlay_udp, underlay_udp6: the same
    by UDP port.  promiscuous: such a port takes
    frames for any MAC address, as a member of a bridge must.
    """
    opened = OpenedPort(_config_without_fds(section), netns=section.netns)
    try:
        if section.type in ("tap", "tun"):
            await _open_tuntap(section, system, opened)
        elif section.type == "raw" and section.interface is not None:
            carried = {socket.AF_INET: underlay_protocols, socket.AF_INET6: underlay_protocols6}
            pairs = [(family, protocol) for family, protocols in carried.items() for protocol in protocols]
            ports = [(socket.AF_INET, port) for port in underlay_udp]
            ports += [(socket.AF_INET6, port) for port in underlay_udp6]
            await _open_packet(section, system, opened, pairs, ports, promiscuous)
        elif section.type == "raw":
            await _open_ip(section, system, opened)
    except BaseException as failure:
        await opened.close()
        if isinstance(failure, OSError):
            raise PortError(section.name, str(failure.strerror or failure)) from failure
        raise
    return opened


def show_only(
    opened: OpenedPort,
    protocols: Iterable[int] | None,
    protocols6: Iterable[int] = (),
    udp_ports: Iterable[int] = (),
    udp_ports6: Iterable[int] = (),
) -> None:
    """Narrow a packet port to these protocols and UDP ports of IPv4 and IPv6, ARP and tagged frames.

    None: all again.
    """
    for one in opened.sockets:
        if one.family != socket.AF_PACKET:
            continue
        if protocols is None:
            filters.detach(one)
        else:
            filters.attach(one, filters.underlay_program(protocols, protocols6, udp_ports, udp_ports6))


def _config_without_fds(section: PortSection) -> PortConfig:
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


def _with_fds(config: PortConfig, features: Feature, mtu: int, fds: tuple[int, ...]) -> PortConfig:
    return PortConfig(config.name, config.type, config.packet_type, features, mtu, config.tx_queue, fds)


async def _open_tuntap(section: PortSection, system: System, opened: OpenedPort) -> None:
    await _claim(section, system, opened)
    netlink = await system.netlink(section.netns)
    if (taken := netlink.link(section.name)) is not None:
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
    link = await _set_up(section, netlink, opened.ifindex)
    opened.mac = link.mac or None
    opened.config = _with_fds(opened.config, device.features, link.mtu, device.fds)


async def _set_up(section: PortSection, netlink: Netlink, ifindex: int) -> Link:
    """MTU, MAC address, addresses, then up: in the order in which `ip` would be used."""
    mac = mac_bytes(section.mac)
    if section.mtu is not None or mac is not None:
        await netlink.set_link(ifindex, mtu=section.mtu, mac=mac)
    for address in section.address:
        await netlink.add_address(ifindex, address)
    if section.up:
        return await netlink.set_link(ifindex, up=True)
    return await netlink.refresh_link(ifindex)


async def _open_packet(
    section: PortSection,
    system: System,
    opened: OpenedPort,
    carried: Sequence[tuple[int, int]],
    ports: Sequence[tuple[int, int]],
    promiscuous: bool,
) -> None:
    """Of what its tunnels send, `carried`: family and protocol; `ports`: family and UDP port."""
    assert section.interface is not None
    await _claim(section, system, opened)
    netlink = await system.netlink(section.netns)
    link = netlink.link(section.interface)
    where = f" in namespace {section.netns}" if section.netns else ""
    if link is None:
        there = ", ".join(sorted(known.name for known in netlink.links.values()))
        raise PortError(
            section.name, f"there is no interface {section.interface}{where} (there are: {there})"
        )
    if not link.is_ethernet:
        raise PortError(
            section.name,
            f"{section.interface} carries no Ethernet frames: use `protocol` instead of `interface`",
        )
    sockets = raw.packet_sockets(
        link.name,
        link.index,
        section.netns,
        queues=section.queues,
        promiscuous=promiscuous,
        # Solicitations for a tunnel's address go to a group that the kernel need not have joined.
        all_groups=any(family == socket.AF_INET6 for family, _ in (*carried, *ports)),
    )
    _close_later(opened, [one.close for one in sockets])
    for family, protocol in carried:
        _close_later(opened, [raw.quiet_socket(protocol, section.netns, family).close])
    for family, port in ports:
        _close_later(opened, [_listen(section, family, port).close])
    if (carried or ports) and section.exclusive:
        _keep_from_host(section, netlink, opened, link.index, carried, ports)
    features = raw.packet_features(section.offload)
    if section.offload and any(protocol == IPProtocol.GRE for _, protocol in carried):
        features |= _cut_behind_gre(section, opened, link.index, sockets)
    opened.sockets, opened.netlink = sockets, netlink
    opened.device, opened.ifindex, opened.mac = link.name, link.index, link.mac
    opened.config = _with_fds(
        opened.config,
        features,
        section.mtu or link.mtu,
        tuple(one.fileno() for one in sockets),
    )


def _listen(section: PortSection, family: int, port: int) -> socket.socket:
    """Keep the kernel from refusing what comes to a UDP port.  PortError where that is somebody else's."""
    try:
        return raw.quiet_udp_socket(port, section.netns, family)
    except OSError as refused:
        if refused.errno != errno.EADDRINUSE:
            raise
        sentence = f"UDP port {port}, on which its tunnels listen, is in use"
        raise PortError(section.name, f"{sentence}: end who has it, or set encap_dport") from refused


def _keep_from_host(
    section: PortSection,
    netlink: Netlink,
    opened: OpenedPort,
    ifindex: int,
    carried: Sequence[tuple[int, int]],
    ports: Sequence[tuple[int, int]],
) -> None:
    """Only the port hears its tunnels' packets, as far as the kernel has means for that."""
    try:
        drop = ingress.IngressDrop(ifindex, section.netns, carried, ports)
    except OSError as refused:
        log.info("port %s: the host sees its tunnels' packets, too: %s", section.name, refused.strerror)
        return
    unsubscribe = netlink.subscribe(lambda event: drop.follow(netlink))
    _close_later(opened, [unsubscribe, drop.close])
    drop.follow(netlink)
    opened.claim = drop.claim


def _cut_behind_gre(
    section: PortSection, opened: OpenedPort, ifindex: int, sockets: Sequence[socket.socket]
) -> Feature:
    """Super-packets in GRE may go out whole, as far as the kernel has means for that."""
    try:
        program = egress.GreSuperPackets(ifindex, section.netns, sockets)
    except OSError as refused:
        log.info("port %s: super-packets are cut before GRE: %s", section.name, refused.strerror)
        return Feature.NONE
    _close_later(opened, [program.close])
    return Feature.GRE_TSO


async def _open_ip(section: PortSection, system: System, opened: OpenedPort) -> None:
    assert section.protocol is not None
    await _claim(section, system, opened)
    opened.netlink = await system.netlink(section.netns)
    family = socket.AF_INET6 if section.family == "ipv6" else socket.AF_INET
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
