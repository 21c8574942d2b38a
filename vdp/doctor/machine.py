"""What there is to know of the machine: read from /proc, /sys and sockets that send nothing."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vdp.doctor.tuntap import is_held
from vdp.netlink import namespaces

# linux/capability.h
CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21, "CAP_BPF": 39}
# linux/sockios.h, linux/if.h, linux/if_arp.h, linux/ethtool.h
_SIOCGIFFLAGS, _SIOCGIFMTU, _SIOCGIFHWADDR, _SIOCETHTOOL = 0x8913, 0x8921, 0x8927, 0x8946
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_HARDWARE_GRE = {778: "gre", 823: "ip6gre"}
_GET_DRIVER, _GET_GRO, _GET_FLAGS, _LRO = 0x3, 0x2B, 0x25, 1 << 15
# linux/in.h, linux/in6.h
_IP_MTU, _IPV6_MTU = 14, 24

Namespace = str | None
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Device:
    """A network device.  driver: "tun", "veth", "gretap" …; gro, lro: what the kernel joins before us.

    held: of a TAP or TUN, whether a process is attached to it; False: it stays from one that is gone.
    """

    name: str
    mtu: int
    up: bool
    driver: str
    gro: bool
    lro: bool
    held: bool = False


class Machine:
    """This machine, as the process sees it.  Namespaces are named as by `ip netns`; None is our own."""

    def release(self) -> str:
        return os.uname().release

    def kernel(self) -> tuple[int, int]:
        """Major and minor version."""
        major, minor = self.release().split(".")[:2]
        return int(major), int("".join(c for c in minor if c.isdigit()) or 0)

    def tun_error(self) -> str:
        """Why /dev/net/tun can not be opened; "" when it can."""
        try:
            os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def has_capability(self, name: str) -> bool:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> CAPABILITIES[name] & 1)
        return False

    def clock(self) -> str:
        """The kernel's clock source; "" where it does not say."""
        path = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
        try:
            return path.read_text().strip()
        except OSError:
            return ""

    def namespaces(self) -> list[str]:
        try:
            return sorted(path.name for path in namespaces.RUN_DIR.iterdir() if namespaces.exists(path.name))
        except OSError:
            return []

    def has_namespace(self, netns: Namespace) -> bool:
        return netns is None or namespaces.exists(netns)

    def devices(self, netns: Namespace) -> dict[str, Device]:
        return namespaces.run_in(netns, _devices)

    def whereabouts(self, device: str, but: Namespace) -> list[Namespace]:
        """The namespaces that have a device of that name, other than one."""
        found: list[Namespace] = []
        for netns in (None, *self.namespaces()):
            if netns != but:
                with contextlib.suppress(OSError):
                    if device in {name for _, name in namespaces.run_in(netns, socket.if_nameindex)}:
                        found.append(netns)
        return found

    def setting(self, netns: Namespace, name: str) -> int | None:
        """A sysctl, such as net.ipv4.conf.all.rp_filter, with / for the dots of device names."""

        def read() -> int | None:
            try:
                return int((Path("/proc/sys") / name).read_text())
            except (OSError, ValueError):
                return None

        return namespaces.run_in(netns, read)

    def has_address(self, netns: Namespace, address: str) -> bool:
        return namespaces.run_in(netns, lambda: _can_bind(address, 0, socket.SOCK_DGRAM))

    def is_free(self, address: str, port: int) -> bool:
        """Whether a TCP server could listen there, in our own namespace."""
        return not port or _can_bind(address, port, socket.SOCK_STREAM)

    def path_mtu(self, netns: Namespace, destination: str) -> int | None:
        """What the route there takes; None: there is no route."""

        level = (socket.IPPROTO_IPV6, _IPV6_MTU) if ":" in destination else (socket.IPPROTO_IP, _IP_MTU)
        return _of_way(netns, destination, lambda asked: asked.getsockopt(*level))

    def source(self, netns: Namespace, destination: str) -> str | None:
        """The address that packets there leave with; None: there is no route."""
        return _of_way(netns, destination, lambda asked: str(asked.getsockname()[0]))


def _of_way(netns: Namespace, destination: str, ask: Callable[[socket.socket], _T]) -> _T | None:
    """What the kernel says of the way: connecting a UDP socket looks it up, and sends nothing."""

    def look() -> _T | None:
        family = socket.AF_INET6 if ":" in destination else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as asked:
                asked.connect((destination, 9))
                return ask(asked)
        except OSError:
            return None

    return namespaces.run_in(netns, look)


def _can_bind(address: str, port: int, kind: socket.SocketKind) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, kind) as tried:
            if kind == socket.SOCK_STREAM:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((address, port))
            if kind == socket.SOCK_STREAM:
                tried.listen(1)
    except OSError:
        return False
    return True


def _devices() -> dict[str, Device]:
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # it went away meanwhile
                found[name] = _device(asked, name)
    return found


def _device(asked: socket.socket, name: str) -> Device:
    def request(number: int) -> bytes:
        return fcntl.ioctl(asked, number, struct.pack("16s24x", os.fsencode(name)))[16:]

    (flags,) = struct.unpack_from("=H", request(_SIOCGIFFLAGS))
    (mtu,) = struct.unpack_from("=i", request(_SIOCGIFMTU))
    (hardware,) = struct.unpack_from("=H", request(_SIOCGIFHWADDR))
    driver = _HARDWARE_GRE.get(hardware) or _driver(asked, name)
    gro, offloads = _ethtool(asked, name, _GET_GRO), _ethtool(asked, name, _GET_FLAGS)
    held = driver == "tun" and is_held(socket.if_nametoindex(name))
    return Device(name, mtu, bool(flags & _IFF_UP), driver, bool(gro), bool(offloads & _LRO), held)


def _driver(asked: socket.socket, name: str) -> str:
    # struct ethtool_drvinfo: cmd, driver[32], and what is not asked for; 196 bytes.
    answer = _ethtool_call(asked, name, struct.pack("=I192x", _GET_DRIVER))
    return answer[4:36].split(b"\0")[0].decode(errors="replace")


def _ethtool(asked: socket.socket, name: str, command: int) -> int:
    # struct ethtool_value: cmd, data.
    answer = _ethtool_call(asked, name, struct.pack("=II", command, 0))
    return int(struct.unpack_from("=I", answer, 4)[0])


def _ethtool_call(asked: socket.socket, name: str, request: bytes) -> bytes:
    """The answer in place of the request; all zeros where the device has none."""
    buffer = ctypes.create_string_buffer(request, len(request))
    try:
        fcntl.ioctl(asked, _SIOCETHTOOL, struct.pack("16sP16x", os.fsencode(name), ctypes.addressof(buffer)))
    except OSError:
        return bytes(len(request))
    return buffer.raw
