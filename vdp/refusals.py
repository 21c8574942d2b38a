"""Super-packets that the kernel refuses in truth, whatever it said it would take.

The engine sends the parts of each, counts it (`refused`), and after some in a row offers none of
that sort to the port any more (engine.h, `refuses`).  Here the rest follows: they are cut as for
a port that never took them, and no cell joins any, as long as one of our devices refuses them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vdp.engine.interface import Feature, PortType

if TYPE_CHECKING:
    from vdp.datapath import Datapath
    from vdp.ports.port import Port

log = logging.getLogger(__name__)

#: Those with a kernel behind them that is handed super-packets.
KINDS = (PortType.TAP, PortType.TUN, PortType.PACKET)
WORDS = {Feature.TSO4: "TCP over IPv4", Feature.TSO6: "TCP over IPv6", Feature.USO: "UDP"}


def follow(datapath: Datapath) -> None:
    """Take note of what ports refuse now, and of what they do no more since they were set up anew."""
    changed = [port for port in datapath.ports.values() if port.type in KINDS and _follow(datapath, port)]
    for port in changed:
        datapath.invalidate(port.tag)
    if changed:
        for link in datapath.links.values():
            link.change_gro(link.gro)


def _follow(datapath: Datapath, port: Port) -> bool:
    refuses = datapath.engine.port_stats(port.number).refuses
    begun, ended = port.features & refuses, port.refused & ~refuses
    if begun:
        sorts = " and ".join(text for feature, text in WORDS.items() if feature in begun)
        log.warning(
            "port %s: the kernel keeps refusing super-packets of %s: they are cut first, and cells join none",
            port.name,
            sorts,
        )
    port.features = port.features & ~begun | ended
    port.refused = port.refused & ~ended | begun
    return bool(begun or ended)
