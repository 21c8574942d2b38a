"""Two hosts with something between them: vdp at both ends, Open vSwitch at both, or nothing but a veth.

The hosts in front are joined by a veth pair with MTU 1500.  In the first pair a vdp at each
end has a TAP behind it, in a namespace of its own; in the second an Open vSwitch (netdev)
at each end has its internal port; in the third the veth is all there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.interop.ovs import OvsPeer
from tests.lab import Host, Lab
from tests.tunnels import two_vdp

#: Options of the link, by the name of the variant.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "csum": {"csum": True},
    "key_csum_seq": {"key": 42, "csum": True, "seq": True},
    "udp": {"encap": "udp"},
}
TITLES = {"vdp": "vdp", "ovs": "Open vSwitch", "veth": "no tunnel"}


@dataclass(frozen=True)
class Pair:
    """One end, and where it finds the other."""

    sender: Host
    receiver: Host
    address: str


def pairs(
    lab: Lab, names: list[str], options: dict[str, Any], underlay: str = "interface"
) -> dict[str, Pair]:
    """The pairs of those names, each tried with a ping.  underlay: vdp's form of raw port."""
    made = {}
    for name in names:
        if name == "vdp":
            net = two_vdp(lab, "gretap", underlay, options)
            made[name] = Pair(net.left_inner, net.right_inner, "10.0.0.2")
        elif name == "ovs":
            made[name] = _ovs(lab, options)
        else:
            left, right = lab.host("veth-left"), lab.host("veth-right")
            lab.cable(left, "192.0.2.1/24", right, "192.0.2.2/24")
            made[name] = Pair(left, right, "192.0.2.2")
    for pair in made.values():
        pair.sender.wait_ping(pair.address)
    return made


def _ovs(lab: Lab, options: dict[str, Any]) -> Pair:
    """Without sequence numbers: Open vSwitch 3.1 computes a GRE checksum before it fills one in.

    Of GRE in UDP it knows nothing: there it is plain GRE.
    """
    options = {key: value for key, value in options.items() if key not in ("seq", "encap")}
    left, right = lab.host("ovs-left"), lab.host("ovs-right")
    lab.cable(left, "", right, "")
    ends = (OvsPeer(left, "eth0", "192.0.2.1/24"), OvsPeer(right, "eth0", "192.0.2.2/24"))
    ends[0].add_tunnel("192.0.2.2", "10.0.0.1/24", **options)
    ends[1].add_tunnel("192.0.2.1", "10.0.0.2/24", **options)
    return Pair(left, right, "10.0.0.2")
