"""GRE-in-UDP to the kernel's own receiver: `ip fou add port 4754 ipproto 47`, and a gre device behind it.

Debian builds no kernel whose tunnels send in UDP (CONFIG_NET_FOU_IP_TUNNELS), so it is one way.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.interop.kernel import GUEST_ADDRESS, GUEST_ADDRESS6, HOST_ADDRESS, HOST_ADDRESS6, Guest
from tests.lab import Lab, wait_for
from tests.tunnels import Tunnel, assert_books_balance

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

MTU = 1400
PORT = 4754
COUNT = 5
CASES: list[tuple[str, dict[str, Any]]] = [
    ("gre", {}),
    ("gre", {"key": 42, "csum": True, "seq": True}),
    ("gre", {"encap_csum": False}),
    ("ip6gre", {}),
    ("ip6gre", {"encap_csum": False}),
]


def echoes(guest: Guest) -> int:
    """ICMP echo requests that came to the guest."""
    (line,) = guest.sh("nstat -az IcmpInEchos | grep IcmpInEchos").splitlines()
    return int(line.split()[1])


@pytest.mark.conformance("B5", "L13", "E12")
@pytest.mark.parametrize(("kind", "options"), CASES, ids=[f"{kind}-{'-'.join(on)}" for kind, on in CASES])
def test_the_kernel_takes_it(lab: Lab, kernel_guest: Guest, kind: str, options: dict[str, Any]) -> None:
    inner = lab.host("inner")
    is_ip6 = kind.startswith("ip6")
    ends = (HOST_ADDRESS6, GUEST_ADDRESS6) if is_ip6 else (HOST_ADDRESS, GUEST_ADDRESS)
    end = Tunnel(
        kind, "interface", *ends, inner.name, "10.0.0.1/24", {"encap": "udp"} | options,
        kernel_guest.device, MTU,
    )  # fmt: skip
    module, family = ("fou6", "-6") if is_ip6 else ("fou", "")
    if kernel_guest.run(f"modprobe {module}").status:
        pytest.skip("the guest's kernel has no fou")
    words = {name: value for name, value in options.items() if not name.startswith("encap")}
    kernel_guest.sh(f"ip fou add port {PORT} ipproto 47 {family}")
    try:
        with kernel_guest.tunnel(kind, "10.0.0.2/24", words, MTU):
            daemon = lab.vdp(kernel_guest.host, end.toml())
            before = echoes(kernel_guest)
            inner.ping("10.0.0.2", COUNT, size=MTU - 28, timeout=1)  # answered in plain GRE, to nobody
            wait_for("the echo requests", lambda: echoes(kernel_guest) - before >= COUNT, 20)
            assert kernel_guest.statistics()["rx_errors"] == 0
            assert_books_balance(daemon)
            assert daemon.stop() == 0
    finally:
        kernel_guest.sh(f"ip fou del port {PORT} {family}")
