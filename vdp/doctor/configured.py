"""A configuration on this machine: are the devices there, do the sizes fit, is the way free?"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

from vdp.config.cautions import cautions
from vdp.doctor.machine import Device, Machine, Namespace
from vdp.doctor.result import Result
from vdp.engine.interface import PacketType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vdp.config import Config, LinkKindInfo, LinkSection, PortSection
    from vdp.doctor.daemon import Running

KERNEL_GRE = {"gre", "gretap", "ip6gre", "ip6gretap", "erspan", "ip6erspan"}
#: AF_XDP in copy mode puts a frame into a chunk of 4096 bytes, behind 22 of its own.
XDP_MTU_MOST = 4074
DEFAULT_MTU = 1500
OUTER_SIZE = {4: 20, 6: 48}  # IPv6 with the encapsulation limit, as is usual
UDP_SIZE, ETHERNET_SIZE = 8, 14


class Configured:
    """The checks of one configuration.  running: a daemon has it, so that its own devices are there.

    beside: the daemon that answers at its socket, with this configuration or one that it is to replace.
    """

    def __init__(
        self,
        config: Config,
        kinds: Mapping[str, LinkKindInfo],
        machine: Machine,
        *,
        running: bool = False,
        beside: Running | None = None,
    ) -> None:
        self.config = config
        self.kinds = kinds
        self.machine = machine
        self.running = running
        self.beside = beside
        self._devices: dict[Namespace, dict[str, Device]] = {}

    def results(self) -> Iterator[Result]:
        """Faults and warnings, or one line that all is well, for each port and link, then for the whole."""
        for port in self.config.ports:
            yield from _or_ok("port", f"port {port.name}", list(self._port(port)))
        for link in self.config.links:
            yield from _or_ok("link", f"link {link.name}", list(self._link(link)))
        yield from _or_ok("mtu", "MTUs of what is joined", list(self._mtus()))
        yield from _or_ok("sockets", "addresses to listen on", list(self._listening()))
        yield from _or_ok("security", "what is open to others", list(self._open()))

    def devices(self, netns: Namespace) -> dict[str, Device]:
        if netns not in self._devices:
            there = self.machine.has_namespace(netns)
            self._devices[netns] = self.machine.devices(netns) if there else {}
        return self._devices[netns]

    # -- ports ----------------------------------------------------------------------------

    def _port(self, port: PortSection) -> Iterator[Result]:
        if port.type in ("tap", "tun"):
            yield from self._device_to_be_made(port)
        elif port.type == "raw":
            yield from self._underlay(port)

    def _device_to_be_made(self, port: PortSection) -> Iterator[Result]:
        if self.running:
            return
        # It is made in our own namespace, and then moved.
        for netns in dict.fromkeys((None, port.netns)):
            device = self.devices(netns).get(port.name)
            if device is None or (self.beside is not None and (port.name, netns) in self.beside.taps):
                continue
            enter = f"ip netns exec {netns} " if netns else ""
            if device.driver == "tun" and device.held:
                sentence = f"port {port.name}: a running process has a TAP or TUN of that name{_in(netns)}"
                fix = "if it is vdp, `vdp reload` after replacing the file that it runs with; or another name"
                yield Result("name-clash", "fail", sentence, fix)
            elif device.driver == "tun":
                sentence = (
                    f"port {port.name}: a TAP or TUN of that name is there already{_in(netns)}, and stays"
                )
                yield Result("stale-tap", "fail", sentence, f"{enter}ip link delete {port.name}")
            else:
                sentence = (
                    f"port {port.name}: a {device.driver or 'device'} of that name is there{_in(netns)}"
                )
                fix = f"name the port otherwise, or {enter}ip link set {port.name} name OTHER"
                yield Result("name-clash", "fail", sentence, fix)

    def _underlay(self, port: PortSection) -> Iterator[Result]:
        if not self.machine.has_namespace(port.netns):
            sentence = f"port {port.name}: there is no namespace {port.netns}; a raw port needs what is in it"
            yield Result("netns", "fail", sentence, f"ip netns add {port.netns}")
            return
        yield from self._kernel_gre(port)
        if port.interface is None:
            yield from self._reverse_path(port)
            return
        device = self.devices(port.netns).get(port.interface)
        if device is None:
            yield self._absent(port, port.interface)
            return
        if not device.up:
            sentence = f"port {port.name}: {device.name} is down"
            yield Result("device-down", "fail", sentence, f"{_enter(port.netns)}ip link set {device.name} up")
        if port.mtu is not None and port.mtu > device.mtu:
            sentence = f"port {port.name}: mtu {port.mtu}, but {device.name} has {device.mtu}"
            fix = f"{_enter(port.netns)}ip link set {device.name} mtu {port.mtu}, or mtu = {device.mtu}"
            yield Result("mtu", "fail", sentence, fix)
        if port.transmit == "xdp" and device.mtu > XDP_MTU_MOST:
            sentence = (
                f"port {port.name}: AF_XDP takes an MTU of {XDP_MTU_MOST}, {device.name} has {device.mtu}"
            )
            fix = f'transmit = "stack", or {_enter(port.netns)}ip link set {device.name} mtu {XDP_MTU_MOST}'
            yield Result("xdp", "fail", sentence, fix)
        yield from self._joined_in_front(port, device)

    def _joined_in_front(self, port: PortSection, device: Device) -> Iterator[Result]:
        """The kernel's GRO and LRO make frames longer than the MTU, which only vnet_hdr can tell of."""
        on = [
            word for word, is_on in (("gro", device.gro and not port.offload), ("lro", device.lro)) if is_on
        ]
        if on:
            words = " and ".join(word.upper() for word in on)
            why = "which offload = false does not take" if not device.lro else "which can not be undone"
            sentence = f"port {port.name}: {words} of {device.name} joins packets before vdp sees them, {why}"
            fix = f"{_enter(port.netns)}ethtool -K {device.name} " + " ".join(f"{word} off" for word in on)
            yield Result("gro", "warn", sentence, fix)

    def _absent(self, port: PortSection, name: str) -> Result:
        elsewhere = self.machine.whereabouts(name, port.netns)
        if elsewhere:
            where = elsewhere[0]
            sentence = (
                f"port {port.name}: {name} is not{_in(port.netns) or ' here'}, but{_in(where) or ' here'}"
            )
            fix = f'netns = "{where}" on the port' if where else "take netns off the port"
            return Result("netns", "fail", sentence, fix)
        from vdp.config.nearest import nearest

        there = self.devices(port.netns)
        near = nearest(name, there)
        fix = f'interface = "{near}"?' if near else f"there is: {', '.join(there) or 'none'}; ip link show"
        return Result(
            "device-absent", "fail", f"port {port.name}: there is no device {name}{_in(port.netns)}", fix
        )

    def _kernel_gre(self, port: PortSection) -> Iterator[Result]:
        """A tunnel of the kernel's over the same underlay answers packets that are ours."""
        for device in self.devices(port.netns).values():
            if device.driver in KERNEL_GRE and device.up:
                sentence = (
                    f"port {port.name}: the kernel's own {device.driver} device {device.name} is up beside it"
                )
                fix = f"{_enter(port.netns)}ip link set {device.name} down"
                yield Result("kernel-gre", "warn", sentence, fix)

    def _reverse_path(self, port: PortSection) -> Iterator[Result]:
        """Strict reverse path filtering drops what comes in by another way than answers go (RFC 3704)."""
        if port.family != "ipv4":
            return
        every = self.machine.setting(port.netns, "net/ipv4/conf/all/rp_filter") or 0
        for device in self.devices(port.netns).values():
            own = self.machine.setting(port.netns, f"net/ipv4/conf/{device.name}/rp_filter") or 0
            if device.up and device.name != "lo" and max(every, own) == 1:
                sentence = (
                    f"port {port.name}: rp_filter of {device.name} is strict: tunnels whose answers go by "
                    "another device are silently dropped"
                )
                setting = f"sysctl -w net.ipv4.conf.{device.name}.rp_filter=2"
                yield Result("rp-filter", "warn", sentence, f"{_enter(port.netns)}{setting}")

    # -- links ----------------------------------------------------------------------------

    def _ends(self, link: LinkSection) -> Iterator[tuple[str, str]]:
        for key in ("local", "remote"):
            value = getattr(link.parameters, key, None)
            if not isinstance(value, IPv4Address | IPv6Address):
                continue
            if not value.is_unspecified and not value.is_multicast:
                yield key, str(value)

    def _underlay_of(self, link: LinkSection) -> PortSection | None:
        """The raw port that carries it, if the kernel's addresses and routes count for it."""
        for port in self.config.ports:
            is_raw = port.name == link.underlay and port.type == "raw"
            if is_raw and self.machine.has_namespace(port.netns):
                return port
        return None

    def _link(self, link: LinkSection) -> Iterator[Result]:
        port, ends = self._underlay_of(link), dict(self._ends(link))
        if port is None:
            return
        enter = _enter(port.netns)
        local, remote = ends.get("local"), ends.get("remote")
        if local and not self._has(port.netns, local):
            sentence = f"link {link.name}: no device has its local address {local}{_in(port.netns)}"
            fix = f"{enter}ip address add {local}/24 dev {port.interface or 'DEVICE'}, or mend local"
            yield Result("local-address", "fail", sentence, fix)
        if remote and (left := self._room(link, port, remote)) is not None:
            mtu = getattr(link.parameters, "mtu", None)
            if left == 0:
                sentence = f"link {link.name}: no route leads to its remote {remote}{_in(port.netns)}"
                yield Result("route", "fail", sentence, f"{enter}ip route add {remote} via GATEWAY")
            elif mtu is not None and mtu > left:
                sentence = f"link {link.name}: mtu {mtu}, but the way to {remote} leaves {left}"
                yield Result("mtu", "warn", sentence, f"mtu = {left} on the link, or take it away")

    def _has(self, netns: Namespace, address: str) -> bool:
        """The kernel has it, or vdp will give it to a port of its own."""
        own = {str(each.ip) for port in self.config.ports if port.netns == netns for each in port.address}
        return address in own or self.machine.has_address(netns, address)

    def _room(self, link: LinkSection, port: PortSection, remote: str) -> int | None:
        """What the way to the remote leaves inside the tunnel; 0: there is none, None: not known."""
        size = getattr(link.parameters, "header_size", None)
        info = self.kinds.get(link.kind)
        if size is None or info is None:
            return None
        path = self.machine.path_mtu(port.netns, remote)
        if path is None:
            return 0
        if info.udp_ports(link.parameters):
            size += UDP_SIZE
        if info.packet_type is PacketType.L2:
            size += ETHERNET_SIZE
        return int(path - OUTER_SIZE[info.ip_version] - size)

    # -- the whole ------------------------------------------------------------------------

    def _mtus(self) -> Iterator[Result]:
        """TAPs and TUNs that take more from their users than the tunnels beside them carry."""
        links = {link.name: link for link in self.config.links}
        ports = {port.name: port for port in self.config.ports if port.type in ("tap", "tun")}
        joined: list[Any] = [*self.config.bridges, *self.config.connects]
        for each in joined:
            for name in each.members:
                link = links.get(name)
                room = self._link_mtu(link) if link is not None else None
                for port in (ports[member] for member in each.members if member in ports) if room else ():
                    mtu = port.mtu or DEFAULT_MTU
                    if room is not None and mtu > room:
                        sentence = (
                            f"port {port.name} takes {mtu} bytes, link {name} beside it carries {room}: "
                            "longer packets are refused or lost"
                        )
                        yield Result("mtu", "warn", sentence, f"mtu = {room} on the port {port.name}")

    def _link_mtu(self, link: LinkSection) -> int | None:
        configured = getattr(link.parameters, "mtu", None)
        port, remote = self._underlay_of(link), dict(self._ends(link)).get("remote")
        if configured is not None:
            return int(configured)
        return (self._room(link, port, remote) or None) if port and remote else None

    def _open(self) -> Iterator[Result]:
        for fault in cautions(self.config):
            where = self.config.where(*fault.path)
            yield Result(fault.kind, "warn", f"{where}: {fault.text()}", fault.hint)

    def _listening(self) -> Iterator[Result]:
        metrics = self.config.metrics
        if self.running or not metrics.enabled:
            return
        if not self.machine.has_address(None, metrics.listen.host):
            sentence = f"metrics: no device has the address {metrics.listen.host}"
            yield Result("port-clash", "fail", sentence, 'listen = "127.0.0.1:9479" in [metrics]')
        elif self.beside is not None and self.beside.metrics == str(metrics.listen):
            return
        elif not self.machine.is_free(metrics.listen.host, metrics.listen.port):
            sentence = f"metrics: somebody listens on {metrics.listen} already"
            fix = (
                f"ss -ltnp 'sport = :{metrics.listen.port}' says who: if it is vdp, `vdp reload` after "
                "replacing the file that it runs with; or another port in [metrics] listen"
            )
            yield Result("port-clash", "fail", sentence, fix)


def _or_ok(check: str, what: str, results: list[Result]) -> list[Result]:
    return results or [Result(check, "ok", f"{what}: as it should be")]


def _in(netns: Namespace) -> str:
    return f" in namespace {netns}" if netns else ""


def _enter(netns: Namespace) -> str:
    return f"ip netns exec {netns} " if netns else ""
