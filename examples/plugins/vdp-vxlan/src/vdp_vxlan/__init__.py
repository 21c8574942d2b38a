"""VXLAN (RFC 7348) over IPv4 and IPv6: the link kinds `vxlan` and `vxlan6`, as `ip link add … type vxlan`.

Ethernet frames of a virtual network behind UDP and a header of 8 bytes:

    0                   1                   2                   3
    |R|R|R|R|I|R|R|R|            Reserved                           |
    |                VXLAN Network Identifier (VNI) |   Reserved    |

The I flag must be set; what is reserved is sent as zero and not looked at (section 5).  A
link is found by underlay, UDP port, VNI and outer addresses (table.py), and sends to its
`remote`, or to where the destination's MAC address was learned or configured to be (fdb.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vdp.api import Datapath, LinkKind, hookimpl

from vdp_vxlan.header import VxlanHeader
from vdp_vxlan.links import Vxlan6Kind, VxlanKind, VxlanLink

__all__ = ["Vxlan6Kind", "VxlanHeader", "VxlanKind", "VxlanLink"]

vdp_api = 1
#: How often what was learned is looked through, in seconds (vxlan.c: FDB_AGE_INTERVAL is 10).
AGE_INTERVAL_S = 10.0


@hookimpl
def vdp_link_kinds() -> Iterable[LinkKind]:
    return [VxlanKind(), Vxlan6Kind()]


@hookimpl
def vdp_drop_reasons() -> Mapping[str, str]:
    return {
        "flags": "a VXLAN header without the I flag (RFC 7348 section 5)",
        "vni": "no VXLAN link has this VNI between these addresses",
        "source": "a frame in VXLAN from no station's MAC address, or from one that `fdb` says is elsewhere",
        "no_remote": "a frame for a MAC address that is behind no known VTEP, by a link without remote",
    }


@hookimpl
def vdp_register(datapath: Datapath) -> None:
    def age() -> None:
        for link in datapath.links.values():
            if isinstance(link, VxlanLink):
                link.fdb.age()

    datapath.every(AGE_INTERVAL_S, age)
