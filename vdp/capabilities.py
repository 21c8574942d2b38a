"""What the daemon gives up before it opens anything: the capabilities(7) that it does not need.

Needed are CAP_NET_ADMIN and CAP_NET_RAW, and what the configuration asks for: namespaces,
`exclusive` underlays, AF_XDP, a metrics port below 1024.  Files may need one more, where root's
own rights do not do: a virtualenv in somebody's closed home.  What was given up does not come
back, so a reload that needs it is refused (`missing`).

capset(2) is about one thread: `give_up` is for the process's first, before there are others;
those inherit.  The workers keep nothing at all (engine/confine.c).
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vdp.config import Config
    from vdp.config.positions import KeyPath

log = logging.getLogger("vdp")

#: linux/capability.h, in its order.
_NAMES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK"),
    *("IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN"),
    *("SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE"),
    *("AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)
NUMBERS = {f"CAP_{name}": number for number, name in enumerate(_NAMES)}
ALWAYS = ("CAP_NET_ADMIN", "CAP_NET_RAW")
#: Ports that only CAP_NET_BIND_SERVICE lets listen on (net.ipv4.ip_unprivileged_port_start).
RESERVED_PORTS = 1024
STANDARD_ERROR = 2

_VERSION_3 = 0x20080522
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


def asked_for(config: Config) -> dict[str, KeyPath]:
    """Capabilities that a configuration needs beyond ALWAYS, each with the first key that says so."""
    found: dict[str, KeyPath] = {}
    for index, port in enumerate(config.ports):
        if port.netns is not None:
            found.setdefault("CAP_SYS_ADMIN", ("port", index, "netns"))
        if port.type == "raw" and port.interface is not None:
            if port.exclusive:
                found.setdefault("CAP_BPF", ("port", index, "interface"))
            if port.transmit == "xdp":
                found.setdefault("CAP_IPC_LOCK", ("port", index, "transmit"))
    if config.metrics.enabled and 0 < config.metrics.listen.port < RESERVED_PORTS:
        found.setdefault("CAP_NET_BIND_SERVICE", ("metrics", "listen"))
    for index, name in enumerate(config.security.capabilities):
        if name in NUMBERS:
            found.setdefault(name, ("security", "capabilities", index))
    return found


def give_up(config: Config) -> frozenset[str]:
    """Keep what the configuration needs, of what there is; what is kept.  OSError."""
    held = effective()
    if "all" in config.security.capabilities:
        return held
    if threading.active_count() > 1:
        raise RuntimeError("capabilities are to be given up before other threads run")
    kept, files = held & {*ALWAYS, *asked_for(config)}, list(_files(config))
    _set(kept, permitted=held)
    for name, path, mode in files:
        if name in held and name not in kept and not os.access(path, mode, effective_ids=True):
            log.info("%s is kept: without it vdp has no access to %s", name, path)
            kept |= {name}
            _set(kept, permitted=held)
    if "CAP_SETPCAP" in held:
        _set(kept | {"CAP_SETPCAP"}, permitted=held)
        for name in NUMBERS.keys() - kept:
            _libc().prctl(_PR_CAPBSET_DROP, NUMBERS[name], 0, 0, 0)  # one that this kernel has not: EINVAL
    _set(kept, permitted=kept)
    if _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise _error("prctl(PR_SET_NO_NEW_PRIVS)")
    return kept


def close_on_exec() -> None:
    """What whoever started us left open is passed on to no program, nor is it ours; standard streams are."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > STANDARD_ERROR:
            with contextlib.suppress(OSError):  # the listing's own is gone
                os.set_inheritable(int(name), False)


def missing(config: Config, before: Config) -> dict[str, KeyPath]:
    """What a configuration asks for that the one before did not, and this process has not."""
    known = effective() | asked_for(before).keys()
    return {name: key for name, key in asked_for(config).items() if name not in known}


def effective() -> frozenset[str]:
    """The capabilities in force of the calling thread."""
    for line in Path("/proc/thread-self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            bits = int(line.split()[1], 16)
            return frozenset(name for name, number in NUMBERS.items() if bits >> number & 1)
    return frozenset()


def _files(config: Config) -> Iterator[tuple[str, str, int]]:
    """What must stay open to us: what is imported later, the configuration, the socket's directory."""
    for place in (*sys.path, str(Path(__file__).parent), str(config.path)):
        if place and os.path.lexists(place):
            yield "CAP_DAC_READ_SEARCH", place, os.R_OK
    directory = Path(config.control.socket).parent
    while not os.path.lexists(directory):
        directory = directory.parent
    yield "CAP_DAC_OVERRIDE", str(directory), os.W_OK | os.X_OK


def _set(names: frozenset[str], permitted: frozenset[str]) -> None:
    """capset(2) of the calling thread; nothing is inheritable."""

    def half(of: frozenset[str], word: int) -> int:
        return sum(1 << NUMBERS[name] for name in of) >> 32 * word & 0xFFFFFFFF

    header = _Header(_VERSION_3, 0)
    data = (_Data * 2)(*(_Data(half(names, word), half(permitted, word), 0) for word in (0, 1)))
    if _libc().capset(ctypes.byref(header), ctypes.byref(data)) != 0:
        raise _error("capset")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
