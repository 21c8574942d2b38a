"""The machine, whatever the configuration."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from vdp.doctor.machine import Machine
from vdp.doctor.result import Result

#: Clock sources that are read without a system call, in nanoseconds.
QUICK_CLOCKS = {
    "tsc",
    "kvm-clock",
    "arch_sys_counter",
    "hyperv_clocksource_tsc_page",
    "xen",
    "riscv_clocksource",
}
#: TUN_F_USO4 and 6; SKB_GSO_GRE for packet sockets' virtio-net headers.
WITH_USO, WITH_GRE_TSO = (6, 2), (6, 6)
LIBRARIES = ("pluggy", "pyroute2", "python-pytun", "prometheus-client", "pydantic", "rich", "cffi")


def environment(machine: Machine) -> Iterator[Result]:
    """Every check of the machine, in the order in which vdp needs it."""
    yield _tun(machine)
    yield from _capabilities(machine)
    yield _kernel(machine)
    yield _clock(machine)
    yield _libraries()


def _tun(machine: Machine) -> Result:
    error = machine.tun_error()
    if not error:
        return Result("tun-node", "ok", "/dev/net/tun opens")
    fix = "modprobe tun; mkdir -p /dev/net && mknod -m 666 /dev/net/tun c 10 200"
    if error == "Permission denied":
        fix = "run it as root, or chmod 666 /dev/net/tun; of a container: --device /dev/net/tun"
    return Result("tun-node", "fail", f"no TAP or TUN can be made: /dev/net/tun: {error}", fix)


def _capabilities(machine: Machine) -> Iterator[Result]:
    needs = {
        "CAP_NET_ADMIN": ("fail", "no device can be made or set up"),
        "CAP_NET_RAW": ("fail", "no raw socket can be opened"),
        "CAP_SYS_ADMIN": ("warn", "no other network namespace can be entered (`netns`)"),
        "CAP_BPF": ("warn", "underlays on an interface are filtered in vdp, which is slower"),
    }
    missing = [name for name in needs if not machine.has_capability(name)]
    for name in missing:
        status, sentence = needs[name]
        fix = (
            f"run it as root; of a service: AmbientCapabilities={name}; of a container: --cap-add {name[4:]}"
        )
        yield Result(
            "capabilities", "fail" if status == "fail" else "warn", f"{name} is missing: {sentence}", fix
        )
    if not missing:
        yield Result("capabilities", "ok", f"{', '.join(needs)} are there")


def _kernel(machine: Machine) -> Result:
    kernel, release = machine.kernel(), machine.release()
    lacks = []
    if kernel < WITH_USO:
        lacks.append("joined UDP for TAP and TUN (6.2)")
    if kernel < WITH_GRE_TSO:
        lacks.append("super-packets through GRE (gre_tso, 6.6)")
    if lacks:
        sentence = f"Linux {release} is without {' and '.join(lacks)}: nothing is lost, it is slower"
        return Result("kernel", "warn", sentence, "a kernel of 6.6 or later has both")
    return Result("kernel", "ok", f"Linux {release}")


def _clock(machine: Machine) -> Result:
    clock = machine.clock()
    if not clock or clock in QUICK_CLOCKS:
        return Result("clock", "ok", f"clock source {clock or 'not known'}")
    sentence = f"the clock source {clock} is slow to read: each packet costs more"
    directory = "/sys/devices/system/clocksource/clocksource0"
    return Result("clock", "warn", sentence, f"echo tsc > {directory}/current_clocksource")


def _libraries() -> Result:
    missing = []
    for name in LIBRARIES:
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Result(
            "versions", "fail", f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}"
        )
    from vdp import __version__

    return Result("versions", "ok", f"vdp {__version__}, Python {platform.python_version()}, all libraries")
