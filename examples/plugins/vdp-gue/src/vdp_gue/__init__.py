"""Generic UDP Encapsulation (draft-ietf-intarea-gue-09; Linux net/ipv4/fou_core.c): link kinds and a decoder.

Variant 0 has a header of 4 bytes behind UDP, and `hlen` words more:

    0                   1                   2                   3
    | 0 |C|   Hlen  |  Proto/ctype  |             Flags             |

Variant 1 has none: what follows UDP is an IPv4 or IPv6 packet, whose version begins with the bits 01.

    UDP port ─► Gue.receive ─► proto 4, 41: a link of kind gue, gue6
                           └─► ip_protocol ─► 47: gre_cisco ─► guetap, or plain links (`[plugin.gue] ports`)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict, Field
from vdp.api import Datapath, LinkKind, hookimpl

from vdp_gue.decoder import Gue
from vdp_gue.header import GueHeader
from vdp_gue.kinds import Gue6Kind, GueKind, GuetapKind
from vdp_gue.parameters import Port

__all__ = ["GueHeader", "GueKind", "GuetapKind"]

vdp_api = 1
#: In gre_cisco before gretap (200), which would not look at what came in GUE.
PRIORITY = 190


class Settings(BaseModel):
    """`[plugin.gue]`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    ports: list[Port] = Field(
        [],
        description="UDP ports by which links without GUE get theirs, too, as by `ip fou add port N gue`",
    )


vdp_settings = Settings


@hookimpl
def vdp_link_kinds() -> Iterable[LinkKind]:
    return [GueKind(), Gue6Kind(), GuetapKind()]


@hookimpl
def vdp_drop_reasons() -> Mapping[str, str]:
    return {
        "version": "a GUE header of a version that is not known",
        "flags": "a GUE header with flags or private flags that are not known, or none where flags say so",
        "control": "a GUE control message",
        "proto": "nobody takes the protocol that is carried in GUE, or none is for what is to be sent",
    }


@hookimpl
def vdp_register(datapath: Datapath) -> None:
    ports = frozenset(datapath.settings("gue", Settings).ports)
    frames = datapath.kind(GuetapKind)
    four = Gue(datapath, 4, datapath.kind(GueKind).table, ports)
    six = Gue(datapath, 6, datapath.kind(Gue6Kind).table, ports)
    for kind, decoder in ((datapath.kind(GueKind), four), (frames, four), (datapath.kind(Gue6Kind), six)):
        kind.decoder = decoder
    for table, decoder in (("udp_port", four), ("udp6_port", six)):
        for port in sorted(ports):
            datapath.registry.table(table).add(
                decoder.receive, slot=port, name="gue_udp_recv", owner="gue", error=decoder.error
            )
    datapath.registry.list("gre_cisco").add(
        frames.receive, priority=PRIORITY, name="guetap_rcv", owner="gue", error=frames.error
    )
