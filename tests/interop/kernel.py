"""A real Linux kernel as the other end: user-mode Linux, with its card in a host of the laboratory.

The machine itself is made by kernel_peer.py, which is not part of this repository: it is
looked for where the variable VDP_KERNEL_PEER says, else beside the repository.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from tests.lab import REPOSITORY, Host

VARIABLE = "VDP_KERNEL_PEER"
_BESIDE = REPOSITORY.parent / "shared" / "peers" / "kernel" / "kernel_peer.py"

#: The underlay between vdp's host and the guest.
HOST_ADDRESS, GUEST_ADDRESS = "192.0.2.1", "192.0.2.2"
HOST_ADDRESS6, GUEST_ADDRESS6 = "2001:db8::1", "2001:db8::2"
#: IPv6 on, without router discovery, link-local addresses, and the wait for duplicate addresses.
QUIET = ("accept_ra=0", "accept_dad=0", "router_solicitations=0", "addr_gen_mode=1", "disable_ipv6=0")


def find() -> ModuleType | None:
    """kernel_peer, imported from its file; None when it is not there."""
    path = Path(os.environ.get(VARIABLE) or _BESIDE)
    if not path.is_file():
        return None
    specification = importlib.util.spec_from_file_location("kernel_peer", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["kernel_peer"] = module  # its dataclasses look themselves up
    specification.loader.exec_module(module)
    return module


class Guest:
    """A running machine.  `host` is the namespace at the other end of its card."""

    def __init__(self, module: ModuleType, host: Host) -> None:
        self.host = host
        self.device = "kp0"
        image = module.build(uml=True)
        self._peer: Any = module.KernelPeer(
            [module.Nic(self.device, netns=host.name, offloads=False)], accel="uml", image=image
        )

    def __enter__(self) -> Guest:
        self._peer.start()
        self.host.ip("address", "add", f"{HOST_ADDRESS}/24", "dev", self.device)
        # With a link-local address: without one the kernel asks for no neighbour on behalf of others.
        for word in ("accept_dad=0", "disable_ipv6=0"):
            self.host.run("sysctl", "-q", "-w", f"net.ipv6.conf.{self.device}.{word}")
        self.host.ip("address", "add", f"{HOST_ADDRESS6}/64", "dev", self.device, "nodad")
        self.sh(
            f"sysctl -qw {' '.join(f'net.ipv6.conf.eth0.{word}' for word in QUIET)}"
            f"; ip addr add {GUEST_ADDRESS}/24 dev eth0; ip link set eth0 up"
            f"; ip addr add {GUEST_ADDRESS6}/64 dev eth0 nodad"
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._peer.close()

    @property
    def release(self) -> str:
        return str(self._peer.release)

    def sh(self, command: str) -> str:
        """Output of a shell command in the guest; an error when it fails."""
        return str(self._peer.sh(command))

    def run(self, command: str, stdin: bytes = b"") -> Any:
        """The same, that may fail: has status, out and err."""
        return self._peer.run(command, stdin=stdin)

    def read(self, path: str) -> bytes:
        """A file of the guest."""
        return bytes(self._peer.get(path))

    def spawn(self, command: str) -> Any:
        """A command that goes on in the guest: has stop(), wait(), running()."""
        return self._peer.spawn(command)

    @contextlib.contextmanager
    def tunnel(self, kind: str, address: str, options: dict[str, Any], mtu: int) -> Iterator[None]:
        """A link of the kernel's own to the host; options in the words of ip-link(8)."""
        words = [f"{key} {value}" if value is not True else key for key, value in options.items()]
        is_ip6 = kind.startswith("ip6")
        local, remote = (GUEST_ADDRESS6, HOST_ADDRESS6) if is_ip6 else (GUEST_ADDRESS, HOST_ADDRESS)
        self.sh(
            f"ip link add t0 type {kind} local {local} remote {remote} {' '.join(words)}"
            f" && ip link set t0 mtu {mtu} && ip addr add {address} dev t0 && ip link set t0 up"
        )
        try:
            yield
        finally:
            self.sh("ip link del t0")

    def statistics(self) -> dict[str, int]:
        """The kernel's counters of its tunnel: rx_packets, rx_errors, …"""
        (link,) = self._peer.run("ip -s -s -j link show t0", check=True).json()
        sides = link["stats64"]
        return {f"{side}_{name}": int(n) for side in ("rx", "tx") for name, n in sides[side].items()}
