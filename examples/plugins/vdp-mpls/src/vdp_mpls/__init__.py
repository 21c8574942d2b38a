"""MPLS in GRE (RFC 4023): label stacks in front of IP packets and of frames.

Received packets of GRE protocol types 0x8847 and 0x8848 have their labels taken off, and go
on as received from the link of kind `mpls` (IP) or `mplstap` (Ethernet pseudowires, RFC 4448)
that has the addresses and the label.  What these links send gets the labels on.

    headers.py    label stack entry, control word, reserved labels
    options.py    [plugin.mpls], and what a link may have
    links.py      the kinds, and how they send
    receive.py    the handler
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vdp.api import Datapath, LinkKind, hookimpl

from vdp_mpls.links import MplsKind, MplstapKind, kinds
from vdp_mpls.options import Settings
from vdp_mpls.receive import Receiver

vdp_api = 1
vdp_settings = Settings

#: Before gre (300), which would hand the stack on as it is.
PRIORITY = 260


@hookimpl
def vdp_link_kinds() -> Iterable[LinkKind]:
    return kinds()


@hookimpl
def vdp_drop_reasons() -> Mapping[str, str]:
    return {
        "label": "no link between these ends has the label, and [plugin.mpls] pop neither",
        "reserved": "a reserved label that nobody serves, such as router alert (1) or implicit null (3)",
        "stack": "a label stack that goes on behind a link's label, ends too early, or is too deep",
        "ttl": "the TTL of the label ran out",
        "payload": "behind the labels is no IP packet, or not of the version that an explicit null announces",
        "control_word": "a pseudowire's packet that is no frame: its control word does not begin with 0",
    }


@hookimpl
def vdp_register(datapath: Datapath) -> None:
    receiver = Receiver(datapath, (datapath.kind(MplsKind), datapath.kind(MplstapKind)))
    datapath.registry.list("gre_cisco").add(
        receiver.receive, priority=PRIORITY, name="mpls_gre_rcv", owner="mpls", error=receiver.error
    )
