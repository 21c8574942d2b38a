"""The laboratory, Open vSwitch, and a real kernel in a virtual machine of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

import pytest

from tests.datapath.conftest import lab, pytest_runtest_makereport
from tests.interop import kernel
from tests.interop.oracle import KernelOracle
from tests.lab import Lab

__all__ = ["kernel_guest", "lab", "ovs_installed", "pytest_runtest_makereport"]


@pytest.fixture(scope="session")
def ovs_installed() -> None:
    """Debian's openvswitch-switch, whose own service need not run."""
    for program in ("ovsdb-server", "ovs-vswitchd", "ovs-vsctl"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program} (apt-get install openvswitch-switch)")


@pytest.fixture(scope="session")
def kernel_guest() -> Iterator[kernel.Guest]:
    """One machine for all tests: its eth0 is the TAP `kp0` of the host `guest.host`."""
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    module = kernel.find()
    if module is None:
        pytest.skip(f"needs kernel_peer.py (name it in {kernel.VARIABLE})")
    with Lab() as made, kernel.Guest(module, made.host("kernel")) as guest:
        yield guest


@pytest.fixture(scope="module")
def oracle(kernel_guest: kernel.Guest) -> Iterator[KernelOracle]:
    """The guest as one of two sides that are compared."""
    with contextlib.closing(KernelOracle(kernel_guest)) as made:
        yield made
